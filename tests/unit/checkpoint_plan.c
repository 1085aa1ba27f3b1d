/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Plans are carried out by a model of what the kernel does, and must end in the tree that was asked for:
 * for cases by hand, and for what random histories of processes lead to. */
#include "base/macro.h"
#include "checkpoint/plan.h"
#include "tests/unit/tap.h"

#define MAX 400
#define UNUSED SIZE_MAX

struct proc {
	uint32_t pid, ppid, sid, pgid;
	bool here, zombie, reaper;
};

struct world {
	struct proc p[MAX];
	size_t count;
	uint32_t last;
};

static struct proc *get(struct world *w, uint32_t pid)
{
	for (size_t i = 0; i < w->count; i++)
		if (w->p[i].here && w->p[i].pid == pid)
			return &w->p[i];
	return NULL;
}

static bool is_group(struct world *w, uint32_t pgid, uint32_t sid)
{
	for (size_t i = 0; i < w->count; i++)
		if (w->p[i].here && w->p[i].pgid == pgid && (!sid || w->p[i].sid == sid))
			return true;
	return false;
}

static struct proc *sim_fork(struct world *w, const struct proc *parent, uint32_t pid)
{
	struct proc *n = &w->p[w->count];

	if (w->count == MAX || get(w, pid))
		return NULL;
	*n = (struct proc){ .pid = pid, .here = true };
	if (parent) {
		n->ppid = parent->pid;
		n->sid = parent->sid;
		n->pgid = parent->pgid;
	}
	w->count++;
	return n;
}

static bool sim_setsid(struct world *w, struct proc *p)
{
	if (is_group(w, p->pid, 0))
		return false;
	p->sid = p->pgid = p->pid;
	return true;
}

static bool sim_setpgid(struct world *w, struct proc *p, uint32_t pgid)
{
	if (p->sid == p->pid || (pgid != p->pid && !is_group(w, pgid, p->sid)))
		return false;
	p->pgid = pgid;
	return true;
}

static void sim_exit(struct world *w, struct proc *p)
{
	const struct proc *up = get(w, p->ppid);

	while (up && up->pid != 1 && (!up->reaper || up->zombie))
		up = get(w, up->ppid);
	for (size_t i = 0; i < w->count; i++)
		if (w->p[i].here && w->p[i].ppid == p->pid)
			w->p[i].ppid = up ? up->pid : 1;
	p->zombie = true;
}

static bool is_outside(const struct ckpt_plan *plan, const struct ckpt_op *o)
{
	return plan->nodes[o->by].level <= plan->nodes[o->who].group_level;
}

/* False when the model, as the kernel would, refuses an operation. */
static bool carry_out(const struct ckpt_plan *plan, struct world *w)
{
	*w = (struct world){ .count = 1, .p = { { .pid = 1, .sid = 1, .pgid = 1, .here = true } } };
	for (size_t i = 0; i < plan->op_count; i++) {
		const struct ckpt_op *o = &plan->ops[i];
		struct proc *p = get(w, plan->nodes[o->who].pid);
		struct proc *by = o->by == UNUSED ? NULL : get(w, plan->nodes[o->by].pid);
		bool fine = p != NULL;

		switch (o->kind) {
		case CKPT_OP_BIRTH:
			fine = !p && (o->by == UNUSED || by) && sim_fork(w, by, plan->nodes[o->who].pid);
			break;
		case CKPT_OP_SESSION:
			fine = fine && sim_setsid(w, p);
			break;
		case CKPT_OP_GROUP:
			/* Who sees no number of its group needs a parent who does. */
			fine = fine && (by ? p->ppid == by->pid && is_outside(plan, o) :
					     plan->nodes[o->who].group_level >= plan->nodes[o->who].level);
			fine = fine && sim_setpgid(w, p, o->number);
			break;
		case CKPT_OP_FOREGROUND:
			fine = fine && is_group(w, o->number, p->sid);
			break;
		case CKPT_OP_REAPER:
			if (fine)
				p->reaper = o->number;
			break;
		case CKPT_OP_END:
			fine = fine && by && p->ppid == by->pid;
			if (fine) {
				sim_exit(w, p);
				p->here = false;
			}
			break;
		case CKPT_OP_EXIT:
			if (fine)
				sim_exit(w, p);
			break;
		}
		if (!fine) {
			diag("operation %zu: kind %d, number %u", i, o->kind, plan->nodes[o->who].pid);
			return false;
		}
	}
	return true;
}

