#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""DNS for tests/network/dns.bats: a server that the host's resolver is to be, and clients.

dns.py serve ADDRESS LOG              UDP and TCP; answers by name (below); notes each query in LOG
dns.py ask SERVER NAME TYPE [tcp] [edns=N] [within=SECONDS]
                                      prints the code, "tc" and "aa" when set, the length over 512 as
                                      "long", and the answers; "no reply" after that time or 20 s
dns.py flood SERVER COUNT             random bytes, cut and whole queries, without reading replies
dns.py hold SERVER COUNT KEPT         opens connections that say nothing, and waits until no more than KEPT are
                                      left; prints how many
"""

import os
import random
import select
import socket
import struct
import sys
import threading
import time

TYPES = {"A": 1, "NS": 2, "SOA": 6, "PTR": 12, "TXT": 16, "AAAA": 28, "ANY": 255}
CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


def labels(name):
    return b"".join(bytes([len(x)]) + x for x in name.encode().split(b".") if x) + b"\0"


def query(name, kind, edns=0):
    head = struct.pack(">6H", random.randrange(65536), 0x100, 1, 0, 0, 1 if edns else 0)
    opt = b"\0" + struct.pack(">HHIH", 41, edns, 0, 0) if edns else b""
    return head + labels(name) + struct.pack(">HH", TYPES[kind], 1) + opt


def read_name(msg, at):
    name, end = [], None
    while msg[at]:
        if msg[at] >= 0xC0:
            end = end or at + 2
            at = (msg[at] & 0x3F) << 8 | msg[at + 1]
            continue
        name.append(msg[at + 1 : at + 1 + msg[at]].decode())
        at += 1 + msg[at]
    return ".".join(name), end or at + 1


def show(msg):
    _, flags, _, answers, _, _ = struct.unpack(">6H", msg[:12])
    out = [CODES[flags & 15]]
    out += ["tc"] * bool(flags & 0x200) + ["aa"] * bool(flags & 0x400) + ["long"] * (len(msg) > 512)
    _, at = read_name(msg, 12)
    at += 4
    for _ in range(answers):
        _, at = read_name(msg, at)
        kind, _, _, size = struct.unpack(">HHIH", msg[at : at + 10])
        at += 10
        if kind == 1:
            out.append(socket.inet_ntop(socket.AF_INET, msg[at : at + 4]))
        elif kind == 28:
            out.append(socket.inet_ntop(socket.AF_INET6, msg[at : at + 16]))
        elif kind == 12:
            out.append(read_name(msg, at)[0])
        else:
            out.append("type%d" % kind)
        at += size
    return " ".join(out)


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def read_all(s, size):
    data = b""
    while len(data) < size:
        more = s.recv(size - len(data))
        if not more:
            raise OSError("closed")
        data += more
    return data


def ask(server, name, kind, *options):
    edns = next((int(o[5:]) for o in options if o.startswith("edns=")), 0)
    q = query(name, kind, edns)
    s = socket.socket(family(server), socket.SOCK_STREAM if "tcp" in options else socket.SOCK_DGRAM)
    s.settimeout(next((int(o[7:]) for o in options if o.startswith("within=")), 20))
    s.connect((server, 53))
    try:
        if "tcp" in options:
            s.sendall(struct.pack(">H", len(q)) + q)
            reply = read_all(s, struct.unpack(">H", read_all(s, 2))[0])
        else:
            s.send(q)
            reply = s.recv(65535)
    except socket.timeout:
        print("no reply")
        return
    if reply[:2] != q[:2]:
        print("another id")
    print(show(reply))


def answer(q, tcp):
    name, at = read_name(q, 12)
    head = lambda flags, answers: q[:2] + struct.pack(">5H", flags, 1, answers, 0, 0) + q[12 : at + 4]
    address = b"\xc0\x0c" + struct.pack(">HHIH4s", 1, 1, 60, 4, socket.inet_aton("192.0.2.7"))
    text = b"\xc0\x0c" + struct.pack(">HHIH", 16, 1, 60, 201) + b"\xc8" + b"x" * 200
    if name == "silent.example":
        return []
    if name == "big.example":
        return [head(0x8180, 15 if tcp else 5) + text * (15 if tcp else 5)]
    if name == "spoof.example":
        wrong = address[:-4] + socket.inet_aton("203.0.113.66")
        good = head(0x8180, 1)
        return [
            bytes([good[0] ^ 1]) + good[1:] + wrong,
            good.replace(b"\x05spoof", b"\x05spook") + wrong,
            good[:2] + struct.pack(">H", 0x0100) + good[4:] + wrong,
            good[:15],
            good + address,
        ]
    if name.endswith("hello.example"):
        return [head(0x8180, 1) + address]
    return [head(0x8183, 0)]


def serve(address, log):
    def note(q, port):
        with open(log, "a") as f:
            f.write("%s %d %d\n" % (read_name(q, 12)[0], port, struct.unpack(">H", q[:2])[0]))

    def streams(s):
        while True:
            c, peer = s.accept()
            q = read_all(c, struct.unpack(">H", read_all(c, 2))[0])
            note(q, peer[1])
            for a in answer(q, True):
                c.sendall(struct.pack(">H", len(a)) + a)
            c.close()

    tcp = socket.socket(family(address), socket.SOCK_STREAM)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind((address, 53))
    tcp.listen(8)
    threading.Thread(target=streams, args=(tcp,), daemon=True).start()
    udp = socket.socket(family(address), socket.SOCK_DGRAM)
    udp.bind((address, 53))
    open(log, "w").close()
    while True:
        q, peer = udp.recvfrom(65535)
        note(q, peer[1])
        for a in answer(q, False):
            udp.sendto(a, peer)


def flood(server, count):
    s = socket.socket(family(server), socket.SOCK_DGRAM)
    s.connect((server, 53))
    for i in range(int(count)):
        q = query("silent.example" if i % 3 else "x%d.vps" % i, "A", 1232)
        q = [q, os.urandom(i % 600), q[: i % len(q)], q[:12] + os.urandom(40), q + os.urandom(9)][i % 5]
        try:
            s.send(q)
        except OSError:
            pass


def is_closed(s):
    try:
        return not s.recv(1)
    except OSError:
        return True


def hold(server, count, kept):
    held = []
    for _ in range(int(count)):
        s = socket.socket(family(server), socket.SOCK_STREAM)
        s.settimeout(20)
        s.connect((server, 53))
        held.append(s)
        try:
            s.sendall(b"\x00")
        except OSError:
            pass  # it is closed already
    end = time.monotonic() + 20
    while len(held) > int(kept) and end > time.monotonic():
        ready = select.select(held, [], [], 1)[0]
        held = [s for s in held if s not in ready or not is_closed(s)]
    print(len(held))


if __name__ == "__main__":
    {"serve": serve, "ask": ask, "flood": flood, "hold": hold}[sys.argv[1]](*sys.argv[2:])
