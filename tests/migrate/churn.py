#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Process 1 of a VPS with many files: some processes change files below a few directories in all ways that there are,
at random, most often with the names that others use, too. What is in them is nobody's matter here: who compares the
upper layers of two hosts sees whether they are the same.

usage: churn.py SEED

When one ends it ends too, and the console says how.
"""

import contextlib
import ctypes
import mmap
import os
import random
import shutil
import socket
import stat
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
TOP = b"/srv/odd"
LOWER = [d for d in (b"/usr/share/zoneinfo", b"/usr/share/doc", b"/usr/share/perl5", b"/usr/share/man") if os.path.isdir(d)]
MAPPED = b"mapped-"
EXCHANGE = 2
PUNCH = 3
WORKERS = 3


def data():
    return bytes([random.randrange(1, 256)]) * random.choice((1, 100, 4096, 5000, 70000))


def near(count):
    return random.randrange(count)


def path(depth=3):
    top = random.choice([TOP, TOP, TOP] + LOWER)
    names = [random.choice((b"a", b"b", b"c", b"d", b"e")) for _ in range(1 + near(depth))]
    if top != TOP and near(2):
        found = [e.path for e in os.scandir(top) if not e.name.startswith(MAPPED)]
        return random.choice(found) if found else top + b"/a"
    return b"/".join([top] + names)


def mapped_path():
    """Of a file that nobody makes shorter: who writes to what is mapped past its end is killed."""
    return os.path.dirname(path(2)) + b"/" + MAPPED + b"%d" % near(5)


@contextlib.contextmanager
def opened(how, name=None):
    """A regular file: of others that are open and have no name not all can be moved."""
    fd = os.open(name or path(), how | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600 + near(64))
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            yield fd
        else:
            raise OSError("not a regular file")
    finally:
        os.close(fd)


class Held:
    """Files that stay open, mapped, or in a socket for a while, whatever becomes of their names."""

    def __init__(self):
        self.fds, self.maps, self.pairs = [], [], []

    def open(self):
        with opened(os.O_RDWR | os.O_CREAT) as fd:
            self.fds.append(os.dup(fd))
        if len(self.fds) > 6:
            os.close(self.fds.pop(near(6)))

    def map(self):
        self.maps.append(mapped())
        if len(self.maps) > 4:
            self.maps.pop(near(4)).close()

    def write(self):
        for fd in self.fds:
            os.pwrite(fd, data(), near(20000))

    def write_maps(self):
        for m in self.maps:
            at = near(8000)
            m[at:at + 100] = data()[:1] * 100

    def send_file(self):
        if self.fds:
            with opened(os.O_RDONLY) as source:
                os.sendfile(random.choice(self.fds), source, 0, 8192)

    def send_away(self):
        """A file that was written to and whose only reference lies in a socket."""
        a, b = socket.socketpair()
        self.pairs.append((a, b))
        if len(self.pairs) > 1:
            for s in self.pairs.pop(0):
                s.close()
        with opened(os.O_RDWR | os.O_CREAT) as fd:
            socket.send_fds(a, [b"x"], [fd])
            os.pwrite(fd, data(), 0)

    def take_back(self):
        while self.pairs:
            for s in self.pairs.pop():
                s.close()


def mapped():
    with opened(os.O_RDWR | os.O_CREAT, mapped_path()) as fd:
        os.ftruncate(fd, 8192)
        return mmap.mmap(fd, 8192)


def by_mapping():
    with mapped() as m:
        for _ in range(near(20)):
            at = near(8000)
            m[at:at + 50] = data()[:1] * 50
            time.sleep(0.002)


def write(how):
    with opened(how) as fd:
        os.pwrite(fd, data(), near(3) * near(30000))


def punch():
    with opened(os.O_RDWR) as fd:
        libc.fallocate(fd, near(2) and PUNCH, ctypes.c_long(near(9000)), ctypes.c_long(5000))


def copy_range():
    with opened(os.O_RDONLY) as a, opened(os.O_WRONLY | os.O_CREAT) as b:
        os.copy_file_range(a, b, 50000, 0, near(5000))


def exchange(a, b):
    libc.renameat2(-100, a, -100, b, EXCHANGE)


def away_and_back():
    """Whoever walks the tree meets it, or does not, or another in its place."""
    a, b = path(2), path(2)
    for _ in range(4):
        exchange(a, b)
    c = path(1)
    os.rename(a, c)
    write(os.O_RDWR | os.O_CREAT)
    os.rename(c, a)


def replace():
    a = path()
    fd = os.open(a + b".new", os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(fd, data())
    os.close(fd)
    os.rename(a + b".new", a)


def same_number():
    """A file goes, and one that comes may have its number, name and size."""
    a = path()
    os.unlink(a)
    with open(a, "wb") as f:
        f.write(data())


def attributes():
    a = path()
    random.choice((
        lambda: os.chmod(a, 0o600 + near(512)),
        lambda: os.chown(a, near(5), near(5), follow_symlinks=False),
        lambda: os.utime(a, (1, near(1000000)), follow_symlinks=False),
        lambda: os.setxattr(a, "user.x", data()[:20], follow_symlinks=False),
        lambda: os.removexattr(a, "user.x", follow_symlinks=False)))()


def child():
    """Ends at once, with what it has open and mapped."""
    pid = os.fork()
    if pid == 0:
        try:
            mapped()[near(8192)] = 7
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def change(held):
    random.choice((
        held.open, held.map, held.write, held.write, held.write_maps, held.write_maps, held.send_file, by_mapping,
        lambda: write(os.O_WRONLY | os.O_CREAT), lambda: write(os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        lambda: write(os.O_WRONLY), lambda: write(os.O_WRONLY | os.O_APPEND),
        lambda: os.truncate(path(), near(100000)), punch, copy_range, away_and_back, replace, same_number, attributes,
        lambda: os.mkdir(path()), lambda: os.makedirs(path()), lambda: os.mkdir(path()), lambda: os.unlink(path()),
        lambda: os.rename(path(), path()), lambda: os.rename(path(), path()), lambda: exchange(path(), path()),
        lambda: os.link(path(), path(), follow_symlinks=False), lambda: os.symlink(b"x" * near(50), path()),
        lambda: os.mkfifo(path()), lambda: near(20) or shutil.rmtree(path()), child,
        lambda: near(8) or held.send_away(), held.take_back))()


def work(number, seed):
    held = Held()
    random.seed(seed * 10 + number)
    while True:
        for _ in range(random.choice((1, 1, 1, 1, 20, 100))):
            try:
                change(held)
            except (OSError, ValueError):  # most names are not there, or are something else
                pass
        time.sleep(random.choice((0, 0.001, 0.01, 0.05)))


def main():
    seed = int(sys.argv[1])
    os.makedirs(TOP)
    os.makedirs("/srv/many")
    for n in range(4200):
        open(f"/srv/many/{n}", "w").close()
    pids = {}
    for number in range(WORKERS):
        pid = os.fork()
        if pid == 0:
            work(number, seed)
        pids[pid] = number
    open("/srv/ready", "w").close()
    while True:
        pid, status = os.wait()
        if pid in pids:
            print(f"worker {pids[pid]} has ended: status {status:#x}", flush=True)
            sys.exit(1)


main()
