"""What is done to a cluster in one round of a torment: drawn from the seed alone, so that the same
seed and options give the same faults at the same times; what they meet may differ.

A round begins with a whole cluster. With journals in memory the servers that may lose theirs, or
may be left out of a view, are so few that every acknowledged write stays with somebody."""

import contextlib
import dataclasses
import math
import os
import random
import shutil
import signal
import threading
import time
import typing

import resp
from cluster import SLOWER, Failed, wait_until
from torment_world import DESK

ROUND_S = (4.0, 10.0)  # how long faults are begun
FAULTS = (2, 7)  # in a round
SHORT_S = (0.02, 0.4)  # of a pause or a cut that nobody should mind much
LONG_S = (0.8, 5.0)  # of one that costs a membership
BULK_WRITES, BULK_BYTES = 100, 1 << 20  # more than one segment of a journal
VERB_S = 30 * SLOWER

PRIMARY = "the primary"

# Of a server, of whom many depend on, and of whom nothing does but the future.
PROCESSES = {"server": 8, "lfd": 3, "gfd": 2, "rm": 3, "up": 1}
KINDS = {"kill": 8, "stop": 6, "restart": 2, "switchover": 3, "style": 1, "cut": 7, "loss": 3,
         "machine": 2, "crash": 2, "disk": 2, "wipe": 2, "everything": 1}


@dataclasses.dataclass
class Fault:
    kind: str
    at_s: float  # in the round
    text: str
    do: typing.Callable
    undo: typing.Callable = None
    for_s: float = 0.0
    victims: frozenset = frozenset()  # servers that it may cost their journal in memory, or place


