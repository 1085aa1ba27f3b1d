#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures vps beside runc, lxc, systemd-nspawn and bubblewrap, in one run, on one root tree.

usage: bench.py [--rounds N] [--servers N] [--build DIR] [--only NAME,...] [--output FILE]

Writes a Markdown file. Each round measures every runtime once, so that what else the machine does
meets all of them alike; medians and minima are given, and the ratio of the medians to vps'.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
BUDGET = {"start": 6.0, "exec": 3.0}  # milliseconds, for vps
APPLETS = ("sh", "true", "init", "sleep", "ls", "cat", "mount", "hostname")


class Unable(Exception):
    """This runtime cannot do that here; the text says why."""


def run(*argv, **options):
    """A command that has to succeed; its output."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, **options)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Unable(f"{os.path.basename(argv[0])}: "
                     + (lines[-1] if lines else f"exit status {done.returncode}"))
    return done.stdout


def wait_for(what, check, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(0.0005)
    raise Unable(f"{what} did not come within {seconds} s")


class Tools:
    """The two small programs and the root tree."""

    def __init__(self, work):
        self.work = work
        self.init = work / "tiny_init"
        self.spawn = work / "spawn"
        run("cc", "-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector",
            "-fno-pie", "-no-pie", "-o", self.init, HERE / "tiny_init.c")
        run("cc", "-O2", "-o", self.spawn, HERE / "spawn.c")

    def tree(self, path):
        busybox = shutil.which("busybox")
        if not busybox:
            raise Unable("busybox is missing: apt install busybox-static")
        for name in ("bin", "sbin", "usr", "etc", "proc", "sys", "dev", "tmp", "run", "root", "var"):
            (path / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(busybox, path / "bin/busybox")
        for name in APPLETS:
            (path / "bin" / name).symlink_to("/bin/busybox")
        (path / "sbin/init").symlink_to("/bin/busybox")
        shutil.copy(self.init, path / "tiny_init")
        (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (path / "etc/group").write_text("root:x:0:\n")
        (path / "etc/os-release").write_text("ID=bench\n")
        (path / "etc/inittab").write_text("::sysinit:/bin/true\n")
        return path

    def argv(self, command):
        return [str(self.spawn), "3", *map(str, command)]

    def timed(self, command):
        """Runs it; (spawned, ended) in ns."""
        read, write = os.pipe()
        try:
            child = self.background(command, write)
            os.close(write)
            write = -1
            _, errors = child.communicate(timeout=60)
            text = os.read(read, 100).decode().split()
        finally:
            os.close(read)
            if write >= 0:
                os.close(write)
        if len(text) != 3 or text[2] != "0":
            lines = errors.decode(errors="replace").strip().splitlines()
            raise Unable(f"{os.path.basename(str(command[0]))}: "
                         + (lines[-1] if lines else f"exit status {text[2] if text else '?'}"))
        return int(text[0]), int(text[1])

    def background(self, command, write):
        # Standard error is a file: a runtime that goes to the background keeps it open.
        log = open(self.work / "stderr", "w+b")

        def at_fd_3():
            os.dup2(write, 3)

        child = subprocess.Popen(self.argv(command), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=log, pass_fds=(3,),
                                 preexec_fn=at_fd_3)
        communicate = child.wait

        def done(timeout):
            communicate(timeout=timeout)
            log.seek(0)
            return None, log.read()

        child.communicate = done
        return child


def parent_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        return int(stat.read().rsplit(")", 1)[1].split()[1])


def program_of(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8") as comm:
        return comm.read().strip()


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as children:
        return [int(child) for child in children.read().split()]


def pss(pid):
    """Bytes: private memory, and the process' share of what others map too."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as rollup:
        for line in rollup:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def meminfo():
    with open("/proc/meminfo", encoding="utf-8") as info:
        return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in info}


class Runtime:
    """One way to run things. `start` begins instance `i` and returns when it was spawned, in ns;
    what cannot be done raises Unable."""

    name = ""
    package = ""
    note = ""
    holders = ()  # names of the processes that stay for a running instance

    def __init__(self, tools, work):
        self.tools, self.work = tools, work
        self.root = None

    def prepare(self):
        self.root = self.tools.tree(self.work / "root")

    def close(self):
        pass

    def version(self):
        return ""

    def stamp(self, _i):
        return self.root / "stamp"

    def start(self, i, init):
        raise NotImplementedError

    def stop(self, i):
        raise NotImplementedError

    def init_pid(self, i):
        raise NotImplementedError

    def exec_true(self, i):
        raise Unable("has no such verb")

    def run_true(self, i):
        raise NotImplementedError

    def programs(self):
        return []


