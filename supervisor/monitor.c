/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * vps-monitor: the parent of a VPS's init. It starts the VPS, holds its console, runs commands in
 * it, notices its end and undoes what was made; it lives exactly as long as the VPS and does not
 * need vpsd for any of that. supervisor/monitor.h says how the two talk.
 */
#include "supervisor/monitor_internal.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/sock.h"
#include "netns/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/capability.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define REBOOT_MIN_US 2000000 /* a VPS that reboots sooner waits until then */
#define IDLE_MS 200           /* nobody is about to want something */

/* Capabilities that a monitor never uses. */
static void drop_capabilities(void)
{
	static const cap_value_t unused[] = {
		CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_BOOT, CAP_SYS_TIME,      CAP_SYSLOG,
		CAP_SYS_PACCT, CAP_MAC_ADMIN, CAP_MAC_OVERRIDE, CAP_WAKE_ALARM,
		CAP_LINUX_IMMUTABLE, CAP_SYS_TTY_CONFIG, CAP_LEASE, CAP_AUDIT_CONTROL,
		CAP_AUDIT_WRITE, CAP_AUDIT_READ, CAP_BLOCK_SUSPEND, CAP_PERFMON,
	};
	cap_t caps = cap_get_proc();

	if (!caps)
		return;
	cap_set_flag(caps, CAP_EFFECTIVE, ARRAY_SIZE(unused), unused, CAP_CLEAR);
	cap_set_flag(caps, CAP_PERMITTED, ARRAY_SIZE(unused), unused, CAP_CLEAR);
	if (cap_set_proc(caps) < 0)
		log_debug("give up capabilities: %s", strerrordesc_np(errno));
	cap_free(caps);
}

static int start_vps(struct mon *m, const char *event, struct err *e)
{
	int r;

	m->state = MON_STARTING;
	m->ready = false;
	r = rt_start(&m->spec, &m->stdio, TAKE_PTR(m->prepared), &m->vps, e);
	if (r < 0)
		return err_wrap(e, "start %s", m->spec.name);
	mon_started(m, event);
	rt_announce(m->vps);
	return 0;
}

void mon_started(struct mon *m, const char *event)
{
	m->state = MON_RUNNING;
	m->started_us = now_boottime_us();
	/* Only systemd, which is stopped by this signal, says when it is ready; and only once. */
	m->ready = !m->spec.boot || m->spec.stop_signal != SIGRTMIN + 3 || m->restored;
	mon_record_state(m);
	mon_tell(m, json_pack("{s:s,s:I,s:I}", "event", event, "pid",
			      (json_int_t)rt_init_pid(m->vps), "started_us",
			      (json_int_t)m->started_us));
	if (m->ready)
		mon_tell(m, json_pack("{s:s}", "event", "ready"));
	mon_watch_begin(m);
}

static void say_hello(struct mon *m)
{
	mon_tell(m, json_pack("{s:s,s:s,s:I,s:I,s:b,s:i,s:b,s:[s]}", "event", "hello", "state",
			      mon_state_name(m), "pid",
			      (json_int_t)(m->vps ? rt_init_pid(m->vps) : 0), "started_us",
			      (json_int_t)m->started_us, "ready", m->ready, "restarts",
			      (int)m->reboots, "prepared", m->restore != NULL, "takes", "net"));
}

