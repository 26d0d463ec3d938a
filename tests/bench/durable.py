"""SET when an acknowledgement means something on a disk, the contestants in turn."""

import report
from machines import Holdfast, Redis, need_disk
from throughput import benchmark

REDIS = "Redis"
REPLICAS = "Redis, 2 replicas"
THREE = "holdfast, 3 servers"

POLICIES = {  # of holdfast: what Redis calls it
    "always": "always",
    "interval": "everysec",
    "never": "no",
}

CONTESTANTS = {  # made with a policy of holdfast
    REDIS: lambda name, fsync: Redis(name, appendfsync=POLICIES[fsync]),
    REPLICAS: lambda name, fsync: Redis(name, replicas=2, appendfsync=POLICIES[fsync]),
    "holdfast, 1 server": lambda name, fsync: Holdfast(name, servers=1, fsync=fsync),
    THREE: lambda name, fsync: Holdfast(name, fsync=fsync),
    "holdfast, 3, passive": lambda name, fsync: Holdfast(name, style="passive", fsync=fsync),
}

SETUPS = [(50, 1), (50, 16), (1, 1)]  # connections, pipeline
TRIAL_S = 0.3
REQUESTS_MIN = 1000
RATE_MAX = 1e6  # of so short a trial that it says "infinite"
RATIO_MIN = 1.0
DISK_BYTES = 8 << 30


def run_for(port, setup, seconds):
    """One result of about so many seconds: redis-benchmark takes a number of requests."""
    result = (0, 0, 0)
    for share in (0, TRIAL_S, seconds):
        requests = max(REQUESTS_MIN, int(min(result[0], RATE_MAX) * share))
        result = benchmark(port, *setup, requests, ["SET"])["SET"]
    return result


def measure(options):
    """{(policy, contestant, setup): [(requests/s, p50 ms, p99 ms) of each round]}."""
    rounds, seconds = (1, 0.6) if options.quick else (3, 2.5)
    results = {}
    need_disk(DISK_BYTES)
    for number in range(rounds):
        for fsync, appendfsync in POLICIES.items():
            report.progress(f"round {number + 1} of {rounds}: fsync {fsync} beside appendfsync "
                            f"{appendfsync}")
            for name, make in CONTESTANTS.items():
                with make(name, fsync) as contestant:
                    for setup in SETUPS:
                        results.setdefault((fsync, name, setup), []).append(
                            run_for(contestant.port, setup, seconds))
    return results


def ratio(results, fsync, name, setup):
    """Of requests/s to one Redis with the same policy in the same round."""
    return report.median([mine[0] / base[0] for mine, base in zip(
        results[fsync, name, setup], results[fsync, REDIS, setup])])


def show(results):
    for setup in SETUPS:
        rows = []
        for fsync in POLICIES:
            for name in CONTESTANTS:
                rate, p50, p99 = map(report.median, zip(*results[fsync, name, setup]))
                rows.append([f"{fsync:8}  {name}", report.thousands(rate),
                             f"{ratio(results, fsync, name, setup):.2f}",
                             report.milliseconds(p50), report.milliseconds(p99)])
        report.table(f"SET, redis-benchmark -c {setup[0]} -P {setup[1]} (medians; the ratio is to "
                     "one Redis of the same policy, by round)",
                     ["fsync", "requests/s", "ratio", "p50 ms", "p99 ms"], rows)


def targets(results):
    rows = []
    for setup in SETUPS[:2]:
        found = ratio(results, "always", THREE, setup)
        rows.append(report.target(
            f"SET -c {setup[0]} -P {setup[1]}, synced: three servers to one Redis",
            f"{found:.2f}", f"at least {RATIO_MIN}", found >= RATIO_MIN))
    return rows
