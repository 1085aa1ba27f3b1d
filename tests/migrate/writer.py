#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Process 1 of a VPS with many files, some of which it writes in all ways that there are, and knows what is in each.

When there is /srv/check it compares, in /srv/checked it says what it found.
"""

import ctypes
import mmap
import os
import random
import time

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
SIZE = 8192
TOP = "/srv/many"
known = {}  # path: contents
number = 0


def text():
    global number
    number += 1
    return (b"%d " % number * SIZE)[:SIZE]


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)
    known[path] = data


def by_write(path, data):
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, data, 0)
    os.close(fd)


def by_mapping(path, data):
    """Whose fd is closed before it is written through, and which goes before the next round."""
    fd = os.open(path, os.O_RDWR)
    at = libc.mmap(None, SIZE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
    os.close(fd)
    ctypes.memmove(at, data, SIZE)
    libc.munmap(at, SIZE)


def by_sendfile(path, data):
    with open("/srv/source", "wb") as f:
        f.write(data)
    source, fd = os.open("/srv/source", os.O_RDONLY), os.open(path, os.O_WRONLY)
    os.sendfile(fd, source, 0, SIZE)
    os.close(source)
    os.close(fd)


class Open:
    """It stays open, or mapped, all the while."""

    def __init__(self, way):
        self.path = f"{TOP}/{way}"
        put(self.path, text())
        self.way, self.fd = way, os.open(self.path, os.O_RDWR)
        self.map = mmap.mmap(self.fd, SIZE) if way == "map" else None

    def write(self, data):
        if self.map:
            self.map[:] = data
        elif self.way == "sendfile":
            with open("/srv/source", "wb") as f:
                f.write(data)
            source = os.open("/srv/source", os.O_RDONLY)
            os.lseek(self.fd, 0, os.SEEK_SET)
            os.sendfile(self.fd, source, 0, SIZE)
            os.close(source)
        else:
            os.pwrite(self.fd, data, 0)
        known[self.path] = data


def move(old, new):
    os.rename(old, new)
    for path in [p for p in known if p == old or p.startswith(old + "/")]:
        known[new + path[len(old):]] = known.pop(path)


def remove(top):
    """Not by shutil.rmtree(), which looks whether a directory has the number that it had a moment ago: after a move it
    has another."""
    for d, _, files in os.walk(top, topdown=False):
        for f in files:
            os.unlink(os.path.join(d, f))
        os.rmdir(d)


def dead_name():
    """A file whose first name, through which an overlay writes, is gone with its directory."""
    os.mkdir(f"{TOP}/first")
    put(f"{TOP}/first/name", text())
    os.link(f"{TOP}/first/name", f"{TOP}/second")
    known[f"{TOP}/second"] = known.pop(f"{TOP}/first/name")
    remove(f"{TOP}/first")


def one_round(files, opened, n):
    for way in by_write, by_mapping, by_sendfile:
        path = random.choice(files)
        data = text()
        way(path, data)
        known[path] = data
    for o in opened:
        o.write(text())
    with open(f"{TOP}/second", "r+b") as f:
        known[f"{TOP}/second"] = text()
        f.write(known[f"{TOP}/second"])
    os.makedirs(f"{TOP}/new{n}/below")
    put(f"{TOP}/new{n}/below/f", text())
    if n > 1:
        move(f"{TOP}/new{n - 1}", f"{TOP}/new{n}/moved")
    if n > 6:
        remove(f"{TOP}/new{n}" + "/moved" * 6)
        for path in [p for p in known if p.startswith(f"{TOP}/new{n}" + "/moved" * 6)]:
            del known[path]


def check():
    wrong = [p for p, data in known.items() if open(p, "rb").read() != data]
    found = {os.path.join(d, f) for d, _, fs in os.walk(TOP) for f in fs}
    wrong += found ^ set(known)
    return f"wrong: {sorted(wrong)[:5]}" if wrong else "all as it should be"


def main():
    os.makedirs(TOP)
    files = []
    for n in range(5000):
        if n % 100 == 0:
            os.mkdir(f"{TOP}/d{n // 100}")
        files.append(f"{TOP}/d{n // 100}/f{n}")
        put(files[-1], text() if n < 500 else b"")
    files = files[:500]
    dead_name()
    opened = [Open(way) for way in ("pwrite", "map", "sendfile")]
    n = 0
    while True:
        if os.path.exists("/srv/check"):
            if not os.path.exists("/srv/checked"):
                put("/srv/checked.new", check().encode())
                del known["/srv/checked.new"]
                os.rename("/srv/checked.new", "/srv/checked")
        else:
            n += 1
            one_round(files, opened, n)
            with open("/srv/rounds.new", "w") as f:
                print(n, file=f)
            os.rename("/srv/rounds.new", "/srv/rounds")
        time.sleep(0.002)


main()
