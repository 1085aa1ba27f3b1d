/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Namespaces: of every kind, owned by nested user namespaces (one in another, with maps of their
 * own, one whose members have ids that it does not know, one that denies setgroups), shared by
 * some processes and not by others, with threads, kept by an fd or a mount alone; and what
 * process 1 changed of its own, limits and the last number given to a process among them.
 */
#include "tests/checkpoint/crew.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static const char *const names[] = { "user", "mnt", "net", "uts", "ipc", "cgroup", "time" };
enum { USER, MOUNTS, NET, UTS, IPC, CGROUP, TIME, COUNT };

static long get(const char *file)
{
	char text[64] = { 0 };
	int fd = open(file, O_RDONLY);

	CHECK(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return atol(text);
}

static long space(int pid, int kind)
{
	char path[64], text[64] = { 0 };
	long ino = -1;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, names[kind]);
	CHECK(readlink(path, text, sizeof(text) - 1) > 0 &&
	      sscanf(text, "%*[a-z]:[%ld]", &ino) == 1);
	return ino;
}

/* All threads have the same open files. */
static void check_tables(void)
{
	DIR *tasks = opendir("/proc/self/task");
	const struct dirent *de;
	char path[300], mine[128] = { 0 }, its[128] = { 0 };

	while (tasks && (de = readdir(tasks)))
		for (int fd = 0; de->d_name[0] != '.' && fd < 200; fd++) {
			snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
			memset(mine, 0, sizeof(mine));
			if (readlink(path, mine, sizeof(mine) - 1) < 0)
				mine[0] = '\0';
			snprintf(path, sizeof(path), "/proc/self/task/%s/fd/%d", de->d_name, fd);
			memset(its, 0, sizeof(its));
			if (readlink(path, its, sizeof(its) - 1) < 0)
				its[0] = '\0';
			CHECK(strcmp(mine, its) == 0);
		}
	closedir(tasks);
}

/* A port that others have, too, each in its own network namespace. */
static int listener(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_port = htons(77),
				  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 5) == 0);
	return fd;
}

static void check_listener(int fd)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_port = htons(77),
				  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int c = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(connect(c, (struct sockaddr *)&sa, sizeof(sa)) == 0 && accept(fd, NULL, NULL) >= 0);
	close(c);
}

static void loopback_up(void)
{
	struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	CHECK(ioctl(fd, SIOCSIFFLAGS, &r) == 0);
	close(fd);
}

/* A thread in a namespace that its process is not in; what it sees when it is asked. */
static struct utsname apart_sees;
static sem_t apart_go, apart_done;

static void *apart(void *arg)
{
	(void)arg;
	CHECK(unshare(CLONE_NEWUTS) == 0 && sethostname("apart", 5) == 0);
	sem_post(&apart_done);
	sem_wait(&apart_go);
	uname(&apart_sees);
	sem_post(&apart_done);
	return NULL;
}

static int listening;

/* Without a user namespace of its own. */
static void check_plain(void)
{
	struct utsname u;
	char path[64] = { 0 };
	FILE *f = fopen("/proc/self/cgroup", "r");

	check_listener(listening);
	check_tables();
	sem_post(&apart_go);
	sem_wait(&apart_done);
	CHECK(strcmp(apart_sees.nodename, "apart") == 0);
	uname(&u);
	CHECK(strcmp(u.nodename, "inner") == 0 && strcmp(u.domainname, "inner.example") == 0);
	CHECK(get("/proc/sys/kernel/msgmax") == 4242 && get("/proc/sys/kernel/shmmni") == 77);
	CHECK(f && fgets(path, sizeof(path), f) && strstr(path, ":/\n"));
	if (f)
		fclose(f);
}

static void plain(void)
{
	pthread_t t;

	CHECK(mkdir("/sys/fs/cgroup/inner", 0755) == 0);
	put_text("/sys/fs/cgroup/inner/cgroup.procs", "0");
	CHECK(unshare(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_NEWNS) ==
	      0);
	CHECK(sethostname("inner", 5) == 0 && setdomainname("inner.example", 13) == 0);
	put_text("/proc/sys/kernel/msgmax", "4242");
	put_text("/proc/sys/kernel/shmmni", "77");
	loopback_up();
	listening = listener();
	sem_init(&apart_go, 0, 0);
	sem_init(&apart_done, 0, 0);
	CHECK(pthread_create(&t, NULL, apart, NULL) == 0 && sem_wait(&apart_done) == 0);
	crew_serve(check_plain);
}

/* It has threads, in a user namespace, as redis-server in its unit has; ids that have no number
 * inside. */
