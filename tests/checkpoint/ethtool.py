#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""As ethtool(8), for want of it: what is set of a link, by linux/ethtool.h.

ethtool.py show LINK... | features LINK NAME=on|off... | channels LINK RX TX | sizes LINK GSO GRO (of IPv4: newer than ip(8))
"""
import array
import fcntl
import socket
import struct
import sys

SIOCETHTOOL = 0x8946
GSTRINGS, GSSET_INFO, GFEATURES, SFEATURES, GCHANNELS, SCHANNELS = 0x1B, 0x37, 0x3A, 0x3B, 0x3C, 0x3D
SS_FEATURES = 4
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def ask(link, data):
    buf = array.array("B", data)
    fcntl.ioctl(sock, SIOCETHTOOL, struct.pack("16sP", link.encode(), buf.buffer_info()[0]))
    return buf.tobytes()


def names(link):
    count = struct.unpack_from("I", ask(link, struct.pack("IIQI", GSSET_INFO, 0, 1 << SS_FEATURES, 0)), 16)[0]
    text = ask(link, struct.pack("III", GSTRINGS, SS_FEATURES, count) + bytes(32 * count))[12:]
    return [text[32 * i:32 * i + 32].split(b"\0")[0].decode() for i in range(count)]


def features(link):
    """By name: whether it can be changed, is wanted, and is on."""
    all_names = names(link)
    words = (len(all_names) + 31) // 32
    got = struct.unpack_from("%dI" % (4 * words), ask(link, struct.pack("II", GFEATURES, words) + bytes(16 * words)), 8)
    return {n: [got[4 * (i // 32) + k] >> i % 32 & 1 for k in range(3)] for i, n in enumerate(all_names) if n}


def set_features(link, settings):
    all_names = names(link)
    words = (len(all_names) + 31) // 32
    pairs = [[0, 0] for _ in range(words)]
    for s in settings:
        name, value = s.split("=")
        i = all_names.index(name)
        pairs[i // 32][0] |= 1 << i % 32
        pairs[i // 32][1] |= (value == "on") << i % 32
    ask(link, struct.pack("II", SFEATURES, words) + b"".join(struct.pack("II", *p) for p in pairs))


def channels(link):
    try:
        return struct.unpack_from("8I", ask(link, struct.pack("9I", GCHANNELS, *[0] * 8)), 4)
    except OSError:
        return None


def rtnetlink(kind, link, attrs):
    nl = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    body = struct.pack("=BBHiII", 0, 0, 0, socket.if_nametoindex(link), 0, 0)
    body += b"".join(struct.pack("=HHI", 8, k, v) for k, v in attrs)
    nl.send(struct.pack("=IHHII", 16 + len(body), kind, 1, 1, 0) + body)
    return nl.recv(65536) if kind == 18 else b""


def sizes(link):
    answer, at, found = rtnetlink(18, link, []), 32, []  # RTM_GETLINK
    while at + 4 <= struct.unpack_from("=I", answer)[0]:
        size, kind = struct.unpack_from("=HH", answer, at)
        if kind in (63, 64):  # IFLA_GSO_IPV4_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE
            found.append(struct.unpack_from("=I", answer, at + 4)[0])
        at += (size + 3) & ~3
    return found


def main(what, link, *more):
    if what == "show":
        for one in link, *more:
            print(one, " ".join("%s=%d%d" % (n, f[1], f[2]) for n, f in sorted(features(one).items()) if f[0]))
            print(one, "sizes", sizes(one))
            print(one, "queues", (channels(one) or [0] * 8)[4:6])
    elif what == "sizes":
        rtnetlink(16, link, [(63, int(more[0])), (64, int(more[1]))])
    elif what == "features":
        set_features(link, more)
    elif what == "channels":
        now = list(channels(link))
        now[4:6] = int(more[0]), int(more[1])
        ask(link, struct.pack("9I", SCHANNELS, *now))


main(*sys.argv[1:])
