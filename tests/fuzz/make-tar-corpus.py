#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes corpus/tar: archives as an attacker would send them, and one good one.

The unit test of the import uses them by name, the fuzzer as seeds.
"""
import io
import os
import struct
import sys
import tarfile

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "corpus", "tar")
# The smallest thing that looks like a program: an ELF header of x86_64.
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, 62) + bytes(44)


def entry(name, kind=tarfile.REGTYPE, mode=0o644, uid=0, gid=0, data=b"", link="", **pax):
    t = tarfile.TarInfo(name)
    t.type, t.mode, t.uid, t.gid, t.linkname = kind, mode, uid, gid, link
    t.size = len(data)
    t.mtime = 1700000000
    t.pax_headers = {k.replace("__", "."): v for k, v in pax.items()}
    return t, data


def init():
    return [entry("sbin", tarfile.DIRTYPE, 0o755), entry("sbin/init", mode=0o755, data=ELF)]


def archive(name, entries, form=tarfile.PAX_FORMAT, cut=None):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form) as t:
        for info, data in entries:
            if info.type in (tarfile.CHRTYPE, tarfile.BLKTYPE):
                info.devmajor, info.devminor = 1, 3
            t.addfile(info, io.BytesIO(data))
    data = raw.getvalue()
    data = data[:cut] if cut else data.rstrip(b"\0")
    data += b"\0" * (-len(data) % 512 + (0 if cut else 1024))
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(data)


DIR, LNK, HARD = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE

archive("good", [
    entry("./", DIR, 0o755),
    entry("./etc", DIR, 0o755),
    entry("./etc/os-release", data=b'ID=tiny\nVERSION_ID="1.0"\n'),
    entry("usr", DIR, 0o755), entry("usr/bin", DIR, 0o755), entry("bin", LNK, link="usr/bin"),
    entry("bin/through", data=b"through a link\n"),
    entry("bin/suid", mode=0o4755, uid=0, gid=50, data=b"x"),
    entry("bin/hard", HARD, link="bin/through"),
    entry("home", DIR, 0o755), entry("home/user", DIR, 0o700, 1000, 1000),
    entry("home/user/note", uid=1000, gid=1000, data=b"note",
          SCHILY__xattr__user__note="kept", SCHILY__xattr__trusted__overlay__opaque="y"),
    entry("home/user/last", uid=65535, gid=65535, data=b"l"),
    entry("pipe", tarfile.FIFOTYPE, 0o600),
    entry("/absolute", data=b"a"),
    entry("dev", DIR, 0o755), entry("dev/null", tarfile.CHRTYPE, 0o666),
    entry("dev/sda", tarfile.BLKTYPE, 0o660),
    entry("gr\u00fc\u00dfe", data=b"utf-8"),
] + init())
archive("dotdot", init() + [entry("../escaped", data=b"x")])
archive("dotdot-inside", init() + [entry("sbin/../../escaped", data=b"x")])
archive("link-then-write", init() + [
    entry("out", LNK, link="/tmp"), entry("out/vps-escaped", data=b"x")])
archive("link-up-then-write", init() + [
    entry("out", LNK, link="../../../../../../../../tmp"), entry("out/vps-escaped", data=b"x")])
archive("hard-link-out", init() + [entry("shadow", HARD, link="/etc/shadow")])
archive("hard-link-dotdot", init() + [entry("shadow", HARD, link="../../../../etc/shadow")])
archive("hard-link-through-link", init() + [
    entry("e", LNK, link="/etc"), entry("shadow", HARD, link="e/shadow")])
archive("overwrite-through-link", init() + [
    entry("f", LNK, link="/etc/hostname"), entry("f", data=b"owned\n")])
archive("fifo-then-write", init() + [
    entry("f", tarfile.FIFOTYPE), entry("f", data=b"x"),
    entry("g", tarfile.FIFOTYPE), entry("h", HARD, link="g")])
archive("owner-too-large", init() + [entry("f", uid=100000, gid=100000)])
archive("owner-negative", init() + [entry("f", uid=-5)], tarfile.GNU_FORMAT)
archive("long-name", init() + [entry("/".join(["d" * 250] * 20), data=b"x")])
archive("long-part", init() + [entry("x" * 300, data=b"x")])
archive("many-levels", init() + [entry("/".join(["d"] * 1500), data=b"x")])
archive("escape-codes", init() + [entry("../\x1b[2J\x1b[31m", data=b"x")])
archive("dir-for-file", [entry("a", data=b"x"), entry("a/b", data=b"y")] + init())
archive("file-for-dir", init() + [entry("sbin", data=b"x")])
archive("top-is-file", init() + [entry(".", data=b"x")])
archive("init-link-out", [entry("sbin", DIR, 0o755), entry("sbin/init", LNK, link="/bin/sh")])
archive("init-is-fifo", [entry("sbin", DIR, 0o755), entry("sbin/init", tarfile.FIFOTYPE, 0o755)])
archive("init-loop", [entry("sbin", DIR, 0o755), entry("sbin/init", LNK, link="init")])
archive("os-release-link", init() + [
    entry("etc", DIR, 0o755), entry("etc/os-release", LNK, link="/proc/self/environ")])
archive("no-init", [entry("etc", DIR, 0o755)])
archive("cut", init() + [entry("big", data=b"y" * 4096)], cut=3000)
archive("huge-size", init() + [entry("f", GNU__sparse__major="0", GNU__sparse__minor="1",
                                     GNU__sparse__size=str(1 << 60), size=str(1 << 60))])
archive("xattr-long", init() + [entry("f", SCHILY__xattr__user__x="v" * 5000)])
sys.exit(0)
