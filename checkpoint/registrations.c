/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/registrations.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/lookout.h"
#include "checkpoint/pidspaces.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Younger than libc's headers. */
#define K_GET_XCOMP_PERM 0x1022
#define K_REQ_XCOMP_PERM 0x1023
#define K_XCOMP_TILEDATA 18
#define K_SET_MEMORY_MERGE 67
#define K_GET_MEMORY_MERGE 68
#define K_TIMER_RESTORE_IDS 77
#define K_TIMER_RESTORE_IDS_GET 2
#define K_FUTEX_HASH 78
#define K_FUTEX_HASH_SET_SLOTS 1
#define K_FUTEX_HASH_GET_SLOTS 2
#define K_FUTEX_SLOTS_MIN 16 /* of those that the kernel chooses */
#define K_FUTEX_SLOTS_MAX (1u << 26)
#define K_SCHED_CORE 62 /* Linux 5.14 */
#define K_SCHED_CORE_GET 0
#define K_MEMBARRIER_GET (1u << 9) /* MEMBARRIER_CMD_GET_REGISTRATIONS, Linux 6.3 */
#define K_MEMBARRIER_ALL (1u << 2 | 1u << 4 | 1u << 6 | 1u << 8) /* MEMBARRIER_CMD_REGISTER_* */

#define NODES 1024 /* bits */
#define UNSET UINT32_MAX
#define FREE_FD 3

enum { POLICY, MEMBARRIER, XCOMP, MERGE, TIMER_IDS, FUTEX_SLOTS };

void ckpt_registrations_ask(struct ckpt_asking *q, struct ckpt_registration_places *at, bool leader)
{
	at->mode = ckpt_ask_room(q, sizeof(int));
	at->nodes = ckpt_ask_room(q, NODES / 8);
	at->core = ckpt_ask_room(q, sizeof(uint64_t));
	/* Of the thread alone, the fifth argument: EINVAL without CONFIG_SCHED_CORE, ENODEV without SMT. */
	q->call[ckpt_ask(q, SYS_prctl, K_SCHED_CORE, K_SCHED_CORE_GET, 0, 0)].args[4] = at->core;
	at->first = ckpt_ask(q, SYS_get_mempolicy, at->mode, at->nodes, NODES + 1, 0);
	if (!leader)
		return;
	at->xcomp = ckpt_ask_room(q, sizeof(uint64_t));
	ckpt_ask(q, SYS_membarrier, K_MEMBARRIER_GET, 0, 0, 0);
	ckpt_ask(q, SYS_arch_prctl, K_GET_XCOMP_PERM, at->xcomp, 0, 0);
	ckpt_ask(q, SYS_prctl, K_GET_MEMORY_MERGE, 0, 0, 0);
	ckpt_ask(q, SYS_prctl, K_TIMER_RESTORE_IDS, K_TIMER_RESTORE_IDS_GET, 0, 0);
	ckpt_ask(q, SYS_prctl, K_FUTEX_HASH, K_FUTEX_HASH_GET_SLOTS, 0, 0);
}

/*
 * How many slots the futexes of a process with threads have is the kernel's choice, by its threads and the processors,
 * unless it has chosen itself, which is not told: a number that the kernel could have come to is taken for its.
 */
static uint32_t chosen_slots(int64_t slots)
{
	static long processors; /* a file of /sys tells, which is not asked for each process */

	processors = processors ? processors : sysconf(_SC_NPROCESSORS_CONF);
	if (slots < 0 || (slots >= K_FUTEX_SLOTS_MIN && slots < 8 * processors))
		return 0;
	return slots == K_FUTEX_SLOTS_MIN || slots > K_FUTEX_SLOTS_MAX ? 0 : (uint32_t)slots + 1;
}

int ckpt_registrations_take(struct ckpt_dump *d, const struct ckpt_asking *q,
			    const struct ckpt_registration_places *at, Ckpt__Thread *t,
			    struct ckpt_task *leads, struct err *e)
{
	const struct ckpt_call *c = &q->call[at->first];
	Ckpt__ProcessMore *m = leads ? leads->process->more : NULL;
	uint64_t core;
	int mode;

	memcpy(&core, ckpt_ask_answer(q, at->core), sizeof(core));
	if (core)
		return err_set(e, ERR_UNSUPPORTED, "thread %u shares cores of the processor with chosen ones alone (PR_SCHED_CORE), "
			       "which cannot be saved", t->tid);
	memcpy(&mode, ckpt_ask_answer(q, at->mode), sizeof(mode));
	if (c[POLICY].ret == 0 && mode) {
		t->more->policy = (uint32_t)mode;
		t->more->nodes.len = NODES / 8;
		t->more->nodes.data =
			ckpt_memdup(&d->tree.arena, ckpt_ask_answer(q, at->nodes), NODES / 8);
		if (!t->more->nodes.data)
			return err_code(e, -ENOMEM, "collect thread %u", t->tid);
	}
	if (!m)
		return 0;
	m->membarrier = c[MEMBARRIER].ret > 0 ? (uint32_t)c[MEMBARRIER].ret & K_MEMBARRIER_ALL : 0;
	if (c[XCOMP].ret == 0)
		memcpy(&m->xcomp, ckpt_ask_answer(q, at->xcomp), sizeof(m->xcomp));
	m->merge = c[MERGE].ret > 0;
	m->timer_ids = c[TIMER_IDS].ret > 0;
	m->futex_hash = chosen_slots(c[FUTEX_SLOTS].ret);
	return 0;
}

