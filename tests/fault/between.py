#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""usage: between.py DIR MODE

Stands between vpsd and a monitor whose socket is DIR/monitor.sock. MODE old: the monitor seems to be of
a version before `takes`. MODE new: of one that says more than vpsd knows. Ends when the monitor does.
"""
import json
import os
import socket
import sys
import threading

DIR, MODE = sys.argv[1:]


def seen_by_vpsd(packet):
    """The packets that vpsd is to get in the place of this one."""
    message = json.loads(packet)
    if message.get("event") != "hello":
        return [packet]
    if MODE == "old":
        del message["takes"]
        return [json.dumps(message).encode()]
    message["mood"] = {"is": ["fine"]}
    news = {"event": "dreamt", "of": "sheep"}
    return [json.dumps(m).encode() for m in (message, news, {"unasked": True})]


def pump(source, target, change):
    while True:
        packet, fds, _, _ = socket.recv_fds(source, 65536, 8)
        if not packet:
            break
        for part in change(packet):
            socket.send_fds(target, [part], fds)
        for fd in fds:
            os.close(fd)
    target.shutdown(socket.SHUT_RDWR)


os.chdir(DIR)
os.rename("monitor.sock", "real.sock")
door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
door.bind("monitor.sock")
door.listen()
print("ready", flush=True)
vpsd, _ = door.accept()
monitor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
monitor.connect("real.sock")
threading.Thread(target=pump, args=(vpsd, monitor, lambda p: [p]), daemon=True).start()
pump(monitor, vpsd, seen_by_vpsd)
os.remove("real.sock") if os.path.exists("real.sock") else None