class Foreground(Runtime):
    """Runtimes that stay in the foreground; they are spawned and left."""

    def __init__(self, tools, work):
        super().__init__(tools, work)
        self.running = {}

    def command(self, i, argv):
        raise NotImplementedError

    def start(self, i, init):
        read, write = os.pipe()
        spawned = time.time_ns()
        child = self.tools.background(self.command(i, [init] if init != "init" else ["/sbin/init"]),
                                      write)
        os.close(write)
        self.running[i] = (child, read)
        self.spawned = spawned
        return None

    def spawned_at(self, i):
        """Known only when it has ended: the spawner writes its line then."""
        child, read = self.running.pop(i)
        child.communicate(timeout=20)
        text = os.read(read, 100).decode().split()
        os.close(read)
        if not text:
            raise Unable("the spawner said nothing")
        return int(text[0])

    def first_child(self, i):
        return next(iter(children_of(self.running[i][0].pid)), None)

    def init_pid(self, i):
        def deepest():
            pid = self.first_child(i)
            while pid and program_of(pid) not in ("tiny_init", "init", "busybox"):
                pid = next(iter(children_of(pid)), None)
            return pid
        return wait_for("init", deepest)

    def stop(self, i):
        if i not in self.running:
            return
        with contextlib.suppress(Exception):
            os.kill(self.init_pid(i), signal.SIGKILL)

    def run_true(self, i):
        return self.tools.timed(self.command(i, ["/bin/true"]))


class Vps(Runtime):
    name = "vps"
    note = "user namespace, cgroups, overlay root, seccomp, monitor"
    holders = ("vps-monitor",)

    def __init__(self, tools, work, build):
        super().__init__(tools, work)
        self.build, self.vps = build, build / "vps"
        self.host = work / "host"

    def call(self, *argv):
        return run(self.vps, "--root", self.host, *argv)

    def prepare(self):
        if not self.vps.exists():
            raise Unable(f"{self.vps} is not built")
        for name, init in (("bench", "/tiny_init"), ("busybox-bench", "/sbin/init")):
            tree = self.tools.tree(self.work / name)
            self.call("template", "import", "--init", init, name, tree)
        self.made = {}

    def close(self):
        for i in list(getattr(self, "made", {})):
            with contextlib.suppress(Exception):
                self.call("destroy", "--force", f"b{i}")
        with contextlib.suppress(Exception):
            self.call("daemon", "stop")

    def version(self):
        return run(self.vps, "--version").strip()

    def stamp(self, i):
        return self.host / f"lib/vps/b{i}/root/upper/stamp"

    def start(self, i, init):
        template = "busybox-bench" if init == "init" else "bench"
        if self.made.get(i) != template:
            if i in self.made:
                self.call("destroy", "--force", f"b{i}")
            self.call("create", "--template", template, f"b{i}")
            self.made[i] = template
        return self.tools.timed([self.vps, "--root", self.host, "start", f"b{i}"])

    def stop(self, i):
        if i in self.made:
            self.call("stop", "--force", f"b{i}")

    def init_pid(self, i):
        return json.loads(self.call("status", "--json", f"b{i}"))["pid"]

    def exec_true(self, i):
        return self.tools.timed([self.vps, "--root", self.host, "exec", f"b{i}", "--", "true"])

    def run_true(self, i):
        return self.tools.timed([self.vps, "--root", self.host, "run", "--rm", "--template",
                                 "busybox-bench", "--", "true"])

    def programs(self):
        return [self.build / name for name in
                ("vps", "vpsd", "vps-monitor", "vps-worker", "vps-packer", "vps-init")]


