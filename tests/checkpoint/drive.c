/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * drive [-CefFklLNoptRx] [-a FROM=TO]... [-d DEVICE] [-H SCRIPT] [-n TIMES] [-m ROUNDS] [-c none|lz4|zstd] [-s] [-i TEXT] PROGRAM...: each static PROGRAM
 * (see guest.h) becomes process 1 of a VPS of its own, which is saved, killed, restored and told to verify.
 * TAP, one line a program. -m ROUNDS: memory is sent in rounds before. -p: both ways out of each phase are
 * taken. -l: in the round right before the stop the program is told "late", and has until it says "changed" to change
 * whatever it will; -L: in the last of those before, after which none comes if it has written to 64 MiB meanwhile. -k: it is not killed, but goes on after it was saved. -s: prints the image. -n: saved and restored so
 * many times. -x: the engine is killed again and again while it saves, and the program is told "on" for "go".
 * -e: it is also run as `PROGRAM exec` by what `vps exec` stands on; -t: in a terminal. -i: is
 * typed on the console before. -C: before it is restored, that is tried by a pipe, with clocks that were an hour ahead at
 * the stop: it must fail. -a: before it is restored, that is tried with an image in which paths that begin with FROM
 * begin with TO: it must fail as they lead through what is open. -d: a device of the host that the VPS may use. -N: with an interface, in a network of the driver's own; "PROGRAM peer" runs
 * outside meanwhile, and must end well. -H: "SCRIPT set" and, when it is restored, "SCRIPT check" are run in its
 * network namespace, with a directory for their notes, and VPS_INIT for the number of its process 1. -o: beside another
 * VPS, so that the group above both is there already, as it is on a host. -R: it may use Landlock.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"
#include "checkpoint/dump.h"
#include "checkpoint/precopy.h"
#include "checkpoint/restore.h"
#include "netns/netns.h"
#include "runtime/value.h"
#include "tests/checkpoint/alter.h"
#include "tests/checkpoint/stuck.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define ID_BASE 700000
#define WAIT_MS 30000
#define LAST_WORD_MS 20000

static struct {
	bool wanted, tty;
	int pidfd, master;
} command = { false, false, -EBADF, -EBADF };
static const char *typed = "", *device;
static bool keep, restricts, show, late, save_fails, restore_fails, killed, phases, networked, last_of_many, beside, clocks;
static int rounds = 1, precopy;
static const char *hook; /* -H */
static struct netns_host net_host;
#define HOOK_SKIPS 77 /* its exit status when the kernel has not got what it is about */
static char ip4[64], ip6[64];
static enum ckpt_compression compression = CKPT_COMPRESS_LZ4;
static char dir[64];
static char *altered[32]; /* -a */
static size_t altered_count;
static const char *tree; /* what else is in the root: PROGRAM may be a script then */

struct console {
	char text[65536];
	size_t len;
};

/* Until the console says `word` on a line of its own. */
static int expect(const struct rt_vps *v, struct console *c, const char *word, struct err *e)
{
	uint64_t end = now_monotonic_us() + WAIT_MS * 1000;
	const char *fault;
	char line[64];

	snprintf(line, sizeof(line), "%s\r\n", word);
	while (!strstr(c->text, line)) {
		struct pollfd p[2] = { { rt_console_fd(v), POLLIN, 0 }, { rt_init_pidfd(v), POLLIN, 0 } };
		ssize_t n;

		if (now_monotonic_us() > end || poll(p, 2, WAIT_MS) <= 0) {
			stuck_tell(rt_init_pid(v));
			return err_set(e, ERR_TIMEOUT, "nothing was heard of \"%s\"", word);
		}
		n = p[0].revents ? read(p[0].fd, c->text + c->len, sizeof(c->text) - 1 - c->len) : 0;
		if (n > 0)
			c->len += (size_t)n;
		c->text[c->len] = '\0';
		/* What it said last may still be on its way through the terminal. */
		if (n <= 0 && p[1].revents && (p[0].revents || poll(p, 1, LAST_WORD_MS) <= 0))
			return err_set(e, ERR_FAIL, "it ended before it said \"%s\"", word);
		if (strstr(c->text, "failed:") && strstr(c->text, "bad\r\n"))
			return err_set(e, ERR_FAIL, "it has found a fault");
	}
	/* Of what was found before, too, it is to be said what. */
	fault = strstr(c->text, "failed:");
	if (fault)
		return err_set(e, ERR_FAIL, "before \"%s\" it said: %.*s", word, (int)strcspn(fault, "\r"), fault);
	c->len = 0;
	memset(c->text, 0, sizeof(c->text));
	return 0;
}

