#!/usr/bin/env python3
"""What is wrong gets one clear error, and nobody else notices."""

import contextlib
import os
import resource
import socket
import struct

import frames
from cluster import SLOWER, Cluster, config_text, main, pids_with, program, run, wait_until
from resp import Bystander, Closed, ReplyError, Resp, encode

DAEMONS = {"holdfast": ["check"], "holdfast-server": ["--name", "s1"],
           "holdfast-lfd": ["--name", "h1"], "holdfast-gfd": [], "holdfast-rm": []}
IDLE_CONNECTIONS = 10000


def config_is_refused(text, *expected):
    """Every program refuses the config with status 2 and one line that has all the words."""
    with Cluster(config_text(), start=False) as c:
        if text is not None:
            c.config.write_text(text, encoding="utf-8")
        else:
            c.config.unlink()
        for name, words in DAEMONS.items():
            status, out, err = run(program(name), "-c", c.config, "--run-dir", c.run_dir, *words)
            assert status == 2, f"{name}: status {status}: {out}{err}"
            assert len(err.strip().splitlines()) == 1, f"{name}: not one line: {err}"
            for word in (c.config.name, *expected):
                assert word in err, f"{name}: no {word!r} in {err}"


def line_of(text, word):
    return next(i for i, line in enumerate(text.splitlines(), 1) if word in line)


def test_unknown_key():
    """An unknown key is an error that names file, line and key"""
    text = config_text(more="detektion = 3;")
    config_is_refused(text, f":{line_of(text, 'detektion')}:", "detektion")


def test_duplicate_port():
    """A port used twice is an error that names both"""
    with Cluster(start=False) as c:
        twice = c.text.replace(f"peer_port = {c.peer_ports['s2']}",
                               f"peer_port = {c.ports['s1']}")
        config_is_refused(twice, str(c.ports["s1"]), f":{line_of(twice, 's2')}:")


def test_out_of_range():
    """A value out of range is an error that says the range"""
    text = config_text().replace("backoff_ms = 20", "backoff_ms = 0")
    config_is_refused(text, "backoff_ms", "600000")


def test_syntax():
    """A syntax error is an error that names the line"""
    text = config_text().replace("gfd = {", "gfd = [[")
    config_is_refused(text, f":{line_of(text, '[[')}:")


def test_unreadable_file():
    """A file that is not there, or that is a directory"""
    config_is_refused(None, "No such file")
    with Cluster(start=False) as c:
        status, _, err = run(program("holdfast"), "-c", c.folder, "check")
        assert status == 2 and str(c.folder) in err, (status, err)


def squat(port):
    """Somebody else who listens on the port."""
    squatter = socket.socket()
    squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    squatter.bind(("127.0.0.1", port))
    squatter.listen()
    return squatter


def test_port_in_use():
    """A port in use: one clear error with the port, status 1, and nothing is left running"""
    with Cluster(start=False) as c:
        for port in (c.ports["s2"], c.peer_ports["s3"], c.console_port, c.rm_port, c.gfd_port):
            with squat(port):
                reason = c.operate("up", status=1)
            assert f"{port}" in reason and "in use" in reason, reason
            assert not pids_with(str(c.folder))


def test_port_taken_meanwhile():
    """A port taken while its server was down: the others serve, and it is back once it is free"""
    with Cluster() as c, Bystander(c.ports["s1"]):
        c.trouble_expected = True
        c.operate("stop", "s2")
        wait_until(lambda: "s2" not in c.status()["membership"]["members"], "s2 is gone")
        with squat(c.ports["s2"]), Resp(c.console_port) as console:
            console.send(encode(["START", "s2"]))  # whose answer would come only after a while
            c.wait_log(f"s2: .*{c.ports['s2']}.*in use")
        c.operate("start", "s2")
        c.wait_whole()


