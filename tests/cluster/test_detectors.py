#!/usr/bin/env python3
"""Death of an lfd, the gfd and the rm under load: no request fails, and health comes back."""

import os
import pathlib
import signal
import subprocess

from cluster import Cluster, Load, assert_kept, main, program, wait_until
from resp import Bystander


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


def test_second_lfd():
    """A second lfd of a host, in another run directory, is refused, and nobody notices"""
    with Cluster() as c, Bystander(c.ports["s1"]):
        lives, lfd = incarnations(c), c.pid("lfd1")
        with open(c.folder / "second", "w+", encoding="utf-8") as log:
            second = subprocess.Popen(
                [program("holdfast-lfd"), "-c", str(c.config), "--run-dir", str(c.folder / "other"),
                 "--name", "h1"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                c.wait_log("refused a link from lfd1 .*another process is lfd1, and answers")
                wait_until(lambda: "gfd at" in pathlib.Path(log.name).read_text(), "it is told why")
            finally:
                second.terminate()
                second.wait()
        assert (incarnations(c), c.pid("lfd1")) == (lives, lfd)


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
