/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * System V: shared memory in several processes, attached twice, in part, for reading, removed but attached,
 * attached by nobody; in another namespace under the same keys; sets of semaphores with one that waits; queues of
 * messages of several types, looked at again; owners, makers, modes, numbers after gaps.
 */
#include "tests/checkpoint/guest.h"

#include <sched.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>

#define PAGE 4096

struct message {
	long type;
	char text[64];
};

static bool takes(int queue, long type, const char *text)
{
	struct message m = { 0 };
	ssize_t n = msgrcv(queue, &m, sizeof(m.text), type, IPC_NOWAIT);

	return n == (ssize_t)strlen(text) && memcmp(m.text, text, (size_t)n) == 0;
}

static int add(int sems, unsigned short number, short by, short flags)
{
	struct sembuf op = { number, by, flags };

	return semop(sems, &op, 1);
}

/* Ends after it has taken and given so much, to be undone. */
static void borrower(int sems, int go)
{
	char c;

	CHECK(add(sems, 0, -2, SEM_UNDO) == 0 && add(sems, 3, 1, SEM_UNDO) == 0 && add(sems, 2, -32767, SEM_UNDO) == 0);
	CHECK(add(sems, 2, 1000, 0) == 0 && add(sems, 4, 17, SEM_UNDO) == 0 && add(sems, 4, -17, 0) == 0);
	CHECK(read(go, &c, 1) == 1);
	_exit(guest_failed);
}

/* The same keys and numbers in an ipc namespace of its own. */
static void elsewhere(int said, int go)
{
	unsigned short values[2] = { 4, 5 };
	struct message m = { 1, "far" };
	int shm, sems, queue;
	char *at, c;

	CHECK(unshare(CLONE_NEWIPC) == 0);
	shm = shmget(0x1234, 2 * PAGE, IPC_CREAT | 0600);
	at = shmat(shm, NULL, 0);
	strcpy(at + PAGE, "elsewhere");
	CHECK(shmctl(shm, IPC_RMID, NULL) == 0);
	sems = semget(0x99, 2, IPC_CREAT | 0600);
	CHECK(semctl(sems, 0, SETALL, values) == 0 && add(sems, 1, 2, SEM_UNDO) == 0);
	queue = msgget(0x55, IPC_CREAT | 0600);
	CHECK(msgsnd(queue, &m, 3, 0) == 0 && write(said, "x", 1) == 1);
	CHECK(read(go, &c, 1) == 1);
	CHECK(strcmp(at + PAGE, "elsewhere") == 0 && semget(0x99, 0, 0) == sems && semctl(sems, 1, GETVAL) == 7);
	CHECK(takes(queue, 0, "far") && msgget(0x55, 0) == queue && shmdt(at) == 0);
	_exit(guest_failed);
}

static int shared, removed, nobody, locked; /* memory */
static char *one, *two, *part, *left, *reader, *longer;
static pid_t sharer;

