#!/usr/bin/env python3
"""Death of an lfd, the gfd and the rm under load: no request fails, and health comes back."""

import os
import signal

from cluster import Cluster, Load, assert_kept, main


def die_unnoticed(name, style="active"):
    """Kills one detector twice; clients see nothing, and servers live on in the same lives."""
    with Cluster(style=style) as c:
        once = Load(c, "--once")
        plain = Load(c)
        lives = incarnations(c)
        for _ in range(2):
            old = c.kill(name)
            c.wait(lambda s: c.pid(name) not in (0, old), f"{name} runs again")
            c.wait_whole()
            once.wait_progress()
        reports = once.finish(), plain.finish()
        assert incarnations(c) == lives, f"{lives} became {incarnations(c)}"
        for report in reports:
            assert_kept(report)
            assert report["lost_connections"] == 0, report
        c.kill(c.primary())  # and who has come back does its work
        c.wait_whole()


def incarnations(c):
    return {s["name"]: s["incarnation"] for s in c.wait_whole()["servers"]}


def test_lfd_of_primary():
    """lfd of the primary: its server is adopted, not started again"""
    die_unnoticed("lfd1")


def test_lfd_of_backup():
    """lfd of a backup, passive style"""
    die_unnoticed("lfd2", style="passive")


def test_gfd():
    """gfd: the membership is frozen meanwhile"""
    die_unnoticed("gfd")


def test_rm():
    """rm: the view goes on"""
    die_unnoticed("rm")


def test_primary_while_rm_is_down():
    """A primary that dies without an rm is replaced as soon as the rm is back"""
    with Cluster() as c:
        load = Load(c, "--once", "--deadline-ms", 30000)
        primary, pid = c.primary(), c.pid("rm")
        victim = c.pid(primary)
        os.kill(pid, signal.SIGKILL)
        os.kill(victim, signal.SIGKILL)
        c.wait(lambda s: s["view"]["primary"] not in ("", None, primary), "another primary")
        c.wait_whole()
        assert_kept(load.finish())


if __name__ == "__main__":
    main()
