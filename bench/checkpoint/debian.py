# SPDX-License-Identifier: GPL-2.0-or-later
"""The load that is a whole server: Debian 12 with systemd, nginx, redis with 200,000 keys, PostgreSQL under pgbench,
php-fpm, cron, sshd, dbus, journald and logind, as tests/runtime/tenants.bats has it.

It is suspended and resumed by `vps` itself, with vpsd, in a state root and a network namespace of its own. The image
goes to memory, as those of the other loads do, and is not compressed. Frozen time is what vps tells; what a dump and a
restore took is what the command took.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))
from density import own_network  # noqa: E402  (it lies one folder up)

NAME = "Debian 12 with systemd and services"
PACKAGES = ["nginx-light", "redis-server", "openssh-server", "cron", "postgresql", "php-fpm", "python3"]
KEYS = 200000
UNITS = "nginx redis-server postgresql@15-main php8.2-fpm cron ssh dbus systemd-journald systemd-logind bench"
FILL = f"""seq {KEYS} | sed 's/.*/SET key:& value:&/' | redis-cli --pipe >/dev/null
cd / && su postgres -c 'pgbench -i -q -s 2 postgres' 2>/dev/null
systemd-run -q --unit=bench -p User=postgres /usr/lib/postgresql/15/bin/pgbench -c 4 -T 1000000 postgres"""
TRANSACTIONS = "cd / && su postgres -c 'psql -Atc \"select count(*) from pgbench_history\" postgres'"
SUM = f"seq {KEYS} | sed 's/^/GET key:/' | redis-cli | sha256sum"


def tree(build):
    """The path of its root tree, made when it is not there, or None; and why."""
    path = os.path.join(build, "cache", "services.tar")
    if os.path.exists(path) and os.path.getsize(path):
        return path, None
    if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
        return None, "its tree is not made without %s" % ("root" if os.geteuid() != 0 else "mmdebstrap")
    print("making %s, which takes minutes" % path, flush=True)
    made = subprocess.run([os.path.join(TOP, "tests/debian"), path, *PACKAGES], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if made.returncode:
        return None, "its tree could not be made: " + (made.stderr.strip().splitlines() or ["mmdebstrap failed"])[-1]
    return path, None


class Server:
    def __init__(self, build, root):
        self.program, self.root = os.path.join(build, "vps"), root

    def vps(self, *words, check=True):
        done = subprocess.run([self.program, "--root", self.root, *words], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=600, check=False)
        if check and done.returncode:
            raise SystemExit("vps %s: %s" % (" ".join(words), done.stderr.strip() or done.stdout.strip()))
        return done.stdout

    def inside(self, script, check=True):
        return self.vps("exec", "srv", "--", "sh", "-c", script, check=check).strip()

    def up(self, tar):
        self.vps("template", "import", "services", tar)
        self.vps("create", "srv", "--template", "services")
        self.vps("start", "--wait", "srv")
        self.inside("ssh-keygen -A >/dev/null; systemctl reset-failed; systemctl start ssh")
        until("all services run", self.runs)
        self.inside(FILL)
        until("pgbench moves", self.moves)
        self.pids, self.sum = self.main_pids(), self.inside(SUM)

    def runs(self):
        return self.inside("systemctl is-system-running", check=False) == "running"

    def moves(self):
        """Whether pgbench goes on."""
        before = int(self.inside(TRANSACTIONS))
        return int(self.inside(TRANSACTIONS)) > before

    def main_pids(self):
        return self.inside("systemctl show -p MainPID --value " + UNITS).split()

    def serves(self):
        address = re.search(r"ip=([0-9.]+)", self.vps("config", "srv", "net")).group(1)
        with contextlib.suppress(OSError), urllib.request.urlopen("http://%s/" % address, timeout=20) as page:
            return b"Welcome to nginx" in page.read()
        return False

    def verify(self):
        """All of it works on, and nothing was started anew."""
        if not self.runs():
            raise SystemExit("after the restore it is " + self.inside("systemctl is-system-running", check=False))
        if self.main_pids() != self.pids:
            raise SystemExit("after the restore services are others than before")
        if int(self.inside("redis-cli dbsize")) != KEYS or self.inside(SUM) != self.sum:
            raise SystemExit("after the restore redis has not its keys")
        until("pgbench moves", self.moves)
        until("nginx serves", self.serves)

    def round(self, image):
        """Suspended and resumed once."""
        saved, dump = timed(self.vps, "checkpoint", "--json", "--compress", "none", "--to", image, "srv")
        saved = json.loads(saved)["saved"]
        totals = json.loads(self.vps("checkpoint", "show", "--json", image))["totals"]
        _, restore = timed(self.vps, "restore", "--from", image, "srv")
        self.verify()
        pages, size = sum(t["bytes"] for t in totals if t["type"] == "pages"), os.path.getsize(image)
        os.unlink(image)
        return {"image_bytes": size, "frozen_us": saved["frozen_us"], "dump_us": dump,
                "restore_us": restore, "memory_mib": pages / 2**20, "processes": saved["processes"],
                "threads": saved["threads"]}

    def end(self):
        for words in (("destroy", "--force", "srv"), ("daemon", "stop")):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.vps(*words, check=False)
        subprocess.run([os.path.join(TOP, "tests/left"), "--remove", self.root], check=False)


def timed(function, *args):
    """What it returns, and what it took in us."""
    start = time.monotonic()
    result = function(*args)
    return result, round((time.monotonic() - start) * 1e6)


def until(what, function):
    end = time.monotonic() + 300
    while not function():
        if time.monotonic() > end:
            raise SystemExit("after five minutes it is still not so that " + what)
        time.sleep(0.2)


@contextlib.contextmanager
def ending(server):
    """Whatever ends it, nothing is left; a second Ctrl-C does not stop that."""
    def leave(number, _):
        raise SystemExit(128 + number)

    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        server.end()
        for number, handler in before.items():
            signal.signal(number, handler)


def measure(build, tar, rounds):
    """Medians. From now on this process has a network of its own."""
    own_network()
    root = tempfile.mkdtemp(prefix="vps-bench.", dir="/var/tmp")
    server = Server(os.path.abspath(build), root)
    with ending(server), tempfile.TemporaryDirectory(dir="/dev/shm") as images:
        os.chmod(root, 0o755)
        server.up(tar)
        rows = [server.round(os.path.join(images, "image")) for _ in range(rounds)]
    return {k: round(statistics.median(r[k] for r in rows)) for k in rows[0]}
