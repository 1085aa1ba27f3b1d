/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The tenant that bench/migrate moves: PID 1 of a VPS that holds memory, writes to so many of its pages
 * a second, and answers each byte of a TCP client with one. Beside it so many processes do what most of a
 * server's do: hold a little memory and a socket, and wake up now and then. usage: dirty MIB PAGES-A-SECOND
 * PORT PROCESSES [MAPPERS]: so many of the processes have the memory in common, as a database's do.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define MEMORY_OF_OTHERS (1 << 20)

static int listen_on(int port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 4) < 0)
		exit(1);
	return fd;
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Each write is another number, so that no page ever is as it was. */
static void write_pages(uint64_t *memory, size_t pages, size_t count)
{
	static uint64_t seed = 88172645463325252, serial;

	while (count--) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		memory[seed % pages * (PAGE / 8)] = ++serial;
	}
}

static void answer(struct pollfd *client)
{
	char data[4096];
	ssize_t n = read(client->fd, data, sizeof(data));

	if (n <= 0 || write(client->fd, data, (size_t)n) != n) {
		close(client->fd);
		client->fd = -1;
	}
}

/* One of the others: ends with process 1. */
static void stay(int sock, const volatile uint64_t *shared, size_t pages)
{
	char *memory = malloc(MEMORY_OF_OTHERS);
	struct pollfd p = { .fd = sock, .events = POLLIN };

	for (unsigned n = 0; memory; n++) {
		memset(memory, (int)n, n ? PAGE : MEMORY_OF_OTHERS);
		for (size_t i = 0; shared && i < pages; i += n ? 1009 : 1)
			(void)shared[i * (PAGE / 8)];
		poll(&p, 1, 200);
	}
}

static void start_others(long count, long mappers, const uint64_t *shared, size_t pages)
{
	int pair[2];

	while (count-- > 0) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
			exit(1);
		if (fork() == 0) {
			close(pair[1]);
			if (shared && mappers <= 1)
				munmap((void *)(uintptr_t)shared, pages * PAGE);
			stay(pair[0], mappers > 1 ? shared : NULL, pages);
			_exit(1);
		}
		close(pair[0]);
		mappers--;
	}
}

int main(int argc, char **argv)
{
	size_t size = argc > 4 ? (size_t)atol(argv[1]) << 20 : 0, pages = size / PAGE;
	uint64_t rate = size ? (uint64_t)atol(argv[2]) : 0, last, due = 0;
	struct pollfd p[2] = { { .events = POLLIN }, { .fd = -1, .events = POLLIN } };
	long mappers = argc > 5 ? atol(argv[5]) : 0;
	uint64_t *memory;
	int on = 1;

	signal(SIGPIPE, SIG_IGN);
	if (size && !mappers)
		start_others(atol(argv[4]) - 1, 0, NULL, 0);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, (mappers ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
	if (!size || memory == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < size / 8; i++)
		memory[i] = i * 0x9e3779b97f4a7c15;
	if (mappers)
		start_others(atol(argv[4]) - 1, mappers, memory, pages);
	p[0].fd = listen_on(atoi(argv[3]));
	for (last = now_us();;) {
		uint64_t now;

		if (poll(p, 2, 1) > 0 && p[1].revents)
			answer(&p[1]);
		if (p[0].revents) {
			p[1].fd = accept(p[0].fd, NULL, NULL);
			setsockopt(p[1].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		}
		now = now_us();
		/* After a pause it does not catch up on what it has not written. */
		due += rate * (now - last > 20000 ? 20000 : now - last);
		last = now;
		write_pages(memory, pages, due / 1000000);
		due %= 1000000;
	}
}
