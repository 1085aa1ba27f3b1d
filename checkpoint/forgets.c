/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Whether a program's code looks at register 10 again. It is followed along all its branches through the few instructions
 * that stand behind a system call (errno is set, a result moved, a lock let go); at any other, at an indirect jump, or
 * after too many, the answer is that it may.
 */
#include "base/macro.h"
#include "checkpoint/batch.h"
#include "checkpoint/timeouts.h"

#include <string.h>

#define R10 10u
#define STEPS 64u   /* instructions in all */
#define BRANCHES 16u
#define INSN_MAX 15u /* bytes of one */

struct code {
	pid_t pid;            /* 0: in `bytes`, from address 0 on */
	const uint8_t *bytes;
	size_t len;
	uint64_t branch[BRANCHES]; /* that are to be followed */
	size_t count;
};

/* What an instruction is to this question. */
enum effect { GOES_ON, ENDS, LOOKS, BRANCHES_OFF, JUMPS };

struct insn {
	const uint8_t *at; /* INSN_MAX bytes, of which the last may be missing (0) */
	size_t len;
	uint8_t rex;
	uint64_t next;     /* its end's address */
	uint64_t target;   /* of branches and jumps */
};

static bool fetch(const struct code *c, uint64_t rip, uint8_t buf[INSN_MAX])
{
	memset(buf, 0, INSN_MAX);
	if (!c->pid) {
		if (rip >= c->len)
			return false;
		memcpy(buf, c->bytes + rip, c->len - rip < INSN_MAX ? c->len - rip : INSN_MAX);
		return true;
	}
	/* Its page may be the last. */
	for (size_t n = INSN_MAX; n; n--)
		if (ckpt_mem_read(c->pid, rip, buf, n) == 0)
			return true;
	return false;
}

/*
 * Its operands begin with a ModRM byte, behind which `immediate` bytes stand. False when register 10 is
 * among them. (Intel's manual, volume 2, 2.1)
 */
static bool take_modrm(struct insn *i, size_t immediate, unsigned *ret_reg, unsigned *ret_rm)
{
	unsigned modrm = i->at[i->len++], mod = modrm >> 6, rm = modrm & 7, sib, reg;

	reg = (modrm >> 3 & 7) | (i->rex & 4 ? 8 : 0);
	*ret_reg = reg;
	*ret_rm = rm | (i->rex & 1 ? 8 : 0);
	if (mod != 3 && rm == 4) {
		sib = i->at[i->len++];
		if (((sib >> 3 & 7) | (i->rex & 2 ? 8u : 0)) == R10)
			return false;
		*ret_rm = (sib & 7) | (i->rex & 1 ? 8 : 0);
		if (mod == 0 && (sib & 7) == 5)
			i->len += 4;
	}
	i->len += mod == 1 ? 1 : mod == 2 || (mod == 0 && rm == 5) ? 4 : 0;
	i->len += immediate;
	return reg != R10 && *ret_rm != R10;
}

static uint64_t displaced(struct insn *i, size_t size)
{
	int32_t off = 0;

	memcpy(&off, i->at + i->len, size);
	if (size == 1) /* its highest bit is the sign */
		off = (off ^ 0x80) - 0x80;
	i->len += size;
	return (uint64_t)(int64_t)off;
}

static enum effect two_bytes(struct insn *i)
{
	uint8_t op = i->at[i->len++];
	unsigned reg, rm;

	if (op >= 0x80 && op <= 0x8f) { /* jcc */
		i->target = displaced(i, 4);
		return BRANCHES_OFF;
	}
	/* cmovcc, setcc, movzx, movsx, nop */
	if ((op >= 0x40 && op <= 0x4f) || (op >= 0x90 && op <= 0x9f) || op == 0xb6 || op == 0xb7 || op == 0xbe ||
	    op == 0xbf || op == 0x1f)
		return take_modrm(i, 0, &reg, &rm) ? GOES_ON : LOOKS;
	return LOOKS;
}

/* Where the ModRM byte's middle is part of the operation. */
static enum effect by_group(struct insn *i, uint8_t op)
{
	unsigned group = i->at[i->len] >> 3 & 7, reg, rm;
	size_t immediate = op == 0x81 || op == 0xc7 ? 4 : op == 0xf7 || op == 0xff ? 0 : 1;

