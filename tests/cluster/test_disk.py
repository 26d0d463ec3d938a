#!/usr/bin/env python3
"""Journals on disk: everything at once is killed, and every acknowledged write is read back; disks
are lost, damaged, full, or somebody else's."""

import pathlib
import re
import shutil
import subprocess

from cluster import (Cluster, Load, assert_kept, main, program, run,
                     wait_until)

DISK = 'storage = "disk"; fsync = "always";'
COUNT = 300


def disk_cluster(**options):
    return Cluster(journal=DISK, **options)


def write(c, name="key", count=COUNT, size=100):
    """Acknowledged writes; read_back() finds them again."""
    with c.client() as client:
        for i in range(count):
            assert client("SET", f"{name}{i}", f"{i}".ljust(size, ".")) == "OK"


def read_back(c, name="key", count=COUNT, size=100):
    for server in c.servers:
        with c.client(server) as client:
            for i in range(count):
                value = client("GET", f"{name}{i}")
                assert value == f"{i}".ljust(size, "."), (server, name, i, value)


def up_again(c):
    c.up()
    c.wait_whole()


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 4]))


def killed_and_back(**options):
    with disk_cluster(**options) as c:
        write(c)
        load = Load(c, "--once", "--deadline-ms", 60000)
        c.crash()
        up_again(c)
        load.wait_progress()
        c.crash()
        up_again(c)
        load.wait_progress()
        assert_kept(load.finish())
        read_back(c)


def test_all_killed_active_all():
    """active, acks all: every process killed under load, twice; nothing is lost or done twice"""
    killed_and_back()


def test_all_killed_passive_all():
    """passive, acks all: every process killed under load, twice; nothing is lost or done twice"""
    killed_and_back(style="passive")


def test_all_killed_active_majority():
    """active, majority of five: every process killed under load, twice"""
    killed_and_back(acks='"majority"', servers=5)


def test_all_killed_passive_majority():
    """passive, majority: every process killed under load, twice"""
    killed_and_back(style="passive", acks='"majority"')


def daemon(c, name):
    kind = name if name in ("rm", "gfd") else "lfd"
    which = [] if kind == name else ["--name", name]
    with open(c.log_path, "a", encoding="utf-8") as log:
        return subprocess.Popen([program(f"holdfast-{kind}"), "-c", str(c.config), "--run-dir",
                                 str(c.run_dir), *which], stdin=subprocess.DEVNULL, stdout=log,
                                stderr=log)


def test_started_in_every_order():
    """After a crash the processes come back one after another, in several orders"""
    orders = (("rm", "gfd", "lfd3", "lfd1", "lfd2"), ("lfd2", "lfd3", "lfd1", "gfd", "rm"),
              ("gfd", "lfd1", "rm", "lfd3", "lfd2"))
    with disk_cluster(acks='"majority"') as c:
        write(c)
        for number, order in enumerate(orders):
            c.crash()
            started = []
            for name in order:
                started.append(daemon(c, name))
                wait_until(lambda: (c.run_dir / f"{name}.lock").exists(), f"{name} runs")
            try:
                c.wait_whole()
                read_back(c)
                write(c, f"order{number}-", 10)
            finally:
                c.crash()
                for process in started:
                    process.wait()
        up_again(c)
        for number in range(len(orders)):
            read_back(c, f"order{number}-", 10)


def test_stopped_in_order():
    """A cluster that was stopped comes back with everything, and knows that its end was clean"""
    with disk_cluster(style="passive") as c:
        write(c)
        assert c.stop() is None
        for name in c.servers:
            assert "end clean" in (c.run_dir / name / "life").read_text(), name
        up_again(c)
        read_back(c)


def test_one_disk_lost():
    """One directory is gone after a crash: that server joins from the others"""
    with disk_cluster() as c:
        write(c)
        c.crash()
        shutil.rmtree(c.run_dir / "s2")
        up_again(c)
        read_back(c)
        c.crash()
        up_again(c)
        read_back(c)


def test_two_disks_lost():
    """acks = all: with two directories gone the third server has everything"""
    with disk_cluster() as c:
        write(c)
        c.crash()
        shutil.rmtree(c.run_dir / "s1")
        shutil.rmtree(c.run_dir / "s3")
        up_again(c)
        read_back(c)


