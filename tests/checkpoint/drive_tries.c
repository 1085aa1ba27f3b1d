/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Saves and restores that fail, or whose engine dies: the VPS goes on, or nothing is left. */
#include "tests/checkpoint/drive.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/dump.h"
#include "checkpoint/restore.h"
#include "tests/checkpoint/alter.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

/* Whether, and how, process 1 has ended. */
static void tell_end(const struct rt_vps *v)
{
	siginfo_t si = { 0 };

	if (waitid(P_PID, (id_t)rt_init_pid(v), &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid)
		printf("# process 1 has ended: code %d, status %d\n", si.si_code, si.si_status);
}

/* Engines that are killed at any moment of a save; one that is not, at the end. */
int drive_kill_engines(const struct rt_spec *s, const struct rt_vps *v, struct err *e)
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
				int r = drive_save(s, v, fd, NULL, e);

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
bool drive_nothing_left(const struct rt_spec *s)
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
	return drive_opt.networked || (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

/* By an engine that ends when it has failed, as a daemon's does: whom it could not stop it cannot let go before. */
int drive_fail_to_save(const struct rt_spec *s, const struct rt_vps *v, struct err *e)
{
	cleanup_close int fd = memfd_create("image", MFD_CLOEXEC);
	struct ckpt_dump_result res;
	char text[1400];
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int r = drive_save(s, v, fd, &res, e);

		if (r < 0)
			printf("# not saved: %s\n", err_format(e, text, sizeof(text)));
		fflush(stdout);
		_exit(r == 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return err_sys(e, "run an engine");
	return status == 0 ? 0 : err_set(e, ERR_FAIL, "it was saved, or the engine died");
}

/* Asks for an end at the first word of progress. */
static int no_more(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	(void)done;
	(void)total;
	return 1;
}

/* An engine that dies while it holds the VPS leaves it frozen; one that lets go leaves it running. */
int drive_try_dump(const struct rt_spec *s, struct rt_vps *v, struct err *e)
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
int drive_try_restore(const struct rt_spec *s, int fd, struct err *e)
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
	return drive_nothing_left(s) ? 0 : err_set(e, ERR_FAIL, "something was left behind");
}

/* Hostile images. */
int drive_try_altered(const struct rt_spec *s, int fd, char *how, struct err *e)
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
	return drive_nothing_left(s) ? 0 : err_set(e, ERR_FAIL, "something was left behind");
}

/* As a move does it, where what was read of the clocks at the stop must not be ahead of what began here. */
int drive_try_clock(const struct rt_spec *s, int fd, const char *clock, struct err *e)
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
	return drive_nothing_left(s) ? 0 : err_set(e, ERR_FAIL, "something was left behind");
}
