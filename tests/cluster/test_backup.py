#!/usr/bin/env python3
"""Backups of a running cluster, and what becomes of them: everything acknowledged before is there
after a restore; what cannot be done is refused with a reason, and leaves nothing behind."""

import os
import pathlib
import signal
import subprocess

import resp
from cluster import Cluster, Load, assert_kept, main, program, run, wait_until

DISK = 'storage = "disk"; fsync = "always";'
LARGE = 1 << 20
LARGE_COUNT = 80


def recorded(c, count=3000):
    """Acknowledged writes, and the file that says which."""
    record = c.folder / "record"
    status, out, err = run(program("holdfast-client"), "-c", c.config, "load", "--verify", "--record",
                           record, "--requests", count, "--connections", 8)
    assert status == 0, out + err
    return record


def verify(c, record):
    status, out, err = run(program("holdfast-client"), "-c", c.config, "verify", record)
    assert status == 0 and " 0 lost" in out, out + err


def elsewhere(c):
    """From here on the cluster lives in another run directory, which is empty."""
    c.run_dir = c.folder / f"{c.run_dir.name}-2"


def left(path):
    return [p.name for p in path.parent.glob(path.name + "*")]


def refused(c, *words):
    """One line that says why."""
    err = c.operate(*words, status=1)
    assert err.startswith("holdfast: ") and err.count("\n") == 1, err
    return err


def backed_up_and_restored(**options):
    with Cluster(journal=DISK, **options) as c:
        record, backup = recorded(c), c.folder / "backup"
        load = Load(c, "--once")
        assert f"cluster {c.name} at entry" in c.operate("backup", backup)
        assert_kept(load.finish())
        assert left(backup) == [backup.name]
        with c.client() as client:
            client("SET", "later", "1")
        assert c.stop() is None
        elsewhere(c)
        assert "restored" in c.operate("restore", backup)
        c.up()
        c.wait_whole()
        verify(c, record)
        for name in c.servers:
            with c.client(name) as client:
                assert client("GET", "later") is None  # of the time after the backup
        with c.client() as client:
            assert client("SET", "again", "1") == "OK"
        c.wait_same()
        # What was restored is as good as any state: again, from there.
        assert "entry" in c.operate("backup", backup)
        c.crash()
        c.up()
        c.wait_whole()
        verify(c, record)


def test_active():
    """active: a backup under load, restored elsewhere, has all that was acknowledged before it"""
    backed_up_and_restored()


def test_passive():
    """passive, majority: the same"""
    backed_up_and_restored(style="passive", acks='"majority"')


def test_one_server():
    """One server: it is its own source"""
    backed_up_and_restored(servers=1)


def test_restore_refuses():
    """restore: refused while the cluster is up, over its data, from a damaged or foreign file"""
    with Cluster(journal=DISK) as c:
        record, backup = recorded(c, 200), c.folder / "backup"
        c.operate("backup", backup)
        assert "is up: process" in refused(c, "restore", backup)
        assert c.stop() is None
        assert "rm.store" in refused(c, "restore", backup)
        (c.run_dir / "rm.store").unlink()
        assert "s1 holds a journal" in refused(c, "restore", backup)

        elsewhere(c)
        data = bytearray(backup.read_bytes())
        data[len(data) // 2] ^= 1
        damaged = c.folder / "damaged"
        damaged.write_bytes(data)
        assert "offset" in refused(c, "restore", damaged)
        refused(c, "restore", c.folder / "nothing")
        other = c.config.read_text().replace('cluster = "test"', 'cluster = "other"')
        c.config.write_text(other)
        assert 'of cluster "test", expected "other"' in refused(c, "restore", backup)
        assert not list(c.run_dir.glob("s*/*"))

        c.config.write_text(c.text)
        c.operate("restore", backup)
        assert "holds a journal or checkpoints" in refused(c, "restore", backup)
        c.up()
        c.wait_whole()
        verify(c, record)


def test_backup_refuses():
    """backup: of a cluster that is down or keeps nothing on disk; onto a path that is no file's"""
    with Cluster(journal=DISK) as c:
        backup = c.folder / "backup"
        assert "cannot write" in refused(c, "backup", c.folder / "no" / "folder")
        assert c.stop() is None
        assert "cannot reach the rm" in refused(c, "backup", backup)
        assert left(backup) == []
    with Cluster() as c:
        assert 'journal.storage is "memory"' in refused(c, "backup", c.folder / "backup")
        assert left(c.folder / "backup") == []


def fill(c):
    with c.client() as client:
        for i in range(LARGE_COUNT):
            assert client("SET", f"large{i}", os.urandom(LARGE // 2).hex()) == "OK"


def test_backup_is_cut_off():
    """The servers die while a backup is fetched: one error, and no half file"""
    with Cluster(journal=DISK) as c:
        fill(c)
        backup = c.folder / "backup"
        part = pathlib.Path(f"{backup}.part")
        pids = [c.pid(name) for name in c.servers]
        with subprocess.Popen(c.command("backup", backup), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            while process.poll() is None and not (part.exists() and part.stat().st_size > 0):
                pass
            process.send_signal(signal.SIGSTOP)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            process.send_signal(signal.SIGCONT)
            out, err = process.communicate(timeout=60)
        assert process.returncode == 1 and out == "" and err.count("\n") == 1, (out, err)
        assert left(backup) == []
        c.wait_whole()


def test_no_room():
    """No room for a backup: one error, and no half file"""
    with Cluster(journal=DISK) as c:
        fill(c)
        place = c.folder / "small"
        place.mkdir()
        status, _, err = run("mount", "-t", "tmpfs", "-o", "size=1m", "holdfast-test", place)
        if status != 0:
            print(f"# not run: needs root to mount a tmpfs: {err.strip()}")
            return
        try:
            assert "No space left" in refused(c, "backup", place / "backup")
            assert not list(place.iterdir())
        finally:
            run("umount", place)


def test_commands():
    """CHECKPOINT on the client port: pieces in order, a few readers at a time, nonsense refused"""
    with Cluster(journal=DISK) as c:
        recorded(c, 100)
        with c.client() as client:
            for words in (("SAVE", "-1"), ("OPEN", "x"), ("READ", "0"), ("SAVE",), ("OTHER", "1")):
                assert_error(client, *words)
            index = client("CHECKPOINT", "OPEN", 0)
            assert index is None, index
            assert client("CHECKPOINT", "SAVE", 1 << 62) == 0
            assert client("CHECKPOINT", "SAVE", 100) == 1
            index, size = wait_until(lambda: client("CHECKPOINT", "OPEN", 100), "it is saved")
            assert index >= 100 and size > 0
            assert client("CHECKPOINT", "OPEN", 1 << 62) is None
            others = [c.client(c.primary()) for _ in range(4)]
            for other in others:
                assert other("CHECKPOINT", "OPEN", 100) == [index, size]
            assert_error(client, "OPEN", "100")
            for other in others:
                other.close()
            wait_until(lambda: opens(client), "the others are gone")


def opens(client):
    try:
        return client("CHECKPOINT", "OPEN", 100)
    except resp.ReplyError:  # still too many
        return None


def assert_error(client, *words):
    try:
        reply = client("CHECKPOINT", *words)
    except resp.ReplyError as error:
        assert "ERR" in str(error), error
        return
    raise AssertionError(f"CHECKPOINT {words}: {reply}")


if __name__ == "__main__":
    main()
