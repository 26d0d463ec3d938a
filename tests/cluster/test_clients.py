#!/usr/bin/env python3
"""Redis's own clients, transactions, expiry, sessions, and a service of one's own."""

import contextlib
import subprocess
import time

from cluster import BUILD, Cluster, config_text, main, program, run, wait_until
from resp import ReplyError


def redis_cli(port, script):
    """The replies of redis-cli to commands on its standard input, one connection, as lines."""
    done = subprocess.run(["redis-cli", "-p", str(port)], input=script, capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.split("\n")[:-1]


def with_each_role(test, **options):
    """The test on the primary and on a backup, of both styles."""
    for style in ("active", "passive"):
        with Cluster(style=style, **options) as c:
            for name in (c.primary(), c.backups()[0]):
                test(c, name)


def test_transactions():
    """MULTI, EXEC, DISCARD and WATCH through redis-cli, on primary and backup"""
    def story(c, name):
        port = c.ports[name]
        got = redis_cli(port, "SET n 5\nMULTI\nINCR n\nGET n\nEXEC\n")
        assert got == ["OK", "OK", "QUEUED", "QUEUED", "6", "6"], got
        got = redis_cli(port, "MULTI\nSET n 9\nDISCARD\nGET n\n")
        assert got == ["OK", "QUEUED", "OK", "6"], got
        got = redis_cli(port, "MULTI\nNOSUCH\nSET n 1\nEXEC\nGET n\n")
        assert any("EXECABORT" in line for line in got) and got[-1] == "6", got
        with c.client(name) as a, c.client(c.servers[-1]) as b:
            a("WATCH", "n")
            b("SET", "n", "7")
            a("MULTI")
            a("SET", "n", "8")
            assert a("EXEC") is None  # somebody else was first
            a("WATCH", "n")
            a("MULTI")
            a("SET", "n", "8")
            assert a("EXEC") == ["OK"]
            assert b("GET", "n") == "8"
    with_each_role(story)


def test_expiry():
    """A key expires at the same time on all servers, and TTLs survive a failover"""
    def story(c, name):
        with c.client(name) as client:
            client("SET", "short", "1", "PX", 300)
            client("SET", "long", "1", "EX", 1000)
            assert 0 < client("PTTL", "short") <= 300
            for other in c.servers:
                with c.client(other) as reader:
                    assert 990 <= reader("TTL", "long") <= 1000
            wait_until(lambda: client("GET", "short") is None, "the key expires")
            assert client("EXISTS", "short") == 0
            assert client("SET", "short", "2", "NX") == "OK"
        old = c.primary()
        c.kill(old)
        c.wait_whole()
        with c.client(old) as reader:
            assert 900 <= reader("TTL", "long") <= 1000
        c.wait_same()
    with_each_role(story)


def test_connection_commands():
    """HELLO, CLIENT, INFO, ROLE, COMMAND, CONFIG GET, RESET and QUIT, on primary and backup"""
    def story(c, name):
        primary = name == c.primary()
        with c.client(name) as client:
            hello = client("HELLO", "3", "SETNAME", "me")
            assert hello["proto"] == 3 and hello["role"] == ("master" if primary else "replica")
            number = client("CLIENT", "ID")
            assert client("CLIENT", "GETNAME") == "me"
            assert f"id={number} " in client("CLIENT", "LIST")
            assert "name=me" in client("CLIENT", "INFO")
            assert client("ROLE")[0] == ("master" if primary else "slave")
            assert f"role:{'master' if primary else 'slave'}" in client("INFO", "replication")
            assert client("COMMAND", "COUNT") > 50
            assert client("COMMAND", "INFO", "get")[0][1] == 2
            assert client("CONFIG", "GET", "maxmemory") is not None
            assert client("SELECT", "0") == "OK"
            with c.client(name) as other:
                victim = other("CLIENT", "ID")
                assert client("CLIENT", "KILL", "ID", victim) == 1
                other.wait_closed()
            assert client("RESET") == "RESET"
            with contextlib.suppress(ReplyError):
                assert client("AUTH", "secret") is None
            assert client("QUIT") == "OK"
            client.wait_closed()
    with_each_role(story)


def test_pipelines():
    """A long pipeline is answered in order, reads see the writes before them, on every server"""
    def story(c, name):
        with c.client(name) as client:
            commands, expected = [], []
            for i in range(500):
                commands += [["SET", "p", i], ["GET", "p"], ["PING"]]
                expected += ["OK", str(i), "PONG"]
            assert client.pipeline(commands) == expected
    with_each_role(story)


def test_reads_are_linearizable():
    """What one server acknowledged is read on every other at once"""
    for style in ("active", "passive"):
        with Cluster(style=style) as c, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(c.client(name)) for name in c.servers]
            for i in range(300):
                clients[i % 3]("SET", "x", i)
                assert clients[(i + 1) % 3]("GET", "x") == str(i)


