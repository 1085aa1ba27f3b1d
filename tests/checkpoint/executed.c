/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Programs that were executed from memfds: process 1 from one that is sealed and that nobody has open, as container
 * runtimes execute a copy of themselves; children from the same by /proc/self/exe, and from one that is not sealed, has a
 * mode of its own, and is open for reading. They are what /proc/PID/exe shows, can be executed again, and cannot be
 * written to.
 */
#include "tests/checkpoint/crew.h"

#include <sys/stat.h>
#include <sys/wait.h>

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define KEPT 50 /* the fd of one that is open */

extern char **environ;

/* A copy of this program, open for reading only. */
static int copy(const char *name, int seals)
{
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to = memfd_create(name, MFD_ALLOW_SEALING), fd;
	char buf[65536], path[64];
	ssize_t n;

	while ((n = read(from, buf, sizeof(buf))) > 0)
		CHECK(write(to, buf, (size_t)n) == n);
	CHECK(n == 0 && (!seals || fcntl(to, F_ADD_SEALS, seals) == 0));
	CHECK(seals || fchmod(to, 0755) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", to);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	close(to);
	close(from);
	return fd;
}

static void execute(int fd, const char *as)
{
	char *argv[] = { (char[]){ "executed" }, (char *)(uintptr_t)as, NULL };

	fexecve(fd, argv, environ);
	CHECK(!"fexecve");
	exit(1);
}

/* Of the running program: its sum, and the link to it. */
static uint64_t look(char link[128], struct stat *st)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	uint64_t sum = 14695981039346656037u;
	unsigned char buf[65536];
	ssize_t n;

	memset(link, 0, 128);
	CHECK(readlink("/proc/self/exe", link, 127) > 0 && fstat(fd, st) == 0);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			sum = (sum ^ buf[i]) * 1099511628211u;
	close(fd);
	return sum;
}

static struct {
	char link[128];
	struct stat st;
	uint64_t sum;
} before;

static void note(void)
{
	before.sum = look(before.link, &before.st);
}

/* What a child that executes it once more says of itself. */
static void check_again(void)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		execl("/proc/self/exe", "executed", "again", NULL);
		_exit(1);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

static void check(void)
{
	char link[128];
	struct stat st;

	CHECK(look(link, &st) == before.sum && strcmp(link, before.link) == 0 && strncmp(link, "/memfd:", 7) == 0);
	CHECK(st.st_mode == before.st.st_mode && st.st_size == before.st.st_size && st.st_uid == before.st.st_uid);
	CHECK(open("/proc/self/exe", O_RDWR | O_CLOEXEC) < 0 && (errno == ETXTBSY || errno == EPERM));
	check_again();
}

static void check_sealed(void)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	check();
	CHECK(strstr(before.link, "sealed") && fcntl(fd, F_GET_SEALS) == (SEALS));
	close(fd);
}

static void check_open(void)
{
	struct stat exe, kept;

	check();
	CHECK(strstr(before.link, "open") && (before.st.st_mode & 07777) == 0755);
	CHECK(fstat(KEPT, &kept) == 0 && stat("/proc/self/exe", &exe) == 0 && kept.st_ino == exe.st_ino &&
	      kept.st_dev == exe.st_dev);
}

static void serve(void (*verify)(void))
{
	crew = mmap(NULL, sizeof(*crew), PROT_READ | PROT_WRITE, MAP_SHARED, KEPT + 1, 0);
	note();
	crew_serve(verify);
}

static void start(int fd, const char *as, int keep)
{
	int was = crew->ready;

	if (fork() == 0) {
		CHECK(!keep || dup2(fd, KEPT) == KEPT);
		execute(fd, as);
	}
	crew_wait(was + 1);
}

/* Process 1, once it is what it has executed. */
static int run(void)
{
	int shared = memfd_create("crew", 0), own = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int other = copy("open", 0);

	CHECK(ftruncate(shared, sizeof(*crew)) == 0 && dup2(shared, KEPT + 1) == KEPT + 1);
	close(shared);
	crew = mmap(NULL, sizeof(*crew), PROT_READ | PROT_WRITE, MAP_SHARED, KEPT + 1, 0);
	note();
	start(own, "sealed", 0);
	start(other, "open", 1);
	start(other, "open", 1);
	close(own);
	close(other);
	wait_for_restore();
	check_sealed();
	crew->check = 1;
	for (int i = 0; i < 20000 && crew->checked < 3; i++)
		usleep(1000);
	CHECK(crew->checked == 3);
	guest_failed |= crew->failed;
	return done();
}

int main(int argc, char **argv)
{
	const char *as = argc > 1 ? argv[1] : "";

	if (strcmp(as, "again") == 0)
		return 42;
	if (strcmp(as, "first") == 0)
		return run();
	if (strcmp(as, "sealed") == 0)
		serve(check_sealed);
	if (strcmp(as, "open") == 0)
		serve(check_open);
	execute(copy("sealed", SEALS), "first");
	return 1;
}
