/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_DAEMON_H
#define SUPERVISOR_DAEMON_H

#include "base/err.h"
#include "base/hostroot.h"
#include "runtime/config.h"
#include "supervisor/jobs.h"
#include "supervisor/machine.h"
#include "supervisor/protocol/server.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

/*
 * What the files of vpsd share. One loop, one thread; nothing here waits for the disk, for a VPS or
 * for a client. What takes long is a job (jobs.h), what a VPS does is told by its monitor.
 */

struct sup_link;

/* How a VPS ended last: lib/vps/NAME/last, so that it survives vpsd and the host. */
struct sup_end {
	char how[16];    /* monitor.h: exited, signaled, poweroff, reboot, killed, failed; died: the
			    monitor was killed; "" never ran */
	int value;
	bool forced;
	uint64_t at;     /* seconds since 1970 */
	char error[512]; /* "" when nothing went wrong */
};

/* A client that waits for something of a VPS. */
struct sup_waiter {
	struct sup_waiter *next;
	struct sup_vps *vps;
	struct server_call *call;
	/* Looked at whenever something has changed. Returns true when the call has been answered;
	 * `e` is filled when what was asked for has failed, else NULL. */
	bool (*look)(struct sup_waiter *w, const struct err *e);
	sd_event_source *timer;
	enum sup_state want;
	bool ready;      /* start --wait */
	bool done;       /* answered; to be freed */
};

/* Whose it is, after a migration (move.h). */
enum sup_moved {
	SUP_HERE,
	SUP_IN_DOUBT, /* only the destination knows */
	SUP_MOVED,    /* what is left here goes */
	SUP_MOVED_KEPT,
	SUP_ARRIVING, /* not ours yet */
};

struct sup_vps {
	struct sup_daemon *d;
	char name[64];
	enum sup_state state;
	struct config config;
	struct err config_error; /* code is 0 when the file is good */
	struct netns_addr *addr; /* of its interfaces, by the config; see network_note_addresses() */
	size_t addr_count;
	uid_t owner;
	uint32_t id_base;
	bool ephemeral;

	struct sup_link *link;   /* to its monitor; NULL when there is none */
	sd_event_source *retry;  /* connects to a monitor that does not listen yet */
	unsigned tries;
	sd_event_source *guard;  /* kills a monitor that does not end what it should */
	pid_t pid;
	uint64_t started_us;     /* CLOCK_BOOTTIME */
	bool ready;
	int reboots;             /* of this monitor's */
	bool awaited;            /* its monitor has not said hello to this vpsd */
	bool unattended;         /* started by policy: a failed start is tried again */
	bool down;               /* the user wants it stopped: no restart by policy */
	bool start_again;        /* a restart was asked for */
	unsigned checking;       /* looked at by Movable: it stands still for a moment, and must not be paused */
	bool destroy_next;       /* to be destroyed once stopped */
	unsigned copying;        /* push and pull under way */
	struct sup_end end;
	enum sup_moved moved;
	char moved_to[256];
	json_t *moved_report;
	json_t *arrived;             /* how it came here; NULL: it was made here */
	struct moving *moving;       /* to another host, while it runs */
	struct receiving *arriving;  /* from another host, running there */

	unsigned failures;       /* restarts by policy in a row */
	int restarts;            /* all of them */
	sd_event_source *restart;/* the next one */

	struct saving *saving;   /* save.h */
	struct sup_waiter *waiters;
	int looking;
};

struct sup_daemon {
	struct host_root root;
	sd_event *event;
	struct server *server;
	struct jobs *jobs;
	struct sup_vps **vps;    /* by name */
	size_t count;
	int lock_fd;
	uint64_t started_us;     /* CLOCK_BOOTTIME */
	struct server_call **watchers; /* events */
	size_t watcher_count;
	unsigned awaited;        /* monitors that have not said hello */
	bool open;               /* listens */
	sd_event_source *hello_timer;
	void (*on_open)(struct sup_daemon *d);
	struct autostart *autostart;
	struct template_wait *template_waits;
	struct sup_network *network;
	struct spare *spare;
	unsigned template_jobs;
	bool sweep_templates;
	struct receiving *receiving; /* migrations that come in */
};

/* daemon.c */
int daemon_init(struct sup_daemon *d, const char *root, struct err *e);
/* Finds the VPSs, their monitors and what was left half done. Calls d->on_open when done. */
int daemon_scan(struct sup_daemon *d, struct err *e);
void daemon_done(struct sup_daemon *d);
/* Removes what an undone create or an unfinished destroy of that name left in lib/vps. */
void daemon_sweep(struct sup_daemon *d, const char *name);
/* Its monitor has said hello, or never will. */
void daemon_hello(struct sup_vps *v);

