#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A writer and a reader of a redis that knows what they may find.

usage: redis.py READY-FILE STOP-FILE ADDRESS PORT MIB RATE

First MIB of keys `f:N` that stay as they are. Then one connection writes RATE keys `w:N` a second, over
and over, each with a larger value; the other one reads: a key that was acknowledged before it asks has
that value or a later one. At the end every key is looked at.
"""

import random
import sys
import threading
import time

from load import Load, Longest, connect, receive

SPAN = 50000    # keys that are written to
VALUE = 4096    # bytes of those that are not
BATCH = 256


def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def fixed(n):
    return b"%016d" % n * (VALUE // 16)


class Server:
    def __init__(self, address, port):
        self.sock = connect(address, port)

    def put(self, pairs):
        """All are acknowledged when this returns."""
        self.sock.sendall(b"".join(command(b"SET", key, value) for key, value in pairs))
        answer = receive(self.sock, 5 * len(pairs))
        if answer != b"+OK\r\n" * len(pairs):
            sys.exit(f"not all were acknowledged: {answer[:200]}")

    def line(self):
        data = bytearray()
        while not data.endswith(b"\r\n"):
            data += receive(self.sock, 1)
        return bytes(data[:-2])

    def get(self, keys):
        self.sock.sendall(command(b"MGET", *keys))
        if self.line() != b"*%d" % len(keys):
            sys.exit("no answer to MGET")
        return [self.bulk() for _ in keys]

    def bulk(self):
        size = int(self.line()[1:])
        return receive(self.sock, size + 2)[:-2] if size >= 0 else None

    def count(self):
        self.sock.sendall(command(b"DBSIZE"))
        return int(self.line()[1:])


class Writer(threading.Thread):
    """The key of write number n is n % SPAN and its value n; `done` of them are acknowledged."""

    def __init__(self, load, server, rate):
        super().__init__(daemon=True)
        self.load, self.server, self.rate = load, server, rate
        self.done, self.wait, self.well = 0, Longest(), False

    def run(self):
        begin = time.monotonic()
        while not self.load.over():
            due = int((time.monotonic() - begin) * self.rate) - self.done
            if due < 1:
                time.sleep(0.001)
                continue
            first, before = self.done, time.monotonic()
            self.server.put([(b"w:%d" % (n % SPAN), b"%d" % n)
                             for n in range(first, first + min(due, 1000))])
            self.wait.note(before)
            self.done = first + min(due, 1000)
        self.well = True

    def last(self, key):
        """The last acknowledged value of a key; below 0 when there is none."""
        done = self.done
        return done - 1 - (done - 1 - key) % SPAN


def fill(server, keys):
    for first in range(0, keys, BATCH):
        server.put([(b"f:%d" % n, fixed(n)) for n in range(first, min(first + BATCH, keys))])


def read_one(server, writer, keys):
    key = random.randrange(SPAN)
    least = writer.last(key)
    n = random.randrange(keys)
    written, kept = server.get([b"w:%d" % key, b"f:%d" % n])
    if kept != fixed(n):
        sys.exit(f"f:{n} has changed")
    if least >= 0 and (written is None or int(written) < least or int(written) % SPAN != key):
        sys.exit(f"w:{key} was {least} when it was asked for, and is {written}")


def check_all(server, writer, keys):
    for first in range(0, keys, BATCH):
        some = range(first, min(first + BATCH, keys))
        for n, value in zip(some, server.get([b"f:%d" % n for n in some])):
            if value != fixed(n):
                sys.exit(f"f:{n} is not what it was")
    written = min(writer.done, SPAN)
    for first in range(0, written, BATCH):
        some = range(first, min(first + BATCH, written))
        for key, value in zip(some, server.get([b"w:%d" % key for key in some])):
            if value != b"%d" % writer.last(key):
                sys.exit(f"w:{key} was acknowledged as {writer.last(key)} and is {value}")
    if server.count() != keys + written:
        sys.exit(f"there are {server.count()} keys, not {keys + written}")


def main():
    load = Load()
    address, port, mib, rate = load.args
    keys = int(mib) * (1 << 20) // VALUE
    reader = Server(address, port)
    fill(reader, keys)
    writer = Writer(load, Server(address, port), int(rate))
    writer.start()
    reads, wait = 0, Longest()
    while not load.over():
        before = time.monotonic()
        read_one(reader, writer, keys)
        wait.note(before)
        reads += 1
        if reads == 100:
            load.ready()
        time.sleep(0.001)
    writer.join(120)
    if not writer.well:
        sys.exit("the writer did not get to its end")
    check_all(reader, writer, keys)
    print(f"{mib} MiB, {writer.done} writes acknowledged, all there; {reads} reads; "
          f"the longest wait of the writer {writer.wait}, of the reader {wait}")


main()
