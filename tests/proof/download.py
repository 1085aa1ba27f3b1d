#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fetches a file over HTTP so slowly that all moves are in it, and says what it got.

usage: download.py READY-FILE STOP-FILE ADDRESS PATH SHA256

Until it is told to end it takes a piece every few milliseconds, and of the last tenth one every five seconds: a server ends
a connection by which nobody takes anything for a minute. Then the rest. The length and the checksum must be right.
"""

import hashlib
import http.client
import sys
import time

from load import Load, Longest

PIECE = 256 << 10


def pause(load, seconds):
    end = time.monotonic() + seconds
    while not load.over() and time.monotonic() < end:
        time.sleep(0.005)


def main():
    load = Load()
    address, path, digest = load.args
    http_connection = http.client.HTTPConnection(address, timeout=120)
    http_connection.request("GET", path)
    answer = http_connection.getresponse()
    size = int(answer.headers["Content-Length"])
    got, wait, sha256 = 0, Longest(), hashlib.sha256()
    load.ready()
    while got < size:
        before = time.monotonic()
        piece = answer.read(PIECE)
        if not piece:
            sys.exit(f"the connection ended after {got} of {size} bytes")
        wait.note(before)
        got += len(piece)
        sha256.update(piece)
        pause(load, 5 if got > size * 9 // 10 else 0.005)
    if sha256.hexdigest() != digest:
        sys.exit("the checksum is wrong")
    print(f"{size >> 20} MiB in one piece, the longest wait {wait}")


main()