class Runc(Runtime):
    name = "runc"
    package = "runc"
    note = "its default spec: no user namespace, cgroups, plain directory, no monitor"

    def __init__(self, tools, work, program="runc"):
        super().__init__(tools, work)
        self.program = self.name = program
        self.state = work / "state"

    def prepare(self):
        super().prepare()
        self.spec = self.work / "bundle"
        self.spec.mkdir()
        run(self.program, "spec", "-b", self.spec)

    def bundle(self, i, argv):
        path = self.work / f"bundle{i}"
        path.mkdir(exist_ok=True)
        spec = json.loads((self.spec / "config.json").read_text())
        spec["process"].update(terminal=False, args=argv)
        spec["root"] = {"path": str(self.root), "readonly": False}
        (path / "config.json").write_text(json.dumps(spec))
        return path

    def command(self, *argv):
        return [self.program, "--root", str(self.state), *map(str, argv)]

    def version(self):
        return run(self.program, "--version").splitlines()[0]

    def start(self, i, init):
        bundle = self.bundle(i, ["/sbin/init"] if init == "init" else [init])
        return self.tools.timed(self.command("run", "-d", "-b", bundle, f"bench{i}"))

    def stop(self, i):
        run(*self.command("delete", "-f", f"bench{i}"))

    def init_pid(self, i):
        return json.loads(run(*self.command("state", f"bench{i}")))["pid"]

    def exec_true(self, i):
        return self.tools.timed(self.command("exec", f"bench{i}", "/bin/true"))

    def run_true(self, i):
        bundle = self.bundle(f"run{i}", ["/bin/true"])
        return self.tools.timed(self.command("run", "-b", bundle, f"benchrun{i}"))

    def programs(self):
        return [pathlib.Path(shutil.which(self.program))]


class Lxc(Runtime):
    name = "lxc"
    package = "lxc"
    note = "no user namespace, cgroups, plain directory, monitor"
    holders = ("lxc-start", "[lxc monitor]")

    def prepare(self):
        super().prepare()
        self.path = self.work / "lxc"
        self.path.mkdir()

    def config(self, i, init):
        config = self.work / f"lxc{i}.conf"
        config.write_text(f"lxc.rootfs.path = dir:{self.root}\nlxc.uts.name = bench\n"
                          f"lxc.net.0.type = empty\nlxc.mount.auto = proc sys\n"
                          f"lxc.init.cmd = {init}\n")
        return config

    def version(self):
        return "lxc " + run("lxc-start", "--version").strip()

    def start(self, i, init):
        config = self.config(i, "/sbin/init" if init == "init" else init)
        return self.tools.timed(["lxc-start", "-P", self.path, "-n", f"bench{i}", "-f", config,
                                 "-d"])

    def stop(self, i):
        run("lxc-stop", "-k", "-P", self.path, "-n", f"bench{i}")
        run("lxc-wait", "-P", self.path, "-n", f"bench{i}", "-s", "STOPPED", "-t", "20")

    def init_pid(self, i):
        return int(run("lxc-info", "-P", self.path, "-n", f"bench{i}", "-pH"))

    def exec_true(self, i):
        return self.tools.timed(["lxc-attach", "-P", self.path, "-n", f"bench{i}", "--",
                                 "/bin/true"])

    def run_true(self, i):
        config = self.config(i, "/bin/true")
        return self.tools.timed(["lxc-start", "-F", "-P", self.path, "-n", f"benchrun{i}", "-f",
                                 config])

    def programs(self):
        library = next(pathlib.Path("/usr/lib").glob("*/liblxc.so.1"), None)
        found = [pathlib.Path(shutil.which("lxc-start")), pathlib.Path(shutil.which("lxc-attach"))]
        return found + ([library.resolve()] if library else [])


class Nspawn(Foreground):
    name = "systemd-nspawn"
    package = "systemd-container"
    note = "no user namespace, not registered, in the caller's cgroup"
    holders = ("systemd-nspawn",)

    def command(self, i, argv):
        # Two at once on one tree are refused; --volatile or a copy would change what is measured.
        tree = self.root if i == 0 else self.work / f"root{i}"
        if not tree.exists():
            self.tools.tree(tree)
        return ["systemd-nspawn", "-q", "-D", tree, "-M", f"bench{i}", "--register=no",
                "--keep-unit", "--private-network", "--resolv-conf=off", "--timezone=off",
                "--link-journal=no", *argv]

    def stamp(self, i):
        return (self.root if i == 0 else self.work / f"root{i}") / "stamp"

    def version(self):
        return run("systemd-nspawn", "--version").splitlines()[0]

    def exec_true(self, _i):
        raise Unable("no verb for it without systemd inside")

    def programs(self):
        shared = next(pathlib.Path("/usr/lib").glob("*/systemd/libsystemd-shared-*.so"), None)
        return [pathlib.Path(shutil.which("systemd-nspawn"))] + ([shared] if shared else [])


class Bubblewrap(Foreground):
    name = "bubblewrap"
    package = "bubblewrap"
    note = "no cgroup, no user namespace when root calls it, plain directory"
    holders = ("bwrap",)

    def command(self, _i, argv):
        return ["bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net",
                "--unshare-cgroup-try", "--as-pid-1", "--bind", self.root, "/", "--proc", "/proc",
                "--dev", "/dev", *argv]

    def version(self):
        return run("bwrap", "--version").strip()

    def exec_true(self, _i):
        raise Unable("has no such verb")

    def programs(self):
        return [pathlib.Path(shutil.which("bwrap"))]


