#!/usr/bin/env python3
"""The operator's verbs, and how a cluster starts and ends."""

import json
import os
import signal
import socket
import subprocess

from cluster import (Cluster, Load, assert_kept, config_text, main, pids_with,
                     program, run, shipped_config, wait_until)


def test_switchover():
    """switchover: every server becomes the primary in turn, under load, without an error"""
    for style in ("active", "passive"):
        with Cluster(style=style) as c:
            once = Load(c, "--once")
            plain = Load(c)
            for name in ("s2", "s3", "s1"):
                c.operate("switchover", name)
                assert c.primary() == name
                c.wait_whole()
            lives = c.wait_whole()["servers"]
            assert all(s["restarts"] == 0 for s in lives), lives
            assert_kept(once.finish())
            report = plain.finish()
            assert report["errors"] == 0 and report["verify"]["lost"] == 0, report


def test_stop_start_restart():
    """stop, start and restart of a backup and of the primary: no request fails"""
    with Cluster() as c:
        load = Load(c, "--once")
        for name in ("s3", c.primary()):
            c.operate("stop", name)
            c.wait(lambda s, n=name: n not in s["view"]["members"] + s["membership"]["members"],
                   f"{name} is gone")
            assert c.server(name)["state"] == "stopped", c.server(name)
            c.operate("start", name)
            c.wait_whole()
        old = c.server("s2")["incarnation"]
        c.operate("restart", "s2")
        c.wait_new_life("s2", old)
        c.wait_whole()
        assert_kept(load.finish())


def test_set():
    """set style and set acks: the view changes under load, without a restart or an error"""
    with Cluster() as c:
        lives = {s["name"]: s["incarnation"] for s in c.status()["servers"]}
        load = Load(c, "--once")
        for key, value, shown in (("acks", "majority", 2), ("acks", "1", 1), ("style", "passive", "passive"),
                                  ("acks", "all", 3), ("style", "active", "active")):
            c.operate("set", key, value)
            assert c.status()["view"][key] == shown, (key, value, c.status()["view"])
        assert_kept(load.finish())
        assert "from 1 to 3" in c.operate("set", "acks", "4", status=2)
        assert "active or passive" in c.operate("set", "style", "warm", status=2)
        assert "expected style or acks" in c.operate("set", "speed", "9", status=2)
        assert lives == {s["name"]: s["incarnation"] for s in c.wait_whole()["servers"]}


def test_refusals():
    """Verbs that make no sense are refused with a reason, and change nothing"""
    with Cluster() as c:
        before = c.status()["view"]
        assert "s9" in c.operate("switchover", "s9", status=2)
        assert "rm" in c.operate("stop", "rm", status=2)
        assert "nobody" in c.operate("fault", "kill", "nobody", status=2)
        for words, reason in ((("cut", "s1", "s1"), 'two servers, got "s1" twice'),
                              (("cut", "s1", "nobody"), 'got "nobody"'),
                              (("cut", "lfd1", "s2", "5"), 'got "lfd1"'),
                              (("cut", "s1", "s2", "0"), '1 to 60 seconds, got "0"'),
                              (("cut", "s1", "s2", "1000"), '1 to 60 seconds, got "1000"'),
                              (("cut", "s1", "s2", "long"), '1 to 60 seconds, got "long"'),
                              (("cut", "s1"), 'cut or heal before two, got "cut"'),
                              (("heal", "s1", "s2", "5"), "two servers and no more"),
                              (("kill", "s1", "s2"), 'cut or heal before two servers, got "kill"'),
                              (("cut",), "usage: holdfast -c FILE fault"),
                              (("cut", "s1", "s2", "5", "s3"), "usage: holdfast -c FILE fault")):
            said = c.operate("fault", *words, status=2)
            assert reason in said and said.count("\n") == 1, (words, said)
        assert "running already" in c.operate("start", "s1")
        c.operate("dance", status=2)
        c.operate("switchover", status=2)
        assert c.status()["view"] == before


def test_up_forsaken():
    """up --daemon whose caller is killed while it waits: the launcher stays, and supervises"""
    with Cluster(start=False) as c:
        def ignore():
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        caller = subprocess.Popen(c.command("up", "--daemon"), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  preexec_fn=ignore)
        wait_until(lambda: pids_with("holdfast-rm\0-c\0" + str(c.config)), "the rm is started")
        caller.kill()
        caller.wait()
        c.wait_whole()
        wait_until(lambda: "is up: " in (c.run_dir / "holdfast.log").read_text(), "it says so")
        old = c.status()["gfd"]["pid"]
        os.kill(old, signal.SIGKILL)
        c.wait(lambda s: s["gfd"]["state"] == "up" and s["gfd"]["pid"] != old, "gfd is started again")
        c.operate("down")


