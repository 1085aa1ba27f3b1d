#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A vpsd for tests of the client: it listens on ROOT/run/vpsd.sock and behaves as MODE says.

usage: fake_vpsd.py ROOT MODE [ARGUMENT]

  serve        answers; commands of Exec and Run are run on this host
  hang         takes calls and never answers
  die          closes the connection at each call
  die-once     closes it at the first call, then serves
  raw TEXT     answers each call with TEXT and a NUL (Python escapes are resolved)
  once TEXT    so the first call of a connection, and the next ones with garbage
  flood        answers without end
  seqpacket    a socket of another type

It says "ready" on standard output when it listens.
"""

import array
import fcntl
import json
import os
import pty
import signal
import socket
import struct
import sys
import termios
import threading

SIGNAL, RESIZE, INPUT = 1, 2, 3
STARTED, OUTPUT, EXIT, ERROR, CLOSED, DROPPED = 16, 17, 18, 19, 20, 21

VPS = {"name": "web1", "uuid": "5b0e2c1e-0000-4000-8000-000000000000", "state": "running",
       "pid": 4242, "template": "busybox", "uptime_s": 125.5, "ready": True, "hostname": "web1",
       "autostart": True, "restart": "no", "restarts": 0, "created": 1790000000,
       "id_base": 100000}
STOPPED = {**VPS, "name": "db", "state": "stopped", "pid": 0, "uptime_s": 0.0, "ready": False,
           "autostart": False, "last_error": "mount /proc: bad\x1b[31m thing"}


def setting(name, option=None, default=None, several=False):
    return {"name": name, "type": "string", "default": default, "option": option, "live": True,
            "list": several, "fixed": False, "help": f"About {name}"}


SETTINGS = [setting("memory.max", "ram", "max"), setting("cpu.max", "cpus", "max"),
            setting("hostname", "hostname"), setting("autostart", "onboot", "no"),
            setting("mount", several=True)]
CONFIG = "# mine\nmemory.max = 1G\nmount = /a:/b\nmount = /c:/d:ro\n"
PAIRS = [{"key": k, "value": v} for k, v in
         (("memory.max", "1G"), ("mount", "/a:/b"), ("mount", "/c:/d:ro"))]


class Failed(Exception):
    def __init__(self, status, error, hint=""):
        super().__init__(error)
        self.params = {"status": status, "error": error, "hint": hint}


class Connection:
    def __init__(self, sock, log):
        self.sock, self.log = sock, log
        self.pending, self.fds = b"", []

    def call(self):
        while b"\0" not in self.pending:
            data, fds, _, _ = socket.recv_fds(self.sock, 65536, 16)
            if not data:
                return None
            self.pending += data
            self.fds += fds
        text, self.pending = self.pending.split(b"\0", 1)
        return json.loads(text)

    def take_fds(self):
        fds, self.fds = self.fds, []
        return fds

    def reply(self, params, fds=(), **more):
        message = json.dumps({"parameters": params, **more}).encode() + b"\0"
        socket.send_fds(self.sock, [message], list(fds))
        for fd in fds:
            os.close(fd)

    def fail(self, params):
        message = {"error": "io.vps.Manager.Failed", "parameters": params}
        self.sock.sendall(json.dumps(message).encode() + b"\0")


def send(session, kind, value=0, data=b"", fds=()):
    message = struct.pack("=Ii", kind, value) + data
    if fds:
        socket.send_fds(session, [message], list(fds))
    else:
        session.send(message)


def receive(session):
    data = session.recv(65536)
    if len(data) < 8:
        return None
    return struct.unpack("=Ii", data[:8]) + (data[8:],)


def listen_to_client(session, child, master):
    while True:
        try:
            message = receive(session)
        except OSError:
            return
        if not message:
            return
        kind, value, data = message
        if kind == SIGNAL:
            os.kill(child, value)
        elif kind == INPUT:
            os.write(master, data)
        elif kind == RESIZE:
            size = struct.pack("HHHH", value >> 16, value & 0xffff, 0, 0)
            fcntl.ioctl(master, termios.TIOCSWINSZ, size)


def wait_status(child):
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 128 - status if status < 0 else status


def start(argv, fds):
    child = os.fork()
    if child:
        return child
    os.setsid()
    for i in range(3):
        os.dup2(fds[i], i)
    os.closerange(3, 256)
    # What Python, or the shell that started it in the background, ignores is not passed on.
    for sig in (signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT):
        signal.signal(sig, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)
    finally:
        os._exit(127)


def run_command(session, argv, fds):
    child = start(argv, fds)
    for fd in fds:
        os.close(fd)
    send(session, STARTED, child)
    threading.Thread(target=listen_to_client, args=(session, child, -1), daemon=True).start()
    send(session, EXIT, wait_status(child))


def run_tty(session, argv, size, by_messages):
    child, master = pty.fork()
    if child == 0:
        os.execvp(argv[0], argv)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    if by_messages:
        send(session, STARTED, child)
    else:
        send(session, STARTED, child, fds=[master])
    threading.Thread(target=listen_to_client, args=(session, child, master), daemon=True).start()
    try:
        while by_messages:
            send(session, OUTPUT, 0, os.read(master, 4096))
    except OSError:
        pass
    send(session, EXIT, wait_status(child))


def console(session, wants_input):
    send(session, OUTPUT, 0, b"one\r\ntwo\r\n\x1b[31mthree\x1b[0m\r\n")
    if not wants_input:
        send(session, OUTPUT, 0, b"live\r\n")
        send(session, CLOSED)
        return
    while True:
        message = receive(session)
        if not message:
            return
        if message[0] == INPUT:
            send(session, OUTPUT, 0, b"<" + message[2] + b">")


class Fake:
    def __init__(self, log):
        self.log = log

    def session(self, conn, reply, work, *args):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        conn.reply({**reply, "session": 0}, [theirs.detach()])

        def body():
            try:
                work(ours, *args)
            except OSError:
                pass
            ours.close()
        threading.Thread(target=body, daemon=True).start()

    def vps(self, name):
        for one in (VPS, STOPPED):
            if one["name"] == name:
                return one
        raise Failed(3, f"no VPS is named {name}", "vps list shows those there are")

    def command(self, conn, p, reply, by_messages):
        argv = p.get("argv") or ["sh", "-i"]
        fds = conn.take_fds()
        if argv[0] in ("nowhere", "vanish"):
            for fd in fds:
                os.close(fd)
        if argv[0] == "nowhere":
            def refuse(session):
                err = struct.pack("=i256s1024s", 127, b"", b"nowhere: No such file or directory")
                send(session, ERROR, 0, err)
            self.session(conn, reply, refuse)
        elif argv[0] == "vanish":
            self.session(conn, reply, lambda session: None)
        elif p.get("tty"):
            self.session(conn, reply, run_tty, argv, (p["rows"], p["cols"]), by_messages)
        else:
            self.session(conn, reply, run_command, argv, fds)

    def answer(self, conn, method, p):
        if method == "Version":
            conn.reply({"version": "9.9", "pid": os.getpid(), "root": "/fake", "uptime_s": 61.0,
                        "running": 1})
        elif method == "Shutdown":
            conn.reply({})
            conn.sock.close()
            os._exit(0)
        elif method == "Settings":
            conn.reply({"settings": SETTINGS})
        elif method == "List":
            conn.reply({"vps": [STOPPED, VPS]})
        elif method in ("Create", "Run") and p.get("name") == "web1":
            raise Failed(4, "web1 exists already")
        elif method == "Create":
            conn.reply({"vps": {**STOPPED, "name": p["name"]}})
        elif method == "Run":
            self.command(conn, p, {"name": p.get("name") or "run-1"}, True)
        elif method == "Templates":
            conn.reply({"templates": [{"name": "busybox", "digest": "sha256:0",
                        "distribution": "busybox", "version": "1.35", "arch": "x86_64",
                        "init": "/sbin/init", "stop_signal": "SIGTERM", "size": 2200000,
                        "created": 1790000000, "users": ["web1"]}]})
        elif method in ("TemplateBuild", "TemplateImport"):
            self.template(conn, p)
        elif method == "Events":
            for event in ("starting", "started"):
                conn.reply({"time_us": 1790000000000000, "event": event, "name": "web1"},
                           continues=event == "starting")
        elif method == "Doctor":
            conn.reply({"checks": [
                {"name": "namespaces", "result": "ok", "detail": "all eight"},
                {"name": "psi", "result": "missing", "detail": "no /proc/pressure",
                 "hint": "boot with psi=1"}]})
        elif method == "TemplateRemove":
            conn.reply({})
        else:
            self.on_one(conn, method, p, self.vps(p["name"]))

    def template(self, conn, p):
        if p.get("source") == "slow":
            conn.reply({"progress": {"stage": "fetch", "done": 0, "total": 0}}, continues=True)
            # Cancelled by the end of what the client sends; closing says that all is undone.
            assert conn.sock.recv(1) == b""
            self.log.write("undone\n")
            self.log.flush()
            conn.sock.close()
            return
        for done in (0, 50, 100):
            conn.reply({"progress": {"stage": "unpack", "done": done, "total": 100}},
                       continues=True)
        fds = conn.take_fds()
        size = os.fstat(fds[0]).st_size if fds else 0
        conn.reply({"template": {"name": p["name"], "digest": "sha256:0", "distribution": "x",
                    "version": "", "arch": "x86_64", "init": "/sbin/init",
                    "stop_signal": "SIGTERM", "size": size, "created": 0, "users": []}})

    def on_one(self, conn, method, p, vps):
        if method == "GetConfig":
            conn.reply({"settings": PAIRS, "text": CONFIG})
        elif method in ("Set", "SetConfigText"):
            if "bad" in json.dumps(p):
                raise Failed(2, "config:2: memory.max: bad is not a size", "for example 512M")
            conn.reply({"pending": ["hostname"]})
        elif method == "Exec":
            self.command(conn, p, {}, False)
        elif method == "Console":
            self.session(conn, {}, console, p.get("input", False))
        elif method == "Logs":
            fds = [os.memfd_create("log") for _ in range(2)]
            for fd, text in zip(fds, (b"old\n", b"one\ntwo\n\x1b[31mthree\x1b[0m\r\n")):
                os.write(fd, text)
                os.lseek(fd, 0, os.SEEK_SET)
            conn.reply({"files": 2}, fds)
        elif method == "Push":
            self.push(conn, p)
        elif method == "Pull":
            self.pull(conn, p)
        elif method == "Wait":
            conn.reply({"state": p.get("state") or "stopped", "exit": "exited 3"})
        elif method == "Destroy":
            if vps["state"] == "running" and not p.get("force"):
                raise Failed(5, "it is running", "stop it, or destroy --force")
            conn.reply({})
        elif method == "Start" and vps["state"] == "running":
            raise Failed(5, "start web1: it is running")
        else:
            conn.reply({"vps": vps})

    # The inside of every VPS is the directory FAKE_ROOT.
    def push(self, conn, p):
        fd, = conn.take_fds()
        path = os.environ["FAKE_ROOT"] + p["path"]
        if not os.path.isdir(path):
            os.close(fd)
            raise Failed(3, f"{p['path']} is not a directory")
        child = start(["tar", "-x", "-C", path], [fd, 1, 2])
        os.close(fd)
        if wait_status(child):
            raise Failed(1, "unpack failed")
        conn.reply({"bytes": 7})

    def pull(self, conn, p):
        fd, = conn.take_fds()
        path = os.environ["FAKE_ROOT"] + p["path"]
        if p["path"] == "/hostile":
            with open(os.environ["FAKE_ROOT"] + "/hostile.tar", "rb") as tar:
                os.write(fd, tar.read())
        elif not os.path.lexists(path):
            os.close(fd)
            raise Failed(3, f"{p['path']}: No such file or directory")
        else:
            top = os.path.dirname(path.rstrip("/"))
            child = start(["tar", "-c", "-C", top, os.path.basename(path.rstrip("/"))], [0, fd, 2])
            wait_status(child)
        os.close(fd)
        conn.reply({"bytes": 7})

    def serve(self, sock):
        conn = Connection(sock, self.log)
        try:
            while call := conn.call():
                method = call["method"].rsplit(".", 1)[1]
                self.log.write(json.dumps([method, call.get("parameters")]) + "\n")
                self.log.flush()
                try:
                    self.answer(conn, method, call.get("parameters") or {})
                except Failed as failed:
                    conn.fail(failed.params)
        except OSError:
            pass
        sock.close()


def misbehave(sock, mode, text):
    conn = Connection(sock, None)
    while conn.call():
        if mode == "die":
            break
        if mode in ("raw", "once"):
            sock.sendall(text.encode().decode("unicode_escape").encode() + b"\0")
        if mode == "once":
            text = "garbage"
        while mode == "flood":
            sock.sendall(b"x" * 65536)
    sock.close()


def main():
    root, mode, *rest = sys.argv[1:]
    path = os.path.join(root, "run", "vpsd.sock")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    kind = socket.SOCK_SEQPACKET if mode == "seqpacket" else socket.SOCK_STREAM
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.bind(path)
    listener.listen(16)
    fake = Fake(open(os.path.join(root, "calls"), "w", encoding="utf-8"))
    print("ready", flush=True)
    while True:
        sock, _ = listener.accept()
        if mode == "die-once":
            Connection(sock, None).call()
            sock.close()
            mode = "serve"
            continue
        target, args = (fake.serve, (sock,)) if mode == "serve" else \
            (misbehave, (sock, mode, rest[0] if rest else ""))
        threading.Thread(target=target, args=args, daemon=True).start()


if __name__ == "__main__":
    main()
