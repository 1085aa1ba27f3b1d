# SPDX-License-Identifier: GPL-2.0-or-later
"""What density.py, disk.py and tenants.py measure on: a state root and a network namespace of their own."""

import argparse
import contextlib
import ctypes
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CLONE_NEWNET = 0x40000000


class Host:
    """A state root with a network stack of its own."""

    def __init__(self, build, root):
        self.vps, self.root = build / "vps", root
        self.environ = {**os.environ, "VPS_ROOT": str(root)}

    def __call__(self, *argv, check=True):
        return subprocess.run([self.vps, *argv], check=check, text=True, env=self.environ,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=120).stdout

    def timed(self, *argv):
        start = time.monotonic_ns()
        self(*argv)
        return time.monotonic_ns() - start


def own_network(program):
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) < 0:
        sys.exit(f"{program}.py: unshare: " + os.strerror(ctypes.get_errno()))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextlib.contextmanager
def own_host(program, build):
    """Nothing of it is there afterwards."""
    if os.geteuid() != 0:
        sys.exit(f"{program}.py: run it as root")
    own_network(program)
    with tempfile.TemporaryDirectory(prefix=f"vps-{program}-") as work:
        os.chmod(work, 0o755)
        try:
            yield Host(build.resolve(), pathlib.Path(work))
        finally:
            subprocess.run([HERE.parent / "tests/left", "--remove", work], check=False)
            os.makedirs(work, exist_ok=True)


def options(program, doc):
    """A parser that knows what all of them have."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent / "build")
    parser.add_argument("--output", type=pathlib.Path, default=HERE / f"results-{program}.md")
    return parser


def tell(program, output, text):
    output.write_text(f"<!-- written by bench/{program}.py -->\n\n" + text)
    print(text)


def tag_of(root):
    h = 2166136261
    for byte in os.fsencode(root):
        h = ((h ^ byte) * 16777619) & 0xFFFFFFFF
    return f"vps-{h:08x}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"