def test_readonly():
    """READONLY reads on a backup what is committed there (active style)"""
    with Cluster() as c, c.client(c.backups()[0]) as client:
        client("SET", "a", "1")
        assert client("READONLY") == "OK"
        wait_until(lambda: client("GET", "a") == "1", "the backup has executed it")


def test_sessions():
    """A repeated sequence is answered, not executed, also after the primary's death"""
    for style in ("active", "passive"):
        with Cluster(style=style) as c:
            with c.client() as client:
                assert client.once(77, 1, "INCR", "n") == 1
                assert client.once(77, 1, "INCR", "n") == 1
                assert client.once(77, 2, "INCR", "n") == 2
            c.kill(c.primary())
            with c.client() as client:
                assert client.once(77, 2, "INCR", "n") == 2
                assert client.once(77, 3, "INCR", "n") == 3
                assert client("GET", "n") == "3"


def test_reply_too_large():
    """A repeat of what had a reply above 1 MiB: executed, once, and holdfast-client says so"""
    with Cluster() as c:
        with c.client() as client:
            client("SET", "large", "x" * 2000000)
        command = [program("holdfast-client"), "-c", c.config, "--session", "7", "--sequence", "1",
                   "--send-to", "one", "GETDEL", "large"]
        status, out, err = run(*command)
        assert (status, len(out)) == (0, 2000001), err
        status, out, err = run(*command)
        assert status == 1 and out == "" and "unknown: it was executed, once" in err, out + err
        with c.client() as client:
            assert client.once(7, 2, "INCR", "n") == 1
            # What only reads is in no session.
            assert client.once(8, 5, "GET", "n") == "1"
            try:
                client.once(8, 2, "INCR", "n")
                raise AssertionError("a read has begun a session")
            except ReplyError as refusal:
                assert "SESSIONLOST" in str(refusal), refusal


def test_own_service():
    """A loaded shared object is replicated, checkpointed and recovered like kv"""
    library = BUILD / "tests" / "services" / "register.so"
    for style in ("active", "passive"):
        with Cluster(config_text(service=str(library), style=style)) as c:
            with c.client("s3") as client:
                for i in range(1, 11):
                    assert client("ADD", "visits", 1) == i
            old = c.primary()
            c.kill(old)
            c.wait_whole()
            with c.client(old) as client:
                assert client("VALUE", "visits") == 10
                assert client("TAKE", "visits") == 10
                assert client("REGISTERS") == 1
                try:
                    client("SET", "a", "1")
                    raise AssertionError("kv answers in a cluster of registers")
                except ReplyError as error:
                    assert "unknown command" in str(error)
            c.wait_same()


def test_service_that_cannot_load():
    """A service that is missing, outdated or incomplete: one clear error"""
    for name in ("missing.so", "outdated.so", "incomplete.so"):
        library = BUILD / "tests" / "services" / name
        with Cluster(config_text(service=str(library), servers=1), start=False) as c:
            c.trouble_expected = True
            c.up()
            c.wait_log(f"s1: .*{name}")
            c.stop()


def test_redis_benchmark_defaults():
    """redis-benchmark with pipelines and 50 connections, against a backup"""
    with Cluster() as c:
        start = time.monotonic()
        status, out, err = run("redis-benchmark", "-p", c.ports[c.backups()[0]], "-q", "-n", 20000,
                               "-c", 50, "-P", 16, "-t", "ping,set,get,incr", "-r", 1000)
        assert status == 0 and "rror" not in out + err, out + err
        print(f"# {time.monotonic() - start:.1f} s")
        c.wait_same()


if __name__ == "__main__":
    main()
