"""A small client of RESP2 and RESP3 for the tests: it hides nothing and retries nothing."""

import socket
import threading
import time


class ReplyError(Exception):
    """An error reply: `-ERR …`."""


class Closed(Exception):
    """The server has closed the connection."""


def encode(words):
    """One command, as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


class Resp:
    """One connection. Replies come as str, int, None, list or dict; errors are raised."""

    def __init__(self, port, timeout_s=15.0, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        """Bytes as they are, for input that is not as it should be."""
        self.socket.sendall(data)

    def __call__(self, *words):
        self.send(encode(words))
        return self.read()

    def once(self, session, sequence, *words):
        """A write that is executed once, however often it is sent."""
        return self("ONCE", session, sequence, *words)

    def pipeline(self, commands):
        """All commands in one go; an error reply is returned in its place."""
        self.send(b"".join(encode(words) for words in commands))
        return [self.read_quietly() for _ in commands]

    def read_quietly(self):
        try:
            return self.read()
        except ReplyError as error:
            return error

    def fill(self):
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionError as reason:
            raise Closed(str(reason)) from reason
        if not data:
            raise Closed("connection closed")
        self.input += data

    def line(self):
        while b"\r\n" not in self.input:
            self.fill()
        line, self.input = self.input.split(b"\r\n", 1)
        return line.decode()

    def bytes(self, size):
        while len(self.input) < size + 2:
            self.fill()
        data, self.input = self.input[:size], self.input[size + 2:]
        return data.decode()

    def read(self):
        line = self.line()
        kind, rest = line[0], line[1:]
        if kind == "-":
            raise ReplyError(rest)
        if kind == "+":
            return rest
        if kind == ":":
            return int(rest)
        if kind == "_":
            return None
        if kind == "$":
            return None if rest == "-1" else self.bytes(int(rest))
        if kind == "=":  # verbatim: "txt:" and the text
            return self.bytes(int(rest))[4:]
        if kind in "*~>":
            return None if rest == "-1" else [self.read_quietly() for _ in range(int(rest))]
        if kind == "%":
            return {self.read(): self.read() for _ in range(int(rest))}
        raise AssertionError(f"unexpected reply {line!r}")

    def wait_closed(self):
        """What still comes until the server hangs up; fails if it does not."""
        try:
            while True:
                self.fill()
        except Closed:
            return self.input.decode(errors="replace")


class Bystander:
    """A plain client that counts in the background, to find out whether it notices anything.

    It is unhappy with an error, a lost connection, a wrong count, and an answer that takes
    longer than patience_s."""

    def __init__(self, port, key="bystander", patience_s=2.0):
        self.key, self.patience_s = key, patience_s
        self.count, self.slowest_s = 0, 0.0
        self.complaint = None
        self.client = Resp(port, timeout_s=30)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def run(self):
        try:
            while not self.done.is_set():
                start = time.monotonic()
                answer = self.client("INCR", self.key)
                self.slowest_s = max(self.slowest_s, time.monotonic() - start)
                self.count += 1
                assert answer == self.count, f"counted {self.count}, answered {answer}"
                time.sleep(0.001)
        except Exception as reason:  # whatever it is, the test must hear of it
            self.complaint = reason

    def __exit__(self, kind, *_):
        self.done.set()
        self.thread.join(40)
        self.client.close()
        if kind is not None:
            return
        assert self.complaint is None, f"a bystander noticed: {self.complaint!r}"
        assert self.count > 0, "a bystander got no answer"
        assert self.slowest_s < self.patience_s, \
            f"a bystander waited {self.slowest_s:.3f} s for an answer"
