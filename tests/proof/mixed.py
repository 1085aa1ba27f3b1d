#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Process 1 of a VPS that does everything at once: each kind of work is a process that does it at random and
knows what it must find. When one finds anything else, or ends, it ends too, and the console says why.

usage: mixed.py PORT SEED       echoes at this port what it gets; how often each has been round is in /srv/rounds
"""

import asyncio
import contextlib
import ctypes
import mmap
import os
import queue
import random
import select
import signal
import socket
import sqlite3
import struct
import sys
import threading
import time
import traceback
import zlib

libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
near = random.randrange


def called(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def must(true, *why):
    if not true:
        raise AssertionError(why)


def forked(work, *args):
    """A child that ends when its parent does."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        guarded(parent, work, *args)
    return pid


def guarded(parent, work, *args):
    status = 1
    try:
        called(libc.prctl(1, signal.SIGKILL))
        if os.getppid() == parent:
            work(*args)
            status = 0
    except BaseException:
        print(f"{work.__name__}: {traceback.format_exc()}", flush=True)
    finally:
        os._exit(status)


def data():
    return os.urandom(8) * near(1, 3000)


# --- kinds of work: generators that make a round between two yields ---------------------------------


def files():
    """Written by write(2), mappings, and in the place of others; some stay open when they have no name any more."""
    top, known, held = "/srv/files", {}, []
    os.makedirs(top)
    while True:
        path = f"{top}/{near(40)}"
        what = data()
        way = near(6)
        if way == 0 and path in known:
            with open(path, "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
                m[:8] = what[:8]
                known[path] = what[:8] + known[path][8:]
        elif way == 1:
            with open(path + ".new", "wb") as f:
                f.write(what)
                os.fsync(f.fileno())
            os.rename(path + ".new", path)
            known[path] = what
        elif way == 2 and path in known:
            held.append((open(path, "r+b"), known.pop(path)))
            os.unlink(path)
        elif way == 3 and path in known:
            other = f"{top}/{near(40)}"
            os.rename(path, other)
            known[other] = known.pop(path)
        elif way == 4 and path in known:
            with open(path, "ab") as f:
                f.write(what)
            known[path] += what
        else:
            with open(path, "wb") as f:
                f.write(what)
            known[path] = what
        while len(held) > 4:
            f, expected = held.pop(near(4))
            f.seek(0)
            must(f.read() == expected, "an open file without a name")
            f.close()
        must({f"{top}/{n}" for n in os.listdir(top)} == set(known), "names", os.listdir(top), list(known))
        for path in random.sample(sorted(known), min(5, len(known))):
            with open(path, "rb") as f:
                must(f.read() == known[path], path)
        yield


def database():
    """One writes, another looks whether what it sees is whole."""
    def connect():
        return sqlite3.connect("/srv/data.db", timeout=120, isolation_level=None)

    def reader():
        db = connect()
        while True:
            count, total, last = db.execute("SELECT count(*), sum(n), max(n) FROM t").fetchone()
            must(count == (last or 0) and (total or 0) == count * (count + 1) // 2, count, total, last)
            if near(20) == 0:
                must(db.execute("PRAGMA quick_check").fetchone() == ("ok",), "quick_check")
            time.sleep(0.01)

    db = connect()
    must(db.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",), "no WAL")
    db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, x BLOB)")
    child = forked(reader)
    n = 0
    while True:
        db.execute("BEGIN IMMEDIATE")
        for _ in range(near(1, 5)):
            n += 1
            db.execute("INSERT INTO t VALUES (?, ?)", (n, os.urandom(near(2000))))
        if near(10):
            db.execute("COMMIT")
        else:
            db.execute("ROLLBACK")
            n = db.execute("SELECT coalesce(max(n), 0) FROM t").fetchone()[0]
        must(os.waitpid(child, os.WNOHANG) == (0, 0), "the reader has ended")
        time.sleep(0.005)
        yield


def connections():
    """TCP within: queues that are full to different degrees, connections that wait to be accepted, half-closed ones."""
    listeners = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        s = socket.socket(family)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, 7100))
        s.listen(16)
        listeners.append(s)
    pairs = []
    while True:
        listener = random.choice(listeners)
        client = socket.create_connection(listener.getsockname()[:2])
        early = data()[:near(1, 2000)]
        client.sendall(early)
        yield
        server = listener.accept()[0]
        pairs.append((client, server, [early], []))
        for a, b, to_b, to_a in pairs:
            a.setblocking(False)
            b.setblocking(False)
            for s, sent in ((a, to_b), (b, to_a)):
                with contextlib.suppress(BlockingIOError):
                    what = data()
                    sent.append(what[:s.send(what)])
            for s, sent in ((b, to_b), (a, to_a)):
                if near(2):
                    expected = b"".join(sent)
                    with contextlib.suppress(BlockingIOError):
                        got = s.recv(near(1, 50000))
                        must(got and expected.startswith(got), "stream")
                        sent[:] = [expected[len(got):]]
        if len(pairs) > 5:
            a, b, to_b, to_a = pairs.pop(near(5))
            a.setblocking(True)
            b.setblocking(True)
            a.shutdown(socket.SHUT_WR)
            yield
            must(b"".join(iter(lambda: b.recv(65536), b"")) == b"".join(to_b), "the rest")
            b.close()
            must(b"".join(iter(lambda: a.recv(65536), b"")) == b"".join(to_a), "the rest back")
            a.close()