static int make_root(const char *program, struct err *e)
{
	static const char *const dirs[] = { "lower/dev", "lower/proc", "lower/sys", "lower/run",
					    "lower/tmp", "lower/etc", "lower/root", "lower/var",
					    "lib/root/upper", "lib/root/work", "run" };
	char path[4400];
	cleanup_free char *image = NULL;
	size_t len;
	int r;

	snprintf(dir, sizeof(dir), "/var/tmp/vps-checkpoint-XXXXXX");
	if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
		return err_sys(e, "make a directory");
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, dirs[i]);
		r = path_mkdirs_at(AT_FDCWD, path, 0755);
		if (r < 0)
			return err_code(e, r, "make %s", path);
	}
	snprintf(path, sizeof(path), "%s/lib/root/upper", dir);
	if (chown(path, ID_BASE, ID_BASE) < 0)
		return err_sys(e, "give %s away", path);
	snprintf(path, sizeof(path), "%s/lower/tmp", dir);
	chmod(path, 01777);
	r = fd_read_file_at(AT_FDCWD, program, MIB(64), &image, &len);
	if (r < 0)
		return err_code(e, r, "read %s", program);
	snprintf(path, sizeof(path), tree ? "%s/lib/root/upper/test" : "%s/lower/test", dir);
	r = fd_replace_file_at(AT_FDCWD, path, image, len, 0755, false);
	return r < 0 ? err_code(e, r, "write %s", path) : 0;
}

static const char *tag(void)
{
	static char text[16];

	snprintf(text, sizeof(text), "ck-%d", (int)getpid());
	return text;
}

/* The machine's own network is never touched. */
static int network_up(struct err *e)
{
	cleanup_close int own = -EBADF;
	struct netns_addr a4, a6;
	int r;

	if (unshare(CLONE_NEWNET) < 0)
		return err_sys(e, "make a network namespace");
	own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	r = netns_loopback_up(own, e);
	if (r == 0)
		r = netns_host_init(&net_host, tag(), NULL, NULL, e);
	if (r == 0)
		r = netns_host_up(&net_host, NULL, 0, e);
	if (r == 0)
		r = netns_pool_take(&net_host, AF_INET, NULL, 0, &a4, e);
	if (r == 0)
		r = netns_pool_take(&net_host, AF_INET6, NULL, 0, &a6, e);
	if (r < 0)
		return err_wrap(e, "make a network");
	netns_addr_format_host(&a4, ip4);
	netns_addr_format_host(&a6, ip6);
	return 0;
}

static int add_interface(struct rt_spec *s, struct err *e)
{
	char text[256], gw[64];
	int r;

	snprintf(text, sizeof(text), "name=eth0,ip=%s/%u,ip=%s/%u", ip4, net_host.gw4.prefix, ip6, net_host.gw6.prefix);
	r = config_set(&s->limits, "net", text, e);
	if (r == 0)
		r = config_set(&s->limits, "net.isolate", "no", e);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "HOST_IP4=%s", netns_addr_format_host(&net_host.gw4, gw));
	return strv_add(&s->env, text) < 0 ? err_code(e, -ENOMEM, "make a spec") : 0;
}

