#!/usr/bin/env python3
"""Servers that recover or join with a state of some size: how far they are is shown, and what breaks
off is done all the same."""

import signal

from cluster import Cluster, main

MEMORY = 'storage = "memory"; memory_mb_max = 16;'  # what is older comes with a checkpoint
DISK = 'storage = "disk"; fsync = "always"; memory_mb_max = 16;'
KEYS = 1000000
STATE_BYTES_MIN = 100e6


def put(c):
    with c.client(timeout_s=60) as client:
        for first in range(0, KEYS, 1000):
            words = ["MSET"]
            for key in range(first, first + 1000):
                words += [f"key:{key:08}", "v" * 64]
            assert client(*words) == "OK"


def fill(c):
    put(c)
    c.wait_same()


def watch(c, name, until):
    """What status says of a server until the condition holds, whenever it is something new."""
    seen = []

    def look(status):
        s = next(s for s in status["servers"] if s["name"] == name)
        said = (s["phase"], s["bytes"], s["bytes_total"], s["seconds_left"])
        if not seen or seen[-1] != said:
            seen.append(said)
        return until(status, s)
    c.wait(look, f"{name} gets there", 120)
    return seen


def is_back(old):
    def condition(status, s):
        return (s["incarnation"] not in (0, old) and s["name"] in status["view"]["members"]
                and s["role"] == "backup" and s["phase"] is None)
    return condition


def check_progress(seen, phases):
    """One of the phases was seen, its bytes only grew, and its total is about right."""
    steps = [(done, total) for phase, done, total, _ in seen if phase in phases and total]
    assert steps, f"none of {phases} was seen: {seen}"
    assert [done for done, _ in steps] == sorted(done for done, _ in steps), seen
    assert all(done <= 1.1 * total and total > STATE_BYTES_MIN for done, total in steps), seen
    assert all(left is not None for phase, _, total, left in seen if phase in phases and total), seen


def test_join_shows_progress():
    """a joiner that needs a checkpoint says in status and log how far it is"""
    with Cluster(journal=MEMORY) as c:
        fill(c)
        old = c.server("s3")["incarnation"]
        c.signal("s3", signal.SIGKILL)
        check_progress(watch(c, "s3", is_back(old)), ["receiving"])
        c.wait_log(r"s3: receive a checkpoint of entry \d+")
        c.wait_log(r"s3: receiving: \d+ % of \d+ MB, \d+ MB/s, \d+ s left")
        c.wait_log(r"s3: checkpoint of entry \d+ is in: \d+ bytes in \d+ ms, \d+ MB/s")
        c.wait_same()


def test_recovery_shows_progress():
    """a server that recovers from its disk says so, although it is not linked to the rm yet"""
    with Cluster(journal=DISK) as c:
        fill(c)
        old = c.server("s3")["incarnation"]
        c.signal("s3", signal.SIGKILL)
        check_progress(watch(c, "s3", is_back(old)), ["loading", "replaying"])
        c.wait_log(r"s3: recovered: entry \d+ \(checkpoint \d+, \d+ records\), \d+ MB in \d+ ms")
        c.wait_same()


def test_all_killed_with_large_entries():
    """after a restart of all, executing what the journal has keeps nobody from answering its lfd"""
    with Cluster(journal=DISK) as c:
        fill(c)
        c.crash()
        c.up()
        c.wait_whole(120)
        c.wait_same()


def test_donor_killed():
    """a joiner whose donor is killed gets its checkpoint from another, at once"""
    with Cluster(journal=MEMORY, acks='"majority"') as c:
        fill(c)
        old = c.server("s3")["incarnation"]
        c.signal("s3", signal.SIGKILL)
        # The first word of it; the next comes 250 ms later, when it may be over.
        watch(c, "s3", lambda status, s: s["phase"] == "receiving")
        c.signal("s2", signal.SIGKILL)
        watch(c, "s3", is_back(old))
        c.wait_log("s1 is to give s3 a checkpoint")
        c.wait_whole(120)
        c.wait_same()


def test_store_lost_during_a_join():
    """the rm loses its store while a server has thrown its journal away to join: it needs no operator"""
    with Cluster(journal=DISK, acks='"majority"') as c:
        with c.client() as client:
            assert client("SET", "before", "s3 leaves") == "OK"
        c.wait_same()
        c.operate("stop", "s3")
        put(c)
        c.operate("start", "s3")
        c.wait_log(r"s3: receive a checkpoint of entry \d+")
        (c.run_dir / "rm.store").unlink()
        c.kill("rm")
        c.wait_log("fence .*no view yet")
        c.wait_whole(120)
        c.wait_same()
        for name in c.servers:
            with c.client(name) as client:
                assert client("GET", "before") == "s3 leaves", name


if __name__ == "__main__":
    main()