/* Another vpsd: it replaces the one we had. */
static void accept_control(struct mon *m)
{
	int fd = accept4(m->listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	pid_t pid;
	uid_t uid;
	gid_t gid;

	if (fd < 0)
		return;
	if (sock_peer(fd, &pid, &uid, &gid) < 0 || uid != geteuid()) {
		close(fd);
		return;
	}
	mon_exec_forget(m);
	mon_save_alone(m);
	fd_close(&m->control);
	m->control = fd;
	say_hello(m);
}

static void read_notify(struct mon *m)
{
	char text[4097];

	for (int i = 0; i < 16; i++) {
		ssize_t n = recv(rt_notify_fd(m->vps), text, sizeof(text) - 1, MSG_DONTWAIT);
		char *next = text, *line;

		if (n < 0)
			return;
		text[n] = '\0';
		while ((line = strsep(&next, "\n"))) {
			if (!STREQ(line, "READY=1") || m->ready)
				continue;
			m->ready = true;
			mon_record_state(m);
			mon_tell(m, json_pack("{s:s}", "event", "ready"));
		}
	}
}

/* A command of an exec session has ended. */
static void reap_session(const struct mon *m, struct mon_session *s)
{
	siginfo_t info;

	if (waitid(P_PIDFD, (id_t)s->command.pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
		return;
	fd_close(&s->command.pidfd);
	if (m->state == MON_SUSPENDED)
		mon_session_end(s, SESSION_ERROR, 0);
	else
		mon_session_end(s, SESSION_EXIT,
				info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status);
}

static const char *exit_name(const struct mon *m, const struct rt_exit *x)
{
	static const char *const names[] = {
		[RT_EXITED] = "exited", [RT_SIGNALED] = "signaled",
		[RT_REBOOT] = "reboot", [RT_POWEROFF] = "poweroff",
	};

	if (m->state == MON_GIVEN_UP)
		return "moved";
	if (m->state == MON_SUSPENDED)
		return "suspended";
	return m->forced ? "killed" : names[x->how];
}

/* Init has ended. Returns true when the monitor's work is done. */
static bool vps_ended(struct mon *m, int *ret_status)
{
	struct rt_exit x = { .how = RT_SIGNALED };
	struct err e;
	const char *how;

	if (rt_reap(m->vps, &x, &e) < 0)
		log_error("%s: %s", m->spec.name, e.msg);
	mon_console_drain(m);
	mon_exec_expire(m, true);
	for (struct mon_session *s = m->sessions; s; s = s->next)
		if (s->command.pidfd >= 0)
			reap_session(m, s);
	mon_watch_end(m);
	rt_finish(m->vps);
	m->vps = NULL;
	m->input_len = 0;
	fd_close(&m->console_slave);
	if (x.how == RT_REBOOT && m->state != MON_STOPPING && m->spec.boot) {
		uint64_t ran = now_boottime_us() - m->started_us;

		m->reboots++;
		m->state = MON_STARTING;
		m->restart_at_us = now_monotonic_us() +
				   (ran < REBOOT_MIN_US ? REBOOT_MIN_US - ran : 0);
		return false;
	}
	how = exit_name(m, &x);
	*ret_status = x.how == RT_EXITED ? x.value : 128 + x.value;
	mon_record_exit(m, how, x.value, NULL);
	mon_tell(m, json_pack("{s:s,s:s,s:i,s:b}", "event", "exited", "how", how, "value", x.value,
			      "forced", m->forced));
	return true;
}

enum { P_CONTROL, P_LISTEN, P_INIT, P_CONSOLE, P_NOTIFY, P_WATCH, P_KEPT, P_FIXED };

static short console_events(struct mon *m)
{
	short ev = mon_console_wanted(m) ? POLLIN : 0;

	return (short)(ev | (mon_console_takes(m) ? POLLOUT : 0));
}

static size_t fill_poll(struct mon *m, struct pollfd *p)
{
	size_t n = P_FIXED;

	p[P_CONTROL] = (struct pollfd){ .fd = m->control, .events = POLLIN };
	p[P_LISTEN] = (struct pollfd){ .fd = m->listen, .events = POLLIN };
	p[P_INIT] = (struct pollfd){ .fd = m->vps ? rt_init_pidfd(m->vps) : -1, .events = POLLIN };
	p[P_NOTIFY] = (struct pollfd){ .fd = m->vps ? rt_notify_fd(m->vps) : -1, .events = POLLIN };
	p[P_WATCH] = (struct pollfd){ .fd = mon_watch_fd(m), .events = POLLIN };
	p[P_KEPT] = (struct pollfd){ .fd = m->vps ? rt_kept_fd(m->vps) : -1, .events = POLLIN };
	p[P_CONSOLE] = (struct pollfd){ .fd = -1 };
	if (m->vps && rt_console_fd(m->vps) >= 0) {
		p[P_CONSOLE].events = console_events(m);
		/* A hang-up is always reported: without a wish for output it is left out. */
		if (p[P_CONSOLE].events)
			p[P_CONSOLE].fd = rt_console_fd(m->vps);
	}
	for (struct mon_session *s = m->sessions; s; s = s->next) {
		short ev = s->ended || (s->run && m->held_len) ? POLLIN | POLLOUT : POLLIN;

		p[n++] = (struct pollfd){ .fd = s->dead ? -1 : s->sock, .events = ev };
		p[n++] = (struct pollfd){ .fd = s->command.sock >= 0 ? s->command.sock : s->command.pidfd,
					  .events = POLLIN };
	}
	return n;
}

static int poll_timeout(struct mon *m)
{
	uint64_t now = now_monotonic_us(), at = UINT64_MAX;

	if (m->kill_at_us && m->kill_at_us < at)
		at = m->kill_at_us;
	if (m->signal_at_us && m->signal_at_us < at)
		at = m->signal_at_us;
	if (m->restart_at_us && m->restart_at_us < at)
		at = m->restart_at_us;
	if (m->watch_at_us && m->watch_at_us < at)
		at = m->watch_at_us;
	for (const struct mon_session *s = m->sessions; s; s = s->next)
		if (s->command.sock >= 0 && s->give_up_us < at)
			at = s->give_up_us;
	if (m->vps && rt_console_fd(m->vps) >= 0 && m->held_len == 0 && !mon_console_wanted(m) &&
	    now + 5000 < at)
		at = now + 5000; /* the output's budget refills */
	if (at == UINT64_MAX)
		return -1;
	if (at > now + (uint64_t)INT_MAX * 1000)
		return INT_MAX;
	return at <= now ? 0 : (int)((at - now) / 1000 + 1);
}

static void serve_sessions(struct mon *m, const struct pollfd *p)
{
	size_t n = P_FIXED;

	/* New ones are put in front, by the control socket alone, which is served afterwards. */
	for (struct mon_session *s = m->sessions; s; s = s->next, n += 2) {
		if (p[n + 1].revents && s->command.sock >= 0)
			mon_exec_heard(m, s);
		else if (p[n + 1].revents)
			reap_session(m, s);
		if (p[n].revents & POLLOUT) {
			mon_session_flush(s);
			if (s->run && m->held_len && !s->dead &&
			    session_send(s->sock, SESSION_OUTPUT, 0, m->held, m->held_len,
					 -EBADF) != -EAGAIN)
				m->held_len = 0;
		}
		if (!s->dead && p[n].revents & (POLLIN | POLLHUP | POLLERR))
			mon_session_read(m, s);
		if (s->dead && s->run)
			m->held_len = 0;
	}
}

static void serve_timers(struct mon *m)
{
	uint64_t now = now_monotonic_us();
	struct err e;

	if (m->signal_at_us && now >= m->signal_at_us && m->vps && mon_signal_init(m, &e) < 0)
		log_error("%s", e.msg);
	mon_exec_expire(m, false);
	if (m->watch_at_us && now >= m->watch_at_us)
		m->watch_at_us = 0;
	if (m->kill_at_us && now >= m->kill_at_us) {
		m->signal_at_us = 0;
		m->kill_at_us = 0;
		if (m->vps) {
			m->forced = true;
			if (rt_kill(m->vps, &e) < 0)
				log_error("%s: %s", m->spec.name, e.msg);
		}
	}
}

/* Between a reboot and the next start. Returns false when the monitor's work is done. */
static bool serve_reboot(struct mon *m, int *ret_status)
{
	struct err e;

	if (m->vps || m->restore)
		return true;
	if (m->state == MON_STOPPING) {
		mon_record_exit(m, "reboot", 0, NULL);
		mon_tell(m, json_pack("{s:s,s:s,s:i,s:b}", "event", "exited", "how", "reboot",
				      "value", 0, "forced", false));
		return false;
	}
	if (now_monotonic_us() < m->restart_at_us)
		return true;
	m->restart_at_us = 0;
	if (start_vps(m, "rebooted", &e) == 0)
		return true;
	mon_record_exit(m, "failed", e.code, &e);
	mon_tell(m, json_pack("{s:s,s:i,s:s,s:s}", "event", "failed", "status", e.code, "error",
			      e.msg, "hint", e.hint));
	*ret_status = ERR_RUN;
	return false;
}

/* As poll(2). What takes long to close is closed when nobody has wanted anything for a while. */
static int await(struct mon *m, struct pollfd *p, size_t n)
{
	int timeout = poll_timeout(m), r;

	if (!fd_close_is_due() || (timeout >= 0 && timeout <= IDLE_MS))
		return poll(p, n, timeout);
	r = poll(p, n, IDLE_MS);
	if (r == 0)
		fd_close_due();
	return r;
}

static void serve(struct mon *m, int *ret_status)
{
	struct pollfd p[P_FIXED + 2 * MON_SESSIONS_MAX];

	for (;;) {
		size_t n;

		mon_watch_due(m);
		n = fill_poll(m, p);

		if (await(m, p, n) < 0 && errno != EINTR)
			return;
		serve_sessions(m, p);
		if (m->vps && p[P_NOTIFY].revents)
			read_notify(m);
		if (m->vps && p[P_WATCH].revents)
			mon_watch_read(m);
		if (m->vps && p[P_KEPT].revents)
			rt_kept_read(m->vps);
		if (p[P_CONSOLE].revents & (POLLIN | POLLHUP | POLLERR))
			mon_console_output(m);
		if (p[P_CONSOLE].revents & POLLOUT)
			mon_console_input(m);
		if (p[P_INIT].revents && vps_ended(m, ret_status))
			return;
		if (p[P_CONTROL].revents && mon_control(m) < 0) {
			fd_close(&m->control);
			mon_save_alone(m);
		}
		if (m->over)
			return;
		if (p[P_LISTEN].revents)
			accept_control(m);
		serve_timers(m);
		if (!serve_reboot(m, ret_status))
			return;
		mon_sessions_sweep(m);
	}
}

static int prepare(struct mon *m, struct err *e)
{
	char path[600];

	m->run_dirfd = open(m->spec.run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (m->run_dirfd < 0)
		return err_sys(e, "open %s", m->spec.run_dir);
	snprintf(path, sizeof(path), "%s/monitor.sock", m->spec.run_dir);
	m->listen = sock_listen(path, SOCK_SEQPACKET, 0600);
	if (m->listen < 0)
		return err_code(e, m->listen, "listen on %s", path);
	return 0;
}

void mon_start_failed(struct mon *m, const struct err *e)
{
	mon_record_exit(m, "failed", e->code, e);
	mon_tell(m, json_pack("{s:s,s:i,s:s,s:s}", "event", "failed", "status", e->code, "error",
			      e->msg, "hint", e->hint));
	for (struct mon_session *s = m->sessions; s; s = s->next) {
		session_send(s->sock, SESSION_ERROR, 0, e, sizeof(*e), -EBADF);
		s->dead = true;
	}
}

static void greet_sessions(struct mon *m)
{
	for (struct mon_session *s = m->sessions; s; s = s->next)
		if (session_send(s->sock, SESSION_STARTED, (int32_t)rt_init_pid(m->vps), NULL, 0,
				 -EBADF) < 0)
			mon_session_gone(m, s);
}

int main(int argc, char **argv)
{
	static struct mon m = {
		.image = -EBADF, .control = -EBADF, .listen = -EBADF, .run_dirfd = -EBADF, .console_slave = -EBADF,
		.log = { .dirfd = -EBADF, .fd = -EBADF },
		.stdio = { { -EBADF, -EBADF, -EBADF } },
	};
	int status = 0, r;
	struct err e;

	log_init("vps-monitor");
	signal(SIGPIPE, SIG_IGN);
	umask(0077);
	if (argc != 2 || chdir("/") < 0)
		return 1;
	drop_capabilities();
	netns_stay();
	r = mon_begin(&m, argv[1], &e);
	if (r == MON_NOT_NEEDED)
		return 0;
	if (r == 0)
		r = prepare(&m, &e);
	if (r < 0) {
		mon_unprepare(&m);
		log_error("%s", e.msg);
		mon_start_failed(&m, &e);
		return 1;
	}
	if (mon_log_open(&m, &e) < 0)
		log_warn("%s: %s: the console is not recorded", m.spec.name, e.msg);
	m.out_refill_us = now_monotonic_us();
	if ((m.restored ? mon_restore(&m, &e) : start_vps(&m, "started", &e)) < 0) {
		mon_start_failed(&m, &e);
		return 1;
	}
	for (int i = 0; i < 3; i++)
		fd_close(&m.stdio.fd[i]); /* init's now: our copy would keep pipes open */
	if (m.vps)
		greet_sessions(&m);
	serve(&m, &status);
	mon_sessions_close(&m, status);
	return 0;
}
