#!/usr/bin/env python3
"""The acceptance scripts of the systems that holdfast follows, under their numbers.

S2-17 to S2-19: the three scripts of a replicated store of customers and their last orders; S3-15:
the smoke test of a store with a majority quorum; G-04 and G-11:
the checkpoints and the five milestones of the course guide."""

import os
import re
import signal
import threading

from cluster import Cluster, Load, assert_kept, config_text, main, wait_until
from resp import Closed, Resp

MANUAL = ("restart = { backoff_ms = 20; backoff_ms_max = 500; budget = 100; };",
          "restart = { backoff_ms = 600000; backoff_ms_max = 600000; };")


def manual_text(**options):
    """A config whose dead servers come back only when the operator starts them."""
    text = config_text(**options)
    assert MANUAL[0] in text
    return text.replace(*MANUAL)


class Customers:
    """Customers who order one after another: each writes the number of its last order.

    A customer whose connection is lost orders again, at the next server, under the same session
    and sequence."""

    def __init__(self, c, count, orders, first="s1"):
        order = c.servers[c.servers.index(first):] + c.servers[:c.servers.index(first)]
        self.ports = [c.ports[name] for name in order]
        self.orders, self.done, self.complaints = orders, 0, []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.customer, args=(number,), daemon=True)
                        for number in range(count)]
        for thread in self.threads:
            thread.start()

    def customer(self, number):
        try:
            client, at = None, 0
            for order in range(1, self.orders + 1):
                while True:
                    try:
                        client = client or Resp(self.ports[at % len(self.ports)])
                        client.once(1000 + number, order, "SET", f"customer:{number}", order)
                        break
                    except (OSError, Closed):
                        client, at = None, at + 1
                with self.lock:
                    self.done += 1
            client.close()
        except Exception as reason:
            self.complaints.append(repr(reason))

    def wait_some(self, count):
        wait_until(lambda: self.done >= count or self.complaints, f"{count} orders are placed")

    def finish(self):
        for thread in self.threads:
            thread.join(60)
        assert not self.complaints, self.complaints
        assert self.done == len(self.threads) * self.orders, self.done


def scan(c, name, count):
    """The last orders of the first so many customers, as one server has them."""
    with c.client(name) as client:
        return client("MGET", *[f"customer:{number}" for number in range(count)])


def kill(c, name):
    os.kill(c.pid(name), signal.SIGKILL)
    c.wait(lambda s: name not in s["view"]["members"] and s["view"]["primary"], f"{name} is gone")


def test_s2_17_basic():
    """S2-17: 5 customers with 10 orders each; a scan of 20 is the same on all three servers"""
    with Cluster() as c:
        Customers(c, 5, 10).finish()
        expected = ["10"] * 5 + [None] * 15
        for name in c.servers:
            assert scan(c, name, 20) == expected, name
        c.wait_same()


def test_s2_18_primary_failure():
    """S2-18: 10 customers with 100 orders each; the primary is killed; another takes over"""
    with Cluster(manual_text()) as c:
        customers = Customers(c, 10, 100, first=c.primary())
        customers.wait_some(200)
        old = c.primary()
        kill(c, old)
        customers.finish()
        assert c.primary() != old
        for name in c.status()["view"]["members"]:
            assert scan(c, name, 10) == ["100"] * 10, name


def test_s2_19_backup_failure():
    """S2-19: the same load; a backup is killed; the primary goes on with the other"""
    with Cluster(manual_text()) as c:
        primary = c.primary()
        customers = Customers(c, 10, 100, first=primary)
        customers.wait_some(200)
        kill(c, c.backups()[0])
        customers.finish()
        view = c.status()["view"]
        assert view["primary"] == primary and len(view["members"]) == 2, view
        for name in view["members"]:
            assert scan(c, name, 10) == ["100"] * 10, name


def test_s3_15_smoke():
    """S3-15: cold GET is empty; PUT then GET; the same with one node down, by majority"""
    with Cluster(manual_text(acks='"majority"')) as c:
        with c.client("s1") as a, c.client("s2") as b:
            assert a("GET", "foo") is None
            assert a("SET", "foo", "bar") == "OK"
            assert b("GET", "foo") == "bar"
        down = c.primary()
        kill(c, down)
        up = [name for name in c.servers if name != down]
        with c.client(up[0]) as a, c.client(up[1]) as b:
            assert a("SET", "foo", "three") == "OK"
            assert b("GET", "foo") == "three"
        assert f"delete replica {down}" in c.log()
        assert f"2 members: {', '.join(up)}" in c.log()


def test_g_04_checkpoints():
    """G-04: the passive primary's checkpoints are counted from 1, each of what was executed"""
    with Cluster(style="passive") as c, c.client(c.primary()) as client:
        def info(key):
            return int(re.search(rf"{key}:(\d+)", client("INFO", "holdfast"))[1])
        for count in (1, 2, 3):
            client("INCR", "n")
            executed = info("executed_index")
            wait_until(lambda e=executed: info("checkpoint_index") >= e, "a checkpoint of it")
            assert info("checkpoint_count") >= count, client("INFO", "holdfast")


def test_g_11_1_one_server():
    """G-11 (1): a server, its lfd, three clients; killed, detected; again at another rate"""
    for interval_ms in (20, 150):
        text = config_text(servers=1)
        text = text.replace("detection = {",
                            f"detection = {{ heartbeat_interval_ms = {interval_ms};")
        with Cluster(text, verbose=True) as c:
            customers = Customers(c, 3, 50)
            customers.finish()
            c.wait_log("heartbeat_count")
            os.kill(c.pid("s1"), signal.SIGKILL)
            c.wait_log(r"lfd1: .*delete replica s1")
            c.wait_log(r"gfd: .*0 members")


def test_g_11_2_active_kill_two():
    """G-11 (2): three active replicas; two are killed one after another; the third has it all"""
    with Cluster(manual_text()) as c:
        load = Load(c, "--once")
        for _ in range(2):
            kill(c, c.primary())
        assert len(c.status()["view"]["members"]) == 1
        assert_kept(load.finish())


def test_g_11_3_passive_kill_two():
    """G-11 (3): warm passive; both backups are killed; the primary goes on"""
    with Cluster(manual_text(style="passive")) as c:
        load = Load(c, "--once")
        primary = c.primary()
        for name in c.backups():
            kill(c, name)
        assert c.primary() == primary
        assert_kept(load.finish())


def test_g_11_4_manual_recovery():
    """G-11 (4): manual recovery in both styles; a dead primary returns as a backup"""
    for style in ("active", "passive"):
        with Cluster(manual_text(style=style)) as c:
            load = Load(c, "--once")
            for victim in (c.primary(), c.backups()[0]):
                kill(c, victim)
                elected = c.primary()
                c.operate("start", victim)
                c.wait_whole()
                assert c.primary() == elected != victim
            assert_kept(load.finish())


def test_g_11_5_automatic_recovery():
    """G-11 (5): kill any, it recovers; kill the recovered one, kill another; clients go on"""
    for style in ("active", "passive"):
        with Cluster(style=style) as c:
            load = Load(c, "--once")
            first = c.primary()
            for victim in (first, first, c.backups()[0]):
                c.kill(victim)
                c.wait_whole()
                assert c.primary() != victim
            assert_kept(load.finish())


if __name__ == "__main__":
    main()
