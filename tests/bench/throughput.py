"""SET and GET by redis-benchmark, the contestants in turn, so that a noisy machine is fair."""

import csv
import io
import subprocess

import report
from machines import BenchError, Holdfast, Redis

BASE = "Redis, 2 replicas"
THREE = "holdfast, 3 servers"

CONTESTANTS = [
    ("Redis", lambda name: Redis(name)),
    (BASE, lambda name: Redis(name, replicas=2)),
    ("holdfast, 1 server", lambda name: Holdfast(name, servers=1)),
    (THREE, lambda name: Holdfast(name, servers=3)),
    ("holdfast, 3, passive", lambda name: Holdfast(name, servers=3, style="passive")),
]

SETUPS = [  # connections, pipeline, requests
    (50, 1, 100000),
    (50, 16, 600000),
    (1, 1, 20000),
]

RATIO_MIN = 0.6


def benchmark(port, connections, pipeline, requests, commands=("SET", "GET")):
    """{"SET": (requests/s, p50 ms, p99 ms), "GET": …} of one run."""
    argv = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-t",
            ",".join(commands).lower(), "-d", "64", "-r", "100000", "-c", str(connections), "-P",
            str(pipeline), "-n", str(requests), "--csv"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    if done.returncode != 0 or [row["test"] for row in rows] != list(commands):
        raise BenchError(f"redis-benchmark failed: {done.stdout}{done.stderr}")
    return {row["test"]: (float(row["rps"]), float(row["p50_latency_ms"]),
                          float(row["p99_latency_ms"])) for row in rows}


def measure(options):
    """{(contestant, setup, command): [one result of each round]}."""
    rounds, share = (1, 0.2) if options.quick else (3, 1)
    results = {}
    for number in range(rounds):
        for name, make in CONTESTANTS:
            report.progress(f"round {number + 1} of {rounds}: {name}")
            with make(name) as contestant:
                benchmark(contestant.port, 50, 16, 20000)  # warm: memory, connections, caches
                for setup in SETUPS:
                    connections, pipeline, requests = setup
                    result = benchmark(contestant.port, connections, pipeline,
                                       int(requests * share))
                    for command, values in result.items():
                        results.setdefault((name, setup, command), []).append(values)
    return results


def median_of(results, name, setup, command):
    return [report.median(column) for column in zip(*results[name, setup, command])]


def ratio(results, name, setup, command):
    """Of requests/s to those of BASE: by round, since rounds differ in what else the machine did."""
    return report.median([mine[0] / base[0] for mine, base in zip(
        results[name, setup, command], results[BASE, setup, command])])


def show(results):
    for setup in SETUPS:
        rows = []
        for command in ("SET", "GET"):
            for name, _ in CONTESTANTS:
                rate, p50, p99 = median_of(results, name, setup, command)
                rows.append([f"{command}  {name}", report.thousands(rate),
                             f"{ratio(results, name, setup, command):.2f}",
                             report.milliseconds(p50), report.milliseconds(p99)])
        report.table(f"redis-benchmark -c {setup[0]} -P {setup[1]} (medians; the ratio is to "
                     f"{BASE}, by round)", ["", "requests/s", "ratio", "p50 ms", "p99 ms"], rows)


def targets(results):
    found = ratio(results, THREE, SETUPS[0], "SET")
    return [report.target("SET -c 50 -P 1, three servers to Redis with two replicas",
                          f"{found:.2f}", f"at least {RATIO_MIN}", found >= RATIO_MIN)]
