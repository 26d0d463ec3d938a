"""What clients notice of a checkpoint, and of a server that joins."""

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time

import report
from machines import (BUILD, LOAD_S_MAX, BenchError, Holdfast, Redis, Resp, fill,
                      need_disk, wait_for)
from recovery import DISK_BYTES_PER_KEY, stop

CONNECTIONS = 50
RATE_SHARE = 0.3      # of what was possible: latencies of a queue that is always full say nothing
SLICE_S = 0.5         # a join may be short
SLICES_MAX = 1000
P99_RATIO_MAX = 2.0
SLOWER_MAX = 0.2

PLAIN, CHECKPOINT = "without", "during checkpoints"
WHOLE, LEFT, JOINING = "3 members", "2 members", "2 members, 1 joins"


def load(contestant, keys, seconds, rate=0):
    """(acknowledged/s, p50 ms, p99 ms) of SETs; as fast as they go without a rate."""
    argv = [os.path.join(BUILD, "bin", "holdfast-client"), "--servers",
            f"127.0.0.1:{contestant.port}", "load", "--connections", str(CONNECTIONS), "--keys",
            str(keys), "--seconds", str(seconds), "--json"]
    done = subprocess.run(argv + (["--rate", str(rate)] if rate else []), capture_output=True,
                          text=True, timeout=seconds + 60, check=False)
    try:
        result = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise BenchError(f"holdfast-client load reported nothing: {done.stderr}") from error
    if result["errors"] or result["failed"] or result["unknown"] or not result["ok"]:
        raise BenchError(f"not everything was answered with OK: {result['first_error']}")
    return result["per_second"], result["writes_ms"]["p50"], result["writes_ms"]["p99"]


# ---- Checkpoints ----


def redis_saves(redis):
    redis.call("BGSAVE")
    redis.wait_idle()


def holdfast_saves(cluster):
    """On all three at once, as it comes about under load."""
    index = {name: cluster.entry(name)["executed_index"] for name in cluster.client_ports}

    def is_saved(name):
        with Resp(cluster.client_ports[name]) as server:
            return server.call(f"CHECKPOINT OPEN {index[name]}") is not None

    for name, port in cluster.client_ports.items():
        with Resp(port) as server:
            server.call(f"CHECKPOINT SAVE {index[name]}")
    for name in cluster.client_ports:
        wait_for(f"a checkpoint of {name}", lambda name=name: is_saved(name), LOAD_S_MAX, 0.05)


@contextlib.contextmanager
def over_and_over(act):
    """Repeats act() in a thread; yields a list with one item for each time that it was done."""
    end, done, failures = threading.Event(), [], []

    def repeat():
        try:
            while not end.is_set():
                act()
                done.append(True)
        except (BenchError, OSError) as error:
            failures.append(error)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield done
    finally:
        end.set()
        thread.join()
    if failures:
        raise failures[0]


def with_checkpoints(contestant, saves, keys, seconds, note):
    full, _, _ = load(contestant, keys, seconds)
    rate = int(full * RATE_SHARE)
    for when in (PLAIN, CHECKPOINT):
        with contextlib.ExitStack() as stack:
            done = None
            if when == CHECKPOINT:
                done = stack.enter_context(over_and_over(lambda: saves(contestant)))
            _, p50, p99 = load(contestant, keys, seconds, rate)
            fastest, _, _ = load(contestant, keys, seconds)
        note((contestant.name, when), (fastest, p50, p99))
        report.progress(f"{contestant.name}, {when}" +
                        (f" ({len(done)} of them)" if done is not None else "") +
                        f": p99 {p99:.2f} ms at {rate:,}/s; {fastest:,.0f}/s at most")


# ---- Joins ----


def slices_while(contestant, keys, going):
    """Loads one after another for as long as it is going on; at least one."""
    found = []
    while len(found) < SLICES_MAX and (not found or going()):
        found.append(load(contestant, keys, SLICE_S))
    return [report.median(column) for column in zip(*found)]


def for_seconds(seconds):
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end


def with_join(cluster, keys, seconds, note):
    name, joiner = cluster.name, cluster.backup()
    note((name, WHOLE), slices_while(cluster, keys, for_seconds(seconds)))
    stop(cluster, joiner)
    shutil.rmtree(cluster.directory_of(joiner))
    note((name, LEFT), slices_while(cluster, keys, for_seconds(seconds)))
    begin = time.monotonic()
    cluster.order(f"START {joiner}")
    note((name, JOINING), slices_while(cluster, keys, lambda: not cluster.is_whole()))
    report.progress(f"{name}: joined in {time.monotonic() - begin:.1f} s under load")
    wait_for(f"{joiner} to be a member", cluster.is_whole, LOAD_S_MAX)


# ---- All of it ----


def measure(options):
    """{(contestant, when): [(requests/s, p50 ms, p99 ms) of each round]}."""
    keys = options.keys or (200_000 if options.quick else 10_000_000)
    rounds, seconds = (1, 2) if options.quick else (2, 10)
    results = {}

    def note(what, figures):
        results.setdefault(what, []).append(figures)

    need_disk(DISK_BYTES_PER_KEY * keys)
    report.progress(f"{keys:,} keys")
    for _ in range(rounds):
        with Redis("Redis, BGSAVE", appendfsync="always") as redis:
            fill(redis.port, keys)
            redis.wait_idle()
            with_checkpoints(redis, redis_saves, keys, seconds, note)
        with Holdfast("holdfast, 3 servers", fsync="always") as cluster:
            fill(cluster.port, keys)
            with_checkpoints(cluster, holdfast_saves, keys, seconds, note)
            with_join(cluster, keys, seconds, note)
    return results


def show(results):
    rows = []
    for (name, when), rounds in results.items():
        rate, p50, p99 = map(report.median, zip(*rounds))
        rows.append([f"{name}, {when}", report.thousands(rate), report.milliseconds(p50),
                     report.milliseconds(p99)])
    report.table("SETs synced before they are acknowledged, -c 50: at most, and latencies\n"
                 f"  (of checkpoints at {RATE_SHARE:.0%} of that rate; medians)",
                 ["", "requests/s", "p50 ms", "p99 ms"], rows)


def ratio(results, which, when, base):
    """By round, of one of the figures of holdfast."""
    name = "holdfast, 3 servers"
    return report.median([mine[which] / other[which] for mine, other in zip(
        results[name, when], results[name, base])])


def targets(results):
    slower = 1 - ratio(results, 0, JOINING, WHOLE)
    p99 = ratio(results, 2, CHECKPOINT, PLAIN)
    return [report.target("p99 during a checkpoint to that without", f"{p99:.2f}",
                          f"at most {P99_RATIO_MAX}", p99 <= P99_RATIO_MAX),
            report.target("a joiner slows clients of three members by", f"{slower:.0%}",
                          f"at most {SLOWER_MAX:.0%}", slower <= SLOWER_MAX)]
