/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * drive [-CefFklLNoptRsx] [-a FROM=TO]... [-c none|lz4|zstd] [-d DEVICE] [-H SCRIPT] [-i TEXT] [-m ROUNDS] [-n TIMES]
 *       [-T TREE] [-w SECONDS] PROGRAM...
 *
 * Each static PROGRAM (see guest.h) becomes process 1 of a VPS of its own, which is saved, killed, restored and told
 * to verify. TAP, one line a program.
 *
 *   -a  before it is restored, that is tried with an image in which paths that begin with FROM begin with TO: it must
 *       fail, as they lead through what is open
 *   -C  before it is restored, that is tried by a pipe, with clocks that were an hour ahead at the stop: it must fail
 *   -d  a device of the host that the VPS may use
 *   -e  it is also run as `PROGRAM exec` by what `vps exec` stands on; -t: in a terminal
 *   -f  it must not be saved; -F: it must not be restored
 *   -H  "SCRIPT set" and, when it is restored, "SCRIPT check" are run in its network namespace, with a directory for
 *       their notes, and VPS_INIT for the number of its process 1
 *   -i  is typed on the console before
 *   -k  it is not killed, but goes on after it was saved
 *   -l  in the round right before the stop the program is told "late", and has until it says "changed" to change
 *       whatever it will; -L: in the last of those before, after which none comes if it has written to 64 MiB meanwhile
 *   -m  memory is sent in so many rounds before
 *   -n  saved and restored so many times
 *   -N  with an interface, in a network of the driver's own; "PROGRAM peer" runs outside meanwhile, and must end well
 *   -o  beside another VPS, so that the group above both is there already, as it is on a host
 *   -p  both ways out of each phase are taken
 *   -R  it may use Landlock
 *   -s  prints the image
 *   -T  what else is in the root: PROGRAM may be a script then
 *   -w  so long is waited for each word of the program, in place of 30 s
 *   -x  the engine is killed again and again while it saves, and the program is told "on" for "go"
 */
#include "tests/checkpoint/drive.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/dump.h"
#include "checkpoint/restore.h"
#include "runtime/value.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct drive_options drive_opt = { .typed = "", .times = 1, .patience_s = 30, .compression = CKPT_COMPRESS_LZ4 };
static struct {
	int pidfd, master;
} command = { -EBADF, -EBADF };

/* The program once more, as `vps exec` starts it. */
static int run_command(struct rt_vps *v, struct err *e)
{
	struct rt_stdio none = { { -EBADF, -EBADF, -EBADF } };
	struct rt_exec x = { .cwd = "/", .tty = drive_opt.command_tty, .rows = 33, .cols = 111 };
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

/* Saved, killed, restored. */
static int round_trip(const struct rt_spec *s, struct rt_vps **v, struct err *e)
{
	cleanup_close int fd = memfd_create("image", MFD_CLOEXEC);
	struct ckpt_dump_result res;
	uint64_t start, cpu;
	char text[1400];
	int r = drive_opt.killed ? drive_kill_engines(s, *v, e) : drive_opt.phases ? drive_try_dump(s, *v, e) : 0;

	if (drive_opt.save_fails)
		return r < 0 ? r : drive_fail_to_save(s, *v, e);
	start = now_monotonic_us();
	cpu = cpu_us();
	r = r == 0 ? drive_save(s, *v, fd, &res, e) : r;
	start = now_monotonic_us() - start;
	cpu = cpu_us() - cpu;
	if (r < 0)
		return err_wrap(e, "save");
	printf("# saved: %zu processes, %zu threads, %zu files, %llu bytes, frozen %llu us, in %llu us, cpu %llu us\n",
	       res.processes, res.threads, res.files, (unsigned long long)res.bytes,
	       (unsigned long long)res.frozen_us, (unsigned long long)start, (unsigned long long)cpu);
	lseek(fd, 0, SEEK_SET);
	if (drive_opt.show) {
		fflush(stdout);
		ckpt_image_show(fd, stdout, false, e);
		fflush(stdout);
		lseek(fd, 0, SEEK_SET);
	}
	if (drive_opt.keep)
		return 0;
	reap_command();
	rt_finish(*v);
	*v = NULL;
	r = drive_opt.phases ? drive_try_restore(s, fd, e) : 0;
	for (size_t i = 0; r == 0 && i < drive_opt.altered_count; i++)
		r = drive_try_altered(s, fd, drive_opt.altered[i], e);
	if (r == 0 && drive_opt.clocks)
		r = drive_try_clock(s, fd, "monotonic", e);
	if (r == 0 && drive_opt.clocks)
		r = drive_try_clock(s, fd, "boottime", e);
	if (r < 0)
		return r;
	start = now_monotonic_us();
	cpu = cpu_us();
	r = ckpt_restore(s, NULL, fd, v, e);
	if (drive_opt.restore_fails) {
		if (r == 0)
			return err_set(e, ERR_FAIL, "it was restored");
		printf("# not restored: %s\n", err_format(e, text, sizeof(text)));
		return drive_nothing_left(s) ? 1 : err_set(e, ERR_FAIL, "something was left behind");
	}
	if (r < 0)
		return err_wrap(e, "restore");
	printf("# restored in %llu us, cpu %llu us\n", (unsigned long long)(now_monotonic_us() - start),
	       (unsigned long long)(cpu_us() - cpu));
	return 0;
}

static int drive(const char *program, struct console *c, struct err *e)
{
	struct rt_spec s = { 0 };
	struct rt_vps *v = NULL, *other = NULL;
	struct rt_exit ended;
	struct err ignored;
	pid_t peer = 0;
	int r = drive_make_root(program, e);

	if (r == 0 && drive_make_spec(&s) < 0)
		r = err_code(e, -ENOMEM, "make a spec");
	if (r == 0 && drive_opt.beside) {
		other = rt_prepare("other", s.cgroup_parent, e);
		r = other ? 0 : -EIO;
	}
	if (r == 0 && drive_opt.networked)
		r = drive_add_interface(&s, e);
	if (r == 0 && drive_opt.device)
		r = config_set(&s.limits, "device", drive_opt.device, e);
	if (r == 0)
		r = rt_start(&s, NULL, NULL, &v, e);
	if (r == 0 && drive_opt.command_wanted)
		r = run_command(v, e);
	if (r == 0 && drive_opt.networked && !drive_opt.hook)
		peer = drive_start_peer(program);
	if (r == 0)
		r = drive_expect(v, c, "ready", e);
	if (r == 0)
		r = drive_run_hook(v, "set", e);
	if (r == 0 && write(rt_console_fd(v), drive_opt.typed, strlen(drive_opt.typed)) < 0)
		r = err_sys(e, "write to the console");
	for (int i = 0; r == 0 && i < drive_opt.times; i++) {
		drive_hear(v, c);
		r = round_trip(&s, &v, e);
	}
	if (r == 0 && v)
		r = drive_run_hook(v, "check", e);
	if (r == 1) {
		rt_spec_done(&s);
		drive_remove_root();
		return 0;
	}
	if (r == 0 && write(rt_console_fd(v), drive_opt.killed ? "on\n" : "go\n", 3) != 3)
		r = err_sys(e, "write to the console");
	if (r == 0)
		r = drive_expect(v, c, "good", e);
	if (r < 0 && v)
		rt_kill(v, &ignored);
	reap_command();
	if (r == 0)
		r = rt_reap(v, &ended, e);
	if (r == 0 && (ended.how != RT_EXITED || ended.value != 0))
		r = err_set(e, ERR_FAIL, "it ended with %d, %d", ended.how, ended.value);
	r = drive_end_peer(peer, r, e);
	rt_finish(v);
	rt_prepare_undo(other, &ignored);
	rt_spec_done(&s);
	drive_remove_root();
	return r;
}

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 0;
}

