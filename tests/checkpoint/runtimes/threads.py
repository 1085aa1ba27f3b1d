#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Threads that count, one that waits for a condition, a large dictionary."""
import hashlib
import sys
import threading
import time

data = {i: hashlib.sha256(str(i).encode()).hexdigest() for i in range(100000)}
counts = [0] * 4
stop = threading.Event()
queue = []
condition = threading.Condition()


def count(k):
    while not stop.is_set():
        counts[k] += 1
        time.sleep(0.001)


def wait():
    with condition:
        while not queue:
            condition.wait()
    queue.append("woken")


threads = [threading.Thread(target=count, args=(k,)) for k in range(4)]
waiter = threading.Thread(target=wait)
for t in threads + [waiter]:
    t.start()
print("ready", flush=True)
sys.stdin.readline()
before = list(counts)
while not all(b < c for b, c in zip(before, counts)):
    time.sleep(0.01)
with condition:
    queue.append(1)
    condition.notify()
waiter.join()
good = queue[-1] == "woken" and all(
    data[i] == hashlib.sha256(str(i).encode()).hexdigest() for i in range(0, 100000, 7))
stop.set()
for t in threads:
    t.join()
print("good" if good else "bad", flush=True)
sys.exit(not good)
