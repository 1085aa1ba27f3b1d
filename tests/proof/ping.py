#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pings a hundred times a second and says how long no answer came.

usage: ping.py READY-FILE STOP-FILE PING...

PING is the command with its address. An answer that is missing or comes twice is a failure.
"""

import re
import signal
import subprocess
import sys

from load import Load

ANSWER = re.compile(r"^\[([0-9.]+)\] .* icmp_seq=(\d+) .* time=([0-9.]+) ms(.*)$")


def main():
    load = Load()
    ping = subprocess.Popen([*load.args, "-i", "0.01", "-D"], stdout=subprocess.PIPE, text=True)
    seen, last, gap, longest, told = set(), None, 0.0, 0.0, False
    for line in ping.stdout:
        found = ANSWER.match(line)
        if not found:
            continue
        at, number, took = float(found[1]), int(found[2]), float(found[3])
        if number in seen or found[4]:
            sys.exit(f"twice: {line}")
        seen.add(number)
        gap = max(gap, at - last) if last else 0.0
        longest, last = max(longest, took), at
        if len(seen) == 20:
            load.ready()
        if load.over() and not told:
            ping.send_signal(signal.SIGINT)
            told = True
    # The last one may not have been answered yet when it was told to end.
    lost = set(range(1, max(seen))) - seen
    if lost:
        sys.exit(f"of {max(seen)} pings {len(lost)} were not answered: {sorted(lost)[:20]}")
    print(f"{len(seen)} pings, all answered; the longest gap {gap * 1000:.1f} ms, the longest answer {longest} ms")


main()
