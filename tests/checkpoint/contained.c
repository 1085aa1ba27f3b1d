/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * System V objects and POSIX message queues of ipc namespaces that nested user namespaces own, as containers inside have
 * them: with ids of theirs, with a pid namespace, in a user namespace below; a queue that is open where it is not seen.
 */
#include "tests/checkpoint/crew.h"

#include <grp.h>
#include <mqueue.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PAGE 4096
#define SOMEBODY 5 /* inside */

struct message {
	long type;
	char text[64];
};

/* Who is root in a new user namespace, whose ids its parent gives it. */
static void own_user(const char *map, int flags)
{
	int ready[2], go[2], status;
	char path[64], c;
	pid_t me = getpid(), helper;

	CHECK(pipe(ready) == 0 && pipe(go) == 0);
	snprintf(path, sizeof(path), "/proc/%d", (int)me);
	helper = fork();
	if (helper == 0) {
		CHECK(chdir(path) == 0 && read(ready[0], &c, 1) == 1);
		put_text("uid_map", map);
		put_text("gid_map", map);
		CHECK(write(go[1], "x", 1) == 1);
		_exit(guest_failed);
	}
	CHECK(unshare(CLONE_NEWUSER) == 0 && write(ready[1], "x", 1) == 1 && read(go[0], &c, 1) == 1);
	CHECK(waitpid(helper, &status, 0) == helper && status == 0);
	CHECK(setgroups(0, NULL) == 0 && setresgid(0, 0, 0) == 0 && setresuid(0, 0, 0) == 0);
	/* Another identity took it away, and with it its maps from who is root here. */
	CHECK(prctl(PR_SET_DUMPABLE, 1) == 0 && unshare(CLONE_NEWIPC | flags) == 0);
	close(ready[0]);
	close(ready[1]);
	close(go[0]);
	close(go[1]);
}

static int sems, memory, removed, messages;
static char *at, *left;
static mqd_t named, nameless;
static pid_t waiter;

static void be(int id)
{
	CHECK(setresgid(-1, id, -1) == 0 && setresuid(-1, id, -1) == 0);
}

static void be_root(void)
{
	CHECK(setresuid(-1, 0, -1) == 0 && setresgid(-1, 0, -1) == 0);
}

static int add(unsigned short number, short by, short flags)
{
	struct sembuf op = { number, by, flags };

	return semop(sems, &op, 1);
}

static void set_up(void)
{
	struct mq_attr a = { .mq_maxmsg = 5, .mq_msgsize = 32 };
	unsigned short values[3] = { 4, 5, 0 };
	struct message m = { 3, "of three" };
	struct shmid_ds ds;

	put_text("/proc/sys/kernel/msgmax", "4321");
	shmctl(shmget(IPC_PRIVATE, 1, 0600), IPC_RMID, NULL);
	be(SOMEBODY);
	memory = shmget(0x31, 3 * PAGE, IPC_CREAT | 0600);
	messages = msgget(0x32, IPC_CREAT | 0600);
	named = mq_open("/named", O_RDWR | O_CREAT | O_NONBLOCK, 0600, &a);
	be_root();
	CHECK(shmctl(memory, IPC_STAT, &ds) == 0);
	ds.shm_perm.uid = 7;
	CHECK(shmctl(memory, IPC_SET, &ds) == 0);
	at = shmat(memory, NULL, 0);
	strcpy(at + PAGE, "contained");
	removed = shmget(IPC_PRIVATE, PAGE, 0600);
	left = shmat(removed, NULL, 0);
	CHECK(shmctl(removed, IPC_RMID, NULL) == 0);
	strcpy(left, "removed");
	CHECK(msgsnd(messages, &m, 8, 0) == 0);
	m.type = 2;
	CHECK(msgsnd(messages, &m, 2, 0) == 0);
	sems = semget(0x33, 3, IPC_CREAT | 0600);
	CHECK(semctl(sems, 0, SETALL, values) == 0 && add(0, -3, SEM_UNDO) == 0);
	CHECK(mq_send(named, "first", 5, 1) == 0 && mq_send(named, "second", 6, 9) == 0);
	nameless = mq_open("/nameless", O_RDWR | O_CREAT | O_NONBLOCK, 0600, &a);
	CHECK(mq_unlink("/nameless") == 0 && mq_send(nameless, "gone", 4, 0) == 0);
	waiter = fork();
	if (waiter == 0)
		_exit(add(2, -1, 0) == 0 && semctl(sems, 0, GETVAL) == 1 ? 0 : 1);
}

static bool takes(mqd_t q, const char *text)
{
	char got[32];
	ssize_t n = mq_receive(q, got, sizeof(got), NULL);

	return n == (ssize_t)strlen(text) && memcmp(got, text, (size_t)n) == 0;
}