/* vps.c */
/* The daemon's own; NULL: there is none of that name. */
struct sup_vps *vps_find(struct sup_daemon *d, const char *name);
/* As vps_find(); fills "no VPS named …" with near names as the hint. */
struct sup_vps *vps_get(struct sup_daemon *d, const char *name, struct err *e);
/* A new one, known by that name from now on; nothing is on the disk yet. ERR_EXISTS, -ENOMEM. */
int vps_add(struct sup_daemon *d, const char *name, struct sup_vps **ret, struct err *e);
/* It is forgotten and freed: who waits for it is told that it is gone. */
void vps_remove(struct sup_vps *v);
/* The name alone; that it is free was seen before. */
int vps_rename(struct sup_vps *v, const char *name, struct err *e);
/* Reads the config again; what is wrong with it goes to v->config_error too. */
int vps_load(struct sup_vps *v, struct err *e);
/* lib/vps/NAME/last, how it ended, into v->end; what cannot be read is left out. Saved without fsync(2). */
void vps_load_end(struct sup_vps *v);
void vps_save_end(struct sup_vps *v);
/* As `vps list` and `vps status` show it; the caller's. */
json_t *vps_json(const struct sup_vps *v);
/* "exit 1", "signal SIGKILL", …; NULL when it never ran. */
const char *vps_end_text(const struct sup_end *end, char *buf, size_t size);
/* Fills "VERB NAME: it is …" when the state does not allow it. */
int vps_check(const struct sup_vps *v, enum sup_event ev, const char *verb, struct err *e);
/* Whether there is an image that it is suspended in; what it is when nothing of it runs. */
bool vps_is_suspended(const struct sup_vps *v);
enum sup_state vps_idle_state(const struct sup_vps *v);
/* Moves the state on as the table says; false when it says no. */
bool vps_move(struct sup_vps *v, enum sup_event ev);
/* Opens lib/vps/NAME. */
int vps_open_lib(const struct sup_vps *v, struct err *e);
/* Its id range, free of all others of this state root. */
int vps_alloc_ids(struct sup_daemon *d, uint32_t *ret, struct err *e);

/* wait.c */
struct sup_waiter *vps_wait(struct sup_vps *v, struct server_call *c, uint64_t timeout_us,
			    bool (*look)(struct sup_waiter *w, const struct err *e));
/* Has all waiters look. `e`: what failed, or NULL. */
void vps_look(struct sup_vps *v, const struct err *e);
bool wait_for_start(struct sup_waiter *w, const struct err *e);
bool wait_for_stop(struct sup_waiter *w, const struct err *e);
bool wait_for_restart(struct sup_waiter *w, const struct err *e);
bool wait_for_state(struct sup_waiter *w, const struct err *e);
bool wait_for_destroy(struct sup_waiter *w, const struct err *e);

/* launch.c */
struct vps_stdio {
	int session; /* -EBADF: none */
	int fd[3];
};
/* Spawns its monitor, which starts it, or puts the processes of `image` back (-EBADF: none). `io` may
 * be NULL; its fds and the image's stay the caller's. `verb` is for the error. */
int vps_launch(struct sup_vps *v, const struct vps_stdio *io, int image, const char *verb,
	       struct err *e);
/* Opens what it is suspended in; -EBADF when it is not. */
int vps_open_image(struct sup_vps *v, int *ret, struct err *e);
/* Removes run/vps/NAME. */
void vps_remove_run_dir(struct sup_vps *v);

/* monitor_told.c */
/* From the link: what the monitor says. */
void vps_on_event(struct sup_vps *v, const char *event, json_t *msg);
/* How it ended, as the monitor tells and records it. */
void vps_take_end(struct sup_end *end, json_t *msg);

/* lifecycle.c */
/* Spawns the monitor. `io` may be NULL; its fds stay the caller's. */
int vps_start(struct sup_vps *v, const struct vps_stdio *io, struct err *e);
int vps_stop(struct sup_vps *v, uint64_t timeout_us, bool force, struct err *e);
/* Spawns the monitor of a stopped one for an image that comes from elsewhere; the fd stays the
 * caller's. */
int vps_arrive(struct sup_vps *v, int image, struct err *e);
uint64_t vps_stop_timeout(const struct sup_vps *v);
/* From the link: the monitor is gone. */
void vps_on_gone(struct sup_vps *v);
/* It has ended while no vpsd looked. */
void vps_ended(struct sup_vps *v);
/* Its monitor was killed: removes what it left behind, then it has ended. */
void vps_clean_up(struct sup_vps *v, const char *why);
/* Removes it from the disk; the waiters are told. */
int vps_destroy(struct sup_vps *v, struct err *e);

