"""The cluster of a torment: machines in network namespaces when that is possible, else one machine.

In namespaces each host of the config has an address, a run directory and a `holdfast up` of its
own, and so have rm and gfd together (the desk). All of it is inside namespaces of this process, as
enter_namespaces() makes them: whatever happens, processes, links and mounts end with it."""

import contextlib
import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import resp
from cluster import (SLOWER, STOP_S, Cluster, Failed, config_text, pids_with, process_state, run,
                     wait_until)

INSIDE = "HOLDFAST_TORMENT_INSIDE"  # set in the environment of the process inside the namespaces
NETWORK = "10.77.0."
DESK = "desk"
DISK_MB = 384  # of the server whose directory is a file system of its own
JOURNAL_MEMORY_MB = 16
LOST_PERCENT = "8"  # of packets, where some are

# Other than in cluster.py: a server may end with a status, as when its disk fails at its start.
TROUBLE = re.compile(r"SIG(ABRT|SEGV|BUS|ILL|FPE|SYS)|Assertion|Sanitizer|runtime error|diverged")


def enter_namespaces():
    """Replaces this process by one in namespaces of its own, if it may; else says why it cannot."""
    if INSIDE in os.environ:
        return None
    if not shutil.which("unshare") or not shutil.which("nft") or not shutil.which("ip"):
        return "unshare, ip or nft is not installed"
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--mount", "--net", "--pid", "--fork", "--kill-child",
               "--mount-proc"]
    trial = "ip link add trial0 type veth peer name trial1 && nft add table inet torment && " \
            "mount -t tmpfs torment /mnt"
    status, _, error = run(*command, "sh", "-c", trial)
    if status:
        return error.strip().splitlines()[-1] if error.strip() else f"status {status}"
    os.environ[INSIDE] = "1"
    sys.stdout.flush()
    os.execvp(command[0], command + [sys.executable, *sys.argv])
    return None


def must(*command):
    status, out, error = run(*command)
    if status:
        raise Failed(f"{' '.join(str(word) for word in command)}: {error or out}")
    return out


def arguments_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def parent_of(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return 0


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Machine:
    """What one `holdfast up` runs."""

    def __init__(self, name, address, run_dir, log_path):
        self.name, self.address, self.run_dir, self.log_path = name, address, run_dir, log_path
        self.holder = None  # of its network namespace
        self.launcher = None
        self.lock = threading.Lock()  # of who starts the launcher

    def inside(self):
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"] if self.holder else []

    def connect(self):
        """Makes its network: a link to the bridge of this process's namespace."""
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"],
                                       preexec_fn=die_with_parent)
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own,
                   f"{self.name} has a namespace")
        must("ip", "link", "add", f"to-{self.name}", "type", "veth", "peer", "name", "eth0",
             "netns", self.holder.pid)
        must("ip", "link", "set", f"to-{self.name}", "master", "bridge", "up")
        for words in (("link", "set", "lo", "up"), ("link", "set", "eth0", "up"),
                      ("addr", "add", f"{self.address}/24", "dev", "eth0")):
            must(*self.inside(), "ip", *words)
        rules = f"{self.run_dir}.nft"
        pathlib.Path(rules).write_text(
            "table inet torment {\n set cut { type ipv4_addr; }\n chain input {\n"
            "  type filter hook input priority 0;\n  ip saddr @cut drop\n  jump loss\n }\n"
            " chain loss {\n }\n}\n", encoding="ascii")
        must(*self.inside(), "nft", "-f", rules)

    def deafen(self, other, yes):
        """Whatever the other machine sends does not arrive, or does again."""
        must(*self.inside(), "nft", "add" if yes else "delete", "element", "inet", "torment", "cut",
             f"{{ {other.address} }}")