static void check_messages(void)
{
	struct message m = { 0 };
	struct msqid_ds ds;

	CHECK(msgget(0x32, 0) == messages && msgctl(messages, IPC_STAT, &ds) == 0);
	CHECK(ds.msg_perm.cuid == SOMEBODY && ds.msg_perm.uid == SOMEBODY && ds.msg_perm.cgid == SOMEBODY);
	CHECK(msgrcv(messages, &m, sizeof(m.text), 0, IPC_NOWAIT) == 8 && memcmp(m.text, "of three", 8) == 0 && m.type == 3);
	CHECK(msgrcv(messages, &m, sizeof(m.text), 0, IPC_NOWAIT) == 2 && m.type == 2);
}

static void check_queues(void)
{
	struct mq_attr a;
	struct stat st;

	CHECK(mq_getattr(named, &a) == 0 && a.mq_maxmsg == 5 && a.mq_msgsize == 32 && a.mq_curmsgs == 2);
	CHECK(takes(named, "second") && takes(named, "first") && fstat(named, &st) == 0);
	CHECK(st.st_uid == SOMEBODY && st.st_gid == SOMEBODY && (st.st_mode & 07777) == 0600);
	CHECK(mq_send(named, "more", 4, 0) == 0 && takes(mq_open("/named", O_RDONLY), "more"));
	CHECK(takes(nameless, "gone") && mq_open("/nameless", O_RDONLY) < 0);
}

static void check(void)
{
	struct shmid_ds ds;
	char text[16] = { 0 };
	int status, fd = open("/proc/sys/kernel/msgmax", O_RDONLY);

	CHECK(read(fd, text, sizeof(text) - 1) > 0 && atoi(text) == 4321);
	CHECK(shmget(0x31, 0, 0) == memory && shmctl(memory, IPC_STAT, &ds) == 0);
	CHECK(ds.shm_perm.uid == 7 && ds.shm_perm.cuid == SOMEBODY && ds.shm_perm.cgid == SOMEBODY && ds.shm_nattch == 2);
	CHECK(strcmp(at + PAGE, "contained") == 0 && strcmp(left, "removed") == 0);
	CHECK(shmctl(removed, IPC_STAT, &ds) == 0 && (ds.shm_perm.mode & SHM_DEST));
	check_messages();
	check_queues();
	CHECK(semget(0x33, 0, 0) == sems && semctl(sems, 0, GETVAL) == 1 && waitpid(waiter, &status, WNOHANG) == 0);
	CHECK(add(2, 1, 0) == 0 && waitpid(waiter, &status, 0) == waiter && status == 0);
}

static void user_alone(void)
{
	own_user("0 500 100", 0);
	set_up();
	crew_serve(check);
}

/* A user namespace below another, that owns it. */
static void user_in_user(void)
{
	own_user("0 600 100", 0);
	own_user("0 20 30", 0);
	set_up();
	crew_serve(check);
}

static void with_pids(void)
{
	own_user("0 700 100", CLONE_NEWPID);
	if (fork() == 0) {
		CHECK(getpid() == 1);
		set_up();
		crew_serve(check);
	}
	for (;;)
		pause();
}

/* It has left the namespace whose queue it has open. */
static mqd_t kept, lost;

static void check_left(void)
{
	CHECK(mq_open("/kept", O_RDONLY) < 0 && errno == ENOENT && takes(kept, "kept") && takes(lost, "lost"));
}

static void leaves(void)
{
	struct mq_attr a = { .mq_maxmsg = 5, .mq_msgsize = 32 };
	int there[2];
	char c;

	own_user("0 800 100", 0);
	kept = mq_open("/kept", O_RDWR | O_CREAT | O_NONBLOCK, 0600, &a);
	lost = mq_open("/lost", O_RDWR | O_CREAT | O_NONBLOCK, 0600, &a);
	CHECK(mq_send(kept, "kept", 4, 0) == 0 && mq_send(lost, "lost", 4, 0) == 0 && mq_unlink("/lost") == 0);
	CHECK(pipe(there) == 0);
	if (fork() == 0) {
		CHECK(write(there[1], "x", 1) == 1);
		crew_serve(NULL);
	}
	CHECK(read(there[0], &c, 1) == 1 && unshare(CLONE_NEWIPC) == 0);
	crew_serve(check_left);
}

int main(void)
{
	crew_begin();
	crew_start(user_alone);
	crew_start(user_in_user);
	crew_start(with_pids);
	crew_start(leaves);
	crew_wait(5);
	wait_for_restore();
	crew_check();
	return done();
}