/* policy.c */
/* After it has ended: restarts it now, later or not at all. */
void policy_ended(struct sup_vps *v, const struct sup_end *end);
void policy_cancel(struct sup_vps *v);
/* Whether how it ended counts as a failure. */
bool policy_is_failure(const struct sup_end *end);
/* The wait before restart number `failures` + 1. */
uint64_t policy_delay(uint64_t delay_us, unsigned failures);
/* Starts those with `autostart`, once a boot. */
void autostart_begin(struct sup_daemon *d);
void autostart_done(struct sup_daemon *d);

/* events.c */
void event_emit(struct sup_daemon *d, const char *event, const char *name, const char *detail);
void event_watch(struct sup_daemon *d, struct server_call *c);
void event_done(struct sup_daemon *d);

/* permission.c: the one place that says who may do what. */
struct sup_peer {
	uid_t uid;
};
int may(uid_t uid, const struct sup_vps *v, const char *verb, struct err *e);
int may_set(uid_t uid, const char *key, struct err *e);

/* templates.c */
/* Has `template` there, building it when it is the built-in default; then calls done. */
int template_want(struct sup_daemon *d, const char *name,
		  void (*done)(void *ctx, const struct err *e), void *ctx, struct err *e);
/* "NAME/digest" of all VPSs, a JSON array. */
json_t *templates_used(struct sup_daemon *d);
#define TEMPLATE_DEFAULT "busybox"

/* create.c */
struct create_request {
	const char *name;
	const char *template;
	const char *backend;
	json_t *settings;  /* borrowed; []KeyValue or NULL */
	bool ephemeral;
	json_t *command;   /* borrowed; of run, or NULL */
	uid_t owner;
};
struct create;
/* Creates it; `done` is called once with the VPS (stopped), or NULL and the error. */
int create_begin(struct sup_daemon *d, const struct create_request *q,
		 void (*done)(void *ctx, struct sup_vps *v, const struct err *e), void *ctx,
		 struct create **ret, struct err *e);
/* `done` will be called with ERR_CANCELLED, unless it is too late. */
void create_cancel(struct create *c);

/* change.c: a changed setting can be told to its monitor. */
bool vps_takes_live(const struct sup_vps *v);
/* allowed.c: after the name has come to stand for other addresses, or none. */
void allowed_renew(struct sup_daemon *d, const char *name);
/* What it was told before may be older than what the names stand for now. Only when it runs, and has names. */
void allowed_tell(struct sup_vps *v);

/* missing.c: adds to `notes` what this value of a setting names and is not there. */
void missing_look(struct sup_daemon *d, const char *key, const char *value, json_t *notes);
/* One string of all the notes, or NULL when there are none. */
json_t *missing_text(const json_t *notes);

/* methods.c */
extern const struct server_method sup_methods[];
extern const size_t sup_method_count;

void method_list(struct server_call *c, void *userdata);
void method_status(struct server_call *c, void *userdata);
void method_stats(struct server_call *c, void *userdata);
void method_stats_all(struct server_call *c, void *userdata);
void method_counters(struct server_call *c, void *userdata);
void method_create(struct server_call *c, void *userdata);
void method_start(struct server_call *c, void *userdata);
void method_stop(struct server_call *c, void *userdata);
void method_restart(struct server_call *c, void *userdata);
void method_pause(struct server_call *c, void *userdata);
void method_resume(struct server_call *c, void *userdata);
void method_suspend(struct server_call *c, void *userdata);
void method_checkpoint(struct server_call *c, void *userdata);
void method_check(struct server_call *c, void *userdata);
void method_restore(struct server_call *c, void *userdata);
void method_image_show(struct server_call *c, void *userdata);
void method_image_verify(struct server_call *c, void *userdata);
void method_destroy(struct server_call *c, void *userdata);
void method_rename(struct server_call *c, void *userdata);
void method_wait(struct server_call *c, void *userdata);
void method_exec(struct server_call *c, void *userdata);
void method_console(struct server_call *c, void *userdata);
void method_run(struct server_call *c, void *userdata);
void method_logs(struct server_call *c, void *userdata);
void method_push(struct server_call *c, void *userdata);
void method_pull(struct server_call *c, void *userdata);
void method_migrate(struct server_call *c, void *userdata);
void method_migrate_resolve(struct server_call *c, void *userdata);
void method_receive(struct server_call *c, void *userdata);
void method_get_config(struct server_call *c, void *userdata);
void method_set(struct server_call *c, void *userdata);
void method_set_text(struct server_call *c, void *userdata);
void method_templates(struct server_call *c, void *userdata);
void method_template_build(struct server_call *c, void *userdata);
void method_template_import(struct server_call *c, void *userdata);
void method_template_remove(struct server_call *c, void *userdata);

/*
 * The VPS that a call names, when it is there and the caller may; NULL after answering the call.
 */
struct sup_vps *method_vps(struct server_call *c, struct sup_daemon *d, const char *verb);
/* server_fail() after "VERB NAME: ". */
void method_fail(struct server_call *c, const char *verb, const char *name, struct err *e);

#endif
