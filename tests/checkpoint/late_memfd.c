/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Large memfds that anybody may write to and nobody does, until one page is written in another way before each stop (drive
 * -L), when all has been marked and read: two of them, of which one is mapped and one is only open. Most ways leave no
 * trace in the page tables of those who have it mapped then.
 */
#include "tests/checkpoint/busy.h"

#include <linux/aio_abi.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define PAGE 4096
#define PAGES 2560
#define SIZE ((size_t)PAGES * PAGE)
#define MEMFDS 2

static int memfd[MEMFDS], fd, pair[2], again[2];
static volatile char *mapped; /* the first one, for good */
static char page[PAGE] __attribute__((aligned(PAGE)));

static void by_write(int n)
{
	CHECK(pwrite(fd, page, PAGE, (off_t)n * PAGE) == PAGE);
}

static void by_splice(int n)
{
	off_t at = (off_t)n * PAGE;
	int p[2];

	CHECK(pipe(p) == 0 && write(p[1], page, PAGE) == PAGE);
	CHECK(splice(p[0], NULL, fd, &at, PAGE, 0) == PAGE && close(p[0]) == 0 && close(p[1]) == 0);
}

static void by_vmsplice(int n)
{
	struct iovec from = { page, PAGE };
	off_t at = (off_t)n * PAGE;
	int p[2];

	CHECK(pipe(p) == 0 && vmsplice(p[1], &from, 1, 0) == PAGE);
	CHECK(splice(p[0], NULL, fd, &at, PAGE, SPLICE_F_MOVE) == PAGE && close(p[0]) == 0 && close(p[1]) == 0);
}

static void by_sendfile(int n)
{
	int from = memfd_create("from", MFD_CLOEXEC);

	CHECK(write(from, page, PAGE) == PAGE && lseek(from, 0, SEEK_SET) == 0);
	CHECK(lseek(fd, (off_t)n * PAGE, SEEK_SET) == (off_t)n * PAGE && sendfile(fd, from, NULL, PAGE) == PAGE);
	CHECK(close(from) == 0 && lseek(fd, 0, SEEK_SET) == 0);
}

static void by_copy_file_range(int n)
{
	off_t from = (off_t)(PAGES - 1) * PAGE, at = (off_t)n * PAGE;

	CHECK(copy_file_range(fd, &from, fd, &at, PAGE, 0) == PAGE);
}

static void by_aio(int n)
{
	struct iocb cb = { .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = (unsigned)fd, .aio_buf = (uintptr_t)page,
			   .aio_nbytes = PAGE, .aio_offset = (long long)n * PAGE }, *one = &cb;
	struct io_event event;
	aio_context_t aio = 0;

	CHECK(syscall(SYS_io_setup, 1, &aio) == 0 && syscall(SYS_io_submit, aio, 1, &one) == 1);
	CHECK(syscall(SYS_io_getevents, aio, 1, 1, &event, NULL) == 1 && event.res == PAGE);
	CHECK(syscall(SYS_io_destroy, aio) == 0);
}

/* A page that is looked at first is writable by then, and nothing is told of that. */
static void by_mapping(int n)
{
	volatile char *m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(m != MAP_FAILED && m[n * PAGE] == 'a');
	m[n * PAGE] = 'w';
	CHECK(munmap((void *)(uintptr_t)m, SIZE) == 0);
}

/* Of that mapping no time tells. */
static void by_quiet_mapping(int n)
{
	CHECK(fcntl(fd, F_SETFL, O_NOATIME) == 0);
	by_mapping(n);
}

static void by_file_that_is_opened(int n)
{
	char path[64];
	int mine;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	mine = open(path, O_RDWR);
	CHECK(pwrite(mine, page, PAGE, (off_t)n * PAGE) == PAGE && close(mine) == 0);
}

static void by_child(int n)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (mapped && fd == memfd[0])
			mapped[n * PAGE] = 'w';
		else
			by_mapping(n);
		_exit(guest_failed);
	}
	CHECK(waitpid(pid, NULL, 0) == pid);
}

