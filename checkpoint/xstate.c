/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Registers of a thread, moved between processors that lay them out differently. */
#include "checkpoint/xstate.h"

#include "base/macro.h"

#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#define FIRST 2	    /* below: x87 and SSE, in the legacy region */
#define COMMON 576  /* the legacy region and the header */
#define HEADER 512  /* begins with the components that are not in their initial state */
#define LEAF 0xd    /* of CPUID: a component's size and offset */

static struct ckpt_xstate here;

static bool has(const struct ckpt_xstate *x, unsigned i)
{
	return x->mask >> i & 1;
}

static void look(void)
{
	uint32_t lo, hi, c, d;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	here.mask = (uint64_t)hi << 32 | lo;
	for (unsigned i = FIRST; i < CKPT_XSTATE_PARTS; i++)
		if (has(&here, i))
			__cpuid_count(LEAF, i, here.part[i].size, here.part[i].offset, c, d);
	(void)c;
	(void)d;
}

const struct ckpt_xstate *ckpt_xstate_here(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, look);
	return &here;
}

size_t ckpt_xstate_format(const struct ckpt_xstate *x, uint32_t *ret)
{
	size_t n = 0;

	for (unsigned i = FIRST; i < CKPT_XSTATE_PARTS; i++) {
		if (!x->part[i].size)
			continue;
		ret[n++] = i;
		ret[n++] = x->part[i].size;
		ret[n++] = x->part[i].offset;
	}
	return n;
}

static bool overlap(const struct ckpt_xstate_part *a, const struct ckpt_xstate_part *b)
{
	return a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

/* Whether component `i` lies within an area, and apart from those before it. */
static bool fits(const struct ckpt_xstate *x, unsigned i)
{
	const struct ckpt_xstate_part *p = &x->part[i];

	if (!p->size || p->size > CKPT_XSTATE_MAX || p->offset < COMMON || p->offset > CKPT_XSTATE_MAX - p->size)
		return false;
	for (unsigned k = FIRST; k < i; k++)
		if (x->part[k].size && overlap(p, &x->part[k]))
			return false;
	return true;
}

static bool parse(const uint32_t *numbers, size_t n, struct ckpt_xstate *ret)
{
	unsigned next = FIRST;

	for (size_t i = 0; i + 2 < n; i += 3) {
		unsigned nr = numbers[i];

		if (nr < next || nr >= CKPT_XSTATE_PARTS || !has(ret, nr))
			return false;
		ret->part[nr] = (struct ckpt_xstate_part){ numbers[i + 1], numbers[i + 2] };
		if (!fits(ret, nr))
			return false;
		next = nr + 1;
	}
	for (unsigned i = FIRST; i < CKPT_XSTATE_PARTS; i++)
		if (has(ret, i) && !ret->part[i].size)
			return false;
	return n % 3 == 0 && !(ret->mask >> CKPT_XSTATE_PARTS);
}

int ckpt_xstate_parse(uint64_t mask, const uint32_t *numbers, size_t n, struct ckpt_xstate *ret, struct err *e)
{
	*ret = (struct ckpt_xstate){ .mask = mask };
	if (n)
		return parse(numbers, n, ret) ? 0 :
			       err_set(e, ERR_FAIL, "the image is damaged: where its processor keeps registers");
	memcpy(ret->part, ckpt_xstate_here()->part, sizeof(ret->part));
	return 0;
}

int ckpt_xstate_check(const struct ckpt_xstate *there, const struct ckpt_xstate *mine, struct err *e)
{
	if (there->mask & ~mine->mask)
		return err_set(e, ERR_UNSUPPORTED, "this processor lacks registers that the VPS uses (XCR0 is %#llx, not %#llx)",
			       (unsigned long long)mine->mask, (unsigned long long)there->mask);
	for (unsigned i = FIRST; i < CKPT_XSTATE_PARTS; i++)
		if (has(there, i) && there->part[i].size != mine->part[i].size)
			return err_set(e, ERR_UNSUPPORTED, "this processor has other registers than the VPS uses "
				       "(component %u of XSAVE takes %u bytes, not %u)", i, mine->part[i].size,
				       there->part[i].size);
	return 0;
}

/* What of `n` bytes at `offset` there is, the rest being zero. */
static void copy(uint8_t *to, const uint8_t *data, size_t len, size_t offset, size_t n)
{
	if (offset < len)
		memcpy(to, data + offset, len - offset < n ? len - offset : n);
}

int ckpt_xstate_convert(const struct ckpt_xstate *from, const uint8_t *data, size_t len, const struct ckpt_xstate *to,
			uint8_t *ret, size_t size)
{
	uint64_t used = 0;

	if (size < COMMON)
		return -EOPNOTSUPP;
	memset(ret, 0, size);
	copy(ret, data, len, 0, COMMON);
	memcpy(&used, ret + HEADER, sizeof(used));
	if (used & ~from->mask)
		return -EINVAL;
	for (unsigned i = FIRST; i < CKPT_XSTATE_PARTS; i++) {
		const struct ckpt_xstate_part *a = &from->part[i], *b = &to->part[i];

		if (!(used >> i & 1))
			continue;
		if (!has(to, i) || a->size != b->size || b->offset < COMMON || b->size > size || b->offset > size - b->size)
			return -EOPNOTSUPP;
		copy(ret + b->offset, data, len, a->offset, a->size);
	}
	return 0;
}
