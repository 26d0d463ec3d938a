#!/usr/bin/env python3
"""kill -9 and SIGSTOP of primary and backup under load, in both styles."""

import os
import signal

from cluster import SLOWER, Cluster, Load, assert_kept, assert_nothing_lost, main

FAULTS_MIN = 12  # in each style; each kind comes three times
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


if __name__ == "__main__":
    main()
