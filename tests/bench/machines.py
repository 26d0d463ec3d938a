"""The contestants: Redis alone or with replicas, and holdfast clusters, as child processes.

Each runs on loopback, on free ports, in a directory of its own that goes with it. Only processes
that were started here are ever signalled, each by its pid.
"""

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
START_S_MAX = 20
STOP_S_MAX = 10
PR_SET_PDEATHSIG = 1


class BenchError(Exception):
    """Something that the bench needs did not happen; says what."""


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


def wait_for(what, condition, seconds_max):
    """The first true value of condition(), which may raise OSError while it is too early."""
    end = time.monotonic() + seconds_max
    while time.monotonic() < end:
        try:
            value = condition()
        except OSError:
            value = None
        if value:
            return value
        time.sleep(0.02)
    raise BenchError(f"{what}: not within {seconds_max} s")


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
            raise BenchError(f"error reply: {text.decode()}")
        return text

    def call(self, line):
        self.send(line.encode() + b"\r\n")
        return self.reply()


class Contestant:
    """Starts in its constructor, ends in close(). `port` is where clients are served best."""

    name = ""

    def __init__(self, name):
        self.name = name
        self.directory = tempfile.mkdtemp(prefix="holdfast-bench-")
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
    """One Redis without persistence, and its replicas."""

    def __init__(self, name, replicas=0):
        self.replicas = replicas
        super().__init__(name)

    def open(self):
        self.port = self._open_server([])
        for _ in range(self.replicas):
            self._open_server(["--replicaof", "127.0.0.1", str(self.port)])
        if self.replicas:
            wait_for("replicas of Redis", self._replicas_online, START_S_MAX)

    def _open_server(self, more):
        port = free_port()
        directory = os.path.join(self.directory, str(port))
        os.mkdir(directory)
        self.run(f"redis-{port}", ["redis-server", "--port", str(port), "--bind", "127.0.0.1",
                                   "--dir", directory, "--save", "", "--appendonly", "no",
                                   "--repl-diskless-sync-delay", "0"] + more)
        wait_for("Redis", lambda: self._answers(port), START_S_MAX)
        return port

    @staticmethod
    def _answers(port):
        with Resp(port) as redis:
            return redis.call("PING") == b"PONG"

    def _replicas_online(self):
        with Resp(self.port) as redis:
            return redis.call("INFO replication").count(b"state=online") == self.replicas


CONFIG = """\
cluster = "bench";
run_dir = "{directory}/run";
replication = {{ style = "{style}"; acks = "all"; }};
journal = {{ storage = "memory"; }};
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
    """A cluster of one config file: rm, gfd, and for each server a host with its lfd."""

    def __init__(self, name, servers=3, style="active", suspect_after_ms=200):
        self.count = servers
        self.style = style
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
                                  suspect_after_ms=self.suspect_after_ms, rm=free_port(),
                                  console=self.console, gfd=free_port(), hosts=",\n".join(hosts)))
        return path

    def _daemon(self, kind, arguments, name=None):
        return self.run(name or kind, [os.path.join(BUILD, "bin", "holdfast-" + kind)] + arguments)

    def status(self):
        with Resp(self.console) as console:
            return json.loads(console.call("STATUS"))

    def primary(self):
        return self.status()["view"]["primary"]

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

    def memory_mb(self, server):
        with open(f"/proc/{self.pid(server)}/status", encoding="utf-8") as f:
            for line in f:
                if line.startswith("VmRSS"):
                    return int(line.split()[1]) // 1024
        return 0

    def fill(self, bytes_total, value_bytes):
        """SETs until the values come to bytes_total, a few MiB under way at a time."""
        value = b"$%d\r\n%s\r\n" % (value_bytes, b"x" * value_bytes)
        batch = max(1, (4 << 20) // value_bytes)
        count = bytes_total // value_bytes
        with Resp(self.client_ports[self.primary()], 60) as connection:
            for first in range(0, count, batch):
                keys = [b"fill:%d" % i for i in range(first, min(first + batch, count))]
                connection.send(b"".join(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n%s"
                                         % (len(key), key, value) for key in keys))
                for _ in keys:
                    connection.reply()
