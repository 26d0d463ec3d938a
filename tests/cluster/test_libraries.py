#!/usr/bin/env python3
"""Programs that use the libraries of Redis and know nothing of holdfast: hiredis (C), redis-py."""

import pathlib
import subprocess

from cluster import BUILD, Cluster, main, run, wait_until

HERE = pathlib.Path(__file__).resolve().parent
HIREDIS = f"{BUILD}/tests/cluster/hiredis_client"
REDIS_PY = ["/usr/bin/python3", f"{HERE}/redis_py_client.py"]


def on_each_role(*command):
    for style in ("active", "passive"):
        with Cluster(style=style) as c:
            for name in (c.primary(), c.backups()[0]):
                status, _, complaint = run(*command, str(c.ports[name]))
                assert status == 0, f"on {name}, {style}: {complaint}"


def through_failovers(*command, kills=3):
    """Counts while the primary is killed, and every count is done once: what it says at the end."""
    with Cluster() as c:
        ports = [str(c.ports[name]) for name in c.servers]
        counter = subprocess.Popen([*command, *ports], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            for _ in range(kills):
                with c.client(c.servers[-1]) as reader:
                    before = int(reader("GET", "counted") or 0)
                    wait_until(lambda: int(reader("GET", "counted") or 0) > before + 100,
                               "it counts")
                c.kill(c.primary())
                c.wait_whole()
                assert counter.poll() is None, counter.communicate()[1]
            said, complaint = counter.communicate(input="", timeout=60)
            assert counter.returncode == 0, complaint
            with c.client() as reader:
                numbers = said.split("\n")[-2].split()
                assert reader("GET", "counted") == numbers[0], (said, reader("GET", "counted"))
            return numbers
        finally:
            counter.kill()
            counter.wait()


def test_hiredis():
    """hiredis: types of replies, transactions, 8 MB, a pipeline of 10,000, on primary and backup"""
    on_each_role(HIREDIS, "replies")


def test_hiredis_failover():
    """hiredis reconnects and repeats while the primary is killed: every count is done once"""
    numbers = through_failovers(HIREDIS, "count", "7")
    assert int(numbers[1]) >= 1, "it never lost a connection"


def test_redis_py():
    """redis-py: what programs do with it, on primary and backup"""
    on_each_role(*REDIS_PY, "replies")


def test_redis_py_failover():
    """redis-py reconnects and repeats while the primary is killed: every count is done once"""
    through_failovers(*REDIS_PY, "count")


if __name__ == "__main__":
    main()
