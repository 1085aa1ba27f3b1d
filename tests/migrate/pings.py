#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks a hundred times a second for an echo (ICMP), which the kernel of who is asked answers: each must come, once.

usage: pings.py ADDRESS READY-FILE STOP-FILE

READY-FILE is made after the tenth answer. When STOP-FILE is there the last answers are waited for. Prints how many there
were and the longest wait in milliseconds.
"""

import os
import socket
import struct
import sys
import time

IDENT = os.getpid() & 0xffff


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff


def ask(s, address, number):
    head = struct.pack("!BBHHH", 8, 0, 0, IDENT, number)
    s.sendto(struct.pack("!BBHHH", 8, 0, checksum(head), IDENT, number), (address, 0))


def main():
    address, ready, stop = sys.argv[1:]
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    asked, answered, longest, end = {}, set(), 0.0, None
    while end is None or (len(answered) < len(asked) and time.monotonic() < end):
        if end is None:
            asked[len(asked)] = time.monotonic()
            ask(s, address, len(asked) - 1)
        s.settimeout(0.01)
        try:
            while True:
                kind, _, _, ident, number = struct.unpack("!BBHHH", s.recv(2048)[20:28])
                if kind != 0 or ident != IDENT:
                    continue
                if number in answered:
                    sys.exit(f"number {number} was answered twice")
                answered.add(number)
                longest = max(longest, time.monotonic() - asked[number])
        except socket.timeout:
            pass
        if len(answered) == 10:
            open(ready, "w", encoding="utf-8").close()
        if end is None and os.path.exists(stop):
            end = time.monotonic() + 20
    missing = sorted(set(asked) - answered)
    print(f"{len(answered)} answers, the longest wait {longest * 1000:.0f} ms")
    if missing:
        sys.exit(f"{len(missing)} without an answer: {missing[:10]}")


if __name__ == "__main__":
    main()
