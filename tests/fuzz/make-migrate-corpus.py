#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes corpus/migrate: streams as migrate/channel.h and storage/delta_internal.h have them.

Checksums are left out: the fuzzer makes them right.
"""

import json
import pathlib
import struct

OUT = pathlib.Path(__file__).resolve().parent / "corpus" / "migrate"
HELLO, FILES, PREPARE = 1, 6, 9
DIR, FILE, NODE, DATA, ZERO, ATTR, LINK, PARK, UNPARK, REMOVE, RMDIR, END = range(1, 13)


def frame(kind, payload, encoding=0):
    return struct.pack("<IHHQ", len(payload), kind, encoding, 0) + payload


def text(value):
    return struct.pack("<H", len(value)) + value.encode()


def attr(mode, target="", size=0, xattrs=()):
    out = struct.pack("<IIIIQQI", mode, 0, 0, 0, size, 1, 2) + text(target)
    out += struct.pack("<H", len(xattrs))
    for name, value in xattrs:
        out += struct.pack("<BI", len(name), len(value)) + name.encode() + value
    return out


def record(op, path=None, rest=b""):
    return frame(FILES, bytes([op]) + (text(path) if path is not None else b"") + rest)


def stream(*frames):
    return b"VPSMOVE\x01" + b"".join(frames)


OFFER = {
    "mode": "move", "live": True, "dry_run": False, "id": "0c6d1b3e-0000-4000-8000-000000000001",
    "name": "web1", "from": "web1", "version": "0.1.0", "arch": "x86_64", "kernel": "6.12",
    "config": "memory.max = 64M\n", "has_template": False,
    "template": {"name": "busybox", "digest": "ab" * 32, "distribution": "busybox", "version": "1",
                 "arch": "x86_64", "init": "/sbin/init", "stop_signal": "SIGUSR2", "size": 1},
    "bytes": 1, "entries": 1, "memory": 1, "cpu": {"xsave": 7, "vdso": "0123456789abcdef"},
}
SUSPENDED = dict(OFFER, live=False, resume=True, image=8192, memory=0)
TREE = [
    record(DIR, "d", attr(0o40755)), record(FILE, "d/f", attr(0o100644, size=5)),
    record(DATA, "d/f", struct.pack("<Q", 0) + b"hello"),
    record(ZERO, "d/f", struct.pack("<QQ", 0, 65536)),
    record(ATTR, "d/f", attr(0o104755, size=5, xattrs=[("user.a", b"b")])),
    record(LINK, "l", text("d/f")), record(NODE, "s", attr(0o120777, "../../etc/passwd")),
    record(NODE, "w", attr(0o20000)), record(PARK, "l", struct.pack("<Q", 7)),
    record(UNPARK, "m", struct.pack("<Q", 7)), record(REMOVE, "m"),
    record(ATTR, "d", attr(0o40700, xattrs=[("trusted.overlay.opaque", b"y")])), record(END),
]
CASES = {
    "offer": stream(frame(HELLO, json.dumps(OFFER).encode())),
    "ask": stream(frame(HELLO, json.dumps({"mode": "ask", "id": OFFER["id"]}).encode())),
    "dry-stream": stream(frame(HELLO, json.dumps(dict(OFFER, mode="stream", live=False, dry_run=True)).encode()), *TREE),
    "paused": stream(frame(HELLO, json.dumps(dict(OFFER, paused=True)).encode())),
    "suspended": stream(frame(HELLO, json.dumps(SUSPENDED).encode()), *TREE),
    "live-image": stream(frame(HELLO, json.dumps(dict(SUSPENDED, live=True)).encode())),
    "vast-image": stream(frame(HELLO, json.dumps(dict(SUSPENDED, image=(1 << 63) - 1, bytes=(1 << 63) - 1)).encode())),
    "tree": stream(frame(HELLO, json.dumps(OFFER).encode()), *TREE),
    "up": stream(record(FILE, "../x", attr(0o100644))),
    "through": stream(record(NODE, "l", attr(0o120777, "..")), record(FILE, "l/x", attr(0o100644)),
                      record(RMDIR, "l"), record(PARK, "l", struct.pack("<Q", 1))),
    "device": stream(record(NODE, "d", struct.pack("<IIIIQQI", 0o60600, 0, 0, 0x800, 0, 0, 0)
                            + text("") + struct.pack("<H", 0))),
    "caps": stream(record(FILE, "f", attr(0o100755)), record(ATTR, "f", attr(0o100755, xattrs=[
        ("security.capability", struct.pack("<IIIIII", 0x3000000, 1 << 21, 0, 0, 0, 0xffffffff)),
        ("system.posix_acl_access", struct.pack("<IHHIHHI", 2, 2, 7, 0xfffffff0, 4, 7, 0))]))),
    "huge": stream(struct.pack("<IHHQ", 0xffffffff, 1, 0, 0)),
    "packed": stream(frame(HELLO, struct.pack("<I", 1 << 20) + b"\x00\x01\x02", 1),
                     frame(HELLO, struct.pack("<I", 0xffffffff) + b"\x28\xb5\x2f\xfd", 2)),
    "far": stream(record(FILE, "f", attr(0o100644)),
                  record(DATA, "f", struct.pack("<Q", (1 << 63) - 2) + b"xx"),
                  record(ATTR, "f", attr(0o100644, size=(1 << 63) - 1))),
    "empty": b"", "magic": b"VPSMOVE\x02",
}

OUT.mkdir(parents=True, exist_ok=True)
for name, data in CASES.items():
    (OUT / name).write_bytes(data)
