#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Many VPSs on one host: what the last costs beside the first, and what all of them hold.

usage: density.py [--count N] [--build DIR] [--output FILE]

Runs in a network namespace of its own; writes a Markdown file.
"""

import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

from own_host import options, own_host, table, tag_of, tell

HERE = pathlib.Path(__file__).resolve().parent


def ms(ns):
    return f"{ns / 1e6:.1f}"


def meminfo():
    with open("/proc/meminfo", encoding="utf-8") as info:
        return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in info}


def kernel_held(info):
    return sum(info[key] for key in ("Slab", "KernelStack", "PageTables", "Percpu"))


def processes_of(root, tag):
    """(Pss, fds) by program of all that runs for the state root."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        base = f"/proc/{pid}"
        try:
            with open(base + "/cgroup", encoding="utf-8") as groups:
                inside = f"/{tag}/" in groups.read()
            with open(base + "/comm", encoding="utf-8") as comm:
                name = comm.read().strip()
            with open(base + "/cmdline", "rb") as line:
                ours = str(root).encode() in line.read() and name.startswith("vps")
            with open(base + "/environ", "rb") as environ:
                ours |= name in ("vpsd", "vps-monitor") and str(root).encode() in environ.read()
            if not inside and not ours:
                continue
            with open(base + "/smaps_rollup", encoding="utf-8") as rollup:
                pss = sum(int(l.split()[1]) * 1024 for l in rollup if l.startswith("Pss:"))
            count, memory, fds = found.get(name, (0, 0, 0))
            found[name] = (count + 1, memory + pss, fds + len(os.listdir(base + "/fd")))
        except OSError:
            continue
    return found


def daemon_cpu(root):
    """Nanoseconds on a CPU of the vpsd of a state root."""
    pid = subprocess.run([HERE.parent / "tests/pids", root, "vpsd"], check=True, text=True,
                         capture_output=True).stdout.strip()
    with open(f"/proc/{pid}/schedstat", encoding="utf-8") as stat:
        return int(stat.read().split()[0])


def list_times(host, rounds=40):
    """Wall times, and the CPU time of client and daemon in one of them: other work on the machine
    does not add to that."""
    def spent():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (usage.ru_utime + usage.ru_stime) * 1e9

    daemon = daemon_cpu(host.root)
    before = spent()
    times = [host.timed("list") for _ in range(rounds)]
    used = spent() - before
    return times, (used + daemon_cpu(host.root) - daemon) / rounds


def measure(host, count):
    found = {"load": os.getloadavg()[0], "create": [], "start": [], "stop": [], "destroy": []}
    names = [f"d{i:03}" for i in range(count)]
    host("create", "warm")  # the template is imported and the daemon is up
    host("start", "warm")
    host("destroy", "--force", "warm")
    before = meminfo()
    for name in names:
        found["create"].append(host.timed("create", name))
    for name in names:
        found["start"].append(host.timed("start", name))
        if len(found["start"]) % 50 == 0:
            print(f"{len(found['start'])} up", file=sys.stderr)
    up = [v for v in json.loads(host("list", "--json")) if v["state"] == "running"]
    if len(up) != count:
        sys.exit(f"density.py: {len(up)} of {count} run")
    time.sleep(2)
    after = meminfo()
    found["kernel"] = kernel_held(after) - kernel_held(before)
    found["lost"] = before["MemAvailable"] - after["MemAvailable"]
    found["processes"] = processes_of(host.root, tag_of(host.root))
    found["list up"] = list_times(host)
    found["exec"] = [host.timed("exec", names[-1], "--", "true") for _ in range(20)]
    for name in names:
        found["stop"].append(host.timed("stop", "--force", name))
    found["list down"] = list_times(host)
    for name in names:
        found["destroy"].append(host.timed("destroy", name))
    found["list none"] = list_times(host)
    host("daemon", "stop")
    found["left"] = subprocess.run([HERE.parent / "tests/left", host.root], text=True,
                                   capture_output=True).stdout.splitlines()
    return found


def report(found, count):
    part = max(1, count // 15)
    rows = []
    for verb in ("create", "start", "stop", "destroy"):
        times = found[verb]
        first, last = statistics.median(times[:part]), statistics.median(times[-part:])
        rows.append([verb, ms(first), ms(last), f"{last / first:.2f}", ms(statistics.median(times)),
                     ms(max(times))])
    text = [f"## {count} busybox VPSs, one after another\n",
            f"Linux {os.uname().release.split('-')[0]}, {os.cpu_count()} CPUs. Milliseconds from the start of the "
            f"client to its end; first and last are medians of {part}. Load at the start: "
            f"{found['load']:.1f}.\n",
            table(["", "first", "last", "ratio", "median", "maximum"], rows)]
    rows = [[what, ms(min(times)), ms(statistics.median(times)), cpu] for what, times, cpu in
            [(what, found[key][0], ms(found[key][1])) for what, key in
             (("`vps list`, all up", "list up"), ("`vps list`, all stopped", "list down"),
              ("`vps list`, none", "list none"))]
            + [("`vps exec` of `true`, all up", found["exec"], "-")]]
    text.append(table(["", "minimum", "median", "CPU time, client and vpsd"], rows))
    own = sum(memory for _, memory, _ in found["processes"].values())
    rows = [["kernel (slab, stacks, page tables, per-CPU)", f"{found['kernel'] / count / 1024:.0f}"]]
    for name, (number, memory, fds) in sorted(found["processes"].items()):
        rows.append([f"{name} ({number}, {fds} fds in all)", f"{memory / count / 1024:.0f}"])
    rows.append(["sum", f"{(found['kernel'] + own) / count / 1024:.0f}"])
    rows.append(["MemAvailable lost (other work moves it as well)",
                 f"{found['lost'] / count / 1024:.0f}"])
    text.append("Host memory, KiB a VPS; processes by proportional set size.\n")
    text.append(table(["", "KiB"], rows))
    text.append("Left behind after the last: "
                + (", ".join(found["left"]) if found["left"] else "nothing") + ".\n")
    return "\n".join(text)


def main():
    parser = options("density", __doc__)
    parser.add_argument("--count", type=int, default=300)
    args = parser.parse_args()
    try:
        with own_host("density", args.build) as host:
            text = report(measure(host, args.count), args.count)
    except subprocess.CalledProcessError as failed:
        sys.exit(f"density.py: {failed.stderr}")
    tell("density", args.output, text)


if __name__ == "__main__":
    main()