static bool is_as_wanted(struct world *w, const struct ckpt_plan_node *n, size_t count)
{
	size_t here = 0;

	for (size_t i = 0; i < w->count; i++)
		here += w->p[i].here;
	for (size_t i = 0; i < count; i++) {
		const struct proc *p = get(w, n[i].pid);

		if (p && p->ppid == n[i].ppid && p->sid == n[i].sid && p->pgid == n[i].pgid &&
		    p->zombie == n[i].ended && !p->reaper)
			continue;
		diag("process %u: parent %u not %u, session %u not %u, group %u not %u", n[i].pid,
		     p ? p->ppid : 0, n[i].ppid, p ? p->sid : 0, n[i].sid, p ? p->pgid : 0, n[i].pgid);
		return false;
	}
	return here == count;
}

static int check(const struct ckpt_plan_node *n, size_t count, struct err *e)
{
	struct ckpt_arena a = { 0 };
	struct ckpt_plan plan;
	static struct world w;
	uint32_t used[3 * MAX];
	size_t u = 0;
	int r;

	for (size_t i = 0; i < count; i++) {
		used[u++] = n[i].pid;
		used[u++] = n[i].sid;
		used[u++] = n[i].pgid;
	}
	r = ckpt_plan_make(&plan, &a, n, count, used, u, NULL, e);
	if (r == 0)
		r = carry_out(&plan, &w) && is_as_wanted(&w, n, count) ? 1 : 0;
	ckpt_arena_done(&a);
	return r;
}

#define CASE(what, ...)                                                      \
	do {                                                                 \
		const struct ckpt_plan_node nodes_[] = { __VA_ARGS__ };      \
		struct err e_;                                               \
		eq_int(check(nodes_, ARRAY_SIZE(nodes_), &e_), 1, what);     \
	} while (0)

TEST(by_hand)
{
	CASE("process 1 alone", { 1, 0, 1, 1 });
	CASE("a shell with a job", { 1, 0, 1, 1 }, { 5, 1, 5, 5 }, { 6, 5, 6, 5 }, { 7, 5, 6, 5 });
	CASE("two daemons whose leader has ended", { 1, 0, 1, 1 }, { 8, 1, 7, 7 }, { 9, 1, 7, 7 });
	CASE("a child from before its parent's setsid", { 1, 0, 1, 1 }, { 5, 1, 5, 5 }, { 6, 5, 1, 1 });
	CASE("the same twice over", { 1, 0, 1, 1 }, { 5, 1, 5, 5 }, { 6, 5, 6, 6 }, { 7, 6, 1, 1 });
	CASE("a background job whose shell's child has ended", { 1, 0, 1, 1 }, { 5, 1, 5, 5 }, { 9, 1, 8, 5 });
	CASE("a subreaper that adopted", { 1, 0, 1, 1 }, { 4, 1, 4, 4 }, { 5, 4, 5, 5 }, { 9, 4, 8, 5 });
	CASE("a session without a leader below a subreaper and process 1", { 1, 0, 1, 1 }, { 4, 1, 4, 4 },
	     { 9, 4, 7, 7 }, { 10, 1, 7, 7 });
	CASE("from outside, with an orphan", { 1, 0, 1, 1 }, { 5, 0, 5, 5 }, { 6, 5, 5, 5 }, { 7, 1, 5, 5 });
	CASE("a zombie, and one that led its group", { 1, 0, 1, 1 }, { 5, 1, 5, 1, .ended = true }, { 6, 1, 5, 1 });
	CASE("a group's leader in another group", { 1, 0, 1, 1 }, { 5, 1, 6, 1 }, { 6, 1, 5, 1 });
	CASE("children first", { 1, 0, 1, 1 }, { 9, 5, 9, 5 }, { 5, 1, 5, 5 });
	CASE("a foreground without members", { 1, 0, 1, 1 }, { 5, 1, 5, 5, .foreground = 30 });
}

#define INSIDE .space = 2, .level = 1
#define OWN .group_level = 1, .session_level = 1

