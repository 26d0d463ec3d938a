"""The clients of a torment: they ask, without a pause for faults, and write down what became of it.

Shared keys go into a history for holdfast-linearizable (tests/linearizability/record.h). Besides,
each exactly-once client counts on a key of its own: every answer must be one more than the last."""

import contextlib
import os
import random
import select
import subprocess
import threading
import time

import resp
from cluster import SLOWER, Failed, program, wait_until

ATTEMPT_S = 1.0 * SLOWER  # silence of a server before an exactly-once client tries the next one
PLAIN_S = 5.0 * SLOWER  # the same of a plain one, whose outcome is then unknown
CALL_S_MAX = 120 * SLOWER  # no call may take longer, whatever happens meanwhile
TEXT_KEYS, NUMBER_KEYS = 7, 3
NOT_EXECUTED = ("TRYAGAIN", "LOADING")  # how a reply begins that is certainly not of an execution
PROGRAM_LINE_MAX = 4096
HEAVY_KEYS, HEAVY_BYTES_MAX = 12, 512 << 10  # of each heavy client

TEXT_COMMANDS = ["get"] * 9 + ["set"] * 3 + ["append"] * 3 + ["getset", "setnx", "setxx", "del"]
NUMBER_COMMANDS = ["get"] * 4 + ["incrby"] * 5 + ["set", "del"]


class Wrong(Failed):
    """An answer that cannot be if every call is executed once."""

    check = "once"


class History:
    """What all clients did since the last rotate(), as lines of a file."""

    def __init__(self, folder):
        self.folder, self.number = folder, 0
        self.lock = threading.Lock()
        self.done = self.unknown = self.refused = 0
        self.slowest_s = 0.0  # since somebody looked
        self.file = None
        self.rotate()

    def rotate(self):
        """Begins a new file and new keys; the path of the one that is complete."""
        with self.lock:
            path = self.path() if self.file else None
            if self.file:
                self.file.close()
            self.number += 1
            self.file = open(self.path(), "w", encoding="ascii")
            return path

    def path(self):
        return self.folder / f"history-{self.number}"

    def add(self, client, operation, result, invoked, returned):
        key, command, argument = operation
        end = "unknown" if returned is None else returned
        if command == "set" or result is None:
            result = "-"
        with self.lock:
            self.file.write(f"{client} {key} {command} {argument} {result} {invoked} {end}\n")
            self.done += returned is not None
            self.unknown += returned is None
            if returned is not None:
                self.slowest_s = max(self.slowest_s, (returned - invoked) / 1e9)

    def refuse(self):
        with self.lock:
            self.refused += 1


def words_of(operation):
    """The command as it is sent."""
    key, command, argument = operation
    if command in ("setnx", "setxx"):
        return ["SET", key, argument, command[3:]]
    return [command, key] if argument == "-" else [command, key, argument]


def result_of(operation, reply):
    """A reply as the history has it."""
    if operation[1] in ("setnx", "setxx"):
        return 0 if reply in (None, "") else 1
    if operation[1] in ("get", "getset"):
        return "(nil)" if reply in (None, "") else reply  # no client writes an empty text
    return reply


