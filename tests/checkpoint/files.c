/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Regular files: position, append mode, shared and separate open files, close-on-exec, directories, which are
 * read on where they were, devices; a name that ends as those of deleted files do; hints of how long what is written
 * will live. */
#include "tests/checkpoint/guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MANY 300

/* Entries of directories in the root and in tmpfs: the first ones, and all others afterwards. */
static bool seen[2][MANY];

static void read_some(int dir, bool *of, int most)
{
	_Alignas(8) char buf[1024];
	ssize_t n;

	while (most-- && (n = getdents64(dir, buf, sizeof(buf))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *de = (const void *)(buf + at);

			if (de->d_name[0] == 'f') {
				CHECK(!of[atoi(de->d_name + 1)]);
				of[atoi(de->d_name + 1)] = true;
			}
			at += de->d_reclen;
		}
}

static int make_many(const char *path, bool *of)
{
	char name[64];
	int dir;

	CHECK(mkdir(path, 0700) == 0);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "%s/f%d", path, i);
		close(open(name, O_CREAT | O_WRONLY, 0600));
	}
	dir = open(path, O_RDONLY | O_DIRECTORY);
	read_some(dir, of, 3);
	return dir;
}

static uint64_t hint(int fd)
{
	uint64_t h = 99;

	CHECK(fcntl(fd, F_GET_RW_HINT, &h) == 0);
	return h;
}

int main(void)
{
	int many[2] = { make_many("/root/many", seen[0]), make_many("/run/many", seen[1]) }, odd;
	int rw = open("/root/file", O_RDWR | O_CREAT | O_TRUNC, 0640), dup_, second, app, dir, null, high;
	int gone = open("/run/gone", O_RDWR | O_CREAT, 0600);
	char text[64] = { 0 };
	char *shared, *ro;
	struct stat a, b;

	CHECK(write(rw, "0123456789", 10) == 10);
	CHECK(ftruncate(rw, 8192) == 0);
	lseek(rw, 4, SEEK_SET);
	dup_ = dup(rw);
	fcntl(dup_, F_SETFD, FD_CLOEXEC);
	second = open("/root/file", O_RDONLY | O_NONBLOCK);
	lseek(second, 7, SEEK_SET);
	app = open("/root/log", O_WRONLY | O_APPEND | O_CREAT | O_TRUNC, 0600);
	CHECK(write(app, "one\n", 4) == 4);
	dir = open("/root", O_RDONLY | O_DIRECTORY);
	null = open("/dev/null", O_WRONLY);
	high = fcntl(rw, F_DUPFD, 200);
	shared = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, rw, 0);
	ro = mmap(NULL, 4096, PROT_READ, MAP_SHARED, second, 4096);
	shared[5000] = 'm';
	odd = open("/root/odd (deleted)", O_RDWR | O_CREAT, 0600);
	CHECK(fcntl(rw, F_SET_RW_HINT, &(uint64_t){ RWH_WRITE_LIFE_SHORT }) == 0);
	CHECK(fcntl(gone, F_SET_RW_HINT, &(uint64_t){ RWH_WRITE_LIFE_EXTREME }) == 0 && unlink("/run/gone") == 0);
	wait_for_restore();
	CHECK(hint(rw) == RWH_WRITE_LIFE_SHORT && hint(second) == RWH_WRITE_LIFE_SHORT);
	CHECK(hint(gone) == RWH_WRITE_LIFE_EXTREME && hint(app) == RWH_WRITE_LIFE_NOT_SET);
	CHECK(write(odd, "x", 1) == 1 && stat("/root/odd (deleted)", &a) == 0 && a.st_size == 1);
	for (int i = 0; i < 2; i++) {
		read_some(many[i], seen[i], -1);
		for (int k = 0; k < MANY; k++)
			CHECK(seen[i][k]);
	}
	CHECK(lseek(rw, 0, SEEK_CUR) == 4 && lseek(second, 0, SEEK_CUR) == 7);
	CHECK(read(rw, text, 2) == 2 && memcmp(text, "45", 2) == 0);
	CHECK(lseek(dup_, 0, SEEK_CUR) == 6 && lseek(high, 0, SEEK_CUR) == 6);
	CHECK(lseek(second, 0, SEEK_CUR) == 7);
	CHECK(fcntl(dup_, F_GETFD) == FD_CLOEXEC && fcntl(rw, F_GETFD) == 0 && fcntl(0, F_GETFD) == 0);
	CHECK((fcntl(second, F_GETFL) & (O_NONBLOCK | O_ACCMODE)) == (O_NONBLOCK | O_RDONLY));
	CHECK((fcntl(rw, F_GETFL) & (O_NONBLOCK | O_ACCMODE)) == O_RDWR);
	CHECK(write(app, "two\n", 4) == 4 && fstat(app, &a) == 0 && a.st_size == 8);
	CHECK(fstatat(dir, "file", &a, 0) == 0 && fstat(rw, &b) == 0 && a.st_ino == b.st_ino);
	CHECK(write(null, "x", 1) == 1);
	CHECK(shared[0] == '0' && shared[5000] == 'm' && ro[5000 - 4096] == 'm');
	shared[5001] = 'n';
	CHECK(pread(rw, text, 2, 5000) == 2 && memcmp(text, "mn", 2) == 0 && ro[5001 - 4096] == 'n');
	CHECK(fcntl(199, F_GETFD) < 0 && fcntl(64, F_GETFD) < 0 && fcntl(300, F_GETFD) < 0);
	return done();
}
