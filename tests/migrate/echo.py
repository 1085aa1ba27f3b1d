#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of an echo server that must not notice anything but a pause.

usage: echo.py ADDRESS PORT READY-FILE STOP-FILE

Sends numbered lines over one TCP connection and waits for each to come back, until STOP-FILE is there.
READY-FILE is made after the tenth, and holds how many have come back since.
Prints the number of lines and the longest wait in milliseconds. A line that is lost, doubled or wrong,
or a connection that ends, is a failure.
"""

import os
import socket
import sys
import time


def connect(address, port):
    """It may be about to start."""
    end = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection((address, port), timeout=20)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def main():
    address, port, ready, stop = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    sock = connect(address, port)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = sock.makefile("rw", newline="\n")
    number, longest, progress = 0, 0.0, -1
    while not os.path.exists(stop):
        before = time.monotonic()
        lines.write(f"{number}\n")
        lines.flush()
        answer = lines.readline()
        waited = time.monotonic() - before
        if answer != f"{number}\n":
            sys.exit(f"line {number}: got {answer!r}")
        longest = max(longest, waited)
        number += 1
        if number == 10:
            progress = os.open(ready, os.O_WRONLY | os.O_CREAT, 0o600)
        if number >= 10:
            os.pwrite(progress, b"%d" % number, 0)
        time.sleep(0.002)
    print(number, f"{longest * 1000:.1f}")


main()