/* By who has no other tie to it. */
static void by_who_was_sent_it(int n)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} c = { .h = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	struct iovec v = { &n, sizeof(n) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
	char said;

	memcpy(CMSG_DATA(&c.h), &fd, sizeof(fd));
	CHECK(sendmsg(pair[0], &m, 0) == sizeof(n) && read(again[0], &said, 1) == 1);
}

static void be_sent(void)
{
	for (;;) {
		union {
			struct cmsghdr h;
			char room[CMSG_SPACE(sizeof(int))];
		} c;
		int n;
		struct iovec v = { &n, sizeof(n) };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };

		if (recvmsg(pair[1], &m, 0) != sizeof(n))
			_exit(1);
		memcpy(&fd, CMSG_DATA(&c.h), sizeof(fd));
		by_mapping(n);
		close(fd);
		if (write(again[1], "d", 1) != 1)
			_exit(1);
	}
}

static void by_hole(int n)
{
	CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)n * PAGE, PAGE) == 0);
	by_write(n);
}

static void by_truncation(int n)
{
	CHECK(ftruncate(fd, SIZE - PAGE) == 0 && ftruncate(fd, SIZE) == 0);
	by_write(n);
	by_write(PAGES - 1);
}

/* The first one has a mapping that was there before; of the other one there is none. */
static void by_another_process(int n)
{
	volatile char *at = fd == memfd[0] ? mapped + n * PAGE : NULL;
	struct iovec from = { page, PAGE }, to = { (void *)(uintptr_t)at, PAGE };
	pid_t parent = getpid(), pid = at ? fork() : 0;

	if (!at) {
		by_write(n);
		return;
	}
	if (pid == 0)
		_exit(process_vm_writev(parent, &from, 1, &to, 1, 0) != PAGE);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

static void by_mapping_that_was_there(int n)
{
	if (fd == memfd[0])
		mapped[n * PAGE] = 'w';
	else
		by_write(n);
}

static void by_disk(int n)
{
	int file = open("/direct", O_RDWR | O_CREAT | O_DIRECT, 0600);
	char *m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(m != MAP_FAILED);
	if (file < 0 || pwrite(file, page, PAGE, 0) != PAGE || pread(file, m + (size_t)n * PAGE, PAGE, 0) != PAGE)
		m[(size_t)n * PAGE] = 'w'; /* the file system has no such thing */
	close(file);
	CHECK(munmap(m, SIZE) == 0 && unlink("/direct") == 0);
}

static void (*const ways[])(int n) = {
	by_write, by_splice, by_vmsplice, by_sendfile, by_mapping, by_who_was_sent_it, by_child, by_file_that_is_opened,
	by_hole, by_truncation, by_another_process, by_mapping_that_was_there, by_copy_file_range, by_aio, by_disk,
	by_quiet_mapping, /* the last one: it stays so */
};
#define WAYS ((int)(sizeof(ways) / sizeof(ways[0])))

static void set_up(void)
{
	memset(page, 'a', PAGE);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0 && pipe(again) == 0);
	if (fork() == 0)
		be_sent();
	for (int i = 0; i < MEMFDS; i++) {
		fd = memfd[i] = memfd_create("late", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		CHECK(fd >= 0);
		for (int n = 0; n < PAGES; n++)
			by_write(n);
	}
	mapped = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd[0], 0);
	CHECK(mapped != MAP_FAILED && mapped[7] == 'a');
	memset(page, 'w', PAGE);
	for (int i = 0; i < MEMFDS; i++) /* what is copied */
		CHECK(pwrite(memfd[i], page, 1, (off_t)(PAGES - 1) * PAGE) == 1);
}

int main(void)
{
	int turns = 0;

	set_up();
	be_busy(FULL, 20000);
	wait_for_restore();
	for (; strcmp(guest_line, "late") == 0; turns++) {
		CHECK(turns < WAYS);
		for (int i = 0; turns < WAYS && i < MEMFDS; i++) {
			fd = memfd[i];
			ways[turns](turns * 100);
		}
		dprintf(1, "changed\n");
		wait_for_line();
	}
	CHECK(turns == WAYS);
	for (int i = 0; i < MEMFDS; i++)
		for (int n = 0; n < PAGES - 1; n++) {
			char is = 0, should = n % 100 || n / 100 >= WAYS ? 'a' : 'w';

			CHECK(pread(memfd[i], &is, 1, (off_t)n * PAGE) == 1);
			if (is != should && (guest_failed = 1))
				dprintf(1, "failed: page %d of memfd %d is %d, not %d\n", n, i, is, should);
		}
	return done();
}