def test_up_without_hangup():
    """nohup holdfast up: the cluster outlives its terminal"""
    with Cluster(start=False) as c:
        with open(c.folder / "nohup.log", "w", encoding="utf-8") as log:
            c.launcher = subprocess.Popen(["nohup", *c.command("up")], stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log)
        c.wait_whole()
        c.launcher.send_signal(signal.SIGHUP)
        c.operate("stop", "s3")
        c.operate("start", "s3")
        c.wait_whole()
        assert c.launcher.poll() is None
        c.operate("down")


def test_status_and_events():
    """status --json is what the design says; status and events are for people"""
    with Cluster() as c:
        status = json.loads(c.operate("status", "--json"))
        assert status["cluster"] == "test"
        assert set(status) >= {"cluster", "view", "membership", "servers", "lfds", "gfd", "rm"}
        assert set(status["view"]) >= {"number", "style", "acks", "primary", "members"}
        for server in status["servers"]:
            assert set(server) >= {"name", "host", "state", "role", "incarnation", "pid",
                                   "client_port", "journal_index", "commit_index",
                                   "executed_index", "restarts", "last_exit"}, server
            assert server["client_port"] == c.ports[server["name"]]
        old = c.server("s2")["incarnation"]
        c.operate("fault", "kill", "s2")
        c.wait_new_life("s2", old)
        c.wait_whole()
        assert "SIGKILL" in c.server("s2")["last_exit"]
        assert "primary" in c.operate("status")
        events = c.operate("events")
        assert "2 members: s1, s3" in events and "3 members: s1, s2, s3" in events, events


def test_events_of_every_life():
    """events --follow shows what each life of the rm has seen, from its first event on"""
    with Cluster() as c:
        path = c.folder / "events"
        with open(path, "w", encoding="utf-8") as out:
            follower = subprocess.Popen(c.command("events", "--follow"), stdin=subprocess.DEVNULL,
                                        stdout=out, stderr=out)
        try:
            def seen(text):
                return path.read_text(encoding="utf-8").count(text)
            for life in (1, 2, 3):
                wait_until(lambda n=life: seen("  gfd is up") == n and seen(" active\n") >= n,
                           f"the events of life {life}", say=lambda: path.read_text(encoding="utf-8"))
                if life < 3:
                    c.kill("rm")
            assert seen("  view 1 stored") == 1, path.read_text(encoding="utf-8")
        finally:
            follower.kill()
            follower.wait()


def test_output_lost():
    """Output that cannot be written is a failure"""
    with Cluster() as c, open("/dev/full", "wb") as full:
        for words in ("status",), ("events",), ("fault", "cont", "s1"), ("check",), ("-h",):
            done = subprocess.run(c.command(*words), stdin=subprocess.DEVNULL, stdout=full,
                                  stderr=subprocess.PIPE, text=True, check=False)
            assert done.returncode == 1 and "cannot write" in done.stderr, (words, done)


def test_colours():
    """Colours only on a terminal that has them, and is not refused them"""
    with Cluster() as c:
        def status(terminal=True, **environment):
            ours, theirs = os.openpty() if terminal else os.pipe()
            with open(ours, "rb", buffering=0) as out:
                with open(theirs, "wb", buffering=0) as to:
                    subprocess.run(c.command("status"), stdin=subprocess.DEVNULL, stdout=to, check=True,
                                   env={**os.environ, "TERM": "xterm", "NO_COLOR": "", **environment})
                    return out.read(65536).decode()
        assert "\033[" in status()
        for plain in (status(terminal=False), status(TERM="dumb"), status(NO_COLOR="1")):
            assert "cluster test" in plain and "\033" not in plain, plain


def test_never_started():
    """A server that cannot start: status says why, not only the log"""
    with Cluster(start=False, service="./nothing.so") as c:
        c.trouble_expected = True
        c.up()
        c.wait(lambda s: all(server["last_exit"] == "did not start: exited: status 2"
                             for server in s["servers"]), "status says that no server starts")


def test_fault_verbs():
    """fault stop and cont: a server that is continued in time stays; else it is replaced"""
    with Cluster() as c:
        old = c.server("s3")["incarnation"]
        c.operate("fault", "stop", "s3")
        c.wait_new_life("s3", old)
        c.wait_whole()
        assert "stopped" in c.log()


def test_ctrl_c():
    """Ctrl-C, SIGTERM and SIGHUP leave no process, also with a stopped server"""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with Cluster() as c:
            os.kill(c.pid("gfd"), signal.SIGSTOP)
            assert c.stop(by=number) is None
            assert not pids_with(str(c.folder))


