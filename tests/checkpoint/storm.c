/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A tenant that begins processes all the time, without a pause, as make -j and scripts of a shell do: children that end
 * at once, become another program by fork and by vfork, pass what they say through a pipe, leave orphans to process 1; and
 * a heap of zombies that nobody takes away. Each parent must hear of each child what that did.
 */
#include "tests/checkpoint/guest.h"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define ZOMBIES 1000
#define VFORKERS 8 /* of which one is always in a vfork(2) */
#define STATUS 23

extern char **environ;
static struct told {
	volatile int stop, begun[16], bad;
} *told;

static bool ended_with(pid_t pid, int code)
{
	int status;
	pid_t r;

	while ((r = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
		;
	return pid > 0 && r == pid && WIFEXITED(status) && WEXITSTATUS(status) == code;
}

static bool child_ends(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(STATUS);
	return ended_with(pid, STATUS);
}

static void become_another(void)
{
	execl("/test", "/test", "end", NULL);
	_exit(99);
}

static bool child_becomes_another(void)
{
	pid_t pid = fork();

	if (pid == 0)
		become_another();
	return ended_with(pid, STATUS);
}

static bool vfork_child(void)
{
	pid_t pid = vfork();

	if (pid == 0)
		become_another();
	return ended_with(pid, STATUS);
}

static bool spawned(void)
{
	char *argv[] = { (char[]){ "/test" }, (char[]){ "end" }, NULL };
	pid_t pid;

	return posix_spawn(&pid, "/test", NULL, NULL, argv, environ) == 0 && ended_with(pid, STATUS);
}

/* What `echo something | cat` does. */
static bool pipeline(void)
{
	int pair[2], pid[2];
	char text[16] = "";

	if (pipe(pair) < 0)
		return false;
	for (int i = 0; i < 2; i++) {
		pid[i] = fork();
		if (pid[i] != 0)
			continue;
		close(pair[!i]);
		if (i == 0)
			_exit(read(pair[0], text, sizeof(text)) == 5 && memcmp(text, "words", 5) == 0 ? STATUS : 98);
		_exit(write(pair[1], "words", 5) == 5 ? STATUS : 97);
	}
	close(pair[0]);
	close(pair[1]);
	return ended_with(pid[0], STATUS) && ended_with(pid[1], STATUS);
}

static bool leaves_orphan(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (fork() == 0)
			become_another();
		_exit(STATUS);
	}
	return ended_with(pid, STATUS);
}

static bool (*const kinds[])(void) = { child_ends, child_becomes_another, spawned, pipeline, leaves_orphan };
#define KINDS ((int)(sizeof(kinds) / sizeof(kinds[0])))

static void begin_storm(int n)
{
	if (fork() != 0)
		return;
	while (!told->stop) {
		bool good = n < KINDS ? kinds[n]() : vfork_child();

		if (!good)
			told->bad = n + 1;
		told->begun[n]++;
	}
	_exit(0);
}

/* Nobody asks for them until the end. */
static pid_t begin_heap(void)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	for (int i = 0; i < ZOMBIES; i++)
		if (fork() == 0)
			_exit(i % 100);
	while (!told->stop)
		usleep(10000);
	for (int i = 0, status; i < ZOMBIES; i++)
		if (wait(&status) < 0 || !WIFEXITED(status))
			_exit(1);
	_exit(STATUS);
}

static void wait_for_more(void)
{
	int was[KINDS + VFORKERS];

	for (int i = 0; i < KINDS + VFORKERS; i++)
		was[i] = told->begun[i];
	for (int i = 0; i < KINDS + VFORKERS; i++)
		while (told->begun[i] < was[i] + 5)
			usleep(1000);
}

int main(int argc, char **argv)
{
	pid_t heap, pid;
	int status;

	(void)argv;
	if (argc > 1)
		return STATUS;
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(told != MAP_FAILED);
	heap = begin_heap();
	for (int i = 0; i < KINDS + VFORKERS; i++)
		begin_storm(i);
	wait_for_more();
	wait_for_restore();
	wait_for_more();
	told->stop = 1;
	while ((pid = wait(&status)) > 0)
		if (pid == heap)
			CHECK(WIFEXITED(status) && WEXITSTATUS(status) == STATUS);
	CHECK(told->bad == 0);
	return done();
}
