"""Clusters of real processes for the tests.

    with Cluster(style="passive") as c:
        c.client("s2")("SET", "a", "1")
        c.kill("s1")
        c.wait_whole()

Each has its own run directory and free ports. Whatever happens, no process, port or file of it is
left; a process that survives the end of its cluster is a failure. Nothing sleeps and hopes: a
wait polls until its condition holds, or fails with the status and the logs."""

import atexit
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

import resp

BUILD = pathlib.Path(os.environ.get("BUILD", "build")).resolve()
SANITIZED = "sanitize" in BUILD.name
SLOWER = 4 if SANITIZED else 1  # what waits and pauses are multiplied by
WAIT_S = 20 * SLOWER
STOP_S = 30 * SLOWER
POLL_S = 0.02
LOAD_PROGRESS = 50  # writes that show that a load goes on
LOG_LINES_MAX = 150

# What no log may have: a server that ended by itself, an assertion, a sanitizer's finding.
TROUBLE = re.compile(r"exited: (status|SIG(?!KILL|TERM))|begin anew|Assertion|Sanitizer|runtime error")

# Below the ports that the kernel gives to outgoing connections, so that nobody gets one of ours
# between our look and the daemon's bind; and above those of the shipped configs.
PORT_MIN, PORT_MAX = 10000, 30000

_claims = []  # sockets, each the name of a port that is ours
_open_clusters = []


class Failed(AssertionError):
    """A condition that did not come to hold; says what there was instead."""


def reserved(port):
    """Whether no other run has taken the port, whose cluster may just have crashed; nobody else
    can take it then until we end. The name of a socket that is in no file system is what is held."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0holdfast-test-port-{port}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True


def free_port():
    for _ in range(1000):
        port = random.randint(PORT_MIN, PORT_MAX)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if reserved(port):
            return port
    raise Failed(f"no free port from {PORT_MIN} to {PORT_MAX}")


def with_free_ports(text):
    """A config with every port replaced."""
    return re.sub(r"^([^#\n]*)", lambda line: re.sub(
        r"\b(\w*port) *= *\d+", lambda m: f"{m[1]} = {free_port()}", line[0]), text, flags=re.M)


def config_text(name="test", servers=3, style="active", acks='"all"', service="kv",
                journal='storage = "memory";', more=""):
    """A config with a host for each server; quick to restart, and on free ports."""
    hosts = ",\n".join(
        f'    {{ name = "h{i}"; address = "127.0.0.1"; servers = ( {{ name = "s{i}"; '
        f"client_port = 1; peer_port = 1; }} ); }}" for i in range(1, servers + 1))
    return with_free_ports(f"""\
cluster = "{name}";
service = {{ name = "{service}"; }};
replication = {{ style = "{style}"; acks = {acks}; checkpoint_interval_ms = 300; }};
journal = {{ {journal} }};
detection = {{ suspect_after_ms = {200 * SLOWER}; host_suspect_after_ms = {500 * SLOWER}; }};
restart = {{ backoff_ms = 20; backoff_ms_max = 500; budget = 100; }};
rm = {{ address = "127.0.0.1"; port = 1; console_port = 1; }};
gfd = {{ address = "127.0.0.1"; port = 1; }};
hosts = (
{hosts}
);
{more}""")


def shipped_config(name):
    """A config as it is shipped, but for its ports."""
    return with_free_ports(pathlib.Path("configs", name).read_text(encoding="utf-8"))


def program(name):
    return str(BUILD / "bin" / name)


def run(*command, timeout_s=60, **options):
    """Runs a program to its end: exit status, stdout, stderr."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, errors="replace", check=False,
                          timeout=timeout_s * SLOWER, **options)
    return done.returncode, done.stdout, done.stderr


