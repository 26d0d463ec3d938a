"""The contestants: Redis alone or with replicas, and holdfast clusters, as child processes.

Each runs on loopback, on free ports, in a directory of its own that goes with it; all of these are
in one folder (BENCH_DIR), so that everybody's files are on the same file system. Only processes
that were started here are ever signalled, each by its pid.
"""

import collections
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
FOLDER = os.environ.get("BENCH_DIR", "/var/tmp")  # on a disk, where /tmp may be none
START_S_MAX = 20
STOP_S_MAX = 20
LOAD_S_MAX = 600  # for millions of keys
VALUE_BYTES = 64
BATCH_BYTES = 1 << 20
BATCHES_UNDER_WAY = 4
PR_SET_PDEATHSIG = 1


class BenchError(Exception):
    """Something that the bench needs did not happen; says what."""


class ErrorReply(BenchError):
    """What a server answered instead; it may be too early."""


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def start(argv, log_path):
    """In a session of its own, as daemons are: some kernels share processors out by session."""
    with open(log_path, "ab") as log:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                start_new_session=True, preexec_fn=_die_with_parent)


def stop(process):
    """SIGTERM, and SIGKILL when that does not help."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(what, condition, seconds_max, every_s=0.02):
    """The first true value of condition(), which may raise while it is too early."""
    end = time.monotonic() + seconds_max
    while time.monotonic() < end:
        try:
            value = condition()
        except (OSError, ErrorReply):
            value = None
        if value:
            return value
        time.sleep(every_s)
    raise BenchError(f"{what}: not within {seconds_max} s")


def file_system():
    """What FOLDER is on, as `stat` calls it."""
    done = subprocess.run(["stat", "-f", "-c", "%T", FOLDER], capture_output=True, text=True,
                          check=False)
    return done.stdout.strip() or "?"


def need_disk(bytes_needed):
    """A disk, so that a sync means something, and room on it."""
    if file_system() in ("tmpfs", "ramfs"):
        raise BenchError(f"{FOLDER} is in memory: give BENCH_DIR a folder on a disk")
    free = shutil.disk_usage(FOLDER).free
    if free < bytes_needed:
        raise BenchError(f"{FOLDER} has {free >> 20} MiB free, {bytes_needed >> 20} are needed: "
                         "give fewer --keys, or BENCH_DIR another folder")


def disk_bytes(directory):
    """Allocated to the files in it."""
    return sum(os.lstat(os.path.join(path, name)).st_blocks * 512
               for path, _, names in os.walk(directory) for name in names)


def memory_bytes(pid):
    """Resident."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        for line in f:
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
    return 0


_ports_given = set()


def free_port():
    """A port that nobody listens on, and that was not given before."""
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port not in _ports_given:
            _ports_given.add(port)
            return port


class Resp:
    """A connection that sends inline commands or packed bytes and reads RESP2 replies."""

    def __init__(self, port, seconds_max=10):
        self.socket = socket.create_connection(("127.0.0.1", port), seconds_max)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("the connection ended within a reply")
        kind, text = line[:1], line[1:-2]
        if kind == b"$":
            size = int(text)
            return self.file.read(size + 2)[:-2] if size >= 0 else None
        if kind == b"*":
            return [self.reply() for _ in range(int(text))]
        if kind == b"-":
            raise ErrorReply(f"error reply: {text.decode()}")
        return text

    def expect_ok(self, count):
        replies = self.file.read(5 * count)
        if replies != b"+OK\r\n" * count:
            wrong = replies.replace(b"+OK\r\n", b"")[:80]
            raise BenchError(f"not everything was answered with OK: {wrong.decode()}")

    def call(self, line):
        self.send(line.encode() + b"\r\n")
        return self.reply()