TEST(pid_namespaces)
{
	CASE("in the group of who began it", { 1, 0, 1, 1 }, { 5, 1, 5, 1 }, { 6, 5, 5, 1, INSIDE },
	     { 7, 6, 5, 1, INSIDE }, { 8, 6, 8, 8, INSIDE, OWN });
	CASE("in its session alone", { 1, 0, 1, 1 }, { 5, 1, 5, 5 }, { 6, 5, 5, 5, INSIDE }, { 7, 6, 5, 5, INSIDE });
	CASE("in a group whose leader has ended", { 1, 0, 1, 1 }, { 5, 1, 4, 1 }, { 6, 5, 4, 1, INSIDE },
	     { 7, 6, 4, 1, INSIDE });
	CASE("in one that nobody outside is in any more", { 1, 0, 1, 1 }, { 6, 1, 4, 1, INSIDE });
	CASE("with a group inside whose leader has ended", { 1, 0, 1, 1 }, { 6, 1, 6, 6, INSIDE, OWN },
	     { 8, 6, 7, 6, INSIDE, OWN });
	CASE("with orphans of a session inside", { 1, 0, 1, 1 }, { 6, 1, 6, 6, INSIDE, OWN },
	     { 8, 6, 7, 7, INSIDE, OWN }, { 9, 6, 7, 7, INSIDE, OWN });
}

TEST(damaged)
{
	struct err e;
	const struct ckpt_plan_node ring[] = { { 1, 0, 1, 1 }, { 5, 6, 1, 1 }, { 6, 5, 1, 1 } };
	const struct ckpt_plan_node lost[] = { { 1, 0, 1, 1 }, { 5, 7, 1, 1 } };
	const struct ckpt_plan_node foreign[] = { { 1, 0, 1, 1 }, { 5, 1, 0, 1 } };
	const struct ckpt_plan_node outside[] = { { 1, 0, 1, 1 }, { 5, 0, 1, 1 } };

	ok(check(ring, 3, &e) < 0, "a ring");
	ok(check(lost, 2, &e) < 0, "no such parent");
	ok(check(foreign, 2, &e) < 0, "a group of another namespace");
	ok(check(outside, 2, &e) < 0, "from outside, in the session of process 1");
}

static size_t pick(struct world *w, unsigned *seed)
{
	for (;;) {
		size_t i = (size_t)rand_r(seed) % w->count;

		if (w->p[i].here && !w->p[i].zombie)
			return i;
	}
}

static void history(struct world *w, unsigned *seed, int steps)
{
	*w = (struct world){ .count = 1, .last = 1, .p = { { .pid = 1, .sid = 1, .pgid = 1, .here = true } } };
	for (int s = 0; s < steps; s++) {
		size_t i = pick(w, seed);
		struct proc *p = &w->p[i], *n;

		switch (rand_r(seed) % 16) {
		case 0: case 1: case 2: case 3: case 4: case 5:
			sim_fork(w, p, ++w->last);
			break;
		case 6: case 7: case 8:
			sim_setsid(w, p);
			break;
		case 9:
			sim_setpgid(w, p, p->pid);
			break;
		case 10:
			sim_setpgid(w, p, w->p[pick(w, seed)].pgid);
			break;
		case 11:
			if (rand_r(seed) % 3 == 0)
				p->reaper = true;
			break;
		case 12:
			n = rand_r(seed) % 4 ? NULL : sim_fork(w, NULL, ++w->last);
			if (n)
				sim_setsid(w, n);
			break;
		default:
			if (i == 0)
				break;
			sim_exit(w, p);
			if (p->ppid == 0 || rand_r(seed) % 4)
				p->here = false;
			break;
		}
	}
}

TEST(random_histories)
{
	static struct world w;
	unsigned seed = 7, refused = 0, wrong = 0, total = 6000;

	for (unsigned k = 0; k < total; k++) {
		struct ckpt_plan_node n[MAX];
		size_t count = 0;
		struct err e;
		int r;

		history(&w, &seed, 5 + rand_r(&seed) % 200);
		for (size_t i = 0; i < w.count; i++)
			if (w.p[i].here && (!w.p[i].zombie || w.p[i].ppid))
				n[count++] = (struct ckpt_plan_node){
					w.p[i].pid, w.p[i].ppid, w.p[i].pgid, w.p[i].sid, .ended = w.p[i].zombie,
				};
		r = check(n, count, &e);
		refused += r < 0;
		wrong += r == 0;
	}
	eq_int(wrong, 0, "no plan leads elsewhere");
	diag("%u of %u were refused", refused, total);
	ok(refused * 100 < total, "nearly all have a plan");
}

