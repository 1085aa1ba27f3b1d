/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Descriptors that a process has made with modify_ldt(2), as Wine and old runtimes do; in programs of 64 bits, too. */
#include "checkpoint/ldt.h"

#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"

#include <asm/ldt.h>
#include <sys/syscall.h>

#define READ_LDT 0
#define WRITE_LDT 0x11
#define LDT_BYTES (LDT_ENTRIES * LDT_ENTRY_SIZE)

_Static_assert(CKPT_BATCH_LIST + LDT_BYTES <= CKPT_ASK_SCRATCH, "all of it lies there");

size_t ckpt_ldt_ask(struct ckpt_asking *q)
{
	return ckpt_ask(q, SYS_modify_ldt, READ_LDT, ckpt_ask_room(q, LDT_ENTRY_SIZE), LDT_ENTRY_SIZE, 0);
}

/* Without the empty ones at its end. */
static size_t used_bytes(const uint8_t *ldt)
{
	static const uint8_t empty[LDT_ENTRY_SIZE];
	size_t n = LDT_BYTES;

	while (n && memcmp(ldt + n - LDT_ENTRY_SIZE, empty, LDT_ENTRY_SIZE) == 0)
		n -= LDT_ENTRY_SIZE;
	return n;
}

int ckpt_ldt_collect(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	struct ckpt_call c = { SYS_modify_ldt, { READ_LDT, b->scratch + CKPT_BATCH_LIST, LDT_BYTES }, 0 };
	cleanup_free uint8_t *ldt = malloc(LDT_BYTES);
	int r = ldt ? ckpt_batch_run(b, t, &c, 1, e) : err_code(e, -ENOMEM, "collect process %d", (int)k->pid);

	c.ret = (int32_t)c.ret; /* see ldt.h */
	if (r == 0 && (c.ret < 0 || ckpt_mem_read(b->pid, c.args[1], ldt, LDT_BYTES) < 0))
		r = err_code(e, c.ret < 0 ? (int)c.ret : -EFAULT, "read the local descriptors of process %d", (int)k->pid);
	if (r < 0)
		return r;
	k->mm->ldt.len = used_bytes(ldt);
	k->mm->ldt.data = ckpt_memdup(&d->tree.arena, ldt, k->mm->ldt.len + 1);
	return k->mm->ldt.data ? 0 : err_code(e, -ENOMEM, "collect process %d", (int)k->pid);
}

int ckpt_ldt_check(const Ckpt__Mm *mm, struct err *e)
{
	return mm->ldt.len > LDT_BYTES || mm->ldt.len % LDT_ENTRY_SIZE
		? err_set(e, ERR_FAIL, "the image is damaged: local descriptors of %zu bytes", mm->ldt.len) : 0;
}

/* What modify_ldt(2) makes it of; whatever else the processor would take a descriptor for cannot be said. */
static struct user_desc describe(uint32_t number, uint64_t d)
{
	return (struct user_desc){
		.entry_number = number,
		.base_addr = (uint32_t)(d >> 16 & 0xffffff) | (uint32_t)(d >> 56) << 24,
		.limit = (uint32_t)(d & 0xffff) | (uint32_t)(d >> 48 & 0xf) << 16,
		.seg_32bit = d >> 54 & 1,
		.contents = d >> 42 & 3,
		.read_exec_only = !(d >> 41 & 1),
		.limit_in_pages = d >> 55 & 1,
		.seg_not_present = !(d >> 47 & 1),
		.useable = d >> 52 & 1,
	};
}

int restore_ldt(struct restoring *p, struct list *l, struct err *e)
{
	const ProtobufCBinaryData *ldt = &p->task->mm->ldt;
	int n = 0;

	for (size_t at = 0; n == 0 && at < ldt->len; at += LDT_ENTRY_SIZE) {
		struct user_desc u;
		uint64_t d;

		memcpy(&d, ldt->data + at, sizeof(d));
		if (!d)
			continue;
		if (!list_fits(l, 1, sizeof(u)))
			n = list_run(l, &p->batch, &p->threads[0], e);
		u = describe((uint32_t)(at / LDT_ENTRY_SIZE), d);
		list_call(l, "make a local descriptor", SYS_modify_ldt, WRITE_LDT, list_put(l, &u, sizeof(u)), sizeof(u), 0, 0, 0);
	}
	return n;
}