static bool has_device(void)
{
	char path[256];

	snprintf(path, sizeof(path), "%.*s", (int)strcspn(drive_opt.device, ":"), drive_opt.device);
	return access(path, F_OK) == 0;
}

int main(int argc, char **argv)
{
	struct console *c = calloc(1, sizeof(*c));
	int opt, r, failed = 0, n = 0;
	struct err e;
	char text[1400];

	while ((opt = getopt(argc, argv, "klLfFNopRxCn:m:w:c:seti:a:d:H:T:")) >= 0)
		switch (opt) {
		case 'a':
			if (drive_opt.altered_count == ARRAY_SIZE(drive_opt.altered) || !strchr(optarg, '='))
				return 2;
			drive_opt.altered[drive_opt.altered_count++] = optarg;
			break;
		case 'i': drive_opt.typed = optarg; break;
		case 'd': drive_opt.device = optarg; break;
		case 'T': drive_opt.tree = optarg; break;
		case 't': drive_opt.command_tty = true; /* fallthrough */
		case 'e': drive_opt.command_wanted = true; break;
		case 'k': drive_opt.keep = true; break;
		case 'R': drive_opt.restricts = true; break;
		case 'l': drive_opt.late = true; break;
		case 'L': drive_opt.late = drive_opt.last_of_many = true; break;
		case 's': drive_opt.show = true; break;
		case 'f': drive_opt.save_fails = true; break;
		case 'F': drive_opt.restore_fails = true; break;
		case 'N': drive_opt.networked = true; break;
		case 'H': drive_opt.hook = optarg; break;
		case 'o': drive_opt.beside = true; break;
		case 'C': drive_opt.clocks = true; break;
		case 'p': drive_opt.phases = true; break;
		case 'x': drive_opt.killed = drive_opt.keep = true; break;
		case 'n': drive_opt.times = atoi(optarg); break;
		case 'm': drive_opt.rounds = atoi(optarg); break;
		case 'w': drive_opt.patience_s = atoi(optarg); break;
		case 'c': drive_opt.compression = STREQ(optarg, "zstd") ? CKPT_COMPRESS_ZSTD :
			  STREQ(optarg, "none") ? CKPT_COMPRESS_NONE : CKPT_COMPRESS_LZ4; break;
		default: return 2;
		}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (drive_opt.device && !has_device()) {
		printf("1..0 # SKIP this host has no device %s\n", drive_opt.device);
		return 0;
	}
	if (drive_opt.restricts && !has_landlock()) {
		printf("1..0 # SKIP this kernel has no Landlock\n");
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	if (drive_opt.networked && drive_network_up(&e) < 0) {
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