def wait_until(condition, what, seconds=WAIT_S, say=lambda: ""):
    """The first true value of the condition; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds:.0f} s: {what}\n{say()}")
        time.sleep(POLL_S)


def pids_with(text):
    """Processes that have the text in their command line."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def process_state(pid):
    """R, S, D, T, Z …; None when there is no such process."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None


def program_of(pid):
    """The name of the program that the process runs; None when there is no such process."""
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().rstrip()
    except OSError:
        return None


def has_ended(pid):
    """Also as a zombie, but not while a thread of it still holds its memory and its sockets."""
    try:
        return process_state(pid) in (None, "Z") and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except OSError:
        return True


class Load:
    """A `holdfast-client load` of unique writes that runs beside the test, and is under way."""

    def __init__(self, cluster, *options, seconds=120):
        self.cluster = cluster
        self.output = cluster.folder / f"load-{time.monotonic_ns()}"
        with open(self.output, "w", encoding="utf-8") as out:
            self.process = subprocess.Popen(
                [program("holdfast-client"), "-c", str(cluster.config), "load", "--json", "--verify",
                 "--seconds", str(seconds * SLOWER), "--connections", "4", "--value-size", "32",
                 "--rate", str(1500 // SLOWER)] + [str(option) for option in options],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        cluster.loads.append(self)
        self.wait_progress()

    def wait_progress(self):
        """Until the cluster has committed some more: it serves, under load."""
        with self.cluster.client() as client:
            def committed():
                return int(re.search(r"commit_index:(\d+)", client("INFO"))[1])
            goal = committed() + LOAD_PROGRESS
            wait_until(lambda: committed() >= goal, "writes of the load arrive", say=self.text)

    def finish(self, interrupt=True):
        """Ends it, unless it ends by itself; its report, with its exit status as `status`."""
        if interrupt:
            self.process.send_signal(signal.SIGINT)
        try:
            status = self.process.wait(60 * SLOWER)
        except subprocess.TimeoutExpired:
            raise Failed(f"the load does not end: {self.text()}") from None
        try:
            report = json.loads(self.text()[self.text().index("{"):])
        except ValueError:
            raise Failed(f"the load has no report (exit status {status}): {self.text()}") from None
        report["status"] = status
        return report

    def text(self):
        return self.output.read_text(encoding="utf-8", errors="replace")

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def assert_kept(report):
    """Every request was answered, and every acknowledged write is there, once."""
    assert report["status"] == 0, report
    assert report["ok"] > 0, report
    for count in ("errors", "failed", "unknown"):
        assert report[count] == 0, f"{report[count]} {count}: {report}"
    assert_nothing_lost(report)
    for count in ("repeated", "misplaced"):
        assert report["verify"][count] == 0, f"{report['verify'][count]} {count}: {report}"


def assert_nothing_lost(report):
    """Every acknowledged write is there; a plain client may have seen its connection close."""
    verify = report["verify"]
    assert report["ok"] > 0 and report["errors"] == 0 and verify["done"], report
    for count in ("lost", "contradicted", "foreign", "unreadable"):
        assert verify[count] == 0, f"{verify[count]} {count}: {report}"


class Cluster:
    """One cluster, up from `with` on. Arguments are those of config_text(), or a whole text."""

    console_host = "127.0.0.1"

    def __init__(self, text=None, start=True, verbose=False, **options):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-test-"))
        _open_clusters.append(self)
        self.text = text or config_text(**options)
        self.config = self.folder / "cluster.cfg"
        self.config.write_text(self.text, encoding="utf-8")
        self.run_dir = self.folder / "run"
        self.log_path = self.folder / "log"
        self.start_wanted, self.verbose = start, verbose
        self.launcher, self.loads = None, []
        self.trouble_expected = False
        plain = re.sub(r"#.*", "", self.text)
        self.name = re.search(r'^cluster *= *"([^"]+)"', plain, re.M)[1]
        self.ports, self.peer_ports = {}, {}
        for entry in re.finditer(r'name *= *"(\w+)"; *client_port *= *(\d+); *'
                                 r"peer_port *= *(\d+)", plain):
            self.ports[entry[1]], self.peer_ports[entry[1]] = int(entry[2]), int(entry[3])
        self.servers = list(self.ports)
        self.console_port = int(re.search(r"console_port *= *(\d+)", plain)[1])
        self.rm_port = int(re.search(r"\brm *= *{[^}]*?\bport *= *(\d+)", plain)[1])
        self.gfd_port = int(re.search(r"\bgfd *= *{[^}]*?\bport *= *(\d+)", plain)[1])

    # ---- Up and down ----

    def __enter__(self):
        try:
            if self.start_wanted:
                self.up()
                self.wait_whole()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def up(self):
        with open(self.log_path, "a", encoding="utf-8") as log:
            self.launcher = subprocess.Popen(self.command("up"), stdin=subprocess.DEVNULL,
                                             stdout=log, stderr=log)

    def __exit__(self, kind, reason, _):
        left, stuck = [], None
        try:
            for load in self.loads:
                load.end()
            stuck = self.stop()
            left = self.sweep()
            if kind is not None and issubclass(kind, Exception):
                reason.args = (f"{reason}\n{self.describe()}",)
            elif stuck or left:
                raise Failed(f"{stuck or 'the cluster ended'}; left: {left}\n{self.describe()}")
            elif TROUBLE.search(self.log()) and not self.trouble_expected:
                raise Failed(f"{TROUBLE.search(self.log())[0]!r} in the log\n{self.describe()}")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            if self in _open_clusters:
                _open_clusters.remove(self)

    def stop(self, by=signal.SIGINT):
        """Ctrl-C. Why it did not end well, or None."""
        if self.launcher is None:
            return None
        if self.launcher.poll() is None:
            self.launcher.send_signal(by)
        try:
            status = self.launcher.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.launcher.kill()
            self.launcher.wait()
            return f"`holdfast up` did not end within {STOP_S} s of a signal"
        self.launcher = None
        return None if status == 0 else f"`holdfast up` ended with status {status}"

    def crash(self):
        """SIGKILL to every process, as when all machines lose their power; `up()` starts them again.
        The loads go on. Who could start processes or make views dies first, so that the servers
        die in the view in which they are, all of them."""
        spared = {load.process.pid for load in self.loads}
        for names in (["holdfast"], ["holdfast-rm"], ["holdfast-gfd", "holdfast-lfd"], None):
            killed = set()
            while pids := {pid for pid in pids_with(str(self.folder)) if pid not in spared
                           and (names is None or program_of(pid) in names)} - killed:
                killed |= pids
                for pid in pids:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
            wait_until(lambda: all(map(has_ended, killed)), "all processes are gone")
        if self.launcher:
            self.launcher.wait()
            self.launcher = None

    def sweep(self):
        """Kills what is left of the cluster, by pid, and says what it was."""
        left = []
        for pid in pids_with(str(self.folder)):
            with contextlib.suppress(OSError):
                line = pathlib.Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
                left.append(f"{pid} ({process_state(pid)}): {line}")
                os.kill(pid, signal.SIGKILL)
        return left

    def command(self, *words):
        verbose = ["-v"] if self.verbose else []
        return [program("holdfast"), "-c", str(self.config), "--run-dir", str(self.run_dir),
                *verbose, *[str(word) for word in words]]

    def operate(self, *words, status=0):
        """A verb of the `holdfast` command: its stdout, or its stderr when it is to fail."""
        got, out, err = run(*self.command(*words))
        assert got == status, f"holdfast {' '.join(map(str, words))}: status {got}, {out}{err}"
        return err if status else out

    # ---- What there is ----

    def log(self):
        try:
            return self.log_path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def describe(self):
        lines = self.log().splitlines()
        more = ["…"] if len(lines) > LOG_LINES_MAX else []
        try:
            status = json.dumps(self.status_now)
        except AttributeError:
            status = "none seen"
        return "\n".join([f"last status: {status}", f"log of {self.folder}:", *more,
                          *lines[-LOG_LINES_MAX:]])

    def status(self):
        """What the rm says, or None while it does not answer."""
        try:
            with self.console(timeout_s=2) as console:
                self.status_now = json.loads(console("STATUS"))
                return self.status_now
        except (OSError, ValueError, resp.Closed, resp.ReplyError):
            return None

    def console(self, **options):
        """A connection to the rm, as operators have it."""
        return resp.Resp(self.console_port, host=self.console_host, **options)

    def server(self, name):
        status = self.wait(lambda s: s, "the rm answers")
        return next(s for s in status["servers"] if s["name"] == name)

    def primary(self):
        return self.wait(lambda s: s["view"]["primary"], "there is a primary")["view"]["primary"]

    def backups(self):
        view = self.wait(lambda s: s["view"]["primary"], "there is a primary")["view"]
        return [name for name in view["members"] if name != view["primary"]]

    def pid(self, name):
        """Of a server, an lfd, gfd or rm, as the rm says."""
        def find(status):
            processes = [*status["servers"], *status["lfds"], {"name": "gfd", **status["gfd"]},
                         {"name": "rm", **status["rm"]}]
            return next(p["pid"] for p in processes if p["name"] == name)
        return find(self.wait(find, f"{name} has a process"))

    def client(self, name=None, **options):
        """A connection to a server; without a name to the primary."""
        return resp.Resp(self.ports[name or self.primary()], **options)

    # ---- Waits ----

    def wait(self, condition, what, seconds=WAIT_S):
        """The first status for which the condition holds."""
        def look():
            status = self.status()
            return status if status and condition(status) else None
        return wait_until(look, what, seconds)

    def wait_whole(self, seconds=WAIT_S):
        """All servers are members and take part, and all detectors are up."""
        return self.wait(self.is_whole, "all servers are members", seconds)

    def is_whole(self, status):
        roles = {s["name"]: s["role"] for s in status["servers"]}
        view = status["view"]
        return (view["active"] and not view["changing"]
                and sorted(view["members"]) == sorted(self.servers)
                and sorted(status["membership"]["members"]) == sorted(self.servers)
                and all(roles[s] == ("primary" if s == view["primary"] else "backup")
                        for s in self.servers)
                and all(lfd["state"] == "up" for lfd in status["lfds"])
                and status["gfd"]["state"] == "up")

    def wait_log(self, text, seconds=WAIT_S):
        return wait_until(lambda: re.search(text, self.log()), f"the log has {text!r}", seconds)

    def wait_same(self):
        """All servers have executed the same entries; their digests must then be equal."""
        def same(status):
            ends = {(s["journal_index"], s["executed_index"]) for s in status["servers"]}
            return len(ends) == 1
        return self.wait(same, "all servers have executed the same")

    # ---- Faults ----

    def signal(self, name, number):
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def kill(self, name):
        """kill -9; waits until the rm has noticed, when a server."""
        old = self.server(name)["incarnation"] if name in self.servers else None
        pid = self.signal(name, signal.SIGKILL)
        if old is not None:
            self.wait_new_life(name, old)
        return pid

    def freeze(self, name):
        """SIGSTOP to a server; waits until its lfd has killed and the rm replaced it."""
        old = self.server(name)["incarnation"]
        self.signal(name, signal.SIGSTOP)
        self.wait_new_life(name, old)

    def wait_new_life(self, name, old):
        """The server is a member again under another incarnation, as a backup or primary."""
        def alive(status):
            s = next(s for s in status["servers"] if s["name"] == name)
            return s["incarnation"] not in (0, old) and name in status["view"]["members"]
        self.wait(alive, f"{name} is a member again")


# ---- Running the tests of a file ----

def clean_up():
    for cluster in list(_open_clusters):
        with contextlib.suppress(Exception):
            cluster.__exit__(None, None, None)


def main():
    """Runs the test_ functions of the calling script, in their order; arguments choose by name.

    A line `ok` or `not ok` for each; exit status 1 when any failed."""
    atexit.register(clean_up)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    # What whoever runs the tests ignores, as nohup does, the processes under test would ignore, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    functions = [f for name, f in vars(sys.modules["__main__"]).items()
                 if name.startswith("test_") and callable(f)]
    failures = 0
    for function in functions:
        name = function.__name__
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        start = time.monotonic()
        try:
            function()
            word = "ok"
        except Exception:  # the next test may still tell something
            failures += 1
            word = "not ok"
            traceback.print_exc(file=sys.stdout)
        title = (function.__doc__ or name).strip().splitlines()[0]
        print(f"{word} {name} ({time.monotonic() - start:.1f} s): {title}", flush=True)
    sys.exit(1 if failures else 0)
