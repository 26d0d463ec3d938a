#!/usr/bin/env python3
"""Several servers at once: as many as the acks allow, and all."""

import os
import signal

from cluster import Cluster, Load, assert_kept, main, run, shipped_config


def test_majority_loses_two():
    """five.cfg with two servers killed at once: nothing lost, and all five come back"""
    with Cluster(shipped_config("five.cfg")) as c:
        load = Load(c, "--once")
        primary = c.primary()
        victims = [c.pid(primary), c.pid(c.backups()[0])]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        c.wait(lambda s: s["view"]["primary"] not in ("", None, primary), "another primary")
        c.wait_whole()
        assert_kept(load.finish())


def test_majority_serves_with_two_stopped():
    """five.cfg with two servers stopped by the operator: the other three serve"""
    with Cluster(shipped_config("five.cfg")) as c:
        for name in c.backups()[:2]:
            c.operate("stop", name)
        status = c.wait(lambda s: len(s["view"]["members"]) == 3, "three members")
        assert status["view"]["acks"] == 2, status["view"]
        with c.client() as client:
            assert client("SET", "a", "1") == "OK"
        for name in c.servers:
            if name not in status["view"]["members"]:
                c.operate("start", name)
        c.wait_whole()


def test_all_but_one():
    """acks = all: one survivor of three has everything"""
    with Cluster() as c:
        with c.client() as client:
            for i in range(100):
                client("SET", f"key{i}", i)
        pids = [c.pid(name) for name in c.servers if name != "s3"]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        c.wait(lambda s: s["view"]["primary"] == "s3", "s3 is the primary")
        c.wait_whole()
        with c.client("s1") as client:
            assert [client("GET", f"key{i}") for i in range(100)] == [str(i) for i in range(100)]


def test_all():
    """All members of a journal in memory: the rm says so and waits for recover --accept-loss"""
    with Cluster() as c:
        with c.client() as client:
            client("SET", "lost", "1")
        for pid in [c.pid(name) for name in c.servers]:
            os.kill(pid, signal.SIGKILL)
        c.wait_log("data would be lost")
        c.wait(lambda s: sorted(s["membership"]["members"]) == c.servers, "all processes are back")
        assert not c.status()["view"]["members"] or not c.is_whole(c.status())
        status, out, _ = run("redis-cli", "-p", c.ports["s1"], "--raw", "PING")
        assert status == 0 and "PONG" in out, out
        reason = c.operate("recover", status=2)
        assert "--accept-loss" in reason, reason
        c.operate("recover", "--accept-loss")
        c.wait_whole()
        with c.client("s2") as client:
            assert client("GET", "lost") is None and client("DBSIZE") == 0
            assert client("SET", "new", "1") == "OK"


def test_recover_is_refused_in_health():
    """recover --accept-loss does nothing to a cluster that has lost nothing"""
    with Cluster() as c:
        with c.client() as client:
            client("SET", "kept", "1")
            c.operate("recover", "--accept-loss", status=1)
            c.wait_whole()
            assert client("GET", "kept") == "1"


def test_single():
    """single.cfg in memory: its only server comes back, but only the operator may begin anew"""
    with Cluster(shipped_config("single.cfg").replace('"disk"', '"memory"')) as c:
        os.kill(c.pid("s1"), signal.SIGKILL)
        c.wait_log("data would be lost")
        c.wait(lambda s: s["membership"]["members"] == ["s1"], "s1 runs again")
        c.operate("recover", "--accept-loss")
        c.wait_whole()
        with c.client("s1") as client:
            assert client("SET", "a", "1") == "OK"


if __name__ == "__main__":
    main()
