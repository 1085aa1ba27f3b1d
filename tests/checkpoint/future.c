/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Memory that is locked as soon as it is mapped (MCL_FUTURE), as who keeps the time has it; a child has not. */
#include "tests/checkpoint/guest.h"

#include <sys/mman.h>
#include <sys/wait.h>

static long locked_kib(void)
{
	char line[256];
	long kib = -1;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmLck: %ld kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

/* How much more is locked when 1 MiB is mapped. */
static long grows(void)
{
	long before = locked_kib();

	CHECK(mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	return locked_kib() - before;
}

int main(void)
{
	int go[2], status;
	pid_t pid;
	char c;

	CHECK(pipe(go) == 0 && mlockall(MCL_FUTURE) == 0 && grows() == 1024);
	pid = fork();
	if (pid == 0) {
		CHECK(read(go[0], &c, 1) == 1 && grows() == 0);
		_exit(guest_failed);
	}
	wait_for_restore();
	CHECK(grows() == 1024);
	CHECK(write(go[1], "g", 1) == 1 && waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(munlockall() == 0 && grows() == 0);
	return done();
}
