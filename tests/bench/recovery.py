"""From nothing to serving: starts from disk and joins of empty servers; what a key takes."""

import os
import shutil
import signal
import time

import report
from machines import (LOAD_S_MAX, Holdfast, Redis, disk_bytes, fill, is_written, memory_bytes,
                      need_disk, wait_for)

DISK_BYTES_PER_KEY = 2500  # at most, of one contestant: three journals, each with checkpoints
EVERY_S = 0.005

REDIS_STARTS = {
    "start: Redis, from RDB": None,
    "start: Redis, from AOF": "everysec",
}
ONE_START = "start: holdfast, 1 server"
THREE_START = "start: holdfast, all of 3 killed"
REDIS_JOINS = {
    "join: Redis, diskless": ["--repl-diskless-sync", "yes", "--repl-diskless-load",
                              "on-empty-db"],
    "join: Redis, by disk": ["--repl-diskless-sync", "no"],
}
JOIN = "join: holdfast, empty server"
BACK = "join: holdfast, from its own disk"
TIMES = [*REDIS_STARTS, ONE_START, THREE_START, *REDIS_JOINS, JOIN, BACK]


def until(what, condition, begin):
    """Seconds since `begin`."""
    wait_for(what, condition, LOAD_S_MAX, EVERY_S)
    return time.monotonic() - begin


# ---- Redis ----


def redis_start(name, appendfsync, keys, note):
    """Killed, then started: until it takes a write."""
    with Redis(name, appendfsync=appendfsync) as redis:
        before = memory_bytes(redis.process.pid)
        fill(redis.port, keys)
        redis.wait_idle()
        note(f"memory: {name}", (memory_bytes(redis.process.pid) - before) / keys)
        if not appendfsync:
            redis.call("SAVE")
        note(f"disk: {name}", disk_bytes(redis.directory_of(redis.port)) / keys)
        redis.process.kill()
        redis.process.wait()
        begin = time.monotonic()
        redis.start_server(redis.port)
        note(name, until("Redis after its start", lambda: is_written(redis.port), begin))


def redis_join(name, more, keys, note):
    """From the start of an empty replica until it says that its link is up."""
    with Redis(name, more=more) as redis:
        fill(redis.port, keys)
        begin = time.monotonic()
        port = redis.add_replica()
        note(name, until("the replica", lambda: redis.info(
            "replication", port)["master_link_status"] == "up", begin))


# ---- holdfast ----


def kill_all(cluster):
    """kill -9 of every server; returns when. Their lfds start them again."""
    pids = [cluster.pid(name) for name in cluster.client_ports]
    begin = time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return begin


def holdfast_start(name, servers, keys, note):
    with Holdfast(name, servers=servers, fsync="always") as cluster:
        before = memory_bytes(cluster.pid("s1"))
        fill(cluster.port, keys)
        note(f"memory: {name}", (memory_bytes(cluster.pid("s1")) - before) / keys)
        note(f"disk: {name}", disk_bytes(cluster.directory_of("s1")) / keys)
        begin = kill_all(cluster)
        note(name, until("the cluster after its start",
                         lambda: is_written(cluster.client_ports["s1"]), begin))


def stop(cluster, server):
    cluster.order(f"STOP {server}")
    wait_for(f"{server} to stop", lambda: not cluster.entry(server)["pid"], LOAD_S_MAX)


def rejoin(cluster, empty):
    """Stops a server, takes its files away or not, and starts it: until it is a member again."""
    joiner = cluster.backup()
    stop(cluster, joiner)
    if empty:
        shutil.rmtree(cluster.directory_of(joiner))
    begin = time.monotonic()
    cluster.order(f"START {joiner}")
    return until(f"{joiner} to be a member", cluster.is_whole, begin)


def holdfast_join(keys, note):
    with Holdfast(JOIN, fsync="always") as cluster:
        fill(cluster.port, keys)
        note(JOIN, rejoin(cluster, True))
        note(BACK, rejoin(cluster, False))


# ---- All of it ----


def measure_once(keys, note):
    for name, appendfsync in REDIS_STARTS.items():
        redis_start(name, appendfsync, keys, note)
    holdfast_start(ONE_START, 1, keys, note)
    holdfast_start(THREE_START, 3, keys, note)
    for name, more in REDIS_JOINS.items():
        redis_join(name, more, keys, note)
    holdfast_join(keys, note)


def measure(options):
    """{(what, keys): [one figure of each round]}: seconds, or bytes per key."""
    if options.keys:
        sizes = {options.keys: 1}
    else:
        sizes = {100_000: 1} if options.quick else {1_000_000: 3, 10_000_000: 1}  # keys: rounds
    results = {}
    need_disk(DISK_BYTES_PER_KEY * max(sizes))
    for keys, rounds in sizes.items():
        for number in range(rounds):
            def note(what, figure, keys=keys, number=number):
                results.setdefault((what, keys), []).append(figure)
                if what in TIMES:
                    report.progress(f"{keys:,} keys, round {number + 1} of {rounds}: {what}: "
                                    f"{figure:.2f} s")
            measure_once(keys, note)
    return results


def sizes_of(results):
    return sorted({keys for _, keys in results})


def show(results):
    sizes = sizes_of(results)
    head = [""] + [f"{keys:,} keys" for keys in sizes]
    rows = [[name] + [f"{report.median(results[name, keys]):.2f}" for keys in sizes]
            for name in TIMES]
    report.table("Seconds from the start until a write is acknowledged, and until a server that "
                 "joins is caught up (medians)", head, rows)
    rows = [[name.replace("start: ", "")] +
            [report.thousands(report.median(results[name, keys])) for keys in sizes]
            for name in (f"{of}: {which}" for of in ("memory", "disk")
                         for which in [*REDIS_STARTS, ONE_START, THREE_START])]
    report.table("Bytes of one server per key of 16 bytes with a value of 64 (medians)", head, rows)


def targets(results):
    rows = []
    for keys in sizes_of(results):
        found = report.median([mine / min(theirs) for mine, *theirs in zip(
            results[JOIN, keys], *(results[name, keys] for name in REDIS_JOINS))])
        rows.append(report.target(f"join at {keys:,} keys to Redis's faster full resync",
                                  f"{found:.2f}", "below 1", found < 1))
    return rows
