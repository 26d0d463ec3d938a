#!/usr/bin/env python3
"""kill -9 and SIGSTOP of primary and backup under load, in both styles; links that are cut."""

import os
import re
import signal

from cluster import SLOWER, Cluster, Load, assert_kept, assert_nothing_lost, main

FAULTS_MIN = 12  # in each style; each kind comes three times
CUT_S = 5 * SLOWER  # long enough to be accused, and to look around
GAP_MS_MAX = 1500 * SLOWER  # a stopped primary is killed after 200 ms; the rest is for slow machines


def die_in_turn(style):
    """Faults one after another until each server has died twice; whoever comes back is a backup."""
    with Cluster(style=style) as c:
        once = Load(c, "--once")
        plain = Load(c, "--send-to", "spread")
        deaths = dict.fromkeys(c.servers, 0)
        faults = [(c.kill, True), (c.freeze, False), (c.freeze, True), (c.kill, False)]
        while min(deaths.values()) < 2 or sum(deaths.values()) < FAULTS_MIN:
            fault, of_primary = faults[sum(deaths.values()) % len(faults)]
            primary = c.primary()
            victim = primary if of_primary else min(c.backups(), key=deaths.get)
            fault(victim)
            deaths[victim] += 1
            c.wait_whole()
            assert (c.primary() != victim) if of_primary else (c.primary() == primary), \
                f"{victim} died as {'primary' if of_primary else 'backup'} of {primary}: " \
                f"the primary is {c.primary()}"
            assert sum(deaths.values()) < 3 * FAULTS_MIN, f"some server is never chosen: {deaths}"
            once.wait_progress()
        kept, spread = once.finish(), plain.finish()
        c.wait_whole()
        c.wait_same()
        assert_kept(kept)
        assert kept["longest_gap_ms"] < GAP_MS_MAX, kept
        assert_nothing_lost(spread)
        print(f"# {deaths}: {kept['ok']} and {spread['ok']} writes, longest gap "
              f"{kept['longest_gap_ms']:.0f} ms, {spread['unknown']} plain ones unknown")


def test_active():
    """Active style: nothing lost, nothing repeated, full membership"""
    die_in_turn("active")


def test_passive():
    """Passive style: nothing lost, nothing repeated, full membership"""
    die_in_turn("passive")


def test_killed_while_stopped():
    """A server that is stopped and then killed is one death, not two"""
    with Cluster() as c:
        victim = c.backups()[0]
        before = c.server(victim)
        c.freeze(victim)
        c.wait_whole()
        after = c.server(victim)
        assert after["restarts"] == before["restarts"] + 1, (before, after)


def test_continued_in_time():
    """A server that is stopped for less than suspect_after_ms stays a member"""
    with Cluster() as c:
        before = c.status()
        pid = c.pid(c.backups()[0])
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)
        with c.client() as client:
            assert client("SET", "a", "1") == "OK"
        after = c.wait_whole()
        assert after["view"] == before["view"], (before, after)


def lives(status):
    return {s["name"]: s["incarnation"] for s in status["servers"]}


def cut_off(c, primary, backup):
    """Until the backup is out of the view, because of the silence; its members go on."""
    def without(status):
        view = status["view"]
        return view["active"] and view["primary"] == primary and backup not in view["members"]
    c.wait(without, f"{backup} is out of the view")
    assert re.search(rf"{primary} accuses {backup}: it is silent", c.operate("events"))


def test_cut():
    """A primary cut off from a backup goes on without it; after the cut it is a member again"""
    with Cluster() as c:
        load = Load(c, "--once")
        primary, backup = c.primary(), c.backups()[0]
        before = lives(c.status())
        said = f"the link of {primary} and {backup} is cut for {CUT_S} s"
        assert said in c.operate("fault", "cut", primary, backup, CUT_S)
        cut_off(c, primary, backup)
        c.signal("rm", signal.SIGKILL)  # it need not be there for the end
        load.wait_progress()
        c.wait_log(rf"{primary}: link to {backup}: heard again")
        c.wait_log(rf"{backup}: link to {primary}: heard again")
        assert lives(c.wait_whole()) == before and c.primary() == primary
        load.wait_progress()
        assert_kept(load.finish())
        c.wait_same()


def test_cut_and_heal():
    """A cut is healed before its time; the default lasts long enough to need it"""
    with Cluster(style="passive") as c:
        load = Load(c, "--once")
        primary, backup = c.primary(), c.backups()[-1]
        before = lives(c.status())
        assert "for 10 s" in c.operate("fault", "cut", backup, primary)
        c.operate("fault", "cut", backup, primary, 60)
        cut_off(c, primary, backup)
        load.wait_progress()
        assert "healed" in c.operate("fault", "heal", primary, backup)
        assert lives(c.wait_whole()) == before
        assert_kept(load.finish())
        c.wait_same()
        events = c.operate("events")
        assert f"the link of {backup} and {primary} is cut for 60 s" in events, events
        assert f"the link of {primary} and {backup} is healed" in events, events


def test_killed_while_cut():
    """A primary that is cut off from all is replaced; killed then, it is a member after the cut"""
    with Cluster() as c:
        load = Load(c, "--once")
        primary = c.primary()
        for backup in c.backups():
            c.operate("fault", "cut", primary, backup, CUT_S)
        c.wait(lambda s: s["view"]["active"] and s["view"]["primary"] not in (None, primary),
               "another is primary")
        c.kill(primary)
        c.wait_whole()
        assert_kept(load.finish())
        c.wait_same()


if __name__ == "__main__":
    main()
