#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Types on in a shell at the other end of ssh, and reads what comes of it.

usage: ssh.py READY-FILE STOP-FILE SSH...

SSH is the command that gives a shell on a terminal. Every line asks for a sum of the shell's own count, so
that one that was lost, or typed twice, shows.
"""

import os
import pty
import re
import select
import sys
import time

from load import Load, Longest


class Session:
    def __init__(self, argv):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(argv[0], argv)
        self.seen = b""

    def type(self, text):
        os.write(self.fd, text.encode())

    def wait_for(self, pattern, seconds=120):
        """What the terminal shows up to there, taken off."""
        end = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end():]
                return found
            if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
                sys.exit(f"nothing like {pattern!r} in {self.seen[-500:]!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                sys.exit(f"the session has ended: {self.seen[-500:]!r}")
            self.seen += data


def main():
    load = Load()
    session = Session(load.args)
    session.type("n=0; PS1=; stty -echo; echo set $((1+1))\n")
    session.wait_for(rb"set 2\r\n")
    number, wait = 0, Longest()
    while not load.over():
        number += 1
        before = time.monotonic()
        for character in f"echo line $((n += {number}))\n":
            session.type(character)
        found = session.wait_for(rb"line (\d+)\r\n")
        wait.note(before)
        if int(found[1]) != number * (number + 1) // 2:
            sys.exit(f"line {number}: got {found[1]}")
        if number == 10:
            load.ready()
        time.sleep(0.01)
    session.type("exit\n")
    _, status = os.waitpid(session.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"ssh ended with {os.waitstatus_to_exitcode(status)}")
    print(f"{number} lines typed, the longest wait {wait}")


main()