static pid_t start_peer(const char *program)
{
	pid_t pid = fork();

	if (pid == 0) {
		setenv("VPS_IP4", ip4, 1);
		setenv("VPS_IP6", ip6, 1);
		execl(program, program, "peer", NULL);
		_exit(127);
	}
	return pid;
}

static int end_peer(pid_t pid, int r, struct err *e)
{
	int status;

	if (pid <= 0)
		return r;
	if (r != 0)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return r == 0 && status != 0 ? err_set(e, ERR_FAIL, "the peer outside found a fault") : r;
}

/* The host's programs, in the VPS's network namespace. */
static int run_hook(const struct rt_vps *v, const char *what, struct err *e)
{
	char path[64], init[16];
	int status;
	pid_t pid;

	if (!hook)
		return 0;
	snprintf(init, sizeof(init), "%d", (int)rt_init_pid(v));
	snprintf(path, sizeof(path), "/proc/%s/ns/net", init);
	pid = fork();
	if (pid == 0) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
			_exit(126);
		setenv("VPS_INIT", init, 1);
		execl("/bin/sh", "sh", hook, what, dir, NULL);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == HOOK_SKIPS)
		return err_set(e, ERR_UNSUPPORTED, "this kernel has not got what %s wants", hook);
	return status ? err_set(e, ERR_FAIL, "%s %s failed", hook, what) : 0;
}

static int make_spec(struct rt_spec *s)
{
	*s = (struct rt_spec){ .boot = true, .stop_signal = SIGTERM, .stop_timeout_us = 1000000,
			       .migratable = true, .features = RT_FEATURE_IO_URING | (restricts ? RT_FEATURE_LANDLOCK : 0) };
	snprintf(s->name, sizeof(s->name), "test");
	snprintf(s->uuid, sizeof(s->uuid), "11111111-2222-4333-8444-555555555555");
	snprintf(s->hostname, sizeof(s->hostname), "test");
	snprintf(s->run_dir, sizeof(s->run_dir), "%s/run", dir);
	snprintf(s->lib_dir, sizeof(s->lib_dir), "%s/lib", dir);
	snprintf(s->cgroup_parent, sizeof(s->cgroup_parent), "%s", tag());
	s->root.id_base = ID_BASE;
	s->root.id_count = 65536;
	snprintf(s->root.backend, sizeof(s->root.backend), "overlay");
	snprintf(s->root.dir, sizeof(s->root.dir), "%s/lib/root", dir);
	snprintf(s->root.lower, sizeof(s->root.lower), "%s%s", tree ? tree : dir, tree ? "" : "/lower");
	return strv_add(&s->argv, "/test") < 0 || strv_add(&s->env, "PATH=/bin") < 0 ? -ENOMEM : 0;
}

/* Asks for an end at the first word of progress. */
static int no_more(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	(void)done;
	(void)total;
	return 1;
}

#define LATE_MOST 6       /* that programs are made for */
#define LATE_ROUNDS 10000
#define LATE_PAGES 1024   /* by which a round tells of its progress (busy.h) */

/* While it runs, in each of the last rounds (three at most): what it changes in the last of them nobody looks at before
 * the stop. */
static struct {
	const struct rt_vps *v;
	struct console *c;
	bool due;
	unsigned said;
} last_word;

static int say_late(void *arg, uint64_t done, uint64_t total)
{
	struct err ignored;

	(void)arg;
	(void)done;
	(void)total;
	if (!last_word.due || last_word.said == (last_of_many ? 1 : LATE_MOST))
		return 0;
	last_word.said++;
	return write(rt_console_fd(last_word.v), "late\n", 5) != 5 ||
	       expect(last_word.v, last_word.c, "changed", &ignored) < 0;
}

/* Who had too little to send to be told of in that round, as others had the processor, goes on and is stopped again. */
static int check_late(void *arg, struct err *e)
{
	(void)arg;
	if (late && !last_word.said)
		return err_code(e, -EAGAIN, "it was stopped before it could change anything");
	last_word.due = false;
	return 0;
}

