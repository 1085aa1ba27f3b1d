/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a VPS of a test is made of, in a directory, a network and a control group of its own. */
#include "tests/checkpoint/drive.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "netns/netns.h"
#include "runtime/value.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ID_BASE 700000
#define HOOK_SKIPS 77 /* its exit status when the kernel has not got what it is about */

char drive_dir[64];
static struct netns_host net_host;
static char ip4[64], ip6[64];

int drive_make_root(const char *program, struct err *e)
{
	static const char *const dirs[] = { "lower/dev", "lower/proc", "lower/sys", "lower/run",
					    "lower/tmp", "lower/etc", "lower/root", "lower/var",
					    "lib/root/upper", "lib/root/work", "run" };
	char path[4400];
	cleanup_free char *image = NULL;
	size_t len;
	int r;

	snprintf(drive_dir, sizeof(drive_dir), "/var/tmp/vps-checkpoint-XXXXXX");
	if (!mkdtemp(drive_dir) || chmod(drive_dir, 0755) < 0)
		return err_sys(e, "make a directory");
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(path, sizeof(path), "%s/%s", drive_dir, dirs[i]);
		r = path_mkdirs_at(AT_FDCWD, path, 0755);
		if (r < 0)
			return err_code(e, r, "make %s", path);
	}
	snprintf(path, sizeof(path), "%s/lib/root/upper", drive_dir);
	if (chown(path, ID_BASE, ID_BASE) < 0)
		return err_sys(e, "give %s away", path);
	snprintf(path, sizeof(path), "%s/lower/tmp", drive_dir);
	chmod(path, 01777);
	r = fd_read_file_at(AT_FDCWD, program, MIB(64), &image, &len);
	if (r < 0)
		return err_code(e, r, "read %s", program);
	snprintf(path, sizeof(path), drive_opt.tree ? "%s/lib/root/upper/test" : "%s/lower/test", drive_dir);
	r = fd_replace_file_at(AT_FDCWD, path, image, len, 0755, false);
	return r < 0 ? err_code(e, r, "write %s", path) : 0;
}

void drive_remove_root(void)
{
	cleanup_close int parent = open("/var/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = parent < 0 ? -errno : path_remove_tree_at(parent, strrchr(drive_dir, '/') + 1);

	if (r < 0)
		printf("# %s was not removed: %s\n", drive_dir, strerror(-r));
}

static const char *tag(void)
{
	static char text[16];

	snprintf(text, sizeof(text), "ck-%d", (int)getpid());
	return text;
}

/* The machine's own network is never touched. */
int drive_network_up(struct err *e)
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

int drive_add_interface(struct rt_spec *s, struct err *e)
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

pid_t drive_start_peer(const char *program)
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

int drive_end_peer(pid_t pid, int r, struct err *e)
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
int drive_run_hook(const struct rt_vps *v, const char *what, struct err *e)
{
	char path[64], init[16];
	int status;
	pid_t pid;

	if (!drive_opt.hook)
		return 0;
	snprintf(init, sizeof(init), "%d", (int)rt_init_pid(v));
	snprintf(path, sizeof(path), "/proc/%s/ns/net", init);
	pid = fork();
	if (pid == 0) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
			_exit(126);
		setenv("VPS_INIT", init, 1);
		execl("/bin/sh", "sh", drive_opt.hook, what, drive_dir, NULL);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == HOOK_SKIPS)
		return err_set(e, ERR_UNSUPPORTED, "this kernel has not got what %s wants", drive_opt.hook);
	return status ? err_set(e, ERR_FAIL, "%s %s failed", drive_opt.hook, what) : 0;
}

int drive_make_spec(struct rt_spec *s)
{
	*s = (struct rt_spec){ .boot = true, .stop_signal = SIGTERM, .stop_timeout_us = 1000000,
			       .migratable = true, .features = RT_FEATURE_IO_URING | (drive_opt.restricts ? RT_FEATURE_LANDLOCK : 0) };
	snprintf(s->name, sizeof(s->name), "test");
	snprintf(s->uuid, sizeof(s->uuid), "11111111-2222-4333-8444-555555555555");
	snprintf(s->hostname, sizeof(s->hostname), "test");
	snprintf(s->run_dir, sizeof(s->run_dir), "%s/run", drive_dir);
	snprintf(s->lib_dir, sizeof(s->lib_dir), "%s/lib", drive_dir);
	snprintf(s->cgroup_parent, sizeof(s->cgroup_parent), "%s", tag());
	s->root.id_base = ID_BASE;
	s->root.id_count = 65536;
	snprintf(s->root.backend, sizeof(s->root.backend), "overlay");
	snprintf(s->root.dir, sizeof(s->root.dir), "%s/lib/root", drive_dir);
	snprintf(s->root.lower, sizeof(s->root.lower), "%s%s", drive_opt.tree ? drive_opt.tree : drive_dir,
		 drive_opt.tree ? "" : "/lower");
	return strv_add(&s->argv, "/test") < 0 || strv_add(&s->env, "PATH=/bin") < 0 ? -ENOMEM : 0;
}