def test_two_disks_lost_of_a_majority():
    """acks = majority: the third server may lack writes, so the rm says so and waits"""
    with disk_cluster(acks='"majority"') as c:
        write(c)
        c.crash()
        shutil.rmtree(c.run_dir / "s1")
        shutil.rmtree(c.run_dir / "s3")
        c.up()
        c.wait_log("data would be lost")
        assert not c.is_whole(c.wait(lambda s: s, "the rm answers"))
        c.operate("recover", "--accept-loss")
        c.wait_whole()


def test_rm_store_lost():
    """Without the rm's store the next view waits for every server's intact report"""
    with disk_cluster() as c:
        write(c)
        c.crash()
        (c.run_dir / "rm.store").unlink()
        up_again(c)
        read_back(c)


def test_rm_store_damaged():
    """A flipped bit in one slot of the rm's store is made good; in both: refused, till moved away"""
    slot = 12288
    with disk_cluster() as c:
        c.trouble_expected = True
        write(c)
        c.crash()
        store = c.run_dir / "rm.store"
        flip(store, slot + 70)
        up_again(c)
        c.wait_log("rm: one of two copies is made good from the other: ")
        c.crash()
        views = c.log().count("stored")
        flip(store, 70)
        flip(store, slot + 70)
        c.up()
        c.wait_log(r"rm.store is damaged: .*needs the report of every server")
        c.crash()
        assert c.log().count("stored") == views, "a view came of a damaged store"
        store.rename(c.folder / "rm.store.damaged")
        up_again(c)
        read_back(c)


def test_rm_store_and_one_disk_lost():
    """Without its store and with a server that lacks its journal, the rm says what it needs"""
    with disk_cluster() as c:
        write(c)
        c.crash()
        (c.run_dir / "rm.store").unlink()
        saved = c.folder / "saved"
        shutil.move(c.run_dir / "s2", saved)
        c.up()
        c.wait_log("waits for an intact report of: s2")
        c.crash()
        shutil.rmtree(c.run_dir / "s2")
        shutil.move(saved, c.run_dir / "s2")  # found again
        up_again(c)
        read_back(c)


def journal_of(c, name):
    return sorted(pathlib.Path(c.run_dir, name).glob("journal-*"))[0]


def test_damage_in_the_middle():
    """A flipped bit in the middle of a journal: set aside, said where, and joined anew"""
    with disk_cluster() as c:
        write(c)
        c.crash()
        path = journal_of(c, "s2")
        flip(path, 4096 + 10000)
        up_again(c)
        read_back(c)
        c.wait_log(rf"s2: damaged: \S*{path.name}, offset \d+: ")
        aside = list((c.run_dir / "s2").glob("aside-*"))
        assert len(aside) == 1, aside
        assert (aside[0] / path.name).exists() and (aside[0] / "reason").exists(), aside


def checkpoints_of(c, name):
    return sorted((c.run_dir / name).glob("checkpoint-" + "[0-9]" * 12))


def write_rounds(c):
    """Writes until every server has two checkpoints, and keeps no journal from the first entry on;
    the number of rounds, for read_rounds()."""
    rounds = 0
    while not all(len(checkpoints_of(c, name)) == 2 for name in c.servers):
        write(c, f"round{rounds}-", count=400, size=100000)
        rounds += 1
        assert rounds < 20, "no checkpoints are written"
    return rounds


def read_rounds(c, rounds):
    for i in range(rounds):
        read_back(c, f"round{i}-", count=400, size=100000)


def test_damaged_checkpoints():
    """The newest checkpoint damaged: the older one is taken; both damaged: joined anew"""
    with disk_cluster() as c:
        rounds = write_rounds(c)
        c.wait_same()
        c.crash()
        flip(checkpoints_of(c, "s1")[-1], 5000000)
        for path in checkpoints_of(c, "s2"):
            flip(path, 5000000)
        up_again(c)
        assert re.search(r"s1: \S*checkpoint-\d+ is damaged at offset \d+", c.log()), c.log()
        c.wait_log("s1: what is damaged is in .*aside-.*; an older checkpoint is sound")
        c.wait_log("s2: damaged: .*checkpoint-")
        assert "s1: damaged: " not in c.log(), c.log()
        read_rounds(c, rounds)