static int save_in_rounds(const struct cgroup *c, pid_t init, int fd, const struct ckpt_dump_options *o,
			  struct ckpt_dump_result *res, struct err *e)
{
	struct ckpt_precopy_stats st;
	struct ckpt_precopy *p;
	struct ckpt_dump *d;
	bool in_last = late && !last_of_many;
	int r = ckpt_precopy_open(c, init, fd, o, &p, e);

	if (r < 0)
		return r;
	last_word.said = 0;
	/* Who is told "late" is so while the last round is sent: there must be one. */
	for (int i = 0; r == 0 && (i < precopy || (in_last && i < LATE_ROUNDS && st.dirty_pages < LATE_PAGES)); i++) {
		last_word.due = last_of_many && i == precopy - 1;
		r = ckpt_precopy_round(p, &st, e);
		if (r == 0 && i < precopy)
			printf("# round %u: %llu pages, %llu bytes, %llu us; %llu pages left\n", st.round,
			       (unsigned long long)st.pages, (unsigned long long)st.bytes,
			       (unsigned long long)st.duration_us, (unsigned long long)st.dirty_pages);
	}
	last_word.due = late;
	if (r == 0)
		r = ckpt_precopy_finish(p, &d, res, e);
	if (r == 0 && !o->leave_running)
		r = ckpt_dump_commit(d, e);
	else if (r == 0)
		ckpt_dump_abort(d);
	ckpt_precopy_close(p);
	return r;
}

static int save(const struct rt_spec *s, const struct rt_vps *v, int fd, struct ckpt_dump_result *res,
		struct err *e)
{
	cleanup_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct ckpt_progress last = { say_late, NULL };
	struct ckpt_dump_options o = { .spec = s, .compression = compression, .leave_running = keep,
				       .progress = late ? &last : NULL, .stopped = check_late };
	struct cgroup_host host;
	struct cgroup c = { .host = &host };
	int r = cgroup_host_read(&host, proc, e);

	if (r < 0)
		return r;
	snprintf(c.parent, sizeof(c.parent), "%s", s->cgroup_parent);
	snprintf(c.name, sizeof(c.name), "%s", s->name);
	return precopy ? save_in_rounds(&c, rt_init_pid(v), fd, &o, res, e)
		       : ckpt_dump(&c, rt_init_pid(v), fd, &o, res, e);
}

