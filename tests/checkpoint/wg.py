#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# wg.py key NAME                       a private key, the same for the same name
# wg.py public LINK                    the public key of a link
# wg.py set LINK KEY PORT FWMARK       keys in hexadecimal
# wg.py peer LINK KEY PRESHARED ENDPOINT KEEPALIVE ADDRESS/PREFIX...   endpoint ADDRESS:PORT, of IPv4, or -
# wg.py show LINK                      all but what was counted, and when
# wg.py shook LINK KEY                 when the last handshake with this peer was, in nanoseconds; 0: never
#
# WireGuard's links by its family of generic netlink (uapi/linux/wireguard.h), in the caller's network namespace.
import hashlib, ipaddress, socket, struct, sys

GET, SET, NESTED = 0, 1, 0x8000
IFNAME, PRIVATE, PUBLIC, PORT, FWMARK, PEERS = 2, 3, 4, 6, 7, 8
P_PUBLIC, P_PRESHARED, P_ENDPOINT, P_KEEPALIVE, P_SHOOK, P_ALLOWED = 1, 2, 4, 5, 6, 9


def attr(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def attrs(data):
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[4:length]
        data = data[length + 3 & ~3:]


def talk(family, command, payload, dump=False):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
    body = struct.pack("=BBH", command, 1, 0) + payload
    s.send(struct.pack("=IHHII", 16 + len(body), family, 0x301 if dump else 5, 1, 0) + body)
    while True:
        data = s.recv(1 << 20)
        while data:
            length, kind, _, _, _ = struct.unpack_from("=IHHII", data)
            if kind == 2 and struct.unpack_from("=i", data, 16)[0]:
                sys.exit("wg.py: error %d" % struct.unpack_from("=i", data, 16)[0])
            if kind in (2, 3):
                return
            yield data[20:length]
            data = data[length + 3 & ~3:]


def family():
    for m in talk(16, 3, attr(2, b"wireguard\0")):
        return struct.unpack("=H", dict(attrs(m))[1])[0]


def name(link):
    return attr(IFNAME, link.encode() + b"\0")


def tell(link, data):
    list(talk(family(), SET, name(link) + data))


def ask(link):
    device, peers = {}, {}
    for m in talk(family(), GET, name(link), True):
        for kind, data in attrs(m):
            if kind != PEERS:
                device[kind] = data
                continue
            for _, peer in attrs(data):
                p = dict(attrs(peer))
                old = peers.setdefault(p[P_PUBLIC], p)
                if old is not p:
                    old[P_ALLOWED] += p[P_ALLOWED]
    return device, peers


def allowed(text):
    net = ipaddress.ip_network(text)
    family = socket.AF_INET if net.version == 4 else socket.AF_INET6
    return attr(NESTED, attr(1, struct.pack("=H", family)) + attr(2, net.network_address.packed) +
                attr(3, bytes([net.prefixlen])))


def add_peer(link, key, preshared, endpoint, keepalive, *nets):
    p = attr(P_PUBLIC, bytes.fromhex(key)) + attr(P_PRESHARED, bytes.fromhex(preshared))
    if endpoint != "-":
        host, port = endpoint.split(":")
        p += attr(P_ENDPOINT, struct.pack("=H", socket.AF_INET) + struct.pack("!H", int(port)) + socket.inet_aton(host) + bytes(8))
    p += attr(P_KEEPALIVE, struct.pack("=H", int(keepalive)))
    p += attr(NESTED | P_ALLOWED, b"".join(map(allowed, nets)))
    tell(link, attr(NESTED | PEERS, attr(NESTED, p)))


def show(link):
    device, peers = ask(link)
    for kind in (PRIVATE, PUBLIC, PORT, FWMARK):
        print(kind, device.get(kind, b"").hex())
    for key in sorted(peers):
        p = peers[key]
        nets = sorted(sorted((k, v.hex()) for k, v in attrs(n)) for _, n in attrs(p[P_ALLOWED]))
        print("peer", key.hex(), [p.get(k, b"").hex() for k in (P_PRESHARED, P_ENDPOINT, P_KEEPALIVE)], nets)


what, *args = sys.argv[1:]
if what == "key":
    print(hashlib.sha256(args[0].encode()).hexdigest())
elif what == "public":
    print(ask(args[0])[0][PUBLIC].hex())
elif what == "set":
    tell(args[0], attr(PRIVATE, bytes.fromhex(args[1])) + attr(PORT, struct.pack("=H", int(args[2]))) +
         attr(FWMARK, struct.pack("=I", int(args[3]))))
elif what == "peer":
    add_peer(*args)
elif what == "show":
    show(args[0])
elif what == "shook":
    s, ns = struct.unpack("=qq", ask(args[0])[1][bytes.fromhex(args[1])][P_SHOOK])
    print(s * 10**9 + ns)