def test_torn_tail():
    """Pieces of an unfinished group behind the end are cut off, without a word of damage"""
    with disk_cluster() as c:
        write(c)
        c.crash()
        ends = {}
        for name in c.servers:
            path = journal_of(c, name)
            end = ends[name] = path.read_bytes().rindex(b"HFRM")  # what proves the last group, which stays
            with open(path, "r+b") as file:
                file.seek(end)
                file.write(b"HFRM" + b"\x55" * 100)
        up_again(c)
        read_back(c)
        for name, end in ends.items():
            c.wait_log(rf"{name}: \S+, offset {end}: \d+ bytes of an unfinished group are cut off")
        assert "damaged" not in c.log(), c.log()


def test_damage_at_the_end():
    """A flipped bit in the last group of a journal: no torn tail, as it was synced"""
    with disk_cluster() as c:
        write(c)
        c.crash()
        path = journal_of(c, "s3")
        flip(path, path.read_bytes().rindex(b"HFRM") - 20)
        up_again(c)
        read_back(c)
        c.wait_log(rf"s3: damaged: \S*{path.name}, offset \d+: ")


def test_servers_killed_under_load():
    """Single servers killed again and again under load: they come back from their disks"""
    with disk_cluster() as c:
        load = Load(c, "--once")
        for name in ("s1", "s2", "s3", "s1"):
            c.kill(name)
            c.wait_whole()
            load.wait_progress()
        assert_kept(load.finish())


def test_killed_while_joining():
    """Everything killed while a server without a disk receives its checkpoint"""
    with disk_cluster() as c:
        rounds = write_rounds(c)
        for _ in range(3):
            before = c.log().count("receive a checkpoint")
            c.crash()
            shutil.rmtree(c.run_dir / "s3")
            c.up()
            wait_until(lambda: c.log().count("receive a checkpoint") > before, "s3 joins")
            c.crash()
            c.up()
            c.wait_whole()
        read_rounds(c, rounds)
        c.wait_same()


def test_somebody_elses_directory():
    """The directory of another server is refused: named, with what was expected"""
    with disk_cluster() as c:
        c.trouble_expected = True
        c.crash()
        shutil.rmtree(c.run_dir / "s2")
        shutil.copytree(c.run_dir / "s1", c.run_dir / "s2")
        c.up()
        c.wait_log(r's2/identity: the directory is of server "s1", expected "s2"')


def mounted(path, size_mb):
    path.mkdir(parents=True)
    status, _, err = run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "holdfast-test", path)
    if status:
        print(f"# no full disk here: {err.strip()}")
    return status == 0


def test_full_disk():
    """A server whose disk is full leaves the view, and comes back by itself when there is room"""
    with disk_cluster() as c:
        assert c.stop() is None
        shutil.rmtree(c.run_dir / "s3")
        if not mounted(c.run_dir / "s3", 80):
            up_again(c)
            return
        try:
            up_again(c)
            write(c, count=4500, size=20000)
            c.wait_log(r"s3: .*the disk is full")
            c.wait(lambda s: s["view"]["members"] == ["s1", "s2"], "s3 is left out")
            write(c, name="without", count=20)
            run("mount", "-o", "remount,size=512m", c.run_dir / "s3")
            c.wait_whole()
            c.wait_log(r"s3: .*there is room")
            read_back(c, name="without", count=20)
            read_back(c, count=4500, size=20000)
            c.crash()
            up_again(c)
            read_back(c, count=4500, size=20000)
            assert c.stop() is None
        finally:
            c.crash()
            run("umount", c.run_dir / "s3")


def test_full_from_the_start():
    """No room for a journal at all: status says for what the server waits, and the wait ends"""
    with disk_cluster(start=False) as c:
        c.run_dir.mkdir(mode=0o700)
        if not mounted(c.run_dir / "s3", 20):
            return
        try:
            c.up()
            c.wait(lambda s: s["servers"][2]["phase"] == "full", "s3 has no room for a journal")
            assert "s3 waits for room on its disk" in c.operate("status")
            run("mount", "-o", "remount,size=256m", c.run_dir / "s3")
            c.wait_whole()
            c.wait(lambda s: s["servers"][2]["phase"] is None, "s3 waits for nothing")
            assert c.stop() is None
        finally:
            c.crash()
            run("umount", c.run_dir / "s3")


if __name__ == "__main__":
    main()
