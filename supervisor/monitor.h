/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_MONITOR_H
#define SUPERVISOR_MONITOR_H

/*
 * Between vpsd and the monitor of a VPS: SOCK_SEQPACKET, one JSON object a packet (at most
 * MONITOR_PACKET_MAX bytes), with fds where said. Both ends are root's; still both check.
 *
 * vpsd runs `vps-monitor` with MONITOR_FD_CONTROL connected to itself, standard input from /dev/null,
 * standard error its log. It waits for `begin`, and ends when vpsd hangs up before that, with status 0 when
 * nothing is left of what it made until then:
 *
 *   {"prepare":NAME,"cgroup_parent":…}     with the lock (below). May come before `begin`, of the same name: the
 *              control groups are made while vpsd puts the spec together
 *   {"begin":NAME,"fds":[…]}    the fds that come with it, in this order, are:
 *     spec     a sealed memfd with the spec's JSON (runtime/spec.h); always there
 *     lock     run/vps/NAME/lock, locked (flock(2)); always there, unless it came before. It stays open,
 *              close-on-exec, for as long as the monitor lives, so that a vpsd that comes after knows whether
 *              there is one, also in the moments before it listens
 *     session  for `run` (the command's exit is its SESSION_EXIT; when the client hangs up, the VPS is
 *              stopped)
 *     image    a checkpoint (checkpoint/image/image.h: a file, a pipe or a socket) that is put back in
 *              the place of a start
 *     stdin, stdout, stderr       the command's, for `run` without a terminal
 *
 * The monitor also listens on run/vps/NAME/monitor.sock, mode 0600; the next vpsd connects there and is
 * told the state by `hello`. One vpsd at a time: a new connection replaces the old.
 *
 * monitor to vpsd:
 *   {"event":"hello","state":"starting|running|paused|stopping","pid":N,"started_us":N,
 *    "ready":bool,"restarts":N,"prepared":bool,"takes":["net"]}   first on a new connection to
 *                                                      monitor.sock; `takes` are settings that
 *                                                      older monitors could not change live
 *   {"event":"prepared"}                               the image was read to its end; all is there,
 *                                                      stopped, and waits for commit or abort, as
 *                                                      long as it takes, whatever becomes of vpsd
 *   {"event":"started","pid":N,"started_us":N}         init's execve succeeded (CLOCK_BOOTTIME, host)
 *   {"event":"failed","status":N,"error":"…","hint":"…"}   the start failed, or the restore, all
 *                                                      undone; it exits. The image is as it was
 *   {"event":"ready"}                                  READY=1 on NOTIFY_SOCKET
 *   {"event":"state","state":"paused|running|stopping"}
 *   {"event":"rebooted","pid":N,"started_us":N}        the tenant rebooted; same monitor, new init
 *   {"event":"oom","count":N}                          processes were killed for want of memory
 *   {"event":"pids-max","count":N}                     forks were refused; each once a second at most
 *   {"event":"exited","how":"exited|signaled|poweroff|reboot|killed|suspended|moved","value":N,
 *    "forced":bool}
 *                                                      all is undone; the monitor exits
 *   {"reply":ID,"status":0}  or  {"reply":ID,"status":N,"error":"…","hint":"…"}; after `set` with
 *   "note":"…" when the kernel could not do all of it at once
 *
 * vpsd to monitor (ID: any number, echoed). One that is longer than a packet is {"id":ID,"op":"…","long":true} and comes
 * whole, up to MONITOR_LONG_MAX bytes, in a sealed memfd before its other fds; an older monitor finds that malformed:
 *   {"id":ID,"op":"stop","timeout_us":N,"force":bool}  reply at once; then `state`, `exited`. A
 *                                    second stop with force while stopping kills at once
 *   {"id":ID,"op":"pause"} {"id":ID,"op":"resume"}
 *   {"id":ID,"op":"exec","argv":[…],"env":[…],"user":"","cwd":"","tty":bool,"login":bool,
 *    "rows":N,"cols":N}              fds: session, then stdin, stdout, stderr unless tty. Reply when
 *                                    it runs or failed (the session is told the same)
 *   {"id":ID,"op":"console","input":bool}   fd: session; history follows as SESSION_OUTPUT
 *   {"id":ID,"op":"set","settings":{"memory.max":"512M","firewall":[…],…}}   live settings;
 *                                    lists as they are to be
 *   {"id":ID,"op":"commit"}          after `prepared`: it runs. Then `started`
 *   {"id":ID,"op":"abort"}           after `prepared`: nothing of it is left. Then `failed`
 *   {"id":ID,"op":"spec"}            the record `spec` is written, as it is now
 *   {"id":ID,"op":"save"}            a worker is about to write the image; likewise. Until one of the
 *                                    next, nothing else is done with the VPS
 *   {"id":ID,"op":"save-abort"}      it runs on, or is paused, as before; `state` says which. A vpsd
 *                                    that goes away means the same
 *   {"id":ID,"op":"save-commit","record":{…}}   fd: the worker (pidfd_open(2)), which holds all tasks
 *                                    stopped after a complete image. Reply when the record
 *                                    (suspend.h) is on disk: the VPS is suspended then, whatever
 *                                    dies, and the worker may kill it. On failure as after an abort
 *   {"id":ID,"op":"save-finish"}     the worker has done so, or died. A vpsd that goes away after the
 *                                    commit means the same. `exited` follows, how "suspended"
 *   {"id":ID,"op":"move-commit"}     fd: the worker, as with save-commit. Reply when the record
 *                                    (migrate/record.h), which the worker has made, says on disk that
 *                                    the VPS is given up: it stays frozen then, whatever dies, until
 *   {"id":ID,"op":"move-finish","taken":bool}   the other host has it: killed, `exited` follows, how
 *                                    "moved". Or has not: it runs on, as `state` says
 *   {"id":ID,"op":"rename","name":"…","run_dir":"…","lib_dir":"…"}  only paths; the cgroup keeps its name
 *
 * Records in run/vps/NAME, written by the monitor:
 *   state   {"boot_id":"…","monitor_pid":N,"monitor_start":N,"init_pid":N,"init_start":N,
 *            "started_us":N,"cgroup":"…","ready":bool}   from before init runs until the end
 *   spec    the spec as it was started, with what was set since: for who saves it
 *   exit    {"how":"…","value":N,"forced":bool,"at":N}   replaces `state` when the VPS has ended and
 *            everything is undone, also when no vpsd was connected; vpsd removes it when it has
 *            taken note. A monitor that finds vpsd connected writes it first, then says `exited`.
 */
#define MONITOR_PACKET_MAX (64 * 1024)
#define MONITOR_LONG_MAX (8 << 20)
#define MONITOR_FDS_MAX 8 /* that come with a request */

enum { MONITOR_FD_CONTROL = 3 };

/* Its argument until it is told the name, which is written over it for ps(1): as long as any name. */
#define MONITOR_ARG_SPARE "(spare)                                                        "
#define MONITOR_COMM_SPARE "vps-spare"

#endif
