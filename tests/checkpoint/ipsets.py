#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""ipsets.py make|show: makes sets of the kernel's ipset, or shows them; asks the kernel itself. Status 77: it has none."""
import socket
import struct
import sys

CREATE, DESTROY, LIST, ADD, GET_BYNAME = 2, 3, 7, 9, 14
NESTED, BIG = 0x8000, 0x4000  # flags of an attribute
SETNAME, TYPENAME, REVISION, FAMILY, DATA, ADT, INDEX = 2, 3, 4, 5, 7, 8, 11
IP, CIDR, PORT, TIMEOUT, PROTO, FLAGS, HASHSIZE, MAXELEM = 1, 3, 4, 6, 7, 8, 18, 19
PORT_TO, NAME, IFACE, BYTES, PACKETS, COMMENT, SIZE = 5, 18, 23, 24, 25, 26, 23
WITH_COUNTERS, WITH_COMMENT = 1 << 3, 1 << 4
sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)


def attr(kind, data):
    if isinstance(data, list):
        kind, data = kind | NESTED, b"".join(data)
    raw = struct.pack("=HH", 4 + len(data), kind) + data
    return raw + bytes(-len(raw) % 4)


def text(kind, value):
    return attr(kind, value.encode() + b"\0")


def u8(kind, value):
    return attr(kind, bytes([value]))


def u16(kind, value):
    return attr(kind | BIG, struct.pack(">H", value))


def u32(kind, value):
    return attr(kind | BIG, struct.pack(">I", value))


def u64(kind, value):
    return attr(kind | BIG, struct.pack(">Q", value))


def ip(value):
    return attr(IP, [attr(1 | BIG, socket.inet_aton(value))])


def talk(cmd, attrs, flags=4):
    """The answers' attributes; an OSError for an error."""
    body = struct.pack("=BBH", socket.AF_INET, 0, 0) + u8(1, 7) + b"".join(attrs)
    sock.send(struct.pack("=IHHII", 16 + len(body), 6 << 8 | cmd, 1 | flags, 1, 0) + body)
    found = []
    while True:
        data = sock.recv(1 << 17)
        while data:
            size, kind = struct.unpack_from("=IH", data)
            if kind == 2:
                error = -struct.unpack_from("=i", data, 16)[0]
                if error:
                    raise OSError(error, f"ipset command {cmd}")
            if kind == 2 or kind == 3:
                return found
            found.append(data[20:size])
            data = data[size + -size % 4:]


def parse(data):
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[4:size]
        data = data[size + -size % 4:]


def create(name, kind, family, *data):
    for revision in range(12, -1, -1):
        try:
            talk(CREATE, [text(SETNAME, name), text(TYPENAME, kind), u8(REVISION, revision), u8(FAMILY, family),
                          attr(DATA, list(data))], 4 | 0x600)
            return
        except OSError as e:
            last = e
    raise last


def add(name, *data):
    talk(ADD, [text(SETNAME, name), attr(DATA, list(data))])


def make():
    try:
        talk(LIST, [], 0x300)
    except OSError:
        sys.exit(77)
    create("gone", "hash:ip", 2)
    # What is a member is made after what it is a member of: numbers are in another order than needs.
    create("all", "list:set", 0, u32(SIZE, 8))
    create("banned", "hash:ip", 2, u32(TIMEOUT, 3600), u32(FLAGS, WITH_COUNTERS | WITH_COMMENT))
    create("nets", "hash:net", 2, u32(HASHSIZE, 128), u32(MAXELEM, 4000))
    create("services", "hash:ip,port", 2)
    create("ports", "bitmap:port", 0, u16(PORT, 1000), u16(PORT_TO, 2000))
    create("empty", "hash:net", 10)
    talk(DESTROY, [text(SETNAME, "gone")])
    add("banned", ip("10.0.0.1"), u32(TIMEOUT, 600), u64(PACKETS, 7), u64(BYTES, 700), text(COMMENT, "who tried"))
    add("banned", ip("10.0.0.2"), u32(TIMEOUT, 0))
    for i in range(3000):
        add("nets", ip(f"10.{i // 256}.{i % 256}.0"), u8(CIDR, 24))
    add("nets", ip("10.1.1.128"), u8(CIDR, 25), u32(FLAGS, 1 << 2))  # nomatch
    add("services", ip("10.0.0.3"), u16(PORT, 443), u8(PROTO, 6))
    add("ports", u16(PORT, 1234))
    for name in ("services", "banned", "nets"):
        add("all", text(NAME, name))


def show():
    order = []
    for m in talk(LIST, [], 0x300):
        found = dict(parse(m))
        name = found[SETNAME].rstrip(b"\0").decode()
        if DATA in found:
            number = dict(parse(talk(GET_BYNAME, [text(SETNAME, name)])[0]))[INDEX]
            order.append(f"{name} {number.hex()} {found[TYPENAME]} {found[REVISION]} {found[FAMILY]} " +
                         " ".join(f"{k}={v.hex()}" for k, v in parse(found[DATA]) if k != 26))  # but for its memory
        rows = []
        for _, data in parse(found.get(ADT, b"")):
            row = []
            for k, v in parse(data):
                if k == TIMEOUT:  # goes on
                    left = struct.unpack(">I", v)[0]
                    v = b"soon" if 0 < left <= 600 else b"never" if left == 0 else b"late"
                row.append(f"{k}={v.hex()}")
            rows.append(" ".join(row))
        # Only a list has an order.
        order.extend(f"{name}: {r}" for r in (rows if name == "all" else sorted(rows)))
    lists = [o for o in order if o.startswith("all")]
    print("\n".join(lists + sorted(o for o in order if not o.startswith("all"))))


make() if sys.argv[1] == "make" else show()
