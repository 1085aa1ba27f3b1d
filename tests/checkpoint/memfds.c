/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * memfds: sealed ones that are mapped for reading, and for writing from before; mapped privately; opened again
 * with other flags; modes, owners, names, extended attributes; those that cannot be executed or sealed.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>

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

/* A revision 2 of capabilities for a file (capabilities(7)), and an access list, as xattr(7) has them. */
static const uint32_t rights[5] = { 0x02000001, 0x400, 0, 0, 0 };
static const struct {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} entry[5];
} list = { 2, { { 1, 6, ~0u }, { 2, 4, 1000 }, { 4, 4, ~0u }, { 0x10, 4, ~0u }, { 0x20, 0, ~0u } } };
static bool has_user;

static void set_attributes(int sealed, int plain)
{
	has_user = fsetxattr(sealed, "user.sealed", "so\0it is", 8, 0) == 0; /* Linux 6.6 */
	CHECK(has_user || errno == EOPNOTSUPP);
	if (has_user)
		CHECK(fsetxattr(plain, "user.empty", "", 0, 0) == 0 && fsetxattr(plain, "user.a", "b", 1, 0) == 0);
	CHECK(fsetxattr(plain, "trusted.x", "x", 1, 0) < 0);
	CHECK(fsetxattr(sealed, "security.capability", rights, sizeof(rights), 0) == 0);
	CHECK(fsetxattr(plain, "system.posix_acl_access", &list, sizeof(list), 0) == 0);
}

static bool has_attribute(int fd, const char *name, const void *value, ssize_t len)
{
	char now[64];

	return fgetxattr(fd, name, now, sizeof(now)) == len && memcmp(now, value, (size_t)len) == 0;
}

static void check_attributes(int sealed, int plain, int none)
{
	CHECK(!has_user || has_attribute(sealed, "user.sealed", "so\0it is", 8));
	CHECK(!has_user || (has_attribute(plain, "user.empty", "", 0) && has_attribute(plain, "user.a", "b", 1)));
	CHECK(has_attribute(sealed, "security.capability", rights, sizeof(rights)));
	CHECK(has_attribute(plain, "system.posix_acl_access", &list, sizeof(list)));
	CHECK(flistxattr(none, NULL, 0) == 0);
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
	set_attributes(sealed, plain);
	reader = again(plain, O_RDONLY);
	append = again(plain, O_WRONLY | O_APPEND);
	lseek(reader, PAGE, SEEK_SET);
	wait_for_restore();
	check_attributes(sealed, plain, future);
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