	if ((op == 0xf7 && group != 2 && group != 3) || ((op == 0xc6 || op == 0xc7) && group != 0) ||
	    (op == 0xff && group > 2))
		return LOOKS;
	/* Its register is none. */
	i->rex &= ~4u;
	if (!take_modrm(i, immediate, &reg, &rm))
		return LOOKS;
	return op == 0xff && group == 2 ? ENDS : GOES_ON; /* not, neg; inc, dec, call */
}

/* Those that read or write a register and another operand. */
static bool is_plain(uint8_t op)
{
	static const uint8_t plain[] = { 0x63, 0x84, 0x85, 0x88, 0x89, 0x8a, 0x8b, 0x8d };

	/* add, or, and, sub, xor, cmp in four forms each; not adc, sbb */
	if (op < 0x40 && (op & 7) < 4 && (op >> 3) != 2 && (op >> 3) != 3)
		return true;
	return memchr(plain, op, sizeof(plain));
}

static enum effect one_byte(struct insn *i, uint8_t op)
{
	unsigned reg, rm;

	if (op >= 0x70 && op <= 0x7f) {
		i->target = displaced(i, 1);
		return BRANCHES_OFF;
	}
	if (op >= 0x50 && op <= 0x5f) /* push, pop */
		return (op & 7) == (R10 & 7) && (i->rex & 1) ? LOOKS : GOES_ON;
	if (op >= 0xb8 && op <= 0xbf) { /* mov of a value */
		i->len += i->rex & 8 ? 8 : 4;
		return (op & 7) == (R10 & 7) && (i->rex & 1) ? ENDS : GOES_ON;
	}
	if (is_plain(op)) {
		if (take_modrm(i, 0, &reg, &rm))
			return GOES_ON;
		/* Loaded anew, from elsewhere. */
		return (op == 0x8b || op == 0x8d) && reg == R10 && rm != R10 ? ENDS : LOOKS;
	}
	switch (op) {
	case 0x0f: return two_bytes(i);
	case 0x80: case 0x81: case 0x83: case 0xc6: case 0xc7: case 0xf7: case 0xff:
		return by_group(i, op);
	case 0x05: case 0x0d: case 0x25: case 0x2d: case 0x35: case 0x3d: case 0xa9: /* with rax */
		i->len += 4;
		return GOES_ON;
	case 0x90: case 0x98: case 0x99: return GOES_ON;
	case 0xc3: case 0xe8: return ENDS;
	case 0xeb: i->target = displaced(i, 1); return JUMPS;
	case 0xe9: i->target = displaced(i, 4); return JUMPS;
	default: return LOOKS;
	}
}

static enum effect decode(uint64_t rip, const uint8_t bytes[INSN_MAX], struct insn *i)
{
	enum effect r;

	*i = (struct insn){ .at = bytes };
	/* A thread's own memory; and the prefix that pads a nop. What else it may stand before has another length. */
	if (bytes[0] == 0x64 || (bytes[0] == 0x66 && bytes[1] == 0x0f && bytes[2] == 0x1f))
		i->len++;
	if ((bytes[i->len] & 0xf0) == 0x40)
		i->rex = bytes[i->len++];
	r = one_byte(i, bytes[i->len++]);
	i->next = rip + i->len;
	i->target += i->next;
	return i->len <= INSN_MAX ? r : LOOKS;
}

/* One way on, up to its end; others are noted. */
static bool follow(struct code *c, uint64_t rip, unsigned *steps)
{
	for (; *steps; --*steps) {
		uint8_t bytes[2 * INSN_MAX] = { 0 }; /* a decoder that runs on reads zeros */
		struct insn i;
		enum effect what = fetch(c, rip, bytes) ? decode(rip, bytes, &i) : LOOKS;

		if (what == LOOKS || what == ENDS)
			return what == ENDS;
		if (what == BRANCHES_OFF) {
			if (c->count == BRANCHES)
				return false;
			c->branch[c->count++] = i.target;
		}
		rip = what == JUMPS ? i.target : i.next;
	}
	return false;
}

static bool forgets(struct code *c, uint64_t rip)
{
	unsigned steps = STEPS;
	bool good = follow(c, rip, &steps);

	for (size_t i = 0; good && i < c->count; i++)
		good = follow(c, c->branch[i], &steps);
	return good;
}

bool ckpt_forgets_r10(pid_t pid, uint64_t rip)
{
	struct code c = { .pid = pid };

	return forgets(&c, rip);
}

bool ckpt_code_forgets_r10(const uint8_t *code, size_t len)
{
	struct code c = { .bytes = code, .len = len };

	return forgets(&c, 0);
}
