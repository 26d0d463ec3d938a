"""Frames of the protocol between processes, written by hand so that they can be wrong."""

import socket
import struct

VERSION = 1
HELLO, REFUSE, HEARTBEAT = 1, 2, 3
RM, GFD = 1, 2


def lfd(index):
    return 16 + index


def server(index):
    return 32 + index


def text(value):
    data = value.encode()
    return struct.pack("<B", len(data)) + data


def frame(kind, fields):
    return struct.pack("<IH", len(fields) + 2, kind) + fields


def hello(node, expected, cluster="test", version=VERSION, incarnation=1, pid=1):
    fields = struct.pack("<I", version) + text(cluster)
    return frame(HELLO, fields + struct.pack("<BBQI", node, expected, incarnation, pid))


def talk(port, *data, timeout_s=20):
    """Sends the bytes to a port and reads until the other side hangs up: what it sent."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as peer:
        try:
            for piece in data:
                peer.sendall(piece)
            while True:
                piece = peer.recv(65536)
                if not piece:
                    break
                got += piece
        except ConnectionError:
            pass
    return got


def refusal(data):
    """The reason in a refuse frame, which must be the last there is."""
    while data:
        size, kind = struct.unpack_from("<IH", data)
        if kind == REFUSE:
            length = data[6]
            return data[7:7 + length].decode()
        data = data[4 + size:]
    return None
