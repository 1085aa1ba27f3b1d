/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * On which nodes memory is to lie, area by area (mbind(2)): every policy, with flags, beside a policy of the process;
 * of memory that is shared, of System V, and among more areas than are asked about at once.
 */
#include "tests/checkpoint/guest.h"

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#define AREAS 1500 /* each other one cannot be read, so that none are joined */
#define LOCAL 4
#define MANY 5      /* MPOL_PREFERRED_MANY, Linux 5.15 */
#define BALANCING (1 << 13)

static const unsigned modes[] = {
	MPOL_PREFERRED, MPOL_BIND, MPOL_INTERLEAVE, LOCAL, MANY, MPOL_BIND | MPOL_F_STATIC_NODES,
	MPOL_INTERLEAVE | MPOL_F_RELATIVE_NODES, MPOL_BIND | BALANCING,
};
#define COUNT (sizeof(modes) / sizeof(modes[0]))

static int set(void *at, unsigned mode)
{
	unsigned long nodes[16] = { 1 };

	return syscall(SYS_mbind, at, 4096UL, (unsigned long)mode, mode == LOCAL ? NULL : nodes,
		       mode == LOCAL ? 0UL : 1025UL, 0UL) == 0;
}

static int is(void *at, unsigned mode)
{
	unsigned long nodes[16] = { 0 };
	int now = -1;

	return syscall(SYS_get_mempolicy, &now, nodes, 1025UL, at, (unsigned long)MPOL_F_ADDR) == 0 &&
	       (unsigned)now == mode && (mode == 0 || mode == LOCAL || nodes[0] == 1);
}

int main(void)
{
	char *all = mmap(NULL, AREAS * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *area[COUNT],
	     *seg;
	char *shared = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int has[COUNT], id = shmget(IPC_PRIVATE, 8192, 0600), others;
	unsigned long one = 1;

	for (int i = 1; i < AREAS; i += 2)
		CHECK(mprotect(all + i * 4096, 4096, PROT_NONE) == 0);
	for (size_t i = 0; i < COUNT; i++) {
		area[i] = all + (2 * (i * 90 + 40)) * 4096;
		has[i] = set(area[i], modes[i]);
		*area[i] = 'n';
	}
	seg = shmat(id, NULL, 0);
	CHECK(seg != (void *)-1 && shmctl(id, IPC_RMID, NULL) == 0);
	others = set(all + (AREAS - 2) * 4096, MPOL_BIND) && set(shared, MPOL_INTERLEAVE) && set(seg, MPOL_BIND);
	CHECK(!others || syscall(SYS_set_mempolicy, MPOL_BIND, &one, 65UL) == 0);
	wait_for_restore();
	for (size_t i = 0; i < COUNT; i++)
		CHECK(!has[i] || (is(area[i], modes[i]) && *area[i] == 'n'));
	if (others) {
		CHECK(is(all + (AREAS - 2) * 4096, MPOL_BIND) && is(shared, MPOL_INTERLEAVE) && is(seg, MPOL_BIND));
		CHECK(is(all, 0) && is(all + 4096, 0)); /* not the process's */
	}
	return done();
}
