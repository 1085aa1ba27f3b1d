/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The VPS's root looks into processes that may not be dumped (other users' after setuid(2)): it may do so in
 * its own user namespace, which their memory belongs to. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

static int may_read(pid_t pid, const char *what)
{
	char path[64], text[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	n = readlink(path, text, sizeof(text));
	if (n >= 0)
		return 1;
	fd = open(path, O_RDONLY);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	close(fd);
	return n >= 0;
}

static void look(pid_t pid)
{
	char path[64], text[8];
	struct iovec mine = { text, sizeof(text) }, its = { (void *)look, sizeof(text) };
	struct stat st;

	CHECK(may_read(pid, "environ") && may_read(pid, "exe") && may_read(pid, "fd/1") &&
	      may_read(pid, "maps"));
	CHECK(process_vm_readv(pid, &mine, 1, &its, 1, 0) == sizeof(text));
	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	CHECK(stat(path, &st) == 0 && st.st_uid == 0);
}

int main(void)
{
	volatile int *go =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (setresgid(1000, 1000, 1000) < 0 || setresuid(1000, 1000, 1000) < 0)
			_exit(1);
		go[1] = 1;
		while (!*go)
			usleep(1000);
		CHECK(prctl(PR_GET_DUMPABLE) == 0);
		_exit(guest_failed);
	}
	while (!go[1])
		usleep(1000);
	look(pid);
	wait_for_restore();
	look(pid);
	*go = 1;
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	return done();
}
