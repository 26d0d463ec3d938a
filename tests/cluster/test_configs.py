#!/usr/bin/env python3
"""Every shipped config starts and serves, to Redis's own tools, on each of its servers."""

import pathlib

from cluster import Cluster, main, program, run, shipped_config

BENCHMARK_REQUESTS = 2000


def serve(name):
    """redis-cli sets on one server and gets on each; redis-benchmark finds no error on any."""
    status, _, err = run(program("holdfast"), "-c", f"configs/{name}", "check")
    assert status == 0, err
    with Cluster(shipped_config(name)) as c:
        for server, port in c.ports.items():
            assert redis_cli(port, "set", f"key-{server}", f"by {server}") == "OK"
            for reader in c.ports.values():
                assert redis_cli(reader, "get", f"key-{server}") == f"by {server}"
        for port in c.ports.values():
            status, out, err = run("redis-benchmark", "-p", port, "-t", "set,get,incr,mset", "-q",
                                   "-n", BENCHMARK_REQUESTS, "-c", 20, "-P", 4)
            assert status == 0 and "error" not in (out + err).lower(), out + err
            assert out.count("requests per second") == 4, out
        c.wait_same()
        c.wait_whole()


def redis_cli(port, *words):
    status, out, err = run("redis-cli", "-p", port, *words)
    assert status == 0, err
    return out.rstrip("\n")


def test_three():
    """three.cfg"""
    serve("three.cfg")


def test_passive():
    """passive.cfg"""
    serve("passive.cfg")


def test_five():
    """five.cfg"""
    serve("five.cfg")


def test_single():
    """single.cfg"""
    serve("single.cfg")


def test_demo():
    """demo.cfg"""
    serve("demo.cfg")


def test_all_configs_have_a_test():
    """No config is shipped that is not started here"""
    shipped = {path.stem for path in pathlib.Path("configs").glob("*.cfg")}
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert shipped <= tested, f"without a test: {sorted(shipped - tested)}"


if __name__ == "__main__":
    main()