def test_ctrl_c_while_starting():
    """Ctrl-C before the cluster is up"""
    with Cluster(start=False) as c:
        c.up()
        wait_until(lambda: len(pids_with(str(c.folder))) > 1, "the first daemon runs")
        assert c.stop() is None


def test_daemon_and_down():
    """up --daemon and down; a second up is refused"""
    with Cluster(start=False) as c:
        c.operate("up", "--daemon")
        c.wait_whole()
        assert "already" in c.operate("up", status=1)
        c.operate("down")
        assert not pids_with(str(c.folder))


def test_down_elsewhere():
    """down in another run directory than the cluster's is refused, and says which one it is"""
    with Cluster() as c:
        command = [program("holdfast"), "-c", c.config, "--run-dir", c.folder / "other", "down"]
        status, out, err = run(*command)
        assert status == 1 and f"runs in {c.run_dir}:" in err, out + err
        c.wait_whole()
        assert c.stop() is None
        status, out, err = run(*command)
        assert status == 0 and "nothing of cluster test runs" in out, out + err


def test_up_fails():
    """up --daemon on a port in use: the reason, once, and nothing of an earlier attempt"""
    with Cluster(start=False) as c, socket.socket() as taken:
        taken.bind(("127.0.0.1", c.ports["s2"]))
        taken.listen()
        for _ in range(2):
            reason = c.operate("up", "--daemon", status=1)
            assert reason.count("\n") == 1 and f"port {c.ports['s2']} for s2" in reason, reason


def test_launcher_killed():
    """The launcher dies: the cluster serves on, and the next `up` takes it over"""
    with Cluster() as c:
        lives = {s["name"]: s["incarnation"] for s in c.wait_whole()["servers"]}
        c.launcher.kill()
        c.launcher.wait()
        with c.client() as client:
            assert client("SET", "a", "1") == "OK"
        c.up()
        c.wait_log("is running already")
        assert {s["name"]: s["incarnation"] for s in c.wait_whole()["servers"]} == lives


def test_demo():
    """holdfast demo ends with status 0, prints every hop, and reads all back after killing all"""
    with Cluster(shipped_config("demo.cfg"), start=False) as c:
        status, out, err = run(*c.command("demo"), timeout_s=120)
        assert status == 0, out + err
        assert "us" in out or "µs" in out, out
        assert "SIGKILL to all 9 processes" in out, out
        assert "acknowledged writes of both loads are read back: 0 lost, 0 done twice" in out, out
        assert not pids_with(str(c.folder))


def test_demo_interrupted():
    """Ctrl-C ends holdfast demo in order: no process and no file is left"""
    with Cluster(shipped_config("demo.cfg"), start=False) as c:
        with subprocess.Popen(c.command("demo"), env=os.environ | {"TMPDIR": str(c.folder)},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
            said = ""
            for line in demo.stdout:
                said += line
                if line.startswith("load"):
                    demo.send_signal(signal.SIGINT)
            assert demo.wait() == 128 + signal.SIGINT, said
        assert said.endswith("The demo was interrupted.\n") and "FAILED" not in said, said
        assert not list(c.folder.glob("holdfast-demo-*")), said
        assert not pids_with(str(c.folder))


def test_two_clusters():
    """Two clusters side by side: the faults of one are not seen in the other"""
    with Cluster(name="one") as one, Cluster(name="two", style="passive") as two:
        load = Load(two)
        before = two.status()["view"]
        one.kill(one.primary())
        one.wait_whole()
        report = load.finish()
        assert_kept(report)
        assert report["lost_connections"] == 0, report
        assert two.status()["view"] == before
        with one.client() as a, two.client() as b:
            a("SET", "whose", "one")
            b("SET", "whose", "two")
            assert (a("GET", "whose"), b("GET", "whose")) == ("one", "two")


def test_duplicates():
    """holdfast-client -v says which duplicate replies it discarded (active style)"""
    with Cluster() as c:
        for _ in range(20):
            status, out, err = run(program("holdfast-client"), "-c", c.config, "-v", "INCR", "n")
            assert status == 0, out + err
            if "Discarded duplicate reply from s" in out + err:
                break
        else:
            raise AssertionError(f"no duplicate in 20 calls: {out}{err}")
        with c.client() as client:  # each was executed once
            assert client("GET", "n") == str(_ + 1)


def test_run_directory_is_cluster_own():
    """Two clusters of one name on one run directory: the second is refused"""
    with Cluster() as c:
        other = c.folder / "other.cfg"
        other.write_text(config_text(), encoding="utf-8")
        status, _, err = run(program("holdfast"), "-c", other, "--run-dir", c.run_dir, "up")
        assert status == 1 and "already" in err, err
        c.wait_whole()


if __name__ == "__main__":
    main()