/* Whether, and how, process 1 has ended. */
static void tell_end(const struct rt_vps *v)
{
	siginfo_t si = { 0 };

	if (waitid(P_PID, (id_t)rt_init_pid(v), &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid)
		printf("# process 1 has ended: code %d, status %d\n", si.si_code, si.si_status);
}

/* Engines that are killed at any moment of a save; one that is not, at the end. */
static int kill_engines(const struct rt_spec *s, const struct rt_vps *v, struct err *e)
{
	unsigned seed = 99, died = 0;

	for (int i = 0; i < 60; i++) {
		pid_t pid = fork();
		struct timespec ts = { 0, rand_r(&seed) % 15000000 };
		int status;

		if (pid == 0) {
			cleanup_close int fd = memfd_create("image", MFD_CLOEXEC);

			/* The engine before may have left the group frozen. */
			for (cgroup_thaw(rt_cgroup(v), e);;) {
				int r = save(s, v, fd, NULL, e);

				if (r < 0) {
					char text[1400];

					printf("# %s\n", err_format(e, text, sizeof(text)));
					_exit(1);
				}
			}
		}
		nanosleep(&ts, NULL);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		if (!WIFSIGNALED(status))
			tell_end(v);
		if (!WIFSIGNALED(status))
			return err_set(e, ERR_FAIL, "saving failed after %u engines were killed", died);
		died++;
	}
	return cgroup_thaw(rt_cgroup(v), e);
}

/* True when nothing of a VPS is there. */
static bool nothing_left(const struct rt_spec *s)
{
	char path[512];
	cleanup_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct cgroup_host host;
	struct err e;

	if (cgroup_host_read(&host, proc, &e) < 0)
		return false;
	snprintf(path, sizeof(path), "%s%s/%s", host.v2, host.v2_base, s->cgroup_parent);
	if (access(path, F_OK) == 0)
		return false;
	/* The peer outside is a child, too. */
	return networked || (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

/* An engine that dies while it holds the VPS leaves it frozen; one that lets go leaves it running. */
static int try_dump(const struct rt_spec *s, struct rt_vps *v, struct err *e)
{
	cleanup_close int fd = memfd_create("image", MFD_CLOEXEC);
	struct ckpt_progress impatient = { no_more, NULL };
	struct ckpt_dump_options o = { .spec = s };
	struct ckpt_dump *d;
	pid_t pid = fork();
	int status, r;

	if (pid == 0) {
		r = ckpt_dump_prepare(rt_cgroup(v), rt_init_pid(v), fd, &o, &d, NULL, e);
		_exit(r == 0 && ckpt_dump_hold(d, e) == 0 ? 0 : 1);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0 || cgroup_is_frozen(rt_cgroup(v), e) != 1)
		return err_set(e, ERR_FAIL, "it was not held");
	r = rt_thaw(v, e);
	if (r == 0)
		r = ckpt_dump_prepare(rt_cgroup(v), rt_init_pid(v), fd, &o, &d, NULL, e);
	if (r == 0)
		r = ckpt_dump_hold(d, e);
	if (r < 0)
		return r;
	ckpt_dump_abort(d);
	if (cgroup_is_frozen(rt_cgroup(v), e) != 0)
		return err_set(e, ERR_FAIL, "it is held though the dump was given up");
	o.progress = &impatient;
	r = ckpt_dump_prepare(rt_cgroup(v), rt_init_pid(v), fd, &o, &d, NULL, e);
	if (r == 0)
		ckpt_dump_abort(d); /* too small to be asked */
	return r == 0 || e->code == ERR_CANCELLED ? 0 : r;
}

/* Nothing is left of a restore that is given up, or whose engine dies. */
static int try_restore(const struct rt_spec *s, int fd, struct err *e)
{
	struct ckpt_restore *c;
	pid_t pid = fork();
	int status, r;

	if (pid == 0)
		_exit(ckpt_restore_prepare(s, NULL, NULL, fd, NULL, &c, e) == 0 ? 0 : 1);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		return err_set(e, ERR_FAIL, "it was not built");
	r = rt_cleanup(s->name, s->cgroup_parent, s->run_dir, e);
	lseek(fd, 0, SEEK_SET);
	if (r == 0)
		r = ckpt_restore_prepare(s, NULL, NULL, fd, NULL, &c, e);
	if (r < 0)
		return r;
	ckpt_restore_abort(c);
	lseek(fd, 0, SEEK_SET);
	return nothing_left(s) ? 0 : err_set(e, ERR_FAIL, "something was left behind");
}

/* Hostile images. */
static int try_altered(const struct rt_spec *s, int fd, char *how, struct err *e)
{
	cleanup_close int copy = memfd_create("image", MFD_CLOEXEC);
	char *to = strchr(how, '=') + 1, text[1400];
	struct rt_vps *v;
	int r;

	to[-1] = '\0';
	lseek(fd, 0, SEEK_SET);
	r = alter_image(fd, copy, how, to, e);
	if (r == 0)
		r = err_set(e, ERR_FAIL, "nothing in the image is at %s", how);
	lseek(fd, 0, SEEK_SET);
	lseek(copy, 0, SEEK_SET);
	if (r < 0)
		return r;
	if (ckpt_restore(s, NULL, copy, &v, e) == 0)
		return err_set(e, ERR_FAIL, "it was restored with %s instead of %s", to, how);
	if (!strstr(err_format(e, text, sizeof(text)), strerror(ELOOP)))
		return err_wrap(e, "with %s instead of %s", to, how);
	printf("# not restored: %s\n", text);
	to[-1] = '=';
	return nothing_left(s) ? 0 : err_set(e, ERR_FAIL, "something was left behind");
}

/* As a move does it, where what was read of the clocks at the stop must not be ahead of what began here. */
static int try_clock(const struct rt_spec *s, int fd, const char *clock, struct err *e)
{
	int ends[2], status;
	struct rt_vps *v;
	char text[1400];
	pid_t pid;

	lseek(fd, 0, SEEK_SET);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		_exit(alter_clock(fd, ends[1], clock, e) != 1);
	}
	close(ends[1]);
	if (ckpt_restore(s, NULL, ends[0], &v, e) == 0)
		return err_set(e, ERR_FAIL, "it was restored, and its clock (%s) went back", clock);
	close(ends[0]);
	waitpid(pid, &status, 0);
	lseek(fd, 0, SEEK_SET);
	if (!strstr(err_format(e, text, sizeof(text)), "would go back by"))
		return err_wrap(e, "with the clock (%s) ahead", clock);
	printf("# not restored: %s\n", text);
	return nothing_left(s) ? 0 : err_set(e, ERR_FAIL, "something was left behind");
}

/* The program once more, as `vps exec` starts it. */
static int run_command(struct rt_vps *v, struct err *e)
{
	struct rt_stdio none = { { -EBADF, -EBADF, -EBADF } };
	struct rt_exec x = { .cwd = "/", .tty = command.tty, .rows = 33, .cols = 111 };
	struct rt_command c;
	int r = strv_add(&x.argv, "/test") < 0 || strv_add(&x.argv, "exec") < 0 ? -ENOMEM : 0;

	if (r == 0)
		r = rt_exec(v, &x, &none, &c, e);
	if (r == 0) {
		r = rt_exec_wait(&c, now_monotonic_us() + 10000000, e);
		command.pidfd = c.pidfd;
		command.master = c.master;
	}
	strv_done(&x.argv);
	return r;
}

/* It is ours to wait for, as long as it has not been restored. */
static void reap_command(void)
{
	siginfo_t si;

	if (command.pidfd >= 0)
		waitid(P_PIDFD, (id_t)command.pidfd, &si, WEXITED);
	fd_close(&command.pidfd);
	fd_close(&command.master);
}

/* The engine's own: on a busy machine it says more than the clock. */
static uint64_t cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* By an engine that ends when it has failed, as a daemon's does: whom it could not stop it cannot let go before. */
static int fail_to_save(const struct rt_spec *s, const struct rt_vps *v, struct err *e)
{
	cleanup_close int fd = memfd_create("image", MFD_CLOEXEC);
	struct ckpt_dump_result res;
	char text[1400];
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int r = save(s, v, fd, &res, e);

		if (r < 0)
			printf("# not saved: %s\n", err_format(e, text, sizeof(text)));
		fflush(stdout);
		_exit(r == 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return err_sys(e, "run an engine");
	return status == 0 ? 0 : err_set(e, ERR_FAIL, "it was saved, or the engine died");
}

/* Saved, killed, restored. */
static int round_trip(const struct rt_spec *s, struct rt_vps **v, struct err *e)
{
	cleanup_close int fd = memfd_create("image", MFD_CLOEXEC);
	struct ckpt_dump_result res;
	uint64_t start, cpu;
	char text[1400];
	int r = killed ? kill_engines(s, *v, e) : phases ? try_dump(s, *v, e) : 0;

	if (save_fails)
		return r < 0 ? r : fail_to_save(s, *v, e);
	start = now_monotonic_us();
	cpu = cpu_us();
	r = r == 0 ? save(s, *v, fd, &res, e) : r;
	start = now_monotonic_us() - start;
	cpu = cpu_us() - cpu;
	if (r < 0)
		return err_wrap(e, "save");
	printf("# saved: %zu processes, %zu threads, %zu files, %llu bytes, frozen %llu us, in %llu us, cpu %llu us\n",
	       res.processes, res.threads, res.files, (unsigned long long)res.bytes,
	       (unsigned long long)res.frozen_us, (unsigned long long)start, (unsigned long long)cpu);
	lseek(fd, 0, SEEK_SET);
	if (show) {
		fflush(stdout);
		ckpt_image_show(fd, stdout, false, e);
		fflush(stdout);
		lseek(fd, 0, SEEK_SET);
	}
	if (keep)
		return 0;
	reap_command();
	rt_finish(*v);
	*v = NULL;
	r = phases ? try_restore(s, fd, e) : 0;
	for (size_t i = 0; r == 0 && i < altered_count; i++)
		r = try_altered(s, fd, altered[i], e);
	if (r == 0 && clocks)
		r = try_clock(s, fd, "monotonic", e);
	if (r == 0 && clocks)
		r = try_clock(s, fd, "boottime", e);
	if (r < 0)
		return r;
	start = now_monotonic_us();
	cpu = cpu_us();
	r = ckpt_restore(s, NULL, fd, v, e);
	if (restore_fails) {
		if (r == 0)
			return err_set(e, ERR_FAIL, "it was restored");
		printf("# not restored: %s\n", err_format(e, text, sizeof(text)));
		return nothing_left(s) ? 1 : err_set(e, ERR_FAIL, "something was left behind");
	}
	if (r < 0)
		return err_wrap(e, "restore");
	printf("# restored in %llu us, cpu %llu us\n", (unsigned long long)(now_monotonic_us() - start),
	       (unsigned long long)(cpu_us() - cpu));
	return 0;
}

static void remove_root(void)
{
	cleanup_close int parent = open("/var/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = parent < 0 ? -errno : path_remove_tree_at(parent, strrchr(dir, '/') + 1);

	if (r < 0)
		printf("# %s was not removed: %s\n", dir, strerror(-r));
}

static int drive(const char *program, struct console *c, struct err *e)
{
	struct rt_spec s = { 0 };
	struct rt_vps *v = NULL, *other = NULL;
	struct rt_exit ended;
	struct err ignored;
	pid_t peer = 0;
	int r = make_root(program, e);

	if (r == 0 && make_spec(&s) < 0)
		r = err_code(e, -ENOMEM, "make a spec");
	if (r == 0 && beside) {
		other = rt_prepare("other", s.cgroup_parent, e);
		r = other ? 0 : -EIO;
	}
	if (r == 0 && networked)
		r = add_interface(&s, e);
	if (r == 0 && device)
		r = config_set(&s.limits, "device", device, e);
	if (r == 0)
		r = rt_start(&s, NULL, NULL, &v, e);
	if (r == 0 && command.wanted)
		r = run_command(v, e);
	if (r == 0 && networked && !hook)
		peer = start_peer(program);
	if (r == 0)
		r = expect(v, c, "ready", e);
	if (r == 0)
		r = run_hook(v, "set", e);
	if (r == 0 && write(rt_console_fd(v), typed, strlen(typed)) < 0)
		r = err_sys(e, "write to the console");
	for (int i = 0; r == 0 && i < rounds; i++) {
		last_word.v = v;
		last_word.c = c;
		r = round_trip(&s, &v, e);
	}
	if (r == 0 && v)
		r = run_hook(v, "check", e);
	if (r == 1) {
		rt_spec_done(&s);
		remove_root();
		return 0;
	}
	if (r == 0 && write(rt_console_fd(v), killed ? "on\n" : "go\n", 3) != 3)
		r = err_sys(e, "write to the console");
	if (r == 0)
		r = expect(v, c, "good", e);
	if (r < 0 && v)
		rt_kill(v, &ignored);
	reap_command();
	if (r == 0)
		r = rt_reap(v, &ended, e);
	if (r == 0 && (ended.how != RT_EXITED || ended.value != 0))
		r = err_set(e, ERR_FAIL, "it ended with %d, %d", ended.how, ended.value);
	r = end_peer(peer, r, e);
	rt_finish(v);
	rt_prepare_undo(other, &ignored);
	rt_spec_done(&s);
	remove_root();
	return r;
}

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 0;
}

static bool has_device(void)
{
	char path[256];

	snprintf(path, sizeof(path), "%.*s", (int)strcspn(device, ":"), device);
	return access(path, F_OK) == 0;
}

int main(int argc, char **argv)
{
	struct console *c = calloc(1, sizeof(*c));
	int opt, r, failed = 0, n = 0;
	struct err e;
	char text[1400];

	while ((opt = getopt(argc, argv, "klLfFNopRxCn:m:c:seti:a:d:H:T:")) >= 0)
		switch (opt) {
		case 'a':
			if (altered_count == ARRAY_SIZE(altered) || !strchr(optarg, '='))
				return 2;
			altered[altered_count++] = optarg;
			break;
		case 'i': typed = optarg; break;
		case 'd': device = optarg; break;
		case 'T': tree = optarg; break;
		case 't': command.tty = true; /* fallthrough */
		case 'e': command.wanted = true; break;
		case 'k': keep = true; break;
		case 'R': restricts = true; break;
		case 'l': late = true; break;
		case 'L': late = last_of_many = true; break;
		case 's': show = true; break;
		case 'f': save_fails = true; break;
		case 'F': restore_fails = true; break;
		case 'N': networked = true; break;
		case 'H': hook = optarg; break;
		case 'o': beside = true; break;
		case 'C': clocks = true; break;
		case 'p': phases = true; break;
		case 'x': killed = keep = true; break;
		case 'n': rounds = atoi(optarg); break;
		case 'm': precopy = atoi(optarg); break;
		case 'c': compression = STREQ(optarg, "zstd") ? CKPT_COMPRESS_ZSTD :
			  STREQ(optarg, "none") ? CKPT_COMPRESS_NONE : CKPT_COMPRESS_LZ4; break;
		default: return 2;
		}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (device && !has_device()) {
		printf("1..0 # SKIP this host has no device %s\n", device);
		return 0;
	}
	if (restricts && !has_landlock()) {
		printf("1..0 # SKIP this kernel has no Landlock\n");
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	if (networked && network_up(&e) < 0) {
		printf("Bail out! %s\n", err_format(&e, text, sizeof(text)));
		return 1;
	}
	for (int i = optind; c && i < argc; i++) {
		const char *name = strrchr(argv[i], '/') ? strrchr(argv[i], '/') + 1 : argv[i];

		memset(c, 0, sizeof(*c));
		r = drive(argv[i], c, &e);
		if (r < 0 && getenv("VPS_WITHOUT") && strstr(e.msg, "this kernel cannot tell")) {
			printf("ok %d - %s # SKIP without %s there is nothing here that tells what was written to\n",
			       ++n, name, getenv("VPS_WITHOUT"));
		} else if (r < 0 && strstr(e.msg, "this kernel has not got what")) {
			printf("ok %d - %s # SKIP %s\n", ++n, name, e.msg);
		} else if (r < 0 && strstr(e.msg, "vdso has no room")) {
			/* The one for 32-bit programs of Linux 6.12. */
			printf("ok %d - %s # SKIP this kernel's vdso has no room for the engine\n", ++n, name);
		} else if (r < 0) {
			failed = 1;
			printf("not ok %d - %s\n# %s\n", ++n, name, err_format(&e, text, sizeof(text)));
			for (char *save_ = NULL, *l = strtok_r(c->text, "\r\n", &save_); l;
			     l = strtok_r(NULL, "\r\n", &save_))
				printf("# console: %s\n", l);
		} else {
			printf("ok %d - %s\n", ++n, name);
		}
	}
	printf("1..%d\n", n);
	free(c);
	return failed;
}
