#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections whose queues are full, in each direction, while the server moves; nothing of them may be lost.

usage: queues.py READY-FILE STOP-FILE ADDRESS PORT
       queues.py serve PORT

The first byte of a connection says what it is for: `u`, the server reads nothing until it is told; `d`, it
writes without end and nobody reads until the end. `g` is the word by which it is told. What is sent is a
known sequence, so that each byte's place shows.
"""

import hashlib
import select
import socket
import sys
import threading
import time

from load import Load, connect, receive

EACH = 8    # connections of each kind


def sequence(seed):
    """Without end, 64 KiB at a time."""
    number = 0
    while True:
        yield b"".join(hashlib.sha512(b"%d %d" % (seed, number + n)).digest() for n in range(1024))
        number += 1024


def flood(sock, seed, over=None):
    """Sends until over() says so, or else until nothing is taken for a while; returns how many bytes were."""
    sent = 0
    sock.setblocking(False)
    for piece in sequence(seed):
        while piece:
            room = select.select([], [sock], [], 0.3)[1]
            if over() if over else not room:
                sock.setblocking(True)
                return sent
            if room:
                taken = sock.send(piece)
                sent += taken
                piece = piece[taken:]


def differs(sock, seed, size=None):
    """Reads so much, or to the end; the first place where it is another than was sent, -1 for none. And how
    much there was."""
    got = 0
    for piece in sequence(seed):
        want = len(piece) if size is None else min(len(piece), size - got)
        data = bytearray()
        while len(data) < want:
            more = sock.recv(want - len(data))
            if not more:
                break
            data += more
        if data != piece[:len(data)]:
            return got, got
        got += len(data)
        if len(data) < want or got == size:
            return -1, got


class Server:
    def __init__(self, port):
        self.go = threading.Event()
        listener = socket.create_server(("", port), backlog=100)
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        what = receive(sock, 1)
        if what == b"g":
            self.go.set()
        elif what == b"u":
            self.go.wait()
            wrong, got = differs(sock, 1)
            sock.sendall(b"%d %d\n" % (wrong, got))
        else:
            sent = flood(sock, 2, self.go.is_set)
            sock.sendall(b"%032d" % sent)
        sock.close()


def main():
    if sys.argv[1] == "serve":
        Server(int(sys.argv[2]))
    load = Load()
    address, port = load.args
    up = [connect(address, port) for _ in range(EACH)]
    down = [connect(address, port) for _ in range(EACH)]
    for sock, what in [(s, b"u") for s in up] + [(s, b"d") for s in down]:
        sock.sendall(what)
    sizes = [flood(sock, 1) for sock in up]
    load.ready()
    while not load.over():
        time.sleep(0.02)
    # What was full stays so, until the server is told.
    connect(address, port).sendall(b"g")
    for sock, size in zip(up, sizes):
        sock.shutdown(socket.SHUT_WR)
        answer = sock.makefile("rb").readline()
        if answer != b"-1 %d\n" % size:
            sys.exit(f"of {size} bytes that were sent the server says {answer!r}")
    total = sum(map(check_down, down))
    print(f"{2 * EACH} connections, {sum(sizes) >> 10} KiB in queues to it and {total >> 10} KiB from it, all there")


def check_down(sock):
    """Its last 32 bytes are the length of what came before."""
    data = bytearray()
    while more := sock.recv(1 << 20):
        data += more
    size = int(data[-32:])
    if size != len(data) - 32:
        sys.exit(f"the server sent {size} bytes, {len(data) - 32} came")
    seen = 0
    for piece in sequence(2):
        if data[seen:min(seen + len(piece), size)] != piece[:size - seen]:
            sys.exit(f"what came from the server differs after {seen} bytes")
        seen += len(piece)
        if seen >= size:
            return size


main()