def stamped(path):
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return int(text) if text.endswith("\n") else None


def measure_start(runtime, i=0):
    """Milliseconds from the spawn of the command to init's first instruction."""
    stamp = runtime.stamp(i)
    stamp.unlink(missing_ok=True)
    times = runtime.start(i, "/tiny_init")
    try:
        first = wait_for("init's first instruction", lambda: stamped(stamp))
    finally:
        runtime.stop(i)
    spawned = times[0] if times else runtime.spawned_at(i)
    if first < spawned:
        raise Unable("init's clock is not the host's")
    return (first - spawned) / 1e6


def measure_exec(runtime, i=0):
    spawned, ended = runtime.exec_true(i)
    return (ended - spawned) / 1e6


def measure_run(runtime, i=0):
    spawned, ended = runtime.run_true(i)
    return (ended - spawned) / 1e6


KERNEL = ("Slab", "KernelStack", "PageTables", "SecPageTables", "Percpu")


def settled():
    """(kernel memory, memory available), the medians of some readings."""
    readings = []
    for _ in range(7):
        info = meminfo()
        readings.append((sum(info.get(key, 0) for key in KERNEL), info["MemAvailable"]))
        time.sleep(0.05)
    return [statistics.median(column) for column in zip(*readings)]


def measure_memory(runtime, servers):
    """What a running busybox server costs the host, in bytes: kernel, processes, and, as a check,
    what MemAvailable lost."""
    first = 100
    runtime.start(first, "init")  # what is loaded once is not counted
    runtime.init_pid(first)
    started, mine = [], 0
    before = settled()
    try:
        for i in range(first + 1, first + 1 + servers):
            runtime.start(i, "init")
            started.append(i)
        pids = [runtime.init_pid(i) for i in started]
        after = settled()
        for pid in pids:
            mine += pss(pid)
            holder = parent_of(pid)
            if runtime.holders and program_of(holder).startswith(runtime.holders):
                mine += pss(holder)
    finally:
        for i in [first] + started:
            with contextlib.suppress(Unable):
                runtime.stop(i)
    return ((after[0] - before[0]) / servers, mine / servers, (before[1] - after[1]) / servers)


def series(runtimes, rounds, what, measure, failures):
    """{runtime: [milliseconds]}; a runtime that fails once is left out, with the reason."""
    found = {runtime: [] for runtime in runtimes}
    for turn in range(rounds + 2):
        for runtime in runtimes:
            if (runtime.name, what) in failures:
                continue
            try:
                value = measure(runtime)
            except Unable as reason:
                failures[runtime.name, what] = str(reason)
                continue
            if turn >= 2:  # the first two warm the caches
                found[runtime].append(value)
        print(f"\r{what} {turn + 1}/{rounds + 2}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {runtime: values for runtime, values in found.items()
            if values and (runtime.name, what) not in failures}


def size_of(path):
    """Bytes without symbols, as a package would ship it."""
    with tempfile.NamedTemporaryFile() as copy:
        if subprocess.run(["strip", "-o", copy.name, path], capture_output=True).returncode:
            return path.stat().st_size
        return os.stat(copy.name).st_size


def table(header, rows):
    """Columns of numbers are aligned to the right."""
    number = [all(row[i][:1] in "0123456789-–" for row in rows) for i in range(len(header))]
    out = ["| " + " | ".join(header) + " |",
           "| " + " | ".join("---:" if right else "---" for right in number) + " |"]
    return "\n".join(out + ["| " + " | ".join(row) + " |" for row in rows])


def times_table(title, budget, found):
    ours = next((statistics.median(v) for r, v in found.items() if r.name == "vps"), None)
    rows = []
    for runtime, values in sorted(found.items(), key=lambda item: statistics.median(item[1])):
        median = statistics.median(values)
        ratio = f"{median / ours:.1f}" if ours else "–"
        rows.append([runtime.name, f"{median:.1f}", f"{min(values):.1f}", ratio])
    goal = f" Budget for vps: {budget:g} ms." if budget else ""
    return f"### {title}\n\nMilliseconds, {len(next(iter(found.values())))} rounds.{goal}\n\n" \
        + table(["", "median", "minimum", "ratio to vps"], rows) + "\n" if found else ""


def kib(value):
    return f"{value / 1024:.0f}"


