/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * memfds: sealed ones that are mapped for reading, and for writing from before; mapped privately; opened again
 * with other flags; modes, owners, names; those that cannot be executed or sealed.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE 4096
#define NOEXEC 8     /* MFD_NOEXEC_SEAL (Linux 6.3) */
#define SEAL_EXEC 32 /* F_SEAL_EXEC */

static int make(const char *name, unsigned flags)
{
	int fd = memfd_create(name, flags);

	CHECK(fd >= 0 && ftruncate(fd, 3 * PAGE) == 0 && pwrite(fd, name, strlen(name), PAGE) == (ssize_t)strlen(name));
	return fd;
}

static int again(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

int main(void)
{
	int sealed = make("sealed", MFD_ALLOW_SEALING), future = make("future", MFD_ALLOW_SEALING),
	    plain = make("plain", 0);
	int noexec = memfd_create("noexec", NOEXEC), reader, append;
	char *ro, *rw, *own, link[64] = { 0 }, path[64];
	struct stat st;

	CHECK(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) == 0);
	ro = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, sealed, PAGE);
	rw = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, future, PAGE);
	CHECK(fcntl(future, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0);
	own = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, plain, 0);
	strcpy(own, "mine");
	memset(own + PAGE, 0, 5);
	CHECK(fchmod(plain, 0640) == 0 && fchown(plain, 7, 8) == 0);
	reader = again(plain, O_RDONLY);
	append = again(plain, O_WRONLY | O_APPEND);
	lseek(reader, PAGE, SEEK_SET);
	wait_for_restore();
	CHECK(fcntl(sealed, F_GET_SEALS) == (F_SEAL_WRITE | F_SEAL_SHRINK) && memcmp(ro, "sealed", 6) == 0);
	CHECK(mprotect(ro, PAGE, PROT_READ | PROT_WRITE) < 0 && write(sealed, "x", 1) < 0 && errno == EPERM);
	CHECK(fcntl(future, F_GET_SEALS) == F_SEAL_FUTURE_WRITE && memcmp(rw, "future", 6) == 0);
	strcpy(rw, "changed");
	CHECK(pread(future, link, 7, PAGE) == 7 && memcmp(link, "changed", 7) == 0);
	CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, future, 0) == MAP_FAILED);
	CHECK(strcmp(own, "mine") == 0 && own[PAGE] == 0 && own[PAGE + 4] == 0);
	CHECK(pwrite(plain, "seen", 4, 2 * PAGE) == 4 && memcmp(own + 2 * PAGE, "seen", 4) == 0);
	CHECK(read(reader, link, 5) == 5 && memcmp(link, "plain", 5) == 0 && write(reader, "x", 1) < 0);
	CHECK(write(append, "end", 3) == 3 && fstat(plain, &st) == 0 && st.st_size == 3 * PAGE + 3);
	CHECK((st.st_mode & 07777) == 0640 && st.st_uid == 7 && st.st_gid == 8);
	CHECK(fcntl(plain, F_GET_SEALS) == F_SEAL_SEAL);
	if (noexec >= 0)
		CHECK(fcntl(noexec, F_GET_SEALS) == SEAL_EXEC && fstat(noexec, &st) == 0 && (st.st_mode & 0111) == 0 &&
		      fchmod(noexec, 0755) < 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", sealed);
	memset(link, 0, sizeof(link));
	CHECK(readlink(path, link, sizeof(link) - 1) > 0 && strcmp(link, "/memfd:sealed (deleted)") == 0);
	return done();
}
