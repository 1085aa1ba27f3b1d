# SPDX-License-Identifier: GPL-2.0-or-later
"""What the loads share: they say that they are at work, end when they are told, and know their longest wait."""

import os
import socket
import sys
import time


class Load:
    """Of a command line that begins with READY-FILE STOP-FILE; the rest is in args."""

    def __init__(self):
        self._ready, self._stop, *self.args = sys.argv[1:]
        self._looked, self._over = 0.0, False

    def ready(self):
        open(self._ready, "w").close()

    def over(self):
        """Looks at the file no more often than fifty times a second."""
        now = time.monotonic()
        if not self._over and now - self._looked > 0.02:
            self._looked, self._over = now, os.path.exists(self._stop)
        return self._over


class Longest:
    """The longest of many waits; of one that has not ended when all is over, nothing is lost."""

    def __init__(self):
        self.ms = 0.0

    def note(self, since):
        self.ms = max(self.ms, (time.monotonic() - since) * 1000)

    def __str__(self):
        return f"{self.ms:.1f} ms"


def connect(address, port):
    """The server may be about to start; later on a lost connection is a failure."""
    end = time.monotonic() + 60
    while True:
        try:
            sock = socket.create_connection((address, int(port)), timeout=120)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def receive(sock, size):
    """Exactly so many bytes."""
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(min(size - len(data), 1 << 20))
        if not piece:
            sys.exit("the server closed the connection")
        data += piece
    return bytes(data)
