"""The gap that a client sees when the primary dies or hangs, and whether anything is lost."""

import json
import os
import random
import signal
import subprocess
import time

import report
from machines import BUILD, BenchError, Holdfast, fill, memory_bytes

RATE = 1000  # writes per second
BEFORE_S = 0.5
AFTER_S = 1.0  # for the restart of the server, too
BEGIN_S_MAX = 0.02  # from the fault to the last acknowledgement before its gap
FILL_BYTES = 2 << 30
VALUE_BYTES = 64 << 10
WHOLE_S_MAX = 120
KILL_MS_MAX = 5
STOP_MS_MAX = 200 + 20  # suspect_after_ms, and what follows


class Gaps:
    """Of one kind of fault: what each run saw."""

    def __init__(self, name):
        self.name = name
        self.fault_ms = []    # the longest gap that began around the fault
        self.later_ms = []    # and after it: restart and joining, and the noise of the machine
        self.acknowledged = 0
        self.lost = 0         # acknowledged and missing, repeated, or failed and yet done
        self.unanswered = 0

    def add(self, result, fault_at):
        start = result["start_monotonic_s"]
        around, later = [], []
        for gap in result["gaps"]:
            end = start + gap["at_s"]
            begin = end - gap["ms"] / 1000
            if end >= fault_at:
                (around if begin < fault_at + BEGIN_S_MAX else later).append(gap["ms"])
        verify = result["verify"]
        if not around or not verify["done"] or verify["unreadable"]:
            raise BenchError(f"no acknowledgement after the fault, or not to be read: {verify}")
        self.fault_ms.append(max(around))
        self.later_ms.append(max(later, default=0))
        self.acknowledged += verify["acknowledged"]
        self.lost += verify["lost"] + verify["repeated"] + verify["contradicted"]
        self.unanswered += result["errors"] + result["failed"] + result["unknown"]


def load(cluster, send_to):
    argv = [os.path.join(BUILD, "bin", "holdfast-client"), "--servers", cluster.servers_text(),
            "load", "--rate", str(RATE), "--seconds", str(BEFORE_S + AFTER_S), "--once",
            "--verify", "--json", "--connections", "20", "--send-to", send_to]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def inject(cluster, kind):
    """Returns the moment just before the fault."""
    primary = cluster.primary()
    pid = cluster.pid(primary)
    at = time.monotonic()
    if kind == "kill":
        os.kill(pid, signal.SIGKILL)
    elif kind == "stop":
        os.kill(pid, signal.SIGSTOP)
    return at


def one_fault(cluster, kind, send_to):
    process = load(cluster, send_to)
    try:
        time.sleep(BEFORE_S * random.uniform(0.6, 1.0))
        at = inject(cluster, kind)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    try:
        return json.loads(output), at
    except json.JSONDecodeError as error:
        raise BenchError(f"holdfast-client load reported nothing: {output}") from error


def faults(cluster, name, kind, count, send_to="one"):
    gaps = Gaps(name)
    for _ in range(count):
        cluster.wait_whole(WHOLE_S_MAX)
        gaps.add(*one_fault(cluster, kind, send_to))
    report.progress(f"{name}: median {report.median(gaps.fault_ms):.2f} ms")
    cluster.wait_whole(WHOLE_S_MAX)
    return gaps


def measure(options):
    """{name: Gaps}."""
    count = 3 if options.quick else 20
    found = []
    for style in ("active", "passive"):
        with Holdfast(f"holdfast, {style}", style=style) as cluster:
            found.append(faults(cluster, f"no fault, {style}", "none", max(1, count // 4)))
            found.append(faults(cluster, f"kill, {style}", "kill", count))
            if style == "active":
                found.append(faults(cluster, "kill, active, client of all", "kill", count, "all"))
            found.append(faults(cluster, f"stop, {style}", "stop", count))
    if not options.quick:
        with Holdfast("holdfast, 2 GB") as cluster:
            fill(cluster.port, FILL_BYTES // VALUE_BYTES, VALUE_BYTES)
            cluster.wait_whole()
            print("  filled: " + ", ".join(
                f"{name} {memory_bytes(cluster.pid(name)) >> 20} MiB"
                for name in sorted(cluster.client_ports)), flush=True)
            found.append(faults(cluster, "kill, active, 2 GB", "kill", count))
    return {gaps.name: gaps for gaps in found}


def show(found):
    rows = [[gaps.name, str(len(gaps.fault_ms)),
             report.milliseconds(report.median(gaps.fault_ms)),
             report.milliseconds(report.percentile(gaps.fault_ms, 99)),
             report.milliseconds(max(gaps.fault_ms)),
             report.milliseconds(report.median(gaps.later_ms)), report.thousands(gaps.acknowledged),
             str(gaps.lost), str(gaps.unanswered)] for gaps in found.values()]
    report.table(f"Gap between acknowledgements at a fault of the primary, {RATE:,} writes/s; "
                 "`later` is the median of the longest\n  in the second after it, while the server "
                 "restarts and joins",
                 ["", "faults", "median ms", "p99 ms", "max ms", "later ms", "acknowledged", "lost",
                  "failed"], rows)


def targets(found):
    rows = []
    for name, limit, of in (("kill, active", KILL_MS_MAX, "median"),
                            ("kill, active, 2 GB", KILL_MS_MAX, "median"),
                            ("kill, passive", KILL_MS_MAX, "median"),
                            ("stop, active", STOP_MS_MAX, "max"),
                            ("stop, passive", STOP_MS_MAX, "max")):
        if name not in found:
            continue
        values = found[name].fault_ms
        value = report.median(values) if of == "median" else max(values)
        rows.append(report.target(f"{of} gap of: {name}", f"{value:.1f} ms",
                                  f"at most {limit} ms", value <= limit))
    lost = sum(g.lost for g in found.values())
    total = sum(g.acknowledged for g in found.values())
    rows.append(report.target(f"lost or repeated, of {total:,} acknowledged writes", str(lost),
                              "0", lost == 0))
    return rows
