/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_MONITOR_INTERNAL_H
#define SUPERVISOR_MONITOR_INTERNAL_H

#include "base/err.h"
#include "base/macro.h"
#include "cgroup/watch.h"
#include "runtime/vps.h"
#include "supervisor/counters.h"
#include "supervisor/monitor.h"
#include "supervisor/session.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum mon_state {
	MON_STARTING,
	MON_RESTORING, /* with `restore`: all is there and stopped, until vpsd says commit or abort */
	MON_RUNNING,
	MON_PAUSED,
	MON_SAVING,    /* a worker writes the image */
	MON_SUSPENDED, /* the image and its record are there: what is left is killed */
	MON_GIVEN_UP,  /* to another host: frozen until it is known who has it */
	MON_STOPPING,
};

/* A client of ours, see supervisor/session.h. */
struct mon_session {
	struct mon_session *next;
	int sock;
	bool console;    /* gets the console's output */
	bool input;      /* may type */
	bool run;        /* `vps run`: init's exit is its exit, hanging up stops the VPS */
	bool dead;       /* to be freed at the end of the round */
	struct rt_command command; /* of exec; its fds are -EBADF else */
	json_int_t asked;          /* the request that waits until it runs; 0: none does */
	uint64_t give_up_us;       /* CLOCK_MONOTONIC, as long as it does not run */
	uint64_t dropped;/* bytes of output since the last one that went through */
	bool ended;      /* the last message waits in `end_*` for room */
	enum session_type end_type;
	int32_t end_value;
};

#define MON_SESSIONS_MAX 256

/* The console's log: console.log and, before it, console.log.1. */
struct mon_log {
	int dirfd;
	int fd;
	uint64_t size;
};

struct mon {
	struct rt_spec spec;
	struct rt_stdio stdio;
	struct rt_vps *vps;
	struct rt_vps *prepared; /* what was made before the spec came; NULL */
	enum mon_state state;
	int image;             /* to be restored; -EBADF */
	struct ckpt_restore *restore;
	struct ckpt_restore *rest; /* of a restore that was committed: to be freed when that was said; or NULL */
	bool restored;         /* from an image, not started */
	bool was_paused;       /* before it was saved */
	bool over;             /* the monitor's work is done */
	bool ready;
	bool forced;
	uint64_t started_us;   /* CLOCK_BOOTTIME */
	uint64_t kill_at_us;   /* CLOCK_MONOTONIC; 0: never */
	uint64_t stop_at_us;   /* when it was asked to stop */
	uint64_t signal_at_us; /* when to see again whether init takes the stop signal; 0: no */
	uint64_t restart_at_us;/* after a reboot that came too soon; 0: no */
	unsigned reboots;
	int control;
	int listen;
	int run_dirfd;
	struct mon_log log;
	int console_slave;     /* keeps the console's master from hanging up */
	struct mon_session *sessions;
	/* Keyboard input that the tenant has not taken yet. */
	char input[16 * 1024];
	size_t input_len;
	/* Output that a `run` client has not taken yet: nothing is read from the console then. */
	char held[SESSION_DATA_MAX];
	size_t held_len;
	uint64_t out_budget;   /* bytes that may still be read from the console now */
	uint64_t out_refill_us;
	struct cgroup_watch watch; /* what the VPS is refused */
	bool watch_due;
	uint64_t watch_at_us;  /* CLOCK_MONOTONIC; it is not looked at before */
	struct cgroup_counters counters;
};

/* monitor_begin.c: waits for the VPS that it is to run. `arg` is where its name is shown. Fills spec,
 * stdio, control, prepared and the session. Returns MON_NOT_NEEDED when vpsd has hung up: nothing is left then. */
#define MON_NOT_NEEDED 1
int mon_begin(struct mon *m, char *arg, struct err *e);
/* Undoes what was made before the spec came; negative, and said in the log, when something is left. */
int mon_unprepare(struct mon *m);

/* monitor_record.c: run/vps/NAME/state and exit, and the packets of monitor.h to vpsd. */
void mon_record_state(struct mon *m);
/* run/vps/NAME/spec: the spec as it is now, with the limits that were set since the start. */
int mon_record_spec(struct mon *m, struct err *e);
void mon_record_exit(struct mon *m, const char *how, int value, const struct err *e);
/* Sends and releases the object; a vpsd that is gone or does not read is let go. */
void mon_tell(struct mon *m, json_t *event);
void mon_tell_state(struct mon *m);
const char *mon_state_name(const struct mon *m);

/* monitor.c */
int mon_start(struct mon *m, const char *event, struct err *e);
/* It runs, by a start or by a restore. */
void mon_started(struct mon *m, const char *event);
/* Its start has failed and all is undone; who waits is told. */
void mon_start_failed(struct mon *m, const struct err *e);