def test_wrong_hello():
    """Wrong cluster, protocol version, node or expectation: refused with the reason, logged once"""
    with Cluster() as c, Bystander(c.ports["s1"]):
        peers = {"s2": (c.peer_ports["s2"], frames.server(1)), "rm": (c.rm_port, frames.RM),
                 "gfd": (c.gfd_port, frames.GFD)}
        before = c.status()["view"]
        for name, (port, node) in peers.items():
            def refused(data, at=port):
                return frames.refusal(frames.talk(at, data)) or ""
            assert "other" in refused(frames.hello(frames.server(2), node, cluster="other"))
            assert "version" in refused(frames.hello(frames.server(2), node, version=99))
            assert "not in this cluster" in refused(frames.hello(frames.server(9), node))
            assert f"this is {name}" in refused(frames.hello(frames.server(2), frames.lfd(0)))
            assert "myself" in refused(frames.hello(node, node))
            assert "expected a hello" in refused(frames.frame(frames.HEARTBEAT, b"\0" * 8))
            assert "expected a hello" in refused(frames.frame(777, b"junk"))
        c.wait_log('this is cluster "test", not "other"')
        c.wait_log("protocol version 1 is spoken here, not 99")
        assert c.log().count('not "other"') == len(peers), "said again and again"
        assert c.wait_whole()["view"] == before


def test_junk_on_internal_ports():
    """Noise, giant frames, half frames and an HTTP request on the internal ports"""
    with Cluster() as c, Bystander(c.ports["s2"]):
        before = c.status()["view"]
        for port in (c.peer_ports["s1"], c.rm_port, c.gfd_port):
            frames.talk(port, os.urandom(4096))
            frames.talk(port, b"GET / HTTP/1.1\r\n\r\n")
            frames.talk(port, struct.pack("<IH", 0xFFFFFFFF, frames.HELLO))
            frames.talk(port, struct.pack("<I", 0))
        half = frames.hello(frames.server(1), frames.RM)[:9]
        frames.talk(c.rm_port, half, timeout_s=60)  # it hangs up on who does not go on
        assert c.wait_whole()["view"] == before


def bad_request(c, data, expected):
    """One error reply, then the connection closes."""
    for port in c.ports.values():
        with Resp(port) as client:
            with contextlib.suppress(ConnectionError):
                client.send(data)
            answer = client.wait_closed()
            assert answer.startswith("-ERR") and answer.count("\r\n") == 1, repr(answer)
            assert expected in answer, f"{expected!r} is not in {answer!r}"


def test_bad_requests():
    """Malformed RESP, a 600 MB bulk, a negative multibulk: Redis's own words, and hung up on"""
    with Cluster() as c, Bystander(c.ports["s1"]), Bystander(c.ports["s2"], key="other"):
        bad_request(c, b"*2\r\n$3\r\nGET\r\n+a\r\n", "Protocol error: expected '$', got '+'")
        bad_request(c, b"*2\r\n$3\r\nSET\r\n$629145600\r\n", "Protocol error: invalid bulk length")
        bad_request(c, b"*1\r\n$-7\r\n", "Protocol error: invalid bulk length")
        bad_request(c, b"*1\r\n$abc\r\n", "Protocol error: invalid bulk length")
        bad_request(c, b"*99999999\r\n", "Protocol error: invalid multibulk length")
        bad_request(c, b"*x\r\n", "Protocol error: invalid multibulk length")
        bad_request(c, b"GET " + b"a" * 200000, "Protocol error: too big")
        bad_request(c, b'SET a "b\r\n', "Protocol error: unbalanced quotes")
        c.wait_whole()


def test_negative_multibulk():
    """*-1 and *0 are empty requests, as in Redis: ignored"""
    with Cluster() as c, c.client("s2") as client:
        client.send(b"*-1\r\n*0\r\n*-10\r\n\r\n")
        assert client("PING") == "PONG"


def test_bad_commands():
    """Unknown commands, wrong counts and wrong types are answered, and the connection goes on"""
    with Cluster() as c:
        for name in c.servers:
            with c.client(name) as client:
                client("SET", "text", "abc")
                for words, expected in ((["NOSUCH", "a"], "unknown command"),
                                        (["GET"], "wrong number of arguments"),
                                        (["INCR", "text"], "not an integer"),
                                        (["SELECT", "1"], "DB index"),
                                        (["ONCE", "0", "1", "SET", "a", "1"], "ERR"),
                                        (["", "a"], "unknown command")):
                    try:
                        answer = client(*words)
                    except ReplyError as error:
                        answer = f"-{error}"
                    assert answer.startswith("-") and expected in answer, (words, answer)
                assert client("PING") == "PONG"