class Faults:
    """Draws them, and carries out those that take long beside the rest."""

    def __init__(self, world, kinds, style, budget):
        self.world, self.style, self.budget = world, style, budget
        self.kinds = {kind: weight for kind, weight in KINDS.items()
                      if kind in kinds and self.possible(kind)}
        self.verbs = []  # threads
        self.say = print

    def possible(self, kind):
        w = self.world
        if kind in ("loss", "machine", "crash"):
            return w.namespaces
        if kind == "cut":
            return len(w.ends) > 1
        if kind == "disk":
            return w.full_disk is not None
        if kind in ("wipe", "everything"):
            return w.storage == "disk" and (kind == "everything" or self.budget > 0)
        return kind not in ("switchover", "style") or len(w.servers) > 1

    # ---- Drawing ----

    def draw_round(self, seed, number):
        """The faults of a round, by time."""
        r = random.Random(f"{seed}/round/{number}")
        faults, victims = [], set()
        for _ in range(r.randint(*FAULTS)):
            at_s = r.uniform(0, ROUND_S[0] if not faults else ROUND_S[1])
            kind = r.choices(list(self.kinds), list(self.kinds.values()))[0]
            fault = getattr(self, f"draw_{kind}")(r, at_s)
            if kind == "wipe":  # only a whole cluster has a disk to spare
                if any(other.kind == "wipe" for other in faults):
                    continue
                fault.at_s = -1.0
            if self.world.storage == "memory":
                if len(victims | fault.victims) > self.budget:
                    continue
                victims |= fault.victims
            faults.append(fault)
        return sorted(faults, key=lambda fault: fault.at_s)

    def server(self, r):
        """A server by name, or whichever is the primary then, where no budget depends on it."""
        name, primary = r.choice(self.world.servers), r.random() < 0.3
        return PRIMARY if primary and self.world.storage == "disk" else name

    def named(self, name):
        """Who is meant now: the primary as the rm says, while it says anything."""
        if name != PRIMARY:
            return name
        status = self.world.status()
        return status and status["view"]["primary"] or self.world.servers[0]

    def host_servers(self, name):
        """Who may be lost with a process."""
        if name in ("gfd", "rm", PRIMARY):
            return frozenset()
        if name.startswith("up@"):
            machine = self.world.machines[name[3:]]
            return frozenset(s for s in self.world.servers
                             if self.world.machine_of(s) is machine and self.world.namespaces)
        return frozenset([f"s{name.lstrip('slfd')}"])

    def process(self, r, kinds):
        kind = r.choices(kinds, [PROCESSES[kind] for kind in kinds])[0]
        if kind == "server":
            return self.server(r)
        if kind == "lfd":
            return f"lfd{r.choice(self.world.servers)[1:]}"
        return f"up@{r.choice(list(self.world.machines))}" if kind == "up" else kind

    def span(self, r):
        return r.uniform(*SHORT_S) if r.random() < 0.5 else r.uniform(*LONG_S)

    def draw_kill(self, r, at_s):
        name = self.process(r, list(PROCESSES))
        again_s = r.uniform(0, 3)
        times = r.choice([1, 1, 2, 4])
        if not name.startswith("up@"):
            return Fault("kill", at_s, f"kill {name}" + (f", {times} times" if times > 1 else ""),
                         lambda: self.beside(self.kill, name, times),
                         victims=self.host_servers(name))
        machine = self.world.machines[name[3:]]
        return Fault("kill", at_s, f"kill {name}, start it after {again_s:.2f} s",
                     lambda: self.world.kill_names([name]), lambda: self.launch(machine), again_s,
                     self.host_servers(name))

    def draw_stop(self, r, at_s):
        name = self.process(r, ["server", "lfd", "gfd", "rm"])
        for_s = self.span(r)
        stopped = []

        def stop():
            stopped.append(self.named(name))
            self.world.signal_name(stopped[0], signal.SIGSTOP)
        return Fault("stop", at_s, f"stop {name} for {for_s:.2f} s", stop,
                     lambda: self.world.signal_name(stopped[0], signal.SIGCONT), for_s,
                     self.host_servers(name))

    def draw_restart(self, r, at_s):
        name = self.server(r)
        return Fault("restart", at_s, f"restart {name}",
                     lambda: self.verb("RESTART", self.named(name)),
                     victims=frozenset([name]))

    def draw_switchover(self, r, at_s):
        name = r.choice(self.world.servers)
        return Fault("switchover", at_s, f"switchover to {name}",
                     lambda: self.verb("SWITCHOVER", name))

    def draw_style(self, r, at_s):
        other = "passive" if self.style == "active" else "active"
        for_s = r.uniform(0.5, 6)
        return Fault("style", at_s, f"style {other} for {for_s:.2f} s",
                     lambda: self.verb("STYLE", other), lambda: self.verb("STYLE", self.style),
                     for_s)

    def draw_cut(self, r, at_s):
        a, b = r.sample(self.world.ends, 2)
        how = r.choice(["both ways", "one way" if self.world.namespaces else "both ways",
                        "from all", "from all"])
        for_s = self.span(r)
        primary = how == "from all" and self.world.storage == "disk" and r.random() < 0.5
        pairs = []

        def cut():
            one = self.world.end_of(self.named(PRIMARY)) if primary else a
            others = [name for name in self.world.ends if name != one]
            for other in others if how == "from all" else [b]:
                pairs.extend([(one, other)] if how == "one way" else [(one, other), (other, one)])
            self.cut(pairs, for_s)
        what = {"both ways": f"{a} and {b}", "one way": f"{a} from hearing {b}",
                "from all": f"{PRIMARY if primary else a} from all"}[how]
        victims = frozenset(s for s in self.world.servers
                            if self.world.end_of(s) in (a, b))
        return Fault("cut", at_s, f"cut {what} for {for_s:.2f} s", cut,
                     lambda: self.uncut(pairs), for_s, victims)

    def draw_loss(self, r, at_s):
        name, for_s = r.choice(list(self.world.machines)), r.uniform(*LONG_S)
        return Fault("loss", at_s, f"lose packets to {name} for {for_s:.2f} s",
                     lambda: self.world.lossy(name, True), lambda: self.world.lossy(name, False),
                     for_s, self.host_servers(f"up@{name}"))

    def machine_of(self, r):
        machine = self.world.machines[r.choice([n for n in self.world.machines if n != DESK])]
        return machine, self.host_servers(f"up@{machine.name}")

    def draw_machine(self, r, at_s):
        machine, victims = self.machine_of(r)
        for_s = r.uniform(0, 4)
        return Fault("machine", at_s, f"down and up {machine.name} after {for_s:.2f} s",
                     lambda: self.beside(self.down, machine, for_s), victims=victims)

    def draw_crash(self, r, at_s):
        machine, victims = self.machine_of(r)
        for_s = r.uniform(0, 4)
        return Fault("crash", at_s, f"kill all of {machine.name}, start after {for_s:.2f} s",
                     lambda: self.world.kill_names(self.world.on_machine(machine)),
                     lambda: self.launch(machine), for_s, victims)

    def draw_disk(self, r, at_s):
        name, for_s = self.world.full_disk, r.uniform(2, 8)
        kill = r.random() < 0.5
        return Fault("disk", at_s, f"fill the disk of {name} for {for_s:.2f} s"
                     f"{', kill it' if kill else ''}", lambda: self.fill(name, kill),
                     self.world.empty, for_s)

    def draw_wipe(self, r, at_s):
        name = r.choice(self.world.servers)
        return Fault("wipe", at_s, f"stop {name}, empty its directory, start it",
                     lambda: self.beside(self.wipe, name))

    def draw_everything(self, r, at_s):
        for_s = r.uniform(0, 1)
        names = [n for m in self.world.machines.values() for n in self.world.on_machine(m)]

        def launch():
            for machine in self.world.machines.values():
                self.launch(machine)
        return Fault("everything", at_s, f"kill everything, start it after {for_s:.2f} s",
                     lambda: self.world.kill_names(names), launch, for_s)

    # ---- Doing ----

    def kill(self, name, times):
        """Kills it, and its next lives as soon as they can be seen."""
        for _ in range(times):
            who = self.named(name)
            pids = wait_until(lambda: self.world.processes().get(who), f"{who} runs", VERB_S)
            with contextlib.suppress(OSError):
                os.kill(pids[0], signal.SIGKILL)

    def launch(self, machine):
        with machine.lock:
            if machine.launcher is None or machine.launcher.poll() is not None:
                self.world.start_launcher(machine)

    def down(self, machine, for_s):
        """As by Ctrl-C."""
        launcher = machine.launcher
        if launcher.poll() is None:
            launcher.send_signal(signal.SIGINT)
        launcher.wait()
        time.sleep(for_s)
        self.launch(machine)

    def cut(self, pairs, for_s):
        """Links between servers end to be cut by themselves, should nobody be there to heal them."""
        if self.world.namespaces:
            self.world.cut(pairs)
            return
        for a, b in sorted({tuple(sorted(pair)) for pair in pairs}):
            self.verb("CUT", a, b, math.ceil(for_s))

    def uncut(self, pairs):
        if self.world.namespaces:
            self.world.cut(pairs, False)
            return
        for a, b in sorted({tuple(sorted(pair)) for pair in pairs}):
            self.verb("HEAL", a, b)

    def beside(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self.verbs.append(thread)
        thread.start()

    def verb(self, *words):
        self.beside(self.command, *words)

    def command(self, *words):
        """A command to the rm. During faults it may well be refused."""
        said = " ".join(str(word) for word in words).lower()
        try:
            with self.world.console(timeout_s=VERB_S) as console:
                self.say(f"  {said}: {console(*words)}")
            return True
        except (OSError, resp.Closed, resp.ReplyError) as reason:
            self.say(f"  {said}: refused: {reason}")
            return False

    def wipe(self, name):
        """The server loses its disk while the others have theirs."""
        if not self.command("STOP", name):
            return
        with contextlib.suppress(Exception):  # a server that cannot be seen to end keeps its disk
            wait_until(lambda: name not in self.world.processes(), f"{name} has ended", VERB_S)
            for entry in self.world.directory(name).iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.command("START", name)

    def fill(self, name, kill):
        self.world.fill()
        self.beside(self.bulk)
        if kill:
            self.world.signal_name(name, signal.SIGKILL)

    def bulk(self):
        """Large writes, as many as a segment of the journal has room for; their fate is unknown."""
        value = "b" * BULK_BYTES
        for i in range(BULK_WRITES):
            if not (self.world.directory(self.world.full_disk) / "ballast").exists():
                return
            with contextlib.suppress(OSError, resp.Closed, resp.ReplyError):
                with self.world.client(self.world.servers[i % len(self.world.servers)],
                                       timeout_s=5) as client:
                    client("SET", f"bulk:{i % 4}", value)

    # ---- Healing ----

    def heal(self):
        """Takes every fault back; what then is not whole has to mend by itself."""
        w = self.world
        w.cut(list(w.deaf), False)
        for name in w.machines if w.namespaces else []:
            w.lossy(name, False)
        w.empty()
        for name in w.processes():
            w.signal_name(name, signal.SIGCONT)
        for thread in self.verbs:
            thread.join(2 * VERB_S)
            if thread.is_alive():
                raise Failed("an operator's command does not end")
        self.verbs = []
        for machine in w.machines.values():
            self.launch(machine)
        w.wait(self.told_to_run, "every server is wanted", VERB_S)
        w.wait(self.styled, f"the style is {self.style}", VERB_S)

    def told_to_run(self, status):
        stopped = [s["name"] for s in status["servers"] if s["wanted"] != "running"]
        for name in stopped:
            self.command("START", name)
        return not stopped

    def styled(self, status):
        if status["view"]["style"] == self.style:
            return True
        self.command("STYLE", self.style)
        return False
