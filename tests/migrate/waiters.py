#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients of an echo server that has no time to accept them, and takes up to three meanwhile.

usage: waiters.py ADDRESS PORT READY-FILE STOP-FILE

One says nothing, one more than there is room for, one ends what it says. READY-FILE is made when all that is done. When
STOP-FILE is there each says the rest, and must get back all that it has said, and no more.
"""

import os
import socket
import sys
import threading
import time

TEXT = [b"late", bytes(i * 7919 >> 8 & 255 for i in range(3_000_000)), b"that was all"]
failed = []


def begin(address, port, number):
    sock = socket.create_connection((address, port), timeout=30)
    done = 0
    if number == 1:
        sock.setblocking(False)
        idle = 0
        while idle < 5 and done < len(TEXT[1]):
            try:
                done += sock.send(TEXT[1][done:])
                idle = 0
            except BlockingIOError:
                idle += 1
                time.sleep(0.05)
        sock.settimeout(30)
    if number == 2:
        sock.sendall(TEXT[2])
        sock.shutdown(socket.SHUT_WR)
        done = len(TEXT[2])
    return sock, done


def end(sock, done, number):
    def say():
        if number < 2:
            sock.sendall(TEXT[number][done:])
            sock.shutdown(socket.SHUT_WR)

    speaker = threading.Thread(target=say)
    speaker.start()
    got = b""
    try:
        while piece := sock.recv(1 << 20):
            got += piece
    except OSError as error:
        failed.append(f"client {number}: {error}")
    speaker.join()
    if got != TEXT[number]:
        failed.append(f"client {number}: {len(got)} bytes of {len(TEXT[number])} came back, or others")


def main():
    address, port, ready, stop = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    clients = [begin(address, port, number) for number in range(3)]
    time.sleep(0.2)
    os.close(os.open(ready, os.O_WRONLY | os.O_CREAT, 0o600))
    while not os.path.exists(stop):
        time.sleep(0.05)
    enders = [threading.Thread(target=end, args=(*client, number)) for number, client in enumerate(clients)]
    for thread in enders:
        thread.start()
    for thread in enders:
        thread.join()
    if failed:
        sys.exit("; ".join(failed))
    print("all came back")


main()