def test_console_junk():
    """The console gets noise, too"""
    with Cluster() as c, Bystander(c.ports["s1"]):
        for data in (b"*1\r\n$700000000\r\n", b"*-5\r\n*x\r\n", os.urandom(100) + b"\r\n",
                     encode(["NOSUCH"]) + encode(["SWITCHOVER"]) + encode(["SWITCHOVER", "x" * 999])
                     + b"*1\r\n$-9\r\n"):
            with Resp(c.console_port) as console:
                console.send(data)
                console.socket.shutdown(socket.SHUT_WR)
                console.wait_closed()
        c.wait_whole()


def test_slow_reader():
    """A client that asks and does not read is cut off at its limit"""
    text = config_text(more="clients = { client_output_mb_max = 4; };")
    with Cluster(text) as c, Bystander(c.ports["s1"], patience_s=2.0 * SLOWER):
        with c.client("s1") as client:
            client("SET", "big", "x" * 1000000)
            client.socket.settimeout(30)
            with contextlib.suppress(ConnectionError, TimeoutError):
                for _ in range(200):
                    client.send(encode(["GET", "big"]))
            try:
                got = len(client.wait_closed())
            except TimeoutError:
                raise AssertionError("a client that does not read is not cut off") from None
            assert got < 200 * 1000000
            c.wait_log("left more than 4 MiB of replies unread")


def test_idle_connections():
    """10,000 idle connections"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = hard if hard != resource.RLIM_INFINITY else 1 << 20
    count = min(IDLE_CONNECTIONS, room - 200)
    if count < IDLE_CONNECTIONS:
        print(f"# only {count} idle connections: the limit of open files is {hard}")
    idle = []
    text = config_text(more="clients = { connections_max = 20000; };")
    try:
        with Cluster(text) as c, Bystander(c.ports["s1"], patience_s=2.0 * SLOWER):
            for _ in range(count):
                idle.append(socket.create_connection(("127.0.0.1", c.ports["s1"]), 20))
            with c.client("s1") as client:
                assert client("SET", "a", "1") == "OK"
            for one in (idle[0], idle[count // 2], idle[-1]):
                one.sendall(encode(["GET", "a"]))
                assert one.recv(100) == b"$1\r\n1\r\n"
            for one in idle:
                one.close()
            c.wait_whole()
    finally:
        for one in idle:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_max():
    """One connection too many is told so; it works again when another has left"""
    text = config_text(more="clients = { connections_max = 10; };")
    with Cluster(text) as c, contextlib.ExitStack() as stack, Bystander(c.ports["s1"]):
        def one_more():
            client = stack.enter_context(Resp(c.ports["s1"]))
            with contextlib.suppress(ConnectionError):
                client.send(encode(["PING"]))
            return client
        clients = [one_more() for _ in range(9)]
        assert [client.read() for client in clients] == ["PONG"] * 9
        assert "max number of clients reached" in one_more().wait_closed()
        clients[0].close()

        def served():
            with contextlib.suppress(Closed, ReplyError, ConnectionError):
                return one_more().read() == "PONG"
            return False
        wait_until(served, "there is room for a client again")


def test_descriptor_limit():
    """A server out of descriptors: one error, new clients are turned away, old ones are served"""
    with Cluster() as c, Bystander(c.ports["s2"]):
        pid = c.pid("s2")
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 8, used + 8))
        crowd = []
        try:
            for _ in range(40):
                crowd.append(socket.create_connection(("127.0.0.1", c.ports["s2"]), 20))
            c.wait_log("s2: cannot accept more")
        finally:
            for one in crowd:
                one.close()

        def served():
            with contextlib.suppress(Closed, ConnectionError), c.client("s2") as client:
                return client("PING") == "PONG"
            return False
        wait_until(served, "s2 accepts again")
        assert c.log().count("s2: cannot accept more") <= 2, "said again and again"
        assert c.pid("s2") == pid
        c.wait_whole()


if __name__ == "__main__":
    main()