class Client(threading.Thread):
    """One client: a random operation, when it is due, again and again."""

    kind = "?"
    counts = False  # keeps a counter of its own
    per_s = 25 / (2 if SLOWER > 1 else 1)  # calls

    def __init__(self, world, history, number, seed):
        super().__init__(daemon=True, name=f"client {number}")
        self.world, self.history, self.number = world, history, number
        self.random = random.Random(f"{seed}/client/{number}")
        self.open, self.parked, self.ending = threading.Event(), threading.Event(), False
        self.written = self.counted = self.answered = 0
        self.busy_since = None
        self.complaint = None
        self.server = number % len(world.servers)
        self.connection = None

    def run(self):
        try:
            due = time.monotonic()
            while not self.ending:
                if not self.open.is_set():
                    self.close()
                    self.parked.set()
                    self.open.wait()
                    continue
                due = max(due + self.random.expovariate(self.per_s), time.monotonic() - 1)
                time.sleep(max(0, due - time.monotonic()))
                self.busy_since = time.monotonic()
                if self.counts and self.random.random() < 0.25:
                    self.count()
                    self.answered += 1
                else:
                    self.answered += self.operate(self.draw())
                self.busy_since = None
        except Exception as reason:  # whatever it is, the torment must hear of it
            self.complaint = reason
        finally:
            self.close()
            self.parked.set()

    def draw(self):
        """Key, command and argument as the history has them. No two texts are the same."""
        self.written += 1
        which = self.random.randrange(TEXT_KEYS + NUMBER_KEYS)
        key = f"k{self.history.number}-{which}"
        if which < TEXT_KEYS:
            command = self.random.choice(TEXT_COMMANDS)
            argument = f"{self.number}.{self.written}/"
        else:
            command = self.random.choice(NUMBER_COMMANDS)
            argument = str(self.random.randrange(1, 1000))
        return key, command, "-" if command in ("get", "del") else argument

    def complain(self, text, kind=Failed):
        raise kind(f"client {self.number} ({self.kind}): {text}")

    # ---- One connection at a time ----

    def connect(self, timeout_s):
        """To the server at hand; when that cannot be, the next one is at hand."""
        if self.connection:
            return True
        try:
            server = self.world.servers[self.server]
            self.connection = self.world.client(server, timeout_s=timeout_s)
            return True
        except OSError:
            self.next_server()
            return False

    def next_server(self):
        self.close()
        self.server = (self.server + 1) % len(self.world.servers)
        time.sleep(0.02)

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def count(self):
        """One more on the client's own counter, exactly once."""
        answer = int(self.certain(["INCR", self.counter()])[0])
        self.counted += 1
        if answer != self.counted:
            self.complain(f"INCR number {self.counted} of {self.counter()} gave {answer}",
                          Wrong)

    def counter(self):
        return f"count:{self.number}"

    def operate(self, operation):
        """Asks, and writes into the history what came of it. Whether it was answered."""
        invoked = time.monotonic_ns()
        reply, returned = self.certain(words_of(operation))
        self.history.add(self.number, operation, result_of(operation, reply), invoked, returned)
        return True

    def certain(self, words):
        """Of exactly-once clients: the reply, and when it came."""
        raise NotImplementedError


class PlainClient(Client):
    """As any Redis client: sent once; a lost connection leaves the outcome unknown."""

    kind = "plain"

    def operate(self, operation):
        if not self.connect(PLAIN_S):
            return False
        invoked = time.monotonic_ns()
        try:
            reply = self.connection(*words_of(operation))
            self.history.add(self.number, operation, result_of(operation, reply), invoked,
                             time.monotonic_ns())
            if self.random.random() < 0.01:
                self.next_server()
            return True
        except resp.ReplyError as error:
            if not str(error).startswith(NOT_EXECUTED):
                self.complain(f"{words_of(operation)}: {error}")
            self.history.refuse()
            self.next_server()
        except (OSError, resp.Closed):
            self.history.add(self.number, operation, None, invoked, None)
            self.next_server()
        return False


class ReadingClient(PlainClient):
    """Only reads: it hears what a server says that has been left alone, where others wait."""

    kind = "reading"

    def draw(self):
        key, _, _ = super().draw()
        return key, "get", "-"


class OnceClient(Client):
    """Sends ONCE until it is answered, to one server after another."""

    kind = "once"
    counts = True

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.session = self.random.getrandbits(62) + 1
        self.sequence = 0

    def certain(self, words):
        if words[0] == "get":  # reads are repeated freely, and have no number
            return self.attempts(words, lambda: self.connection(*words)), time.monotonic_ns()
        self.sequence += 1

        def once():
            return self.connection.once(self.session, self.sequence, *words)
        reply = self.attempts(words, once)
        returned = time.monotonic_ns()
        if self.random.random() < 0.05:  # as if the reply had been lost
            self.next_server()
            again = self.attempts(words, once)
            if again != reply:
                self.complain(f"{words[:2]} sent twice gave {reply!r} and {again!r}", Wrong)
        return reply, returned

    def attempts(self, words, ask):
        deadline = time.monotonic() + CALL_S_MAX
        while time.monotonic() < deadline:
            if not self.connect(ATTEMPT_S):
                continue
            try:
                return ask()
            except resp.ReplyError as error:
                if not str(error).startswith(NOT_EXECUTED):
                    self.complain(f"ONCE {self.sequence} {words[:2]}: {error}")
                self.history.refuse()
            except (OSError, resp.Closed):
                pass
            self.next_server()
        return self.complain(f"{words[:2]}: no answer for {CALL_S_MAX} s")


