/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef RUNTIME_VPS_H
#define RUNTIME_VPS_H

#include "base/err.h"
#include "base/str.h"
#include "runtime/spec.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * A started VPS, held by the process that is the parent of its init (the monitor; a short-lived
 * process for an OCI command line). Nothing here knows vpsd.
 */
struct rt_vps;

/* stdin, stdout, stderr for a command that is not on the console; -EBADF: /dev/null. */
struct rt_stdio {
	int fd[3];
};

/* What of a start is the host's alone, ahead of the start: where its control groups are. */
void rt_look_ahead(void);

/*
 * What of a start needs no spec, before that is there: the groups. NULL with *e filled when that fails: then
 * nothing is there. It is for rt_start() or rt_start_restore() with a spec of this name and parent, or to be undone.
 */
struct rt_vps *rt_prepare(const char *name, const char *cgroup_parent, struct err *e);
int rt_prepare_undo(struct rt_vps *v, struct err *e);

/*
 * Runs the start steps up to init's execve and returns when that has succeeded. Any failure is
 * undone (nothing stays behind) and described in *e; ERR_NOCMD and ERR_NOEXEC when argv[0] is
 * missing or cannot be executed. Blocks for milliseconds. `spec` must outlive the VPS. `prepared` is
 * taken over, or NULL.
 */
int rt_start(const struct rt_spec *spec, const struct rt_stdio *stdio, struct rt_vps *prepared,
	     struct rt_vps **ret, struct err *e);

/*
 * As rt_start(), but init is not executed: the first process of the VPS, set up and confined, runs
 * open() in the tenant's root before it is confined (its failure is the start's), and stay() last,
 * which must close what the tenant may not have, the set-up's socket included, and never return: a
 * checkpoint puts another process in its place. Both are copies of the caller's, with its memory.
 *
 * What open() is done with and the kernel takes its time to close (mounts, mount namespaces) it gives to rt_leave():
 * the caller closes it, who has nothing else to do until stay() executes a program.
 */
struct rt_restore {
	int64_t monotonic_ns, boottime_ns; /* what the VPS's clocks show at the start, or */
	uint64_t at_us;                    /* when the host's CLOCK_MONOTONIC shows this, if it is not 0 */
	/* In the caller, when the VPS's network namespace is there and nothing in it is up. */
	int (*network)(void *arg, int netns_fd, struct err *e);
	void (*networked)(void *arg, int netns_fd); /* and when all of it is; NULL */
	int (*open)(void *arg, struct err *e);
	void (*stay)(void *arg);
	void *arg;
	/* In the caller: what an interface is to be numbered inside, 0: as comes. NULL: it is not known yet. */
	uint32_t (*number)(void *arg, const char *name);
};
void rt_leave(int fd_take);
/* In a process of open(): from then on no number but 1 is taken in its pid namespace, and its memory is its own. May wait
 * for a grace period of RCU. */
void rt_alone(void);
int rt_start_restore(const struct rt_spec *spec, const struct rt_stdio *stdio, struct rt_vps *prepared,
		     const struct rt_restore *how, struct rt_vps **ret, struct err *e);

/* The same for one that was started before it was known. */
int rt_renumber(struct rt_vps *v, uint32_t (*number)(void *arg, const char *name), void *arg, struct err *e);

/* Until then no frame reaches one that is put back from a checkpoint; then its addresses are announced.
 * Nothing to be done for one that was started. */
int rt_connect(struct rt_vps *v, struct err *e);
/* Its addresses are made known to its neighbours, who may have known them elsewhere. For one that was started: it has
 * begun by then. */
void rt_announce(const struct rt_vps *v);
/*
 * While nothing in the VPS runs: run() in a process of its own, a copy of the caller inside the VPS, as its
 * root, not confined, which then stays, with the files that it opened, until rt_helper_end(). *ret is its
 * pid, `number` that inside. While it works, serve(arg) is called here whenever `sock` can be read (its other end
 * is the helper's, by inheritance; negative: there is none), until that returns 1 or a negative errno value with *e filled.
 * The caller has no other thread: what that one had locked would be so for good in the copy (clone(2)).
 */
struct rt_helper {
	pid_t number;
	int (*run)(void *arg, struct err *e);
	int sock;
	int (*serve)(void *arg, struct err *e);
	void *arg;
};
int rt_helper(struct rt_vps *v, const struct rt_helper *h, pid_t *ret, struct err *e);
void rt_helper_end(pid_t pid);

/*
 * While a checkpoint is put in place: one more process whose parent is not in the VPS, as rt_exec() had made
 * one, of this number inside. It is confined like one, has /dev/null three times, and runs stay(), which must
 * execute a program. Its parent is a process outside that waits for its end and ends then, so that the holder need not
 * know of it. *ret is the host's pid.
 */