/* As 0 and one more than the number inside; `text` as /proc/PID/loginuid has it. */
static uint32_t login_of(const char *text, uint32_t base, uint32_t count)
{
	uint32_t uid = (uint32_t)strtoul(text, NULL, 10);

	return uid != UNSET && uid >= base && uid - base < count ? uid - base + 1 : 0;
}

int ckpt_registrations_files(struct ckpt_dump *d, const struct ckpt_task *k, Ckpt__ProcessMore *m, struct err *e)
{
	const char *text;
	size_t len;
	int r = ckpt_look(d, k->pid, CKPT_LOOK_AUTOGROUP, &text, &len);

	if (r == 0 && strstr(text, " nice "))
		m->autogroup = (int32_t)atoi(strstr(text, " nice ") + 6);
	if (ckpt_look(d, k->pid, CKPT_LOOK_LOGIN, &text, &len) == 0)
		m->login = login_of(text, d->uid_base, d->uid_count);
	return r == -ENOENT || r == 0 ? 0 : err_code(e, r, "read /proc/%d/autogroup", (int)k->pid);
}

int ckpt_registrations_check(const struct ckpt_task *k, const Ckpt__Thread *t, struct err *e)
{
	const Ckpt__ProcessMore *m = k->process->more;

	return (t->more->policy && t->more->nodes.len != NODES / 8) ||
			       (m->membarrier & ~K_MEMBARRIER_ALL) || m->autogroup < -20 ||
			       m->autogroup > 19 || m->login > CKPT_PID_MAX ||
			       m->futex_hash > K_FUTEX_SLOTS_MAX + 1 ||
			       (m->continued && k->process->stop_signal) ?
		       err_set(e, ERR_FAIL, "the image is damaged: registrations of thread %u",
			       t->tid) :
		       0;
}

void restore_registrations(const struct ckpt_task *k, struct list *l)
{
	const Ckpt__ProcessMore *m = k->process->more;

	for (uint32_t bit = 1; bit <= K_MEMBARRIER_ALL; bit <<= 1)
		if (m->membarrier & bit)
			list_call(l, "register it with membarrier", SYS_membarrier, bit, 0, 0, 0, 0,
				  0);
	/* Before its registers: they may hold such. */
	if (m->xcomp >> K_XCOMP_TILEDATA & 1)
		list_call(l, "let it use AMX", SYS_arch_prctl, K_REQ_XCOMP_PERM, K_XCOMP_TILEDATA,
			  0, 0, 0, 0);
	if (m->merge)
		list_call(l, NULL, SYS_prctl, K_SET_MEMORY_MERGE, 1, 0, 0, 0, 0);
}

void restore_futex_hash(const struct ckpt_task *k, struct list *l)
{
	uint32_t slots = k->process->more->futex_hash;

	/* What has no threads has none. */
	if (slots && k->thread_count > 1)
		list_call(l, NULL, SYS_prctl, K_FUTEX_HASH, K_FUTEX_HASH_SET_SLOTS, slots - 1, 0, 0, 0);
}

/* Nodes that are not here are no reason to fail: it is advice. */
void restore_policy(const Ckpt__Thread *t, struct list *l)
{
	if (t->more->policy)
		list_call(l, NULL, SYS_set_mempolicy, t->more->policy,
			  list_put(l, t->more->nodes.data, t->more->nodes.len), NODES + 1, 0, 0, 0);
}

int restore_autogroup(const struct restoring *p, struct err *e)
{
	int32_t nice = p->task->process->more->autogroup;
	struct rlimit64 lim;
	char path[64], text[16];
	int r;

	if (!nice)
		return 0;
	if (prlimit64(p->batch.pid, RLIMIT_NICE, NULL, &lim) < 0)
		return err_sys(e, "read the limits of process %u", p->task->process->pid);
	/* What the tenant could not set is not set for it. */
	if (nice < 0 && (rlim_t)(20 - nice) > lim.rlim_cur)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/autogroup", (int)p->batch.pid);
	snprintf(text, sizeof(text), "%d", nice);
	r = fd_write_file_at(AT_FDCWD, path, text);
	return r < 0 && r != -ENOENT ? err_code(e, r, "write %s", path) : 0;
}

int restore_login(struct restore *r, struct restoring *p, uint32_t login, uint32_t inherited,
		  struct list *l, struct err *e)
{
	static const char path[] = "/proc/thread-self/loginuid";
	char text[16];
	uint32_t id;

	p->login = login ? login : inherited;
	if (!login || login == inherited)
		return 0;
	id = ckpt_user_id(&r->tree, p->user, login - 1, false);
	if (id == UNSET)
		return 0;
	snprintf(text, sizeof(text), "%u", id);
	list_init(l, r);
	list_call(l, NULL, SYS_open, list_put(l, path, sizeof(path)), O_WRONLY | O_CLOEXEC, 0, 0, 0,
		  0);
	list_call(l, NULL, SYS_write, FREE_FD, list_put(l, text, strlen(text)), strlen(text), 0, 0,
		  0);
	list_call(l, NULL, SYS_close, FREE_FD, 0, 0, 0, 0, 0);
	return list_run(l, &p->batch, &p->threads[0], e);
}

uint32_t ckpt_login(pid_t pid, uint32_t base, uint32_t count)
{
	cleanup_free char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/loginuid", (int)pid);
	return fd_read_file_at(AT_FDCWD, path, 32, &text, NULL) == 0 ? login_of(text, base, count) : 0;
}
