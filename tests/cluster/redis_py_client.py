#!/usr/bin/python3
"""A client made with redis-py, for test_libraries.py: redis_py_client.py replies|count PORT…

Not a test by itself, and run by the system's python3, whose package it needs."""

import select
import sys
import time

import redis

TRY_S_MAX = 30  # until somebody answers


def client(port, **options):
    return redis.Redis(port=port, decode_responses=True, client_name="tested", **options)


def replies(port):
    """What programs that know nothing of holdfast do."""
    r = client(port, health_check_interval=1)
    r.flushall()
    assert r.ping() and r.echo("x") == "x"
    assert r.set("k", "v") and r.get("k") == "v" and r.get("nothing") is None
    assert r.set("k", "w", nx=True) is None and r.set("k", "w", xx=True, get=True) == "v"
    assert r.mset({"a": 1, "b": 2}) and r.mget("a", "nothing", "b") == ["1", None, "2"]
    assert r.incrby("n", 41) == 41 and r.incr("n") == 42 and r.incrbyfloat("n", 0.5) == 42.5
    assert r.expire("a", 100) and 0 < r.ttl("a") <= 100 and r.persist("a")
    assert r.append("k", "!") == 2 and r.getrange("k", 0, -1) == "w!" and r.strlen("k") == 2
    assert sorted(r.scan_iter(match="[ab]")) == ["a", "b"] and r.exists("a", "b") == 2
    assert r.rename("a", "c") and r.delete("b", "c") == 2 and r.dbsize() == len(r.keys())
    with r.pipeline(transaction=True) as p:
        assert p.set("t", 1).incr("t").get("t").execute() == [True, 2, "2"]
    with r.pipeline(transaction=False) as p:
        for i in range(1000):
            p.set(f"p{i}", i)
        assert p.execute() == [True] * 1000
    r.transaction(lambda p: (p.multi(), p.set("t", 3)), "t")
    assert r.get("t") == "3"
    assert r.client_getname() == "tested" and any(c["name"] == "tested" for c in r.client_list())
    assert r.info()["redis_version"] and r.role()[0] in ("master", "slave")
    assert r.command_count() > 50 and r.config_get("maxmemory") is not None and r.time()[0] > 0
    try:
        r.execute_command("SUBSCRIBE", "channel")
        raise AssertionError("SUBSCRIBE was taken")
    except redis.ResponseError as error:
        assert "unknown command" in str(error)


def count_to(clients, sequence):
    """Asks one server after another until the sequence is done; it is done once, however often."""
    end = time.monotonic() + TRY_S_MAX
    while time.monotonic() < end:
        try:
            got = clients[0].execute_command("ONCE", 4711, sequence, "INCR", "counted")
            assert got == sequence, (got, sequence)
            return
        except (redis.ConnectionError, redis.TimeoutError):
            clients.append(clients.pop(0))
        except redis.ResponseError as error:
            assert str(error).startswith("TRYAGAIN"), error
    raise AssertionError(f"sequence {sequence}: nobody answers")


def count(*ports):
    """Counts up until its input ends, whatever happens to the servers; says how far it got."""
    clients = [client(port, socket_timeout=2) for port in ports]
    sequence = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        sequence += 1
        count_to(clients, sequence)
    print(sequence)


if __name__ == "__main__":
    {"replies": replies, "count": count}[sys.argv[1]](*map(int, sys.argv[2:]))
