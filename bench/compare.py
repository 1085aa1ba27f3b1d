#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets two builds beside each other on a machine that does other things as well.

usage: compare.py [--rounds N] [--only NAME,...] OLD-BUILD NEW-BUILD

Everything measured is of the real-time class: clients, vpsd, the monitors and, where control groups are
asked for that (cpu.rt_runtime_us of v1), what runs inside. So other work takes no processor from it, and medians
of 30 rounds lie within some percent of each other at a load of 20. Rounds of the two builds alternate.
"""

import argparse
import contextlib
import ctypes
import multiprocessing
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench import Tools, children_of, program_of, run, wait_for  # noqa: E402

CPU = pathlib.Path("/sys/fs/cgroup/cpu")
IN_CREATE = 0x100


def real_time(pid, priority=10):
    with contextlib.suppress(ProcessLookupError):
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(priority))


def is_program(pid, name):
    try:
        return program_of(pid) == name
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has ended


def tag_of(root):
    """What the groups of a state root are called (base/hostroot.c)."""
    value = 2166136261
    for byte in os.fsencode(os.path.realpath(root)):
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return f"vps-{value:08x}"


def allow(group, microseconds):
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(f"{group}/cpu.rt_runtime_us", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(microseconds).encode())
        finally:
            os.close(fd)


class RealTimeTools(Tools):
    def argv(self, command):
        return ["chrt", "-f", "10", *super().argv(command)]


class Groups(multiprocessing.Process):
    """Lets each new group below one run real-time processes, before the first of them is there."""

    def __init__(self, group):
        super().__init__(daemon=True)
        self.group, self.ready = group, multiprocessing.Event()
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_CLOEXEC)
        libc.inotify_add_watch(self.fd, os.fsencode(group), IN_CREATE)

    def run(self):
        real_time(0, 30)
        allow(self.group / "keep", 40000)  # what has run once is quick
        self.ready.set()
        while True:
            data, at = os.read(self.fd, 8192), 0
            while at < len(data):
                length = struct.unpack_from("iIII", data, at)[3]
                name = data[at + 16:at + 16 + length].rstrip(b"\0").decode()
                with contextlib.suppress(OSError):
                    allow(f"{self.group}/{name}", 40000)
                at += 16 + length


class Build:
    """A state root with vpsd of one build."""

    def __init__(self, tools, work, build):
        self.tools, self.vps, self.host = tools, build / "vps", work / "host"
        for name, init in (("bench", "/tiny_init"), ("busybox-bench", "/sbin/init")):
            self.call("template", "import", "--init", init, name, tools.tree(work / name))
        self.vpsd = next(int(entry.name) for entry in pathlib.Path("/proc").glob("[0-9]*")
                         if is_program(entry.name, "vpsd")
                         and str(self.host) in (entry / "cmdline").read_text())
        for name in ("keep", "b0"):  # the first stays, and so does the group above
            self.call("create", "--template", "bench", name)
        self.call("start", "keep")
        group = CPU / tag_of(self.host)
        if (group / "cpu.rt_runtime_us").exists():
            allow(group, 300000)
            groups = Groups(group)
            groups.start()
            groups.ready.wait()
        self.stamp = self.host / "lib/vps/b0/root/upper/stamp"

    def call(self, *argv):
        return run(self.vps, "--root", self.host, *argv)

    def timed(self, *argv):
        """Milliseconds, and when it was spawned; all that waits for it has precedence by then."""
        wait_for("the spare monitor",
                 lambda: any(is_program(pid, "vps-spare") for pid in children_of(self.vpsd)))
        for pid in [self.vpsd, *children_of(self.vpsd)]:
            real_time(pid)
        spawned, ended = self.tools.timed([self.vps, "--root", self.host, *argv])
        return (ended - spawned) / 1e6, spawned

    def start(self):
        self.stamp.unlink(missing_ok=True)
        _, spawned = self.timed("start", "b0")
        first = wait_for("init", lambda: self.stamp.exists() and self.stamp.read_text().strip())
        self.call("stop", "--force", "b0")
        return (int(first) - spawned) / 1e6

    def exec(self):
        return self.timed("exec", "keep", "--", "true")[0]

    def run(self):
        return self.timed("run", "--rm", "--template", "busybox-bench", "--", "true")[0]

    def stop(self):
        self.call("start", "b0")
        return self.timed("stop", "--force", "b0")[0]

    def close(self):
        for name in ("b0", "keep"):
            with contextlib.suppress(Exception):
                self.call("destroy", "--force", name)
        self.call("daemon", "stop")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=30)
    options.add_argument("--only", default="start,exec,run,stop")
    options.add_argument("builds", type=pathlib.Path, nargs=2)
    args = options.parse_args()
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vps-compare-")))
        work.chmod(0o755)
        tools, builds = RealTimeTools(work), []
        for number, path in enumerate(args.builds):
            place = work / str(number)
            place.mkdir(mode=0o755)
            builds.append(Build(tools, place, path.resolve()))
            stack.callback(builds[-1].close)
        print("|  | old: median | least | new: median | least | ratio |\n| --- | ---: | ---: | ---: | ---: | ---: |")
        for what in args.only.split(","):
            found = [[], []]
            for turn in range(args.rounds + 2):
                for values, build in zip(found, builds):
                    values.append(getattr(build, what)())
            old, new = (statistics.median(values[2:]) for values in found)
            print(f"| `{what}` | {old:.2f} | {min(found[0]):.2f} | {new:.2f} | {min(found[1]):.2f} | {new / old:.2f} |",
                  flush=True)


if __name__ == "__main__":
    main()
