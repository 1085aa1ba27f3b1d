/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Files without a name: deleted ones that are open twice, mapped, sparse; one whose name is another file's
 * by now; one with a name left elsewhere; O_TMPFILE, which may still get a name; directories, also as a
 * process's own; the program itself, of the template. Nothing of it shows in the directories.
 */
#include "tests/checkpoint/guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#define BIG ((off_t)3 << 30)

static int make(const char *path, const char *text)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	return fd;
}

static bool holds(int fd, off_t at, const char *text)
{
	char got[64] = { 0 };

	return pread(fd, got, strlen(text), at) == (ssize_t)strlen(text) && strcmp(got, text) == 0;
}

static int entries(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n - 2;
}

int main(void)
{
	int plain, again, over, now, left, tmp, dir, run, self, go[2], status;
	struct timespec old[2] = { { 1000000, 5 }, { 2000000, 6 } };
	char *map, *own, x, proc[64];
	struct stat st, st2;
	pid_t pid;

	umask(0);
	mkdir("/root/d", 0700);
	plain = make("/root/d/plain", "0123456789");
	CHECK(pwrite(plain, "end", 3, BIG) == 3 && fchown(plain, 12, 13) == 0);
	again = open("/root/d/plain", O_WRONLY | O_APPEND);
	lseek(plain, 4, SEEK_SET);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, plain, 0);
	own = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, plain, 0);
	own[4096] = 'w';
	CHECK(fsetxattr(plain, "user.note", "kept", 4, 0) == 0);
	CHECK(unlink("/root/d/plain") == 0 && futimens(plain, old) == 0);

	over = make("/root/d/over", "old");
	now = make("/root/d/fresh", "new");
	CHECK(rename("/root/d/fresh", "/root/d/over") == 0);

	mkdir("/root/d/far", 0700);
	left = make("/root/d/left", "one");
	CHECK(link("/root/d/left", "/root/d/far/name") == 0 && unlink("/root/d/left") == 0);

	tmp = open("/root/d", O_TMPFILE | O_RDWR, 0600);
	CHECK(tmp >= 0 && write(tmp, "nameless", 8) == 8);

	mkdir("/root/gone", 0711);
	dir = open("/root/gone", O_RDONLY | O_DIRECTORY);
	CHECK(rmdir("/root/gone") == 0);
	run = make("/run/file", "in memory");
	CHECK(unlink("/run/file") == 0);
	CHECK(pipe(go) == 0);
	pid = fork();
	if (pid == 0) {
		CHECK(mkdir("/run/here", 0755) == 0 && chdir("/run/here") == 0 && rmdir("/run/here") == 0);
		CHECK(write(go[1], "x", 1) == 1);
		while (access("/run/go", F_OK) < 0)
			usleep(1000);
		CHECK(mkdir("sub", 0700) < 0 && errno == ENOENT && stat(".", &st) == 0 && st.st_nlink == 0);
		_exit(guest_failed);
	}
	CHECK(read(go[0], &x, 1) == 1);
	self = open("/test", O_RDONLY);
	CHECK(unlink("/test") == 0);
	wait_for_restore();
	CHECK(holds(plain, 0, "0123456789") && holds(plain, BIG, "end"));
	CHECK(fstat(plain, &st) == 0 && st.st_size == BIG + 3 && st.st_blocks < 1000 && st.st_nlink == 0);
	CHECK(fgetxattr(plain, "user.note", proc, sizeof(proc)) == 4 && memcmp(proc, "kept", 4) == 0);
	CHECK(st.st_uid == 12 && st.st_gid == 13 && (st.st_mode & 07777) == 0640 && st.st_mtim.tv_sec == 2000000);
	CHECK(lseek(plain, 0, SEEK_CUR) == 4 && write(again, "more", 4) == 4 && holds(plain, BIG + 3, "more"));
	map[1] = 'm';
	CHECK(holds(plain, 0, "0m23") && own[1] == 'm' && own[4096] == 'w');
	CHECK(fstat(again, &st2) == 0 && st.st_ino == st2.st_ino && st.st_dev == st2.st_dev);
	CHECK(holds(over, 0, "old") && holds(now, 0, "new") && fstat(over, &st) == 0 && st.st_nlink == 0);
	CHECK(stat("/root/d/over", &st) == 0 && fstat(now, &st2) == 0 && st.st_ino == st2.st_ino);
	CHECK(pwrite(left, "two", 3, 0) == 3 && fstat(left, &st) == 0 && st.st_nlink == 1);
	CHECK(stat("/root/d/far/name", &st2) == 0 && st.st_ino == st2.st_ino);
	CHECK(entries("/root/d") == 2 && entries("/root") == 1);
	CHECK(holds(tmp, 0, "nameless") && access("/root/d/named", F_OK) < 0);

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", tmp);
	CHECK(linkat(AT_FDCWD, proc, AT_FDCWD, "/root/d/named", AT_SYMLINK_FOLLOW) == 0);
	CHECK(fstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 07777) == 0711);
	CHECK(openat(dir, "x", O_CREAT | O_RDWR, 0600) < 0 && errno == ENOENT);
	CHECK(holds(run, 0, "in memory"));
	CHECK(access("/test", F_OK) < 0 && holds(self, 0, "\177ELF") && fstat(self, &st) == 0);
	CHECK(stat("/proc/self/exe", &st2) == 0 && st.st_ino == st2.st_ino && st.st_dev == st2.st_dev);
	close(open("/run/go", O_CREAT | O_WRONLY, 0600));
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return done();
}