class HeavyClient(OnceClient):
    """Writes large values to keys of its own, so that journals get long and checkpoints go, and
    reads them: it is the only one, so it sees the last that it wrote."""

    kind = "heavy"
    per_s = 5 / (2 if SLOWER > 1 else 1)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.values = {}

    def operate(self, operation):
        key = f"heavy:{self.number}-{self.random.randrange(HEAVY_KEYS)}"
        if key in self.values and self.random.random() < 0.25:
            value = self.certain(["get", key])[0]
            if value != self.values[key]:
                self.complain(f"{key} is {value and value[:40]!r}…, "
                              f"not {self.values[key][:40]!r}…", Wrong)
            return True
        self.written += 1
        text = f"{self.number}.{self.written}/"
        value = text * (self.random.randrange(1, HEAVY_BYTES_MAX) // len(text) + 1)
        self.certain(["set", key, value])
        self.values[key] = value
        return True


class ProgramClient(Client):
    """A holdfast-client with lines of commands from a pipe: the library's session."""

    kind = "holdfast-client"
    counts = True

    def __init__(self, *arguments, send_to="one"):
        super().__init__(*arguments)
        self.errors = open(self.world.folder / f"client-{self.number}", "wb")
        self.process = subprocess.Popen(
            [program("holdfast-client"), "-c", str(self.world.config), "--send-to", send_to,
             "--deadline-ms", str(CALL_S_MAX * 1000)], bufsize=0, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.errors)
        self.world.own_pids.add(self.process.pid)

    def certain(self, words):
        self.process.stdin.write((" ".join(str(word) for word in words) + "\n").encode())
        line, deadline = b"", time.monotonic() + CALL_S_MAX
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, left))
            more = os.read(self.process.stdout.fileno(), PROGRAM_LINE_MAX) if ready else b""
            if not more:
                self.complain(f"{words}: no answer: {self.errors_text()}")
            line += more
        returned = time.monotonic_ns()
        return line[:-1].decode(), returned

    def errors_text(self):
        self.errors.flush()
        with open(self.errors.name, encoding="utf-8", errors="replace") as file:
            return file.read()[-1000:]

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(30 * SLOWER)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()


class Crowd:
    """All clients of a torment. They begin parked."""

    def __init__(self, world, seed):
        self.world = world
        self.history = History(world.folder)
        kinds = [PlainClient] * 6 + [OnceClient] * 4 + [ReadingClient] * 3 + [HeavyClient] * 2
        self.clients = [kind(world, self.history, number, seed)
                        for number, kind in enumerate(kinds, 1)]
        for send_to in ("one", "all"):
            self.clients.append(ProgramClient(world, self.history, len(self.clients) + 1, seed,
                                              send_to=send_to))
        for client in self.clients:
            client.start()

    def go(self):
        for client in self.clients:
            client.parked.clear()
            client.open.set()

    def park(self):
        """All calls come to their end, and connections of clients of our own are closed."""
        for client in self.clients:
            client.open.clear()
        wait_until(lambda: all(client.parked.is_set() for client in self.clients),
                   "every call ends", CALL_S_MAX + 10, self.describe)
        self.complaints()

    def complaints(self):
        for client in self.clients:
            if client.complaint:
                raise client.complaint

    def wait_progress(self, seconds):
        """Every client gets an answer (again)."""
        before = [client.answered for client in self.clients]

        def answered():
            self.complaints()
            return all(client.answered > count + 1
                       for client, count in zip(self.clients, before))
        wait_until(answered, "every client is answered", seconds, self.describe)

    def describe(self):
        now = time.monotonic()
        return "\n".join(
            f"client {c.number} ({c.kind}) waits {now - since:.1f} s, "
            f"at {self.world.servers[c.server]}"
            for c in self.clients if (since := c.busy_since))

    def check_counts(self):
        """What was answered once was executed once: the counters say how often."""
        total = 0
        with self.world.client() as client:
            for c in self.clients:
                if c.counts:
                    value = int(client("GET", c.counter()) or 0)
                    if value != c.counted:
                        raise Failed(f"{c.counter()} is {value} after {c.counted} answers")
                    total += value
        return total

    def end(self):
        for client in self.clients:
            client.ending = True
            client.open.set()
        for client in self.clients:
            client.join(CALL_S_MAX)
            if isinstance(client, ProgramClient):
                with contextlib.suppress(OSError):
                    client.end()
