/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What lies in /run and /dev/shm: directories, links, owners, times, sparse and open files, shared memory
 * by name, a socket that listens there. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

int main(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX, .sun_path = "/run/a/socket" };
	struct timespec ts[2] = { { 5, 0 }, { 1234567890, 123456789 } };
	int fd, shm, log, s, c;
	char *map, t[64];
	struct stat st;

	umask(0);
	CHECK(mkdir("/run/a", 0750) == 0 && mkdir("/run/a/b", 0700) == 0);
	CHECK(chown("/run/a/b", 33, 44) == 0);
	fd = open("/run/a/b/sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0604);
	CHECK(pwrite(fd, "begin", 5, 0) == 5 && pwrite(fd, "end", 3, 5000000) == 3 && ftruncate(fd, 6000000) == 0);
	CHECK(chown("/run/a/b/sparse", 1000, 1001) == 0);
	close(fd);
	CHECK(utimensat(0, "/run/a/b/sparse", ts, 0) == 0);
	CHECK(symlink("b/sparse", "/run/a/link") == 0 && mkfifo("/run/a/fifo", 0620) == 0);
	log = open("/run/a/log", O_WRONLY | O_APPEND | O_CREAT, 0600);
	CHECK(write(log, "one", 3) == 3);
	shm = open("/dev/shm/name", O_RDWR | O_CREAT, 0600);
	CHECK(ftruncate(shm, 8192) == 0);
	map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, shm, 0);
	strcpy(map + 4096, "shared by name");
	close(shm);
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(bind(s, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(s, 5) == 0);
	wait_for_restore();
	CHECK(stat("/run/a", &st) == 0 && (st.st_mode & 07777) == 0750);
	CHECK(stat("/run/a/b", &st) == 0 && (st.st_mode & 07777) == 0700 && st.st_uid == 33 && st.st_gid == 44);
	fd = open("/run/a/link", O_RDONLY);
	CHECK(fstat(fd, &st) == 0 && st.st_size == 6000000 && st.st_uid == 1000 && st.st_gid == 1001 &&
	      (st.st_mode & 07777) == 0604 && st.st_blocks < 1000);
	CHECK(st.st_mtim.tv_sec == 1234567890 && st.st_mtim.tv_nsec == 123456789);
	CHECK(pread(fd, t, 5, 0) == 5 && memcmp(t, "begin", 5) == 0 && pread(fd, t, 4, 5000000) == 4 &&
	      memcmp(t, "end", 4) == 0);
	CHECK(lstat("/run/a/fifo", &st) == 0 && S_ISFIFO(st.st_mode) && (st.st_mode & 07777) == 0620);
	CHECK(write(log, "two", 3) == 3 && stat("/run/a/log", &st) == 0 && st.st_size == 6);
	CHECK(strcmp(map + 4096, "shared by name") == 0);
	shm = open("/dev/shm/name", O_RDWR);
	strcpy(map, "still");
	CHECK(read(shm, t, 6) == 6 && strcmp(t, "still") == 0);
	c = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(connect(c, (struct sockaddr *)&sa, sizeof(sa)) == 0 && accept(s, NULL, NULL) >= 0);
	return done();
}