class Operation(ctypes.Structure):
    _fields_ = [("number", ctypes.c_ushort), ("by", ctypes.c_short), ("flags", ctypes.c_short)]


def system_v():
    """Two add to a number in a segment that has no name any more, under a semaphore, and tell by messages."""
    segment, sem, msg = (called(f) for f in (libc.shmget(0, 65536, 0o1600), libc.semget(0, 2, 0o1600),
                                             libc.msgget(0, 0o1600)))
    at = libc.shmat(segment, None, 0)
    called(libc.shmctl(segment, 0, None))
    numbers = (ctypes.c_uint64 * 8192).from_address(at)

    def change(by):
        called(libc.semop(sem, ctypes.byref(Operation(0, by, 0x1000)), 1))

    def add():
        change(-1)
        i = near(8192 // 2)
        must(numbers[i] == numbers[8191 - i], "halves", i)
        numbers[i] += 1
        if near(4) == 0:
            time.sleep(0.001)
        numbers[8191 - i] += 1
        change(1)

    def other():
        n = 0
        while True:
            add()
            n += 1
            called(libc.msgsnd(msg, struct.pack("=qq", 1 + n % 3, n), 8, 0))

    change(1)
    child = forked(other)
    got = ctypes.create_string_buffer(16)
    last = 0
    while True:
        add()
        called(libc.msgrcv(msg, got, 8, 0, 0))
        kind, n = struct.unpack("=qq", got.raw)
        must(n == last + 1 and kind == 1 + n % 3, "messages", n, last)
        last = n
        must(os.waitpid(child, os.WNOHANG) == (0, 0), "the other has ended")
        yield


def shared():
    """POSIX shared memory and a memfd that was handed over by a socket: a child writes, the parent compares."""
    fd = os.open("/dev/shm/mixed", os.O_RDWR | os.O_CREAT, 0o600)
    mem = os.memfd_create("mixed", os.MFD_ALLOW_SEALING)
    for f in (fd, mem):
        os.ftruncate(f, 1 << 20)
    a, b = socket.socketpair()
    maps = [mmap.mmap(fd, 1 << 20), mmap.mmap(mem, 1 << 20)]

    def writer():
        _, fds, _, _ = socket.recv_fds(b, 1, 2)
        mine = [mmap.mmap(f, 1 << 20) for f in fds]
        while True:
            at, what = near(1 << 18) * 4, os.urandom(4)
            for m in mine:
                m[at:at + 4] = what
            b.send(struct.pack("=I4s", at, what))
            must(b.recv(1) == b"x", "no word")

    child = forked(writer)
    socket.send_fds(a, [b"."], [fd, mem])
    known = {}
    while True:
        at, what = struct.unpack("=I4s", a.recv(8, socket.MSG_WAITALL))
        known[at] = what
        for i in random.sample(sorted(known), min(10, len(known))) if near(50) == 0 else [at]:
            must(all(m[i:i + 4] == known[i] for m in maps), "shared memory", i)
        a.send(b"x")
        must(os.waitpid(child, os.WNOHANG) == (0, 0), "the writer has ended")
        yield


def timers():
    """Clocks go on, and whatever goes off does so as often as time has passed."""
    ticks = [0]

    def tick(*_):
        ticks[0] += 1

    signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    fd = called(libc.timerfd_create(1, 0))
    called(libc.timerfd_settime(fd, 0, struct.pack("=qqqq", 0, 7000000, 0, 7000000), None))
    begun, last, gone_off = time.monotonic(), 0, 0
    while True:
        gone_off += struct.unpack("=Q", os.read(fd, 8))[0]
        now = time.monotonic()
        must(now >= last, "monotonic", now, last)
        last = now
        must(abs(gone_off - (now - begun) / 0.007) < 300, "timerfd", gone_off, now - begun)
        must(ticks[0] <= (now - begun) / 0.02 + 2, "itimer", ticks[0], now - begun)
        before = ticks[0]
        signal.sigtimedwait([signal.SIGUSR1], 0.03)
        if near(10) == 0:
            end = time.monotonic() + 60
            while ticks[0] == before:
                must(time.monotonic() < end, "no more ticks")
                time.sleep(0.01)
        yield


def threads():
    """Handed to and fro by queues and locks, while some begin and end."""
    todo, done, lock, count = queue.Queue(10), queue.Queue(), threading.Lock(), [0]

    def work():
        mine = threading.local()
        while (item := todo.get()) is not None:
            mine.sum = zlib.crc32(b"%d" % item)
            with lock:
                count[0] += 1
            done.put((item, mine.sum))

    workers, given = [], 0
    while True:
        workers.append(threading.Thread(target=work, daemon=True))
        workers[-1].start()
        if len(workers) > 6:
            todo.put(None)
            while all(w.is_alive() for w in workers):
                time.sleep(0.001)
            workers = [w for w in workers if w.is_alive()]
        for _ in range(20):
            todo.put(given)
            given += 1
        for _ in range(20):
            item, crc = done.get()
            must(crc == zlib.crc32(b"%d" % item), "thread", item)
        must(count[0] == given, "count", count[0], given)
        yield


def forks():
    """Children whose ends and words are as they should be: pipes, exec, groups and sessions, copies of memory."""
    big = bytearray(os.urandom(1 << 20))
    while True:
        crc, status = zlib.crc32(big), near(256)
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(r)
            way = near(4)
            if way == 0:
                os.setsid()
            elif way == 1:
                os.setpgid(0, 0)
            elif way == 2:
                time.sleep(near(100) / 1000)
            os.write(w, struct.pack("=I", zlib.crc32(big)))
            if way == 3:
                os.execv("/bin/sh", ["sh", "-c", f"exit {status}"])
            os._exit(status)
        os.close(w)
        big[near(1 << 20)] = near(256)
        must(os.read(r, 4) == struct.pack("=I", crc), "copy of memory")
        os.close(r)
        must(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status, "status")
        yield


def memory():
    """Private memory, written to at random, mapped, unmapped and given back."""
    size, maps = 4 << 20, []
    while True:
        if len(maps) < 8:
            m = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            maps.append((m, {}))
        m, known = random.choice(maps)
        for _ in range(200):
            page = near(size // 4096)
            known[page] = os.urandom(16)
            m[page * 4096 + 100:page * 4096 + 116] = known[page]
        first = near(size // 4096)
        m.madvise(mmap.MADV_DONTNEED, first * 4096, min(8, size // 4096 - first) * 4096)
        for page in range(first, first + 8):
            known.pop(page, None)
        for page in random.sample(range(size // 4096), 50):
            must(m[page * 4096 + 100:page * 4096 + 116] == known.get(page, bytes(16)), "page", page)
        if near(40) == 0:
            maps.pop(near(len(maps)))[0].close()
        time.sleep(0.001)
        yield


def descriptors():
    """Messages and files under way in sockets, pipes, pseudoterminals, epoll and eventfd."""
    dgram = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    udp.settimeout(1)
    event = os.eventfd(0, os.EFD_NONBLOCK)
    poll = select.epoll()
    poll.register(event, select.EPOLLIN | select.EPOLLET)
    master, slave = os.openpty()
    sent, number = [], 0
    while True:
        number += 1
        text = b"%d" % number
        r, w = os.pipe()
        os.write(w, text)
        os.close(w)
        socket.send_fds(dgram[0], [text], [r])
        os.close(r)
        sent.append(text)
        udp.sendto(text, udp.getsockname())
        os.write(slave, text + b"\n")
        os.eventfd_write(event, number)
        yield
        must(poll.poll(60) == [(event, select.EPOLLIN)] and os.eventfd_read(event) == number, "eventfd")
        while True:  # those that wait when it moves are lost, as datagrams may be
            with contextlib.suppress(TimeoutError):
                must(udp.recv(100) == text, "datagram")
                break
            udp.sendto(text, udp.getsockname())
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(master, 100)
        must(line == text + b"\r\n", "terminal", line, text)
        while len(sent) > near(10):
            got, fds, _, _ = socket.recv_fds(dgram[1], 100, 1)
            expected = sent.pop(0)
            must(got == expected and os.read(fds[0], 100) == expected, "a pipe in a socket", got, expected)
            os.close(fds[0])


WORKS = (files, database, connections, system_v, shared, timers, threads, forks, memory, descriptors)


def run(work, seed, rounds, index):
    random.seed(seed * 100 + index)
    for _ in work():
        rounds[index * 8:index * 8 + 8] = struct.pack("=Q", struct.unpack_from("=Q", rounds, index * 8)[0] + 1)
        time.sleep(near(4) / 1000)


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def echoes(port):
    server = await asyncio.start_server(echo, "", port)
    await server.serve_forever()


def serve(port):
    asyncio.run(echoes(port))


def main():
    port, seed = int(sys.argv[1]), int(sys.argv[2])
    os.makedirs("/srv", exist_ok=True)
    rounds = mmap.mmap(-1, 4096)
    pids = {forked(serve, port): "serve"}
    for index, work in enumerate(WORKS):
        pids[forked(run, work, seed, rounds, index)] = work.__name__
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in pids:
            print(f"{pids[pid]} has ended: status {status:#x}", flush=True)
            sys.exit(1)
        with open("/srv/rounds.new", "w") as f:
            for index, work in enumerate(WORKS):
                print(work.__name__, struct.unpack_from("=Q", rounds, index * 8)[0], file=f)
        os.rename("/srv/rounds.new", "/srv/rounds")
        time.sleep(0.05)


main()
