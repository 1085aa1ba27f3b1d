#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of an echo server that writes on, whether it is answered or not.

usage: flow.py ADDRESS PORT READY-FILE STOP-FILE

Sends a numbered line each millisecond over one TCP connection until STOP-FILE is there, and then waits for the
last to come back. READY-FILE is made after the tenth has. Prints the number of lines. A line that is lost, doubled
or wrong, or a connection that ends, is a failure.
"""

import os
import socket
import sys
import threading
import time


def read_back(lines, ready, heard):
    for number, line in enumerate(lines):
        if line != f"{number}\n":
            break
        heard[0] = number + 1
        if number == 10:
            open(ready, "w").close()


def main():
    address, port, ready, stop = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    sock = socket.create_connection((address, port), timeout=30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    heard = [0]
    reader = threading.Thread(target=read_back, args=(sock.makefile("r", newline="\n"), ready, heard))
    reader.start()
    number = 0
    while not os.path.exists(stop):
        sock.sendall(f"{number}\n".encode())
        number += 1
        time.sleep(0.001)
    sock.shutdown(socket.SHUT_WR)
    reader.join()
    if heard[0] != number:
        sys.exit(f"{heard[0]} of {number} lines came back")
    print(number)


main()