/* monitor_end.c: init has ended. True when the monitor's work is done. */
bool mon_vps_ended(struct mon *m, int *ret_status);
/* Between a reboot and the next start. False when the monitor's work is done. */
bool mon_reboot(struct mon *m, int *ret_status);

/* monitor_control.c: one packet of vpsd. Returns -EPIPE when it is gone. */
int mon_control(struct mon *m);
void mon_answer(struct mon *m, json_int_t id, int r, const struct err *e);

/* monitor_exec.c: a command in the VPS. The session's socket (fds[0]) is taken over; the others are its stdin, stdout and
 * stderr. 0: it is on its way, and `id` will be answered. */
int mon_exec(struct mon *m, json_int_t id, json_t *request, int *fds, size_t nfds, struct err *e);
/* There is something to be read from s->command.sock. */
void mon_exec_heard(struct mon *m, struct mon_session *s);
/* Those that do not get started in their time; with `all`, none is under way afterwards. */
void mon_exec_expire(struct mon *m, bool all);
/* Who has asked is gone. */
void mon_exec_forget(struct mon *m);
/* Sends the stop signal, or waits until init takes it. */
int mon_signal_init(struct mon *m, struct err *e);
int mon_stop(struct mon *m, uint64_t timeout_us, bool force, struct err *e);

/* monitor_save.c: into an image, and from one. */
/* A worker is about to write the image: nothing else may be done with the VPS until one of the next. */
int mon_save(struct mon *m, struct err *e);
/* It runs on, or is paused, as before. Nothing when it is not being saved. */
void mon_save_abort(struct mon *m);
/* The image is complete and `worker` (a pidfd) holds all tasks: the VPS is suspended from here on, as
 * the record says. On failure it runs on. */
int mon_save_commit(struct mon *m, json_t *record, int worker, struct err *e);
/* Freezes the group; fails when `worker` has died, and something may have run. */
int mon_hold(struct mon *m, int worker, struct err *e);
/* The worker has killed the tasks, or can no longer. */
int mon_save_finish(struct mon *m, struct err *e);
/* vpsd is gone, and its worker with it: abort before the commit, finish after it. */
void mon_save_alone(struct mon *m);
/* monitor_move.c: to another host, after mon_save(). It is given up from here on: frozen, and the record
 * of the migration (migrate/record.h) says so. On failure it runs on. */
int mon_move_commit(struct mon *m, int worker, struct err *e);
/* A worker that was to save or move it may have slowed it down, or given it more than its share. */
void mon_own_speed(struct mon *m);
/* It is known who has it: it is killed, or runs on. */
int mon_move_finish(struct mon *m, bool taken, struct err *e);

/* Builds the VPS from m->image. */
int mon_restore(struct mon *m, struct err *e);
/* On failure nothing of it is left but the record and the image. */
int mon_restore_commit(struct mon *m, struct err *e);
void mon_restore_done(struct mon *m); /* after the answer, who waits for which waits for the VPS */
void mon_restore_abort(struct mon *m);

/* monitor_watch.c: what the VPS was refused, and its beancounters. */
void mon_watch_begin(struct mon *m);
/* Begins what is due: it takes some 60 files, for which who waits for the start need not wait. */
void mon_watch_due(struct mon *m);
/* The fd to poll; -EBADF for now when it has just told something. */
int mon_watch_fd(const struct mon *m);
void mon_watch_read(struct mon *m);
/* Before the groups are removed: the last look. */
void mon_watch_end(struct mon *m);

/* monitor_console.c */
int mon_log_open(struct mon *m, struct err *e);
/* Reads what the console has and passes it on; bounded, so that a flood takes no more than its
 * share. */
void mon_console_output(struct mon *m);
void mon_console_drain(struct mon *m);
/* True when there is input to be passed on. */
bool mon_console_takes(const struct mon *m);
/* Passes pending input on. */
void mon_console_input(struct mon *m);
/* True when the console may be read now. */
bool mon_console_wanted(struct mon *m);

/* monitor_session.c */
struct mon_session *mon_session_new(struct mon *m, int sock);
void mon_session_history(struct mon *m, struct mon_session *s);
void mon_session_read(struct mon *m, struct mon_session *s);
/* The client has hung up, which reading or writing may be the first to find: what it ran is told, and
 * a sandbox is stopped. */
void mon_session_gone(struct mon *m, struct mon_session *s);
/* A command of an exec session has ended. */
void mon_session_reap(const struct mon *m, struct mon_session *s);
/* The last message; sent when there is room, then the session goes. */
void mon_session_end(struct mon_session *s, enum session_type type, int32_t value);
void mon_session_flush(struct mon_session *s);
void mon_sessions_sweep(struct mon *m);
/* All of them, before the monitor exits: waits a little for slow clients. */
void mon_sessions_close(struct mon *m, int32_t status);

#endif