static void *sleeper(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

static void check_members(void)
{
	struct stat st;
	gid_t groups[4];
	DIR *dir = opendir("/proc/self/task");
	int tasks = 0;

	while (dir && readdir(dir))
		tasks++;
	CHECK(tasks == 2 + 4);
	check_tables();
	CHECK(getuid() == 0 && getegid() == 65534); /* the one that has no number */
	CHECK(getgroups(4, groups) == 1 && groups[0] == 65534);
	CHECK(setgroups(0, NULL) < 0 && errno == EPERM);
	CHECK(stat("/root", &st) == 0 && st.st_uid == 0);
	CHECK(stat("/tmp/theirs", &st) == 0 && st.st_uid == 65534 && st.st_gid == 65534);
	CHECK(setresuid(100, 100, 100) == 0 && setresuid(101, 101, 101) < 0);
}

/* Another process, of the namespace that is left, writes the maps. `id`: what one is when one
 * leaves it. */
static void map(const char *uids, const char *gids, bool deny, unsigned id)
{
	char path[64], c;
	int go[2], pid = getpid();

	CHECK(pipe(go) == 0);
	if (fork() == 0) {
		close(go[1]);
		if (read(go[0], &c, 1) != 1)
			_exit(1);
		if (deny) {
			snprintf(path, sizeof(path), "/proc/%d/setgroups", pid);
			put_text(path, "deny");
		}
		snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
		put_text(path, uids);
		snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
		put_text(path, gids);
		_exit(guest_failed);
	}
	if (id) {
		gid_t group = 55;

		CHECK(setgroups(1, &group) == 0 && setresgid(id, id, id) == 0 &&
		      setresuid(id, id, id) == 0);
	}
	/* Or its maps are the VPS's root's alone to write (proc_pid(5)). */
	CHECK(unshare(CLONE_NEWUSER) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
	CHECK(write(go[1], "x", 1) == 1);
	close(go[0]);
	close(go[1]);
	CHECK(wait(NULL) > 0);
}

/* As systemd does it: other namespaces first, the ids kept; inside only 0 and 100 have numbers. */
static void members(void)
{
	pthread_t t;

	CHECK(unshare(CLONE_NEWNS | CLONE_NEWUTS) == 0);
	map("0 0 1\n100 100 1\n", "0 0 1\n", true, 66);
	CHECK(setresuid(0, 0, 0) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(pthread_create(&t, NULL, sleeper, NULL) == 0);
	crew_serve(check_members);
}

static void check_nested(void)
{
	struct utsname u;
	char text[64] = { 0 };
	static time_t now;
	struct timespec ts;
	int fd = open("/proc/self/gid_map", O_RDONLY);

	clock_gettime(CLOCK_MONOTONIC, &ts);
	if (!now)
		now = ts.tv_sec;
	CHECK(ts.tv_sec >= now && ts.tv_sec < now + 1000 && now > 100000);
	uname(&u);
	CHECK(strcmp(u.nodename, "one") == 0);
	CHECK(getuid() == 3 && getgid() == 4);
	CHECK(get("/proc/sys/user/max_mnt_namespaces") == 9 && get("/proc/sys/user/max_uts_namespaces") == 2147483647);
	CHECK(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	CHECK(strtol(text, NULL, 10) == 0 && strtol(text + 10, NULL, 10) == 20);
}

/* A user namespace in another; the outer owns a uts, a mount and a time namespace. */
static void nested(void)
{
	int fd;

	map("0 1000 100\n", "0 2000 100\n", false, 0);
	CHECK(setresgid(0, 0, 0) == 0 && setresuid(0, 0, 0) == 0);
	CHECK(unshare(CLONE_NEWUTS | CLONE_NEWNS) == 0 && sethostname("one", 3) == 0);
	/* To set a clock is not among the capabilities of the VPS, but among those of what is
	 * nested in it. */
	CHECK(unshare(CLONE_NEWTIME) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
	put_text("/proc/self/timens_offsets", "monotonic 100000 5");
	fd = open("/proc/self/ns/time_for_children", O_RDONLY);
	CHECK(setns(fd, CLONE_NEWTIME) == 0);
	close(fd);
	map("0 10 50\n", "0 20 50\n", false, 0);
	put_text("/proc/sys/user/max_mnt_namespaces", "9");
	CHECK(setresgid(4, 4, 4) == 0 && setresuid(3, 3, 3) == 0);
	check_nested();
	crew_serve(check_nested);
}

static int joined;

static void check_joiner(void)
{
	struct utsname u;

	uname(&u);
	CHECK(strcmp(u.nodename, "inner") == 0);
}

static void joiner(void)
{
	CHECK(setns(joined, CLONE_NEWUTS) == 0);
	crew_serve(check_joiner);
}

/* Limits of process 1's namespaces, below what there is already, and numbers that go on. */
static bool has_pid_max;
static int watched;

static void set_limits(void)
{
	int fd = open("/proc/sys/kernel/pid_max", O_WRONLY);

	watched = inotify_init1(IN_CLOEXEC);
	CHECK(inotify_add_watch(watched, "/tmp", IN_CREATE) == 1);
	put_text("/proc/sys/user/max_inotify_watches", "1");
	put_text("/proc/sys/user/max_user_namespaces", "2");
	/* Of the pid namespace, and not of the host, since Linux 6.14. */
	has_pid_max = fd >= 0 && write(fd, "30100", 5) == 5;
	close(fd);
	put_text("/proc/sys/kernel/ns_last_pid", "30000");
}

static void check_limits(void)
{
	int pid = fork();

	if (pid == 0)
		_exit(0);
	CHECK(waitpid(pid, NULL, 0) == pid && pid > 30000 && pid < 30100);
	CHECK(get("/proc/sys/user/max_inotify_watches") == 1 && get("/proc/sys/user/max_user_namespaces") == 2);
	CHECK(inotify_add_watch(watched, "/proc", IN_CREATE) < 0 && errno == ENOSPC);
	CHECK(unshare(CLONE_NEWUSER) < 0 && errno == ENOSPC);
	CHECK(!has_pid_max || get("/proc/sys/kernel/pid_max") == 30100);
}

int main(void)
{
	long before[5][COUNT];
	int pids[4], fd, kept, own;
	struct utsname u;
	char path[64];

	loopback_up();
	own = listener();
	crew_begin();
	umask(0);
	fd = open("/tmp/theirs", O_CREAT | O_WRONLY, 0644);
	CHECK(fchown(fd, 5, 5) == 0);
	close(fd);
	CHECK(sethostname("changed", 7) == 0 && setdomainname("example.org", 11) == 0);
	put_text("/proc/sys/kernel/shmmni", "123");
	pids[0] = crew_start(plain);
	pids[1] = crew_start(members);
	pids[2] = crew_start(nested);
	snprintf(path, sizeof(path), "/proc/%d/ns/uts", pids[0]);
	joined = open(path, O_RDONLY | O_CLOEXEC);
	pids[3] = crew_start(joiner);
	/* One that only an fd keeps, and one that only a mount does. */
	fd = open("/proc/self/ns/uts", O_RDONLY);
	CHECK(unshare(CLONE_NEWUTS) == 0 && sethostname("kept", 4) == 0);
	kept = open("/proc/self/ns/uts", O_RDONLY);
	CHECK(unshare(CLONE_NEWUTS) == 0 && sethostname("mounted", 7) == 0);
	close(open("/tmp/uts", O_CREAT | O_WRONLY, 0600));
	CHECK(mount("/proc/self/ns/uts", "/tmp/uts", NULL, MS_BIND, NULL) == 0);
	CHECK(setns(fd, CLONE_NEWUTS) == 0);
	close(fd);
	for (int i = 0; i < 4; i++)
		for (int k = 0; k < COUNT; k++)
			before[i][k] = space(pids[i], k);
	for (int k = 0; k < COUNT; k++)
		before[4][k] = space(1, k);
	CHECK(!crew->failed);
	set_limits();
	wait_for_restore();
	crew_check();
	check_limits();
	check_listener(own);
	/* The same are shared by the same. */
	for (int k = 0; k < COUNT; k++)
		for (int i = 0; i < 5; i++)
			for (int j = 0; j < 5; j++)
				CHECK((before[i][k] == before[j][k]) ==
				      (space(i == 4 ? 1 : pids[i], k) ==
				       space(j == 4 ? 1 : pids[j], k)));
	uname(&u);
	CHECK(strcmp(u.nodename, "changed") == 0 && strcmp(u.domainname, "example.org") == 0);
	CHECK(get("/proc/sys/kernel/shmmni") == 123 && get("/proc/sys/kernel/msgmax") != 4242);
	fd = open("/proc/self/ns/uts", O_RDONLY);
	CHECK(setns(kept, CLONE_NEWUTS) == 0 && uname(&u) == 0 && strcmp(u.nodename, "kept") == 0);
	close(kept);
	kept = open("/tmp/uts", O_RDONLY);
	CHECK(setns(kept, CLONE_NEWUTS) == 0 && uname(&u) == 0 &&
	      strcmp(u.nodename, "mounted") == 0);
	CHECK(setns(fd, CLONE_NEWUTS) == 0);
	return done();
}