static void make_memory(int gap)
{
	struct shmid_ds ds;

	shared = shmget(0x1234, 5 * PAGE, IPC_CREAT | 0640);
	CHECK(shmctl(gap, IPC_RMID, NULL) == 0);
	one = shmat(shared, NULL, 0);
	reader = shmat(shared, NULL, SHM_RDONLY);
	strcpy(one + 4 * PAGE, "the same");
	part = shmat(shared, NULL, 0);
	CHECK(munmap(part, PAGE) == 0 && munmap(part + 3 * PAGE, 2 * PAGE) == 0 &&
	      mprotect(part + PAGE, PAGE, PROT_READ) == 0);
	left = mmap(part, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	strcpy(left, "not shared");
	/* Goes on behind the end, where there is nothing. */
	longer = shmat(shared, NULL, 0);
	CHECK(munmap(longer, PAGE) == 0);
	longer = mremap(longer + PAGE, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
	CHECK(longer != MAP_FAILED);
	removed = shmget(IPC_PRIVATE, 100, 0600);
	two = shmat(removed, NULL, 0);
	strcpy(two, "still here");
	CHECK(shmctl(removed, IPC_RMID, NULL) == 0);
	CHECK(setresgid(-1, 30, -1) == 0 && setresuid(-1, 20, -1) == 0);
	nobody = shmget(0x77, PAGE, IPC_CREAT | 0606);
	CHECK(setresuid(-1, 0, -1) == 0 && setresgid(-1, 0, -1) == 0);
	shmctl(nobody, IPC_STAT, &ds);
	ds.shm_perm.uid = 21;
	CHECK(shmctl(nobody, IPC_SET, &ds) == 0);
	strcpy(shmat(nobody, NULL, 0), "alone");
	locked = shmget(IPC_PRIVATE, PAGE, 0600);
	CHECK(shmctl(locked, SHM_LOCK, NULL) == 0);
}

static void share_memory(void)
{
	sharer = fork();
	if (sharer == 0) {
		while (one[0] != 'g')
			usleep(1000);
		one[1] = 'o';
		_exit(strcmp(two, "still here") || reader[0] != 'g');
	}
	shmdt(shmat(nobody, NULL, 0));
}

static void check_memory(void)
{
	struct shmid_ds ds;
	int status;

	CHECK(shmget(0x1234, 0, 0) == shared && shmctl(shared, IPC_STAT, &ds) == 0 && ds.shm_segsz == 5 * PAGE);
	CHECK((ds.shm_perm.mode & 07777) == 0640 && ds.shm_nattch >= 6);
	CHECK(strcmp(one + 4 * PAGE, "the same") == 0 && strcmp(reader + 4 * PAGE, "the same") == 0);
	CHECK(strcmp(left, "not shared") == 0);
	CHECK(strcmp(longer + 3 * PAGE, "the same") == 0 && munmap(longer + 4 * PAGE, 4 * PAGE) == 0);
	strcpy(one + 2 * PAGE, "in part");
	CHECK(strcmp(part + 2 * PAGE, "in part") == 0 && mprotect(part + PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
	CHECK(mprotect(reader, PAGE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
	one[0] = 'g';
	CHECK(waitpid(sharer, &status, 0) == sharer && status == 0 && one[1] == 'o');
	CHECK(shmdt(part) == 0 && strcmp(left, "not shared") == 0 && shmdt(one) == 0);
	CHECK(shmctl(removed, IPC_STAT, &ds) == 0 && (ds.shm_perm.mode & SHM_DEST) && ds.shm_segsz == 100);
	CHECK(ds.shm_nattch == 3 && strcmp(two, "still here") == 0 && shmdt(two) == 0);
	CHECK(shmget(0x77, 0, 0) == nobody && shmctl(nobody, IPC_STAT, &ds) == 0 && ds.shm_perm.uid == 21);
	CHECK(ds.shm_perm.cuid == 20 && ds.shm_perm.cgid == 30 && ds.shm_perm.gid == 30);
	CHECK((ds.shm_perm.mode & 07777) == 0606 && strcmp(shmat(nobody, NULL, 0), "alone") == 0);
	CHECK(shmctl(locked, IPC_STAT, &ds) == 0 && (ds.shm_perm.mode & SHM_LOCKED));
}

static int sems, go[2];
static pid_t waiter, borrow;

static void make_semaphores(void)
{
	unsigned short values[5] = { 3, 0, 32767, 7, 0 };

	semctl(semget(IPC_PRIVATE, 1, 0600), 0, IPC_RMID);
	sems = semget(0x99, 5, IPC_CREAT | 0660);
	CHECK(semctl(sems, 0, SETALL, values) == 0);
	waiter = fork();
	if (waiter == 0) {
		signal(SIGALRM, SIG_DFL);
		_exit(add(sems, 1, -2, 0) == 0 ? 0 : errno);
	}
	while (semctl(sems, 1, GETNCNT) == 0)
		usleep(1000);
	CHECK(pipe(go) == 0);
	borrow = fork();
	if (borrow == 0)
		borrower(sems, go[0]);
	while (semctl(sems, 4, GETPID) != borrow || semctl(sems, 4, GETVAL))
		usleep(1000);
}

static void check_semaphores(void)
{
	struct semid_ds sd;
	int status;

	CHECK(semget(0x99, 0, 0) == sems && semctl(sems, 0, IPC_STAT, &sd) == 0 && sd.sem_nsems == 5);
	CHECK(semctl(sems, 0, GETVAL) == 1 && semctl(sems, 1, GETVAL) == 0 && semctl(sems, 2, GETVAL) == 1000 &&
	      semctl(sems, 3, GETVAL) == 8 && semctl(sems, 0, GETPID) == borrow && semctl(sems, 3, GETPID) == borrow);
	CHECK(add(sems, 2, -1000, 0) == 0 && add(sems, 4, 20, 0) == 0 && write(go[1], "x", 1) == 1);
	CHECK(waitpid(borrow, &status, 0) == borrow && status == 0);
	CHECK(semctl(sems, 0, GETVAL) == 3 && semctl(sems, 1, GETVAL) == 0 && semctl(sems, 2, GETVAL) == 32767 &&
	      semctl(sems, 3, GETVAL) == 7 && semctl(sems, 4, GETVAL) == 3);
	CHECK(waitpid(waiter, &status, WNOHANG) == 0 && add(sems, 1, 2, 0) == 0);
	CHECK(waitpid(waiter, &status, 0) == waiter && status == 0 && semctl(sems, 1, GETPID) == waiter);
}

static int queue, small;

static void make_queues(void)
{
	struct message first = { 5, "five" }, second = { 2, "two" }, empty = { 5, "" };
	struct msqid_ds md;

	queue = msgget(0x55, IPC_CREAT | 0620);
	CHECK(msgsnd(queue, &first, 4, 0) == 0 && msgsnd(queue, &second, 3, 0) == 0 &&
	      msgsnd(queue, &empty, 0, 0) == 0);
	small = msgget(IPC_PRIVATE, 0600);
	msgctl(small, IPC_STAT, &md);
	md.msg_qbytes = 1000;
	CHECK(msgctl(small, IPC_SET, &md) == 0);
}

static void check_queues(void)
{
	struct msqid_ds md;

	CHECK(msgget(0x55, 0) == queue && msgctl(queue, IPC_STAT, &md) == 0 && md.msg_qnum == 3 && md.msg_cbytes == 7);
	CHECK(takes(queue, 2, "two") && takes(queue, 0, "five") && takes(queue, 5, ""));
	CHECK(msgctl(small, IPC_STAT, &md) == 0 && md.msg_qbytes == 1000 && md.msg_qnum == 0);
}

/* In a child that ends, or stays until it is told to go. */
static pid_t by_another(void (*what)(int id), int id, int until)
{
	int said[2];
	pid_t pid;
	char c;

	CHECK(pipe(said) == 0);
	pid = fork();
	if (pid == 0) {
		what(id);
		CHECK(write(said[1], "x", 1) == 1);
		if (until >= 0)
			CHECK(read(until, &c, 1) == 1);
		_exit(guest_failed);
	}
	CHECK(read(said[0], &c, 1) == 1);
	close(said[0]);
	close(said[1]);
	if (until < 0)
		CHECK(waitpid(pid, NULL, 0) == pid);
	return pid;
}

static void send_one(int id)
{
	struct message m = { 3, "sent" };

	CHECK(msgsnd(id, &m, 4, 0) == 0);
}

static void receive_one(int id)
{
	struct message m;

	CHECK(msgrcv(id, &m, sizeof(m.text), 0, 0) >= 0);
}

static void attach_one(int id)
{
	CHECK(shmdt(shmat(id, NULL, 0)) == 0);
}

static void make_memory_of(int key)
{
	CHECK(shmget(key, PAGE, IPC_CREAT | 0600) >= 0);
}

static void change_one(int id)
{
	CHECK(add(id, 0, 1, 0) == 0);
}

/* Who did it last: living and ended ones; a queue that is full, one that nobody has received from. */
static struct {
	int queue, fresh, past, memory, sem;
	pid_t sender, receiver, ended_sender, ended_receiver, maker, user, ended;
} last;

static void use(int until)
{
	struct msqid_ds md;

	last.queue = msgget(IPC_PRIVATE, 0600);
	last.fresh = msgget(IPC_PRIVATE, 0600);
	last.past = msgget(IPC_PRIVATE, 0600);
	send_one(last.queue);
	last.sender = by_another(send_one, last.queue, until);
	last.receiver = by_another(receive_one, last.queue, until);
	msgctl(last.queue, IPC_STAT, &md);
	md.msg_qbytes = 4;
	CHECK(msgctl(last.queue, IPC_SET, &md) == 0);
	last.ended_sender = by_another(send_one, last.fresh, -1);
	CHECK(by_another(send_one, last.past, -1) > 0);
	last.ended_receiver = by_another(receive_one, last.past, -1);
	last.maker = by_another(make_memory_of, 0x4711, -1);
	last.memory = shmget(0x4711, 0, 0);
	last.user = by_another(attach_one, last.memory, until);
	last.sem = semget(IPC_PRIVATE, 2, 0600);
	last.ended = by_another(change_one, last.sem, -1);
}

/* Those that have ended, in a queue that has been used since, are known where nobody was there before the restore. */
static void check_use(int until)
{
	struct msqid_ds md;
	struct shmid_ds sd;

	CHECK(msgctl(last.queue, IPC_STAT, &md) == 0 && md.msg_lspid == last.sender && md.msg_lrpid == last.receiver);
	CHECK(md.msg_qnum == 1 && md.msg_qbytes == 4 && takes(last.queue, 0, "sent"));
	CHECK(msgctl(last.fresh, IPC_STAT, &md) == 0 && md.msg_lspid == last.ended_sender && md.msg_lrpid == 0);
	CHECK(msgctl(last.past, IPC_STAT, &md) == 0 && md.msg_lrpid == last.ended_receiver && md.msg_qnum == 0);
	CHECK(shmctl(last.memory, IPC_STAT, &sd) == 0 && sd.shm_cpid == last.maker);
	CHECK(sd.shm_lpid == last.user);
	CHECK(semctl(last.sem, 0, GETPID) == last.ended && semctl(last.sem, 1, GETPID) == 0);
	CHECK(write(until, "xxx", 3) == 3);
	for (int i = 0; i < 3; i++) {
		pid_t all[] = { last.sender, last.receiver, last.user };
		int status;

		CHECK(waitpid(all[i], &status, 0) == all[i] && status == 0);
	}
}

int main(void)
{
	int gap = shmget(IPC_PRIVATE, PAGE, 0600), said[2], end[2], idle[2], status;
	struct shmid_ds ds;
	pid_t far;
	char c;

	CHECK(pipe(said) == 0 && pipe(end) == 0 && pipe(idle) == 0);
	far = fork();
	if (far == 0)
		elsewhere(said[1], end[0]);
	CHECK(read(said[0], &c, 1) == 1);
	make_memory(gap);
	make_semaphores();
	make_queues();
	use(idle[0]);
	share_memory();
	wait_for_restore();
	check_use(idle[1]);
	check_memory();
	check_semaphores();
	/* Those who had it have ended. */
	CHECK(shmctl(removed, IPC_STAT, &ds) < 0 && errno == EINVAL);
	CHECK(write(end[1], "x", 1) == 1 && waitpid(far, &status, 0) == far && status == 0);
	check_queues();
	return done();
}
