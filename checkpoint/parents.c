/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/parents.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096u
#define RING (16 * PAGE) /* a thousand births and as many ends; a power of two */
#define RECORD_MAX 64u   /* what does not fit is dropped, and said with the next record */

/* Of a processor. */
struct ring {
	int fd;
	struct perf_event_mmap_page *page; /* the records follow */
};

struct ckpt_parents {
	struct ring *rings;
	size_t count;
};

struct birth {
	struct perf_event_header header;
	uint32_t pid, ppid, tid, ptid;
	uint64_t time;
};

/* 0: there is no such processor now. */
static int ring_open(struct ring *r, int cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_DUMMY, .task = 1,
		.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED,
	};
	void *at;

	r->fd = (int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	if (r->fd < 0)
		return errno == ENODEV ? 0 : -errno;
	at = mmap(NULL, PAGE + RING, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	if (at == MAP_FAILED) {
		int why = -errno;

		fd_close(&r->fd);
		return why;
	}
	r->page = at;
	return 1;
}

static bool is_online(size_t count)
{
	return (size_t)sysconf(_SC_NPROCESSORS_ONLN) == count;
}

struct ckpt_parents *ckpt_parents_new(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	struct ckpt_parents *p = calloc(1, sizeof(*p));
	int r = 0;

	if (!p)
		return NULL;
	p->rings = cpus > 0 ? calloc((size_t)cpus, sizeof(*p->rings)) : NULL;
	for (int cpu = 0; p->rings && r >= 0 && cpu < cpus; cpu++) {
		r = ring_open(&p->rings[p->count], cpu);
		p->count += r > 0;
	}
	if (!p->rings || r < 0 || !is_online(p->count)) {
		ckpt_parents_free(p);
		return NULL;
	}
	return p;
}

void ckpt_parents_free(struct ckpt_parents *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->count; i++) {
		munmap(p->rings[i].page, PAGE + RING);
		fd_close(&p->rings[i].fd);
	}
	free(p->rings);
	free(p);
}

static void copy(const struct ring *r, uint64_t at, void *to, size_t len)
{
	const uint8_t *data = (const uint8_t *)r->page + PAGE;

	for (size_t i = 0; i < len; i++)
		((uint8_t *)to)[i] = data[(at + i) % RING];
}

/* A new thread's process is who made it. */
static bool ring_read(struct ring *r, void (*each)(void *arg, pid_t parent), void *arg)
{
	uint64_t head = __atomic_load_n(&r->page->data_head, __ATOMIC_ACQUIRE), at = r->page->data_tail;
	bool all = head - at + RECORD_MAX <= RING;
	struct birth b;

	while (at < head) {
		copy(r, at, &b.header, sizeof(b.header));
		if (b.header.type == PERF_RECORD_LOST)
			all = false;
		if (b.header.type == PERF_RECORD_FORK) {
			copy(r, at, &b, sizeof(b));
			if (b.pid != b.ppid)
				each(arg, (pid_t)b.ppid);
		}
		at += b.header.size;
	}
	__atomic_store_n(&r->page->data_tail, head, __ATOMIC_RELEASE);
	return all;
}

/*
 * The kernel takes a processor that is switched off its events away (perf_event_exit_cpu()), and does not give them back: it
 * says nothing more when it is on again, though there are as many as before. Their time stands still.
 */
static bool ring_lives(const struct ring *r)
{
	uint64_t before[2], now[2]; /* its value, which is none, and how long it was there */

	return read(r->fd, before, sizeof(before)) == sizeof(before) && read(r->fd, now, sizeof(now)) == sizeof(now) &&
	       now[1] > before[1];
}

bool ckpt_parents_read(struct ckpt_parents *p, void (*each)(void *arg, pid_t parent), void *arg)
{
	bool all = is_online(p->count);

	for (size_t i = 0; i < p->count; i++)
		all = ring_read(&p->rings[i], each, arg) && ring_lives(&p->rings[i]) && all;
	return all;
}
