#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits, overhead and neighbours: what a tenant gets beside what it was sold and beside the host.

usage: tenants.py [--rounds N] [--seconds N] [--build DIR] [--debian TAR] [--output FILE]

Runs in a network namespace of its own; writes a Markdown file. iperf3 and wrk run on the host's side
or in the tenant's network namespace. nginx comes with the Debian tree of --debian.
"""

import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time

import disk
from own_host import options, own_host, table, tag_of, tell

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20
BURN = "while :; do :; done"
NEIGHBOURS = {  # name: what it does; each in the bounds it was sold
    "cpu": BURN,
    "memory": "while :; do tail /dev/zero; done",
    "forks": "b() { b | b & }; while :; do b; sleep 1; done",
    "disk": "while :; do dd if=/dev/zero of=/f bs=1M count=64 oflag=direct; done",
    "network": "while :; do set -- $(ip route show default); dd if=/dev/zero bs=64k | nc $3 5999; done",
}
SINK = "busybox nc -ll -p 5999 -e busybox dd of=/dev/null bs=64k"
SOLD = ("--cpus", "0.25", "--ram", "128M", "pids.max=200", "io.write=5MiB/s", "net.rate-out=10MiB/s",
        "net.allow=host:5999/tcp")


class Bench:
    def __init__(self, host, args):
        self.host, self.args = host, args
        self.tag = tag_of(host.root)
        self.unified = open("/proc/self/mounts", encoding="utf-8").read().split("cgroup2 ")[1].split()[0]

    def status(self, name):
        return json.loads(self.host("status", "--json", name))

    def address(self, name):
        return re.search(r"ip=([0-9.]+)/", self.host("config", name, "net")).group(1)

    def usage(self, name):
        """CPU seconds; v2 tells them without the controller, too."""
        # Other groups come and go meanwhile, which os.walk() does not mind.
        path = next(d for d, _, _ in os.walk(self.unified) if d.endswith(f"{self.tag}/{name}"))
        text = pathlib.Path(path, "cpu.stat").read_text(encoding="utf-8")
        return int(re.search(r"usage_usec (\d+)", text).group(1)) / 1e6

    def inside(self, name):
        return ["nsenter", f"--net=/proc/{self.status(name)['pid']}/ns/net", "--"]

    def background(self, name, script):
        self.host("exec", name, "--", "sh", "-c",
                  f"setsid sh -c '{script}' >/dev/null 2>&1 </dev/null &")

    def new(self, name, *settings):
        self.host("create", name, *settings)
        self.host("start", name)

    def gone(self, *names):
        for name in names:
            self.host("destroy", "--force", name)

    # --- limits ---------------------------------------------------------------------------------

    def cpu_share(self, names, seconds):
        start, before = time.monotonic(), [self.usage(n) for n in names]
        time.sleep(seconds)
        after, took = [self.usage(n) for n in names], time.monotonic() - start
        return [(b - a) / took for a, b in zip(before, after)]

    def precede(self, name):
        """The state root goes before what else the machine does: a bound is then all that holds it."""
        for controller, file, most in ((self.unified, "cpu.weight", 10000),
                                       ("/sys/fs/cgroup/cpu", "cpu.shares", 262144)):
            for path in (f"{controller}/{self.tag}", f"{controller}/{self.tag}/{name}"):
                with contextlib.suppress(OSError):
                    pathlib.Path(path, file).write_text(str(most), encoding="utf-8")

    def limit_cpu(self):
        self.new("half", "--cpus", "0.5")
        self.precede("half")
        self.background("half", BURN)
        self.background("half", BURN)
        share = self.cpu_share(["half"], 2 * self.args.seconds)[0]
        self.host("set", "half", "cpu.max=0.2")
        time.sleep(0.2)
        live = self.cpu_share(["half"], 1)[0]
        self.gone("half")
        return [(f"cpu.max=0.5, over {2 * self.args.seconds} s", "0.500 CPUs", f"{share:.3f} CPUs",
                 share / 0.5),
                ("cpu.max=0.2, set live, over the next second", "0.200 CPUs", f"{live:.3f} CPUs",
                 live / 0.2)]

    def limit_weight(self):
        for name, weight in (("heavy", 200), ("light", 100)):
            self.new(name, f"cpu.weight={weight}", "cpu.pin=1")
            self.background(name, BURN)
        heavy, light = self.cpu_share(["heavy", "light"], self.args.seconds)
        self.gone("heavy", "light")
        return [("cpu.weight 200 and 100 on one CPU", "2.00 : 1", f"{heavy / light:.2f} : 1",
                 heavy / light / 2)]

    def limit_disk(self):
        self.new("disk", "io.write=10MiB/s", "io.read=10MiB/s")
        rows = []
        size = 10 * self.args.seconds
        for key, command in (("io.write", f"dd if=/dev/zero of=/f bs=1M count={size} oflag=direct"),
                             ("io.read", f"dd if=/f of=/dev/null bs=1M count={size} iflag=direct")):
            start = time.monotonic()
            self.host("exec", "disk", "--", "sh", "-c", command)
            rate = size / (time.monotonic() - start)
            rows.append((f"{key}=10MiB/s, direct", "10.0 MiB/s", f"{rate:.1f} MiB/s", rate / 10))
        self.gone("disk")
        return rows

    def iperf(self, server, client, address, *options):
        """Bytes a second, and CPU seconds of both ends for a byte: in them is the way between, too."""
        # One test each; the port is another every time, so that none waits for the last.
        self.port = getattr(self, "port", 5300) + 1
        serving = subprocess.Popen([*server, "iperf3", "-s", "-1", "-p", str(self.port)],
                                   stdout=subprocess.DEVNULL)
        time.sleep(0.3)
        done = subprocess.run([*client, "iperf3", "-J", "-c", address, "-p", str(self.port), "-t",
                               str(self.args.seconds), "-O", "1", *options],
                              capture_output=True, text=True, check=False)
        serving.wait(timeout=10)
        if done.returncode:
            raise RuntimeError(json.loads(done.stdout).get("error", done.stderr))
        end = json.loads(done.stdout)["end"]
        rate = end["sum_received"]["bits_per_second"] / 8
        busy = end["cpu_utilization_percent"]
        return rate, (busy["host_total"] + busy["remote_total"]) / 100 / rate

    def limit_net(self):
        self.new("net", "net.rate-in=10MiB/s", "net.rate-out=10MiB/s")
        inside, address = self.inside("net"), self.address("net")
        rows = []
        for key, options in (("net.rate-in", []), ("net.rate-out", ["-R"])):
            rate = self.iperf(inside, [], address, *options)[0] / MIB
            rows.append((f"{key}=10MiB/s, TCP", "10.0 MiB/s", f"{rate:.1f} MiB/s", rate / 10))
        self.gone("net")
        return rows

    # --- overhead -------------------------------------------------------------------------------

    def timed(self, argv, inside):
        """CPU seconds."""
        def spent():
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            return self.usage("plain") if inside else usage.ru_utime + usage.ru_stime

        before = spent()
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        return spent() - before

    def overhead(self):
        """The same programs on the host and in a VPS, in turn; best of the rounds."""
        self.new("plain")
        shell = [shutil.which("busybox"), "sh", "-c"]
        inside = ["env", f"VPS_ROOT={self.host.root}", str(self.host.vps), "exec", "plain", "--", "sh", "-c"]
        rows = []
        busybox = shutil.which("busybox")
        for what, script in (
                ("CPU (a loop of the shell), CPU time", "i=0; while [ $i -lt 600000 ]; do i=$((i+1)); done"),
                ("memory bandwidth (dd of zeros), CPU time", "%s dd if=/dev/zero of=/dev/null bs=8M count=1500")):
            best = {"host": [], "VPS": []}
            for _ in range(self.args.rounds):
                on_host, in_vps = (script.replace("%s", place) for place in (busybox, ""))
                best["host"].append(self.timed(shell + [on_host], False))
                best["VPS"].append(self.timed(inside + [in_vps], True))
            host, vps = min(best["host"]), min(best["VPS"])
            rows.append((what, f"{host:.2f} s", f"{vps:.2f} s", host / vps))
        rows += [(f"disk: {what}", *times, float(ratio)) for what, *times, ratio, _
                 in disk.measure(self.host, pathlib.Path(self.host.root), 20 * self.args.rounds)]
        rows += self.overhead_tcp()
        self.gone("plain")
        return rows

    def overhead_tcp(self):
        """Through the bridge and its rules, beside a bare veth pair."""
        bare = subprocess.Popen(["unshare", "-n", "sleep", "1000"])
        time.sleep(0.3)
        there = ["nsenter", f"--net=/proc/{bare.pid}/ns/net", "--"]
        for line in (f"ip link add bare0 type veth peer name bare1 netns {bare.pid}",
                     "ip addr add 198.51.100.1/24 dev bare0", "ip link set bare0 up"):
            subprocess.run(line.split(), check=True)
        for line in ("ip addr add 198.51.100.2/24 dev bare1", "ip link set bare1 up"):
            subprocess.run(there + line.split(), check=True)
        rows = []
        for what, options in (("to it", []), ("from it", ["-R"])):
            pairs = [(self.iperf(there, [], "198.51.100.2", *options),
                      self.iperf(self.inside("plain"), [], self.address("plain"), *options))
                     for _ in range(3 * self.args.rounds)]
            host, vps = (statistics.median(p[i][0] * 8 / 1e9 for p in pairs) for i in (0, 1))
            rows.append((f"TCP {what} (iperf3; bare veth pair and bridge)", f"{host:.1f} Gbit/s",
                         f"{vps:.1f} Gbit/s", statistics.median(v[0] / h[0] for h, v in pairs)))
            host, vps = (statistics.median(p[i][1] * 1e9 for p in pairs) for i in (0, 1))
            rows.append(("the same, CPU time of both ends for a GB", f"{host:.2f} s", f"{vps:.2f} s", host / vps))
        bare.terminate()
        return rows

    # --- neighbours -----------------------------------------------------------------------------

    def wrk(self):
        text = subprocess.run(["wrk", "-t", "1", "-c", "4", "-d", f"{self.args.seconds}s", "--latency",
                               f"http://{self.address('web')}/"], check=True, capture_output=True,
                              text=True).stdout
        found = dict(re.findall(r"^\s+(50|99)%\s+(\S+)", text, re.M))
        return (milliseconds(found["50"]), milliseconds(found["99"]),
                float(re.search(r"Requests/sec:\s+(\S+)", text).group(1)))

    def beside(self, what, names):
        """The web tenant alone and beside these, in turn: what else the machine does meets both alike."""
        alone, beside = [], []
        for _ in range(self.args.rounds):
            alone.append(self.wrk())
            for name in names:
                self.host("start", name)
                self.background(name, NEIGHBOURS[name])
            beside.append(self.wrk())
            for name in names:
                self.host("stop", "--force", name)

        def middle(rows):
            return [statistics.median(r[i] for r in rows) for i in range(3)]

        a, b = middle(alone), middle(beside)
        return (what, f"{a[0]:.2f} ms", f"{b[0]:.2f} ms", f"{a[1]:.2f} ms", f"{b[1]:.2f} ms",
                f"{statistics.median(y[1] / x[1] for x, y in zip(alone, beside)):.2f}",
                f"{a[2]:.0f}", f"{b[2]:.0f}")

    def neighbours(self):
        self.host("template", "import", "--init", "/sbin/init", "debian", str(self.args.debian))
        self.new("web", "--template", "debian", "cpu.weight=1000")
        for _ in range(200):
            if not subprocess.run(["curl", "-so", "/dev/null", f"http://{self.address('web')}/"],
                                  check=False).returncode:
                break
            time.sleep(0.2)
        self.wrk()
        for name in NEIGHBOURS:
            self.host("create", name, *SOLD)
        sink = subprocess.Popen(SINK.split(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        rows = [self.beside(name, [name]) for name in NEIGHBOURS]
        rows.append(self.beside("all of these", NEIGHBOURS))
        sink.terminate()
        self.gone("web", *NEIGHBOURS)
        return rows


def milliseconds(text):
    number, unit = re.fullmatch(r"([0-9.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def attempt(what, function, failures):
    print(what, file=sys.stderr)
    try:
        return function()
    except subprocess.CalledProcessError as failed:
        failures.append(f"{what}: {(failed.stderr or str(failed)).strip()}")
    except (OSError, RuntimeError, StopIteration, subprocess.TimeoutExpired) as failed:
        failures.append(f"{what}: {failed}")
    return []


def measured(rows):
    return [[*row[:3], f"{row[3]:.3f}"] for row in rows]


def main():
    parser = options("tenants", __doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--debian", type=pathlib.Path,
                        default=HERE.parent / "build/cache/debian-nft.tar")
    args = parser.parse_args()
    failures, limits, load = [], [], os.getloadavg()[0]
    with own_host("tenants", args.build) as host:
        bench = Bench(host, args)
        for name in ("cpu", "weight", "disk", "net"):
            limits += attempt(f"limits: {name}", getattr(bench, f"limit_{name}"), failures)
        overhead = attempt("overhead", bench.overhead, failures)
        web = attempt("neighbours", bench.neighbours, failures)
    tell("tenants", args.output, "\n".join([
        "## Limits, overhead, neighbours\n",
        f"Linux {os.uname().release}, {os.cpu_count()} CPUs, load {load:.1f} from other work at the "
        f"start; {args.seconds} s a measurement.\n",
        "### Limits hold\n", table(["setting", "sold", "measured", "ratio"], measured(limits)),
        "For cpu.max the tenant goes before what else the machine does.\n",
        f"### Inside beside the bare host\n\nBest of {args.rounds} rounds, host and VPS in turn; of TCP "
        f"the medians of {3 * args.rounds}, and of their ratios. 1 is the host's speed.\n",
        table(["", "host", "VPS", "ratio"], measured(overhead)),
        "### An nginx tenant under wrk, beside neighbours\n\nEach neighbour was sold "
        f"`{' '.join(SOLD)}` and takes all of it; nginx has cpu.weight=1000; wrk runs on the same "
        f"CPUs. Medians of {args.rounds} rounds, alone and beside in turn.\n",
        table(["neighbour burns", "median alone", "beside", "99th alone", "beside", "ratio",
               "requests/s alone", "beside"], web)]
        + ["Not measured: " + f + "\n" for f in failures]))


if __name__ == "__main__":
    main()