def report(results, runtimes, failures, servers):
    machine = platform.uname()
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        model = next((line.split(":")[1].strip() for line in cpuinfo
                      if line.startswith("model name")), machine.machine)
    parts = [f"Linux {re.match(r'[0-9.]*[0-9]', machine.release).group(0)}, {os.cpu_count()} CPUs ({model}), "
             + ("unified" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "hybrid")
             + f" cgroups; load {os.getloadavg()[0]:.1f} at the end.\n"]
    parts.append(table(["", "version", "as measured"],
                       [[r.name, r.seen, r.note] for r in runtimes]) + "\n")
    parts.append(times_table("`start` to init's first instruction", BUDGET["start"],
                             results["start"]))
    parts.append(times_table("`exec` of `true`", BUDGET["exec"], results["exec"]))
    parts.append(times_table("`run` of `true`", None, results["run"]))
    if results["memory"]:
        rows = [[r.name, kib(kernel + own), kib(kernel), kib(own), kib(lost)]
                for r, (kernel, own, lost) in
                sorted(results["memory"].items(), key=lambda item: sum(item[1][:2]))]
        parts.append("### Host memory per busybox server\n\n"
                     f"KiB, {servers} running at once. *Kernel*: slab, stacks, page tables, per-CPU "
                     "data. *Processes*: the proportional set size of init and of what stays beside "
                     "it. *Lost*: the difference of MemAvailable, which other work on the machine "
                     "moves as well.\n\n"
                     + table(["", "sum", "kernel", "processes", "lost"], rows) + "\n")
    rows = []
    for runtime in runtimes:
        files = [path for path in runtime.programs() if path.exists()]
        if files:
            rows.append([runtime.name, kib(sum(map(size_of, files))),
                         ", ".join(path.name for path in files)])
    parts.append("### Size of the programs\n\nKiB, without symbols; libraries only where they are "
                 "the runtime's own.\n\n" + table(["", "size", "files"], rows) + "\n")
    if failures:
        rows = [[name, what, reason] for (name, what), reason in failures.items()]
        parts.append("### Not measured\n\n" + table(["", "what", "why"], rows) + "\n")
    return "\n".join(part for part in parts if part)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=30)
    options.add_argument("--servers", type=int, default=30)
    options.add_argument("--build", type=pathlib.Path, default=HERE.parent / "build")
    options.add_argument("--only", default="")
    options.add_argument("--output", type=pathlib.Path, default=HERE / "results.md")
    args = options.parse_args()
    if os.geteuid() != 0:
        sys.exit("bench.py: run it as root")

    failures, runtimes = {}, []
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vps-bench-")))
        work.chmod(0o755)  # user namespaces have to pass through
        tools = Tools(work)
        for make in (lambda w: Vps(tools, w, args.build.resolve()), lambda w: Runc(tools, w),
                     lambda w: Runc(tools, w, "crun"), lambda w: Lxc(tools, w),
                     lambda w: Nspawn(tools, w), lambda w: Bubblewrap(tools, w)):
            place = pathlib.Path(tempfile.mkdtemp(dir=work))
            place.chmod(0o755)
            runtime = make(place)
            if args.only and runtime.name not in args.only.split(","):
                continue
            stack.callback(runtime.close)
            try:
                runtime.seen = runtime.version()
                runtime.prepare()
            except FileNotFoundError as missing:
                failures[runtime.name, "all"] = f"{missing.filename} is not there"
                continue
            except Unable as reason:
                failures[runtime.name, "all"] = str(reason)
                continue
            runtimes.append(runtime)
        results = {"start": series(runtimes, args.rounds, "start", measure_start, failures)}
        up = []
        for runtime in runtimes:
            with contextlib.suppress(Unable):
                if (runtime.name, "start") not in failures:
                    runtime.start(0, "/tiny_init")
                    up.append(runtime)
        results["exec"] = series(up, args.rounds, "exec", measure_exec, failures)
        for runtime in up:
            runtime.stop(0)
            if isinstance(runtime, Foreground):
                runtime.spawned_at(0)
        results["run"] = series(runtimes, args.rounds, "run", measure_run, failures)
        results["memory"] = {}
        for runtime in runtimes:
            print(f"memory {runtime.name}", file=sys.stderr)
            try:
                results["memory"][runtime] = measure_memory(runtime, args.servers)
            except Unable as reason:
                failures[runtime.name, "memory"] = str(reason)
        text = report(results, runtimes, failures, args.servers)
    args.output.write_text("<!-- written by bench/bench.py -->\n\n" + text)
    print(text)


if __name__ == "__main__":
    main()