def fill(port, count, value_bytes=VALUE_BYTES):
    """SETs keys 0 to count - 1, named as redis-benchmark does, to values that do not compress."""
    chance = os.urandom(2 * BATCH_BYTES)
    batch = max(1, BATCH_BYTES // (value_bytes + 50))
    under_way = collections.deque()
    with Resp(port, LOAD_S_MAX) as connection:
        for first in range(0, count, batch):
            keys = range(first, min(first + batch, count))
            connection.send(b"".join(
                b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%b\r\n"
                % (key, value_bytes, chance[at:at + value_bytes])
                for key, at in ((key, key * 61 % BATCH_BYTES) for key in keys)))
            under_way.append(len(keys))
            if len(under_way) > BATCHES_UNDER_WAY:
                connection.expect_ok(under_way.popleft())
        connection.expect_ok(sum(under_way))


def is_written(port):
    """Whether a write is acknowledged."""
    with Resp(port) as connection:
        return connection.call("SET bench:probe 1") == b"OK"


class Contestant:
    """Starts in its constructor, ends in close(). `port` is where clients are served best."""

    name = ""

    def __init__(self, name):
        self.name = name
        self.directory = tempfile.mkdtemp(prefix="holdfast-bench-", dir=FOLDER)
        self.processes = []
        try:
            self.open()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def run(self, name, argv):
        process = start(argv, os.path.join(self.directory, name + ".log"))
        self.processes.append(process)
        return process

    def close(self):
        for process in self.processes:
            stop(process)
        if os.environ.get("BENCH_KEEP"):
            print(f"kept: {self.directory}")
        else:
            shutil.rmtree(self.directory, ignore_errors=True)


class Redis(Contestant):
    """One Redis, and its replicas. Without `appendfsync` nothing is kept on disk but by SAVE."""

    def __init__(self, name, replicas=0, appendfsync=None, more=()):
        self.replicas = replicas
        self.options = ["--save", "", "--repl-diskless-sync-delay", "0", "--appendonly",
                        "yes" if appendfsync else "no", *more]
        if appendfsync:
            self.options += ["--appendfsync", appendfsync]
        super().__init__(name)

    def open(self):
        self.port = free_port()
        self.process = self.start_server(self.port)
        for _ in range(self.replicas):
            self.add_replica()
        if self.replicas:
            wait_for("replicas of Redis", self._replicas_online, START_S_MAX)

    def add_replica(self):
        """Its port; it begins with nothing."""
        port = free_port()
        self.start_server(port, ["--replicaof", "127.0.0.1", str(self.port)])
        return port

    def start_server(self, port, more=()):
        """Returns when it answers anything, if only that it is loading."""
        directory = self.directory_of(port)
        os.makedirs(directory, exist_ok=True)
        process = self.run(f"redis-{port}", ["redis-server", "--port", str(port), "--bind",
                                             "127.0.0.1", "--dir", directory] + self.options
                           + list(more))
        wait_for("Redis", lambda: self._answers(port), START_S_MAX, 0.002)
        return process

    def directory_of(self, port):
        return os.path.join(self.directory, str(port))

    def info(self, section, port=None):
        with Resp(port or self.port, LOAD_S_MAX) as redis:
            lines = redis.call(f"INFO {section}").decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def call(self, line):
        with Resp(self.port, LOAD_S_MAX) as redis:
            return redis.call(line)

    def wait_idle(self):
        """Until nothing is rewritten or saved any more."""
        def idle():
            info = self.info("persistence")
            return (info["aof_rewrite_in_progress"], info["aof_rewrite_scheduled"],
                    info["rdb_bgsave_in_progress"]) == ("0", "0", "0")
        wait_for("Redis to end its rewriting", idle, LOAD_S_MAX)

    @staticmethod
    def _answers(port):
        with Resp(port) as redis:
            try:
                return redis.call("PING") == b"PONG"
            except ErrorReply:
                return True

    def _replicas_online(self):
        with Resp(self.port) as redis:
            return redis.call("INFO replication").count(b"state=online") == self.replicas


CONFIG = """\
cluster = "bench";
run_dir = "{directory}/run";
replication = {{ style = "{style}"; acks = "all"; }};
journal = {{ {journal} }};
detection = {{ heartbeat_interval_ms = 20; suspect_after_ms = {suspect_after_ms}; }};
restart = {{ backoff_ms = 50; backoff_ms_max = 200; budget = 1000; }};
rm = {{ port = {rm}; console_port = {console}; }};
gfd = {{ port = {gfd}; }};
hosts = (
{hosts}
);
"""

HOST = ('    {{ name = "h{i}"; servers = ( {{ name = "s{i}"; client_port = {client}; '
        "peer_port = {peer}; }} ); }}")


class Holdfast(Contestant):
    """A cluster of one config file: rm, gfd, and for each server a host with its lfd. Without
    `fsync` its journals are in memory."""

    def __init__(self, name, servers=3, style="active", fsync=None, suspect_after_ms=200):
        self.count = servers
        self.style = style
        self.journal = (f'storage = "disk"; fsync = "{fsync}";' if fsync
                        else 'storage = "memory";')
        self.suspect_after_ms = suspect_after_ms
        self.client_ports = {}
        super().__init__(name)

    def open(self):
        self.console = free_port()
        path = self._write_config()
        arguments = ["-c", path]
        self.rm = self._daemon("rm", arguments)
        self.gfd = self._daemon("gfd", arguments)
        self.lfds = [self._daemon("lfd", arguments + ["--name", f"lfd{i + 1}"], f"lfd{i + 1}")
                     for i in range(self.count)]
        self.wait_whole()
        self.port = self.client_ports[self.primary()]

    def close(self):
        # The lfds first: they end their servers, and whoever else is there hears of it in order.
        self.processes.sort(key=lambda process: process not in getattr(self, "lfds", []))
        super().close()

    def _write_config(self):
        hosts = []
        for i in range(1, self.count + 1):
            self.client_ports[f"s{i}"] = free_port()
            hosts.append(HOST.format(i=i, client=self.client_ports[f"s{i}"], peer=free_port()))
        path = os.path.join(self.directory, "bench.cfg")
        with open(path, "w", encoding="utf-8") as f:
            f.write(CONFIG.format(directory=self.directory, style=self.style,
                                  journal=self.journal,
                                  suspect_after_ms=self.suspect_after_ms, rm=free_port(),
                                  console=self.console, gfd=free_port(), hosts=",\n".join(hosts)))
        return path

    def _daemon(self, kind, arguments, name=None):
        return self.run(name or kind, [os.path.join(BUILD, "bin", "holdfast-" + kind)] + arguments)

    def order(self, line):
        """To the rm, as an operator."""
        with Resp(self.console) as console:
            return console.call(line)

    def status(self):
        return json.loads(self.order("STATUS"))

    def primary(self):
        return self.status()["view"]["primary"]

    def backup(self):
        """A server that may be stopped without a failover."""
        first = self.primary()
        return max(name for name in self.client_ports if name != first)

    def pid(self, server):
        """The pid of a server, which must be a child of one of our lfds."""
        for entry in self.status()["servers"]:
            if entry["name"] == server and entry["pid"]:
                with open(f"/proc/{entry['pid']}/stat", encoding="utf-8") as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
                if parent in [lfd.pid for lfd in self.lfds]:
                    return entry["pid"]
        raise BenchError(f"{server} has no pid that is ours")

    def is_whole(self):
        """Every server is a member of an active view, and detected as alive."""
        status = self.status()
        view = status["view"]
        return (len(view["members"]) == self.count and view["active"] and not view["changing"]
                and len(status["membership"]["members"]) == self.count)

    def wait_whole(self, seconds_max=START_S_MAX):
        for process in self.processes:
            if process.poll() is not None:
                raise BenchError(f"{process.args[0]} ended with status {process.returncode}, "
                                 f"see {self.directory}")
        wait_for(f"full membership of {self.name}", self.is_whole, seconds_max)

    def servers_text(self):
        """All servers, the primary first, as holdfast-client takes them."""
        first = self.primary()
        names = sorted(self.client_ports, key=lambda name: (name != first, name))
        return ",".join(f"127.0.0.1:{self.client_ports[name]}" for name in names)

    def directory_of(self, server):
        return os.path.join(self.directory, "run", server)

    def entry(self, server):
        """What STATUS says of it."""
        return next(e for e in self.status()["servers"] if e["name"] == server)
