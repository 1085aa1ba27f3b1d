/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Two state roots of one network namespace that take the same ports in the same moment. */
#include "tests/unit/netns_lab.h"
#include "tests/unit/tap.h"

#include <stdatomic.h>
#include <sys/mman.h>

#define ROUNDS 60

static struct netns_publish port = { .proto = IPPROTO_TCP, .host_port = 8080, .port = 80, .count = 1 };

struct contender {
	struct netns_host h;
	struct lab_vps t;
};

/* In a process of its own, which begins when all have come to the gate. 0: it has the port; 1: it is the other's. */
static pid_t contend(const struct contender *c, atomic_int *gate)
{
	pid_t pid = fork();
	struct err e = { 0 };
	int r;

	if (pid)
		return pid;
	atomic_fetch_add(gate, 1);
	while (atomic_load(gate) < 2)
		sched_yield();
	r = netns_rules_add(&c->h, &c->t.v, &e);
	if (r < 0 && !strstr(e.msg, "a VPS of another state root has port 8080"))
		printf("# %s\n", e.msg);
	_exit(r == 0 ? 0 : strstr(e.msg, "another state root") ? 1 : 2);
}

static int outcome(pid_t pid)
{
	int status = -1;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}

static bool prepare(struct contender *c, const char *tag, int number)
{
	char net[64];
	struct err e = { 0 };

	if (netns_host_init(&c->h, tag, number == 1 ? "10.77.0.0/24" : "10.78.0.0/24", "none", &e) < 0 ||
	    netns_host_up(&c->h, NULL, 0, &e) < 0) {
		printf("# %s\n", e.msg);
		return false;
	}
	snprintf(net, sizeof(net), "name=eth0,mode=bridge,ip=10.%d.0.2", 76 + number);
	lab_vps_init(&c->t, &c->h, number, net);
	c->t.v.publish = &port;
	c->t.v.publish_count = 1;
	return true;
}

TEST(one_of_two_gets_a_port)
{
	atomic_int *gate = mmap(NULL, sizeof(*gate), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct contender c[2] = { 0 };
	int exact = 0;
	struct err e = { 0 };

	if (!lab_host()) {
		skip("no network namespace: needs CAP_SYS_ADMIN");
		return;
	}
	if (gate == MAP_FAILED || !prepare(&c[0], "porta", 1) || !prepare(&c[1], "portb", 2)) {
		ok(false, "two state roots are up");
		return;
	}
	for (int i = 0; i < ROUNDS; i++) {
		pid_t first, second;
		int a, b;

		atomic_store(gate, 0);
		first = contend(&c[0], gate);
		second = contend(&c[1], gate);
		a = outcome(first);
		b = outcome(second);
		exact += a + b == 1;
		for (int k = 0; k < 2; k++)
			netns_rules_remove(&c[k].h, &c[k].t.v, &e);
	}
	ok(exact == ROUNDS, "of two that come at once one gets the port, %d times of %d", exact, ROUNDS);

	ok(netns_rules_add(&c[0].h, &c[0].t.v, &e) == 0, "one has it: %s", e.msg);
	c[1].t.v.arriving = true;
	ok(netns_rules_add(&c[1].h, &c[1].t.v, &e) == 0, "who arrives from there may have it, too: %s", e.msg);
	c[1].t.v.arriving = false;
	for (int k = 0; k < 2; k++)
		netns_host_down(&c[k].h, &e);
}