int rt_outside(struct rt_vps *v, pid_t number, void (*stay)(void *arg), void *arg, pid_t *ret, struct err *e);

/* The next process in the VPS that asks for no number gets one above this, as if this had been given last. */
int rt_last_number(struct rt_vps *v, pid_t number, struct err *e);

/* While nothing in the VPS runs: the files of its root have been changed from outside (storage_root_reread()). */
int rt_root_changed(const struct rt_vps *v, struct err *e);

/*
 * Takes the master of a terminal whose other end processes of the VPS have, and that nobody looks at any more. It is
 * open as long as one of them has it; what they say is to be read and thrown away, or they would wait for a reader:
 * rt_kept_fd() (-EBADF when there is none) is readable when rt_kept_read() has something to do.
 */
int rt_keep(struct rt_vps *v, int fd, struct err *e);
int rt_kept_fd(const struct rt_vps *v);
void rt_kept_read(struct rt_vps *v);

pid_t rt_init_pid(const struct rt_vps *v);
int rt_init_pidfd(const struct rt_vps *v);   /* readable when init has ended; stays the VPS's */
int rt_console_fd(const struct rt_vps *v);   /* pty master, non-blocking; -EBADF without console */
int rt_notify_fd(const struct rt_vps *v);    /* datagram socket behind NOTIFY_SOCKET; -EBADF */

/* Its control groups; valid until rt_finish(). */
struct cgroup;
const struct cgroup *rt_cgroup(const struct rt_vps *v);

/* How init ended, once its pidfd is readable. */
enum rt_end { RT_EXITED, RT_SIGNALED, RT_REBOOT, RT_POWEROFF };
struct rt_exit {
	enum rt_end how; /* RT_REBOOT, RT_POWEROFF: the tenant called reboot(2) */
	int value;       /* exit status or signal */
};
int rt_reap(struct rt_vps *v, struct rt_exit *ret, struct err *e);

/* Undoes the start: kills what is left, waits, removes cgroup, network and mounts. Frees v. */
void rt_finish(struct rt_vps *v);

/* The same for a VPS whose holder has died, from its spec's names alone. Idempotent. */
int rt_cleanup(const char *name, const char *cgroup_parent, const char *run_dir, struct err *e);

int rt_freeze(struct rt_vps *v, struct err *e);
int rt_thaw(struct rt_vps *v, struct err *e);
int rt_kill(struct rt_vps *v, struct err *e); /* SIGKILL to everything inside */

/*
 * Applies live settings: `keys` names those that change, `all` holds the VPS's limits with the new
 * values (a key that is not in it goes back to its default). All or nothing. `note` is "" or a line on what the kernel could not do at once (a tenant
 * that is above its new limit already).
 */
int rt_set(struct rt_vps *v, const struct strv *keys, const struct config *all, char *note,
	   size_t note_size, struct err *e);

/*
 * What the checkpoint engine has the tasks of a VPS do while all stands still is not the tenant's work:
 * it gets as much of the processors as the host has. Without that a VPS that has used up its share
 * (cpu.max) would stand still for periods of 100 ms each. Best effort; until rt_unhurry(), for which
 * whoever holds the VPS is answerable.
 */
void rt_hurry(const struct cgroup *c);
int rt_unhurry(struct rt_vps *v, struct err *e);

/* A command in a running VPS. */
struct rt_exec {
	struct strv argv;
	struct strv env;   /* "K=V", added to a basic environment */
	char user[64];     /* name, uid or uid:gid, looked up inside; "" is root */
	char cwd[4096];    /* "" is the user's home */
	bool tty;          /* a pty of the VPS's own devpts; its master is returned */
	unsigned short rows, cols;
	bool login;        /* argv is empty: the user's shell, as a login shell (`enter`) */
};

/* One that has been born, and whether it runs is not known as long as `sock` is open. */
struct rt_command {
	pid_t pid;
	int pidfd;  /* the caller's, who reaps it in any case */
	int sock;
	int master; /* the caller's: tty only, blocking, once it runs; else -EBADF */
};

/*
 * Starts it inside all namespaces, cgroup and limits of the VPS, as a child of the caller. How that goes on is told by
 * c->sock: a tenant can delay it (a lease, a file system that does not answer), so nobody else should have to wait.
 */
int rt_exec(struct rt_vps *v, const struct rt_exec *x, const struct rt_stdio *stdio, struct rt_command *ret,
	    struct err *e);
/* What there is to be read from c->sock. 1: there will be more; 0: execve has succeeded; negative: it has failed, and the
 * process is sent SIGKILL. ERR_NOCMD and ERR_NOEXEC as rt_start(). */
int rt_exec_hear(struct rt_command *c, struct err *e);
/* Hears all; fails with ERR_TIMEOUT when it is not known by then (CLOCK_MONOTONIC). */
int rt_exec_wait(struct rt_command *c, uint64_t until_us, struct err *e);

#endif
