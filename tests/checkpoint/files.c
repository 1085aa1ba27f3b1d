/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Regular files: position, append mode, shared and separate open files, close-on-exec, directories,
 * devices. */
#include "tests/checkpoint/guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

int main(void)
{
	int rw = open("/root/file", O_RDWR | O_CREAT | O_TRUNC, 0640), dup_, second, app, dir, null, high;
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
	wait_for_restore();
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