class World(Cluster):
    """A cluster on machines. Servers, lfds, gfd and rm are processes by name, up@M is the launcher
    of machine M."""

    def __init__(self, namespaces, servers, style, acks, storage, full_disk):
        self.namespaces, self.storage = namespaces, storage
        detection = f"""suspect_after_ms = {(500 if storage == "disk" else 1500) * SLOWER};
            host_suspect_after_ms = {(800 if storage == "disk" else 2000) * SLOWER};"""
        text = config_text(
            name="torment", servers=servers, style=style,
            acks=acks if acks.isdigit() else f'"{acks}"',
            journal=f'storage = "{storage}"; memory_mb_max = {JOURNAL_MEMORY_MB};')
        text = re.sub(r"detection = {.*?};\n", f"detection = {{ {detection} }};\n", text,
                      flags=re.S)
        text = text.replace("budget = 100", "budget = 1000")
        if namespaces:
            text = re.sub(r'name = "h(\d+)"; address = "127.0.0.1"',
                          rf'name = "h\1"; address = "{NETWORK}1\1"', text)
            text = re.sub(r'((?:rm|gfd) = { address = )"127.0.0.1"', rf'\1"{NETWORK}10"', text)
        super().__init__(text, start=False)
        self.hosts = {f"s{i}": f"h{i}" for i in range(1, servers + 1)}
        self.full_disk = full_disk if namespaces and storage == "disk" else None
        self.machines = self.make_machines()
        self.ends = list(self.machines) if namespaces else self.servers  # of links to be cut
        self.console_host = self.machine_of("rm").address
        self.deaf = set()  # pairs of machines, of which the first does not hear the second
        self.own_pids = set()  # of programs that somebody waits for
        self.keep = False

    def make_machines(self):
        if not self.namespaces:
            return {"h": Machine("h", "127.0.0.1", self.run_dir, self.log_path)}
        names = {DESK: f"{NETWORK}10"}
        names.update({host: f"{NETWORK}1{host[1:]}" for host in self.hosts.values()})
        return {name: Machine(name, address, self.folder / name, self.folder / f"log-{name}")
                for name, address in names.items()}

    def machine_of(self, name):
        """Where a server, an lfd, the gfd or the rm runs."""
        if not self.namespaces:
            return self.machines["h"]
        return self.machines[DESK if name in ("rm", "gfd") else f"h{name.lstrip('slfd')}"]

    def end_of(self, name):
        """The end of its links, as they can be cut."""
        return self.machine_of(name).name if self.namespaces else name

    def directory(self, server):
        return self.machine_of(server).run_dir / server

    # ---- Up and down ----

    def __enter__(self):
        try:
            if self.namespaces:
                must("ip", "link", "set", "lo", "up")
                must("ip", "link", "add", "bridge", "type", "bridge")
                must("ip", "link", "set", "bridge", "up")
                must("ip", "addr", "add", f"{NETWORK}1/24", "dev", "bridge")
                for machine in self.machines.values():
                    machine.connect()
            if self.full_disk:
                self.directory(self.full_disk).mkdir(parents=True)
                must("mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "torment",
                     self.directory(self.full_disk))
            self.up()
            self.wait_whole()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def up(self):
        for machine in self.machines.values():
            self.start_launcher(machine)

    def start_launcher(self, machine):
        with open(machine.log_path, "a", encoding="utf-8") as log:
            words = self.command("up")
            words[words.index("--run-dir") + 1] = str(machine.run_dir)
            machine.launcher = subprocess.Popen(machine.inside() + words, stdout=log, stderr=log,
                                                stdin=subprocess.DEVNULL, start_new_session=True)

    def stop(self, by=signal.SIGINT):
        """Ctrl-C on every machine. Why it did not end well, or None."""
        trouble, deadline = None, time.monotonic() + STOP_S
        started = [m for m in self.machines.values() if m.launcher]
        for machine in started:
            if machine.launcher.poll() is None:
                machine.launcher.send_signal(by)
        for machine in started:
            try:
                status = machine.launcher.wait(max(0.1, deadline - time.monotonic()))
                if status:
                    trouble = f"`holdfast up` on {machine.name} ended with status {status}"
            except subprocess.TimeoutExpired:
                machine.launcher.kill()
                machine.launcher.wait()
                trouble = f"`holdfast up` on {machine.name} did not end within {STOP_S} s"
            machine.launcher = None
        return trouble

    def __exit__(self, kind, reason, _):
        """Ends what is left, and removes the folder unless it is to be kept."""
        trouble = self.stop()
        self.reap()
        left = self.sweep()
        if kind is None and (trouble or left):
            self.keep = True
        if self.full_disk:
            self.keep_disk()
        for machine in self.machines.values():
            if machine.holder:
                machine.holder.kill()
                machine.holder.wait()
        if not self.keep and (kind is None or not issubclass(kind, Exception)):
            shutil.rmtree(self.folder, ignore_errors=True)
        if kind is None and (trouble or left):
            raise Failed(f"{trouble or 'the cluster ended'}; left: {left}")

    def keep_disk(self):
        """The file system goes with the namespace, the files stay."""
        directory = self.directory(self.full_disk)
        if not directory.is_mount():
            return
        with contextlib.suppress(OSError):
            (directory / "ballast").unlink()
        copy = directory.with_name(f"{directory.name}.kept")
        if self.keep:
            shutil.copytree(directory, copy, dirs_exist_ok=True)
        run("umount", directory)
        if self.keep:
            directory.rmdir()
            copy.rename(directory)

    def log(self):
        texts = []
        for machine in self.machines.values():
            with contextlib.suppress(OSError):
                texts.append(machine.log_path.read_text(encoding="utf-8", errors="replace"))
        return "\n".join(texts)

    def trouble(self):
        """What a log must not have."""
        found = TROUBLE.search(self.log())
        return found and self.log()[max(0, found.start() - 500):found.end() + 500]

    # ---- Who runs ----

    def processes(self):
        """The pids of each name. A server's keeper, which shares its command line, is no process
        of its own; neither are verbs of an operator."""
        found = {}
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            pid, words = int(entry.name), arguments_of(entry.name)
            if str(self.config) not in words or process_state(pid) in (None, "Z"):
                continue
            name = self.name_of(words)
            if name and arguments_of(parent_of(pid)) != words:
                found.setdefault(name, []).append(pid)
        return found

    def name_of(self, words):
        program = pathlib.Path(words[0]).name
        if program in ("holdfast-rm", "holdfast-gfd"):
            return program.removeprefix("holdfast-")
        if program in ("holdfast-lfd", "holdfast-server"):
            name = words[words.index("--name") + 1]
            return f"lfd{name[1:]}" if program == "holdfast-lfd" else name
        if program == "holdfast" and words[-1] == "up":
            run_dir = words[words.index("--run-dir") + 1]
            return next(f"up@{m.name}" for m in self.machines.values() if str(m.run_dir) == run_dir)
        return None

    def on_machine(self, machine):
        """The names of the processes that a machine runs, its launcher too."""
        names = ["rm", "gfd"] + [f"lfd{s[1:]}" for s in self.servers] + self.servers
        return [f"up@{machine.name}"] + [n for n in names if self.machine_of(n) is machine]

    def signal_name(self, name, number):
        """Signals whoever has the name now; how many that were."""
        pids = self.processes().get(name, [])
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        return len(pids)

    def kill_names(self, names):
        """kill -9 of all of them; returns when they, and who they started meanwhile, are gone."""
        killed = set()
        while True:
            running = self.processes()
            pids = {pid for name in names for pid in running.get(name, [])} - killed
            if not pids:
                break
            killed |= pids
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(process_state(pid) in (None, "Z") for pid in killed),
                   f"{names} are gone")
        for machine in self.machines.values():
            if f"up@{machine.name}" in names:
                machine.launcher.wait()
        self.reap()

    def cut(self, pairs, yes=True):
        """The first machine of each pair does not hear the second, or does again."""
        for pair in set(pairs) - self.deaf if yes else set(pairs) & self.deaf:
            hearer, speaker = (self.machines[name] for name in pair)
            hearer.deafen(speaker, yes)
            self.deaf ^= {pair}

    def lossy(self, name, yes):
        """Some of what the machine is sent is lost, and comes late, when it is sent again."""
        must(*self.machines[name].inside(), "nft", *(
            ["add", "rule", "inet", "torment", "loss", "numgen", "random", "mod", "100", "<",
             LOST_PERCENT, "drop"] if yes else ["flush", "chain", "inet", "torment", "loss"]))

    def fill(self):
        """The disk of self.full_disk is full, but for less than a page."""
        directory = self.directory(self.full_disk)
        with open(directory / "ballast", "ab") as ballast, contextlib.suppress(OSError):
            room = os.statvfs(directory)
            os.posix_fallocate(ballast.fileno(), 0, ballast.tell() + room.f_bavail * room.f_frsize)

    def empty(self):
        if self.full_disk:
            with contextlib.suppress(FileNotFoundError):
                (self.directory(self.full_disk) / "ballast").unlink()

    def reap(self):
        """Processes that outlived their launcher are ours when we are their namespace's first."""
        if not self.namespaces:
            return
        waited_for = {p.pid for m in self.machines.values() for p in (m.holder, m.launcher) if p}
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            pid = int(entry.name)
            if process_state(pid) == "Z" and parent_of(pid) == os.getpid() and \
                    pid not in waited_for | self.own_pids:
                with contextlib.suppress(OSError):
                    os.waitpid(pid, os.WNOHANG)

    # ---- What there is ----

    def client(self, name=None, **options):
        name = name or self.primary()
        return resp.Resp(self.ports[name], host=self.machine_of(name).address, **options)

    def info(self, server):
        """The fields of a server's INFO, or None while it does not answer."""
        try:
            with self.client(server, timeout_s=5) as client:
                return dict(line.split(":", 1) for line in client("INFO").splitlines()
                            if ":" in line)
        except (OSError, resp.Closed, resp.ReplyError):
            return None

    def wait_digests(self, seconds):
        """All servers have executed the same entries; the index, or a failure if states differ."""
        def look():
            infos = {name: self.info(name) for name in self.servers}
            if None in infos.values():
                return None
            ends = {name: (int(i["executed_index"]), i["state_digest"])
                    for name, i in infos.items()}
            if len({index for index, _ in ends.values()}) > 1:
                return None
            if len(set(ends.values())) > 1:
                raise Failed(f"the states differ: {ends}")
            return next(iter(ends.values()))[0]
        return wait_until(look, "all servers have executed the same", seconds, self.describe)

    def descriptors(self, name):
        """What they are, how many of each."""
        found = {}
        for pid in self.processes().get(name, []):
            for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    what = re.sub(r"\d+", "", os.readlink(entry))
                    found[what] = found.get(what, 0) + 1
        return found

    def left(self):
        """Processes of this cluster, or of its namespaces, that should have ended."""
        pids = pids_with(str(self.folder))
        if self.namespaces:
            holders = {machine.holder.pid for machine in self.machines.values()}
            pids = [int(entry.name) for entry in pathlib.Path("/proc").glob("[0-9]*")
                    if int(entry.name) not in holders | {os.getpid()}]
        return [f"{pid} ({process_state(pid)}): {' '.join(arguments_of(pid))}" for pid in pids
                if process_state(pid)]

    def describe_status(self):
        return json.dumps(getattr(self, "status_now", "none seen"))

    def measure(self):
        """Descriptors and resident MiB of each process, by name. Each name has one process."""
        found = {}
        for name, pids in self.processes().items():
            with contextlib.suppress(OSError):
                status = pathlib.Path(f"/proc/{pids[0]}/status").read_text()
                found[name] = (len(list(pathlib.Path(f"/proc/{pids[0]}/fd").iterdir())),
                               int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024)
            if len(pids) > 1:
                found[f"{name} twice"] = pids
        return found
