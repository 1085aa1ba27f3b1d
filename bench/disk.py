#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The disk inside a VPS beside the same file system outside.

usage: disk.py [--pairs N] [--build DIR] [--output FILE]

Two processes, one in a VPS and one on the host, but in the control groups of the VPS, do the same short piece of work in turn (disk.c), host
first in one pair and VPS first in the next. A disk and a machine with other work change from one second to
the next, by more than what is looked for; the two halves of a pair meet the same, and the median of the
ratios does not mind the pairs in which something came between. Between which ratios the true median
lies with 95 % certainty is told by the order of the pairs (the sign test), whatever their distribution.
"""

import json
import math
import os
import pathlib
import statistics
import subprocess
import sys

from own_host import options, own_host, table, tell

HERE = pathlib.Path(__file__).resolve().parent
KINDS = {
    "write": "sequential write, 1 MiB through the page cache, synced each 16 MiB",
    "read": "sequential read, 1 MiB through the page cache",
    "randwrite": "random write, 4 KiB direct",
    "randread": "random read, 4 KiB direct",
}


class Worker:
    """One of the two; it waits until it is told to do a piece."""

    def __init__(self, argv, env=None):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=env)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"disk.py: {self.process.args[0]} ended")
        return line.strip()

    def piece(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.answer())

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


def join_groups(pid, of_pid):
    """Puts a process into the control groups of another: what the machine gives them is the same then."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        trees = [line.split()[1:4] for line in mounts if line.split()[2].startswith("cgroup")]
    with open(f"/proc/{of_pid}/cgroup", encoding="utf-8") as groups:
        for line in groups.read().splitlines():
            _, controllers, path = line.split(":", 2)
            first = controllers.split(",")[0]
            for place, kind, options in trees:
                if kind == ("cgroup" if first else "cgroup2") and (not first or first in options.split(",")):
                    pathlib.Path(place + path, "cgroup.procs").write_text(str(pid), encoding="utf-8")


def bounds(ratios):
    """The ratios between which the median lies, in 95 of 100 cases."""
    n, k, tail = len(ratios), 0, 0.0
    while True:
        tail += math.comb(n, k) / 2 ** n
        if tail > 0.025:
            break
        k += 1
    ordered = sorted(ratios)
    return ordered[max(k - 1, 0)], ordered[min(n - k, n - 1)]


def pairs_of(host, vps, count):
    """(ns on the host, ns in the VPS); the first two warm up."""
    found = []
    for i in range(count + 2):
        one, two = (host, vps) if i % 2 else (vps, host)
        first, second = one.piece(), two.piece()
        found.append((first, second) if i % 2 else (second, first))
    return found[2:]


def measure(host, work, count):
    """Rows of a table, one for each kind; 1 is the host's speed."""
    program = work / "disk"
    subprocess.run(["cc", "-O2", "-static", "-o", program, HERE / "disk.c"], check=True)
    host("create", "disk")
    host("start", "disk")
    host("push", "disk", str(program), "/")
    init = json.loads(host("status", "--json", "disk"))["pid"]
    rows = []
    for kind, what in KINDS.items():
        outside = Worker([program, kind, work / "file"])
        join_groups(outside.process.pid, init)
        inside = Worker([host.vps, "exec", "disk", "--", "/disk", kind, "/file"], env=host.environ)
        pairs = pairs_of(outside, inside, count)
        outside.close()
        inside.close()
        ratios = [h / v for h, v in pairs]
        low, high = bounds(ratios)
        median = [statistics.median(p[i] for p in pairs) / 1e6 for i in (0, 1)]
        rows.append((what, f"{median[0]:.2f} ms", f"{median[1]:.2f} ms",
                     f"{statistics.median(ratios):.3f}", f"{low:.3f} to {high:.3f}"))
    host("destroy", "--force", "disk")
    return rows


def main():
    parser = options("disk", __doc__)
    parser.add_argument("--pairs", type=int, default=100)
    args = parser.parse_args()
    with own_host("disk", args.build) as host:
        try:
            rows = measure(host, host.root, args.pairs)
        finally:
            host("daemon", "stop", check=False)
    kernel = os.uname().release.split("-")[0]
    tell("disk", args.output, "\n".join([
        "## The disk inside beside the file system outside\n",
        f"Linux {kernel}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; {args.pairs} "
        "pairs, host and VPS in turn; medians of a piece of work, and of the ratios of the pairs, with the "
        "bounds in which it lies (95 %). 1 is the host's speed.\n",
        table(["", "host", "VPS", "ratio", "between"], rows)]))


if __name__ == "__main__":
    main()
