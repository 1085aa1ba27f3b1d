/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Large files in /dev/shm and /run, and a memfd, which are sent in rounds: some are written to all the while, in every way there is,
 * others are left alone, or changed right before the stop (drive -l) in ways that the time of a file does not tell of.
 */
#include "tests/checkpoint/busy.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#define PAGE 4096
#define PAGES 1024
#define SIZE ((size_t)PAGES * PAGE)
#define SPARSE_SIZE (100l << 20)

/* What each page of a file should begin with. */
struct model {
	const char *path;
	uint64_t page[PAGES];
	int fd;
	volatile uint64_t *map;
};

static struct model still = { .path = "/dev/shm/still" }, written = { .path = "/dev/shm/written" },
		    mapped = { .path = "/run/mapped" }, punched = { .path = "/own/deep/er/punched" },
		    cut = { .path = "/dev/shm/cut" }, replaced = { .path = "/odd/replaced" },
		    nameless = { .path = "/proc/self/fd/77" }, late = { .path = "/dev/shm/late" }, late_cut = { .path = "/dev/shm/late cut" };
static struct model *const all[] = { &still, &written, &mapped, &punched, &cut, &replaced, &nameless, &late, &late_cut };
static volatile int stop;

static void put(struct model *m, int fd, size_t page, uint64_t value)
{
	CHECK(pwrite(fd, &value, sizeof(value), (off_t)(page * PAGE)) == sizeof(value));
	m->page[page] = value;
}

static void make(struct model *m, uint64_t first)
{
	int fd = open(m->path, O_RDWR | O_CREAT | O_TRUNC, 0640);

	CHECK(fd >= 0 && ftruncate(fd, SIZE) == 0);
	for (size_t i = 0; i < PAGES; i++)
		put(m, fd, i, first + i);
	close(fd);
}

static void step_written(uint64_t n)
{
	put(&written, written.fd, n * 7 % PAGES, n);
}

/* A memfd that nobody has mapped. */
static void step_nameless(uint64_t n)
{
	put(&nameless, nameless.fd, n * 19 % PAGES, n);
}

static void step_mapped(uint64_t n)
{
	mapped.map[n * 11 % PAGES * (PAGE / 8)] = n;
	mapped.page[n * 11 % PAGES] = n;
}

static void step_punched(uint64_t n)
{
	size_t i = n * 13 % PAGES;

	if (n % 3) {
		put(&punched, punched.fd, i, n);
		return;
	}
	CHECK(fallocate(punched.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(i * PAGE), PAGE) == 0);
	punched.page[i] = 0;
}

/* Half of it goes, and comes back with other things. */
static void step_cut(uint64_t n)
{
	CHECK(ftruncate(cut.fd, SIZE / 2) == 0 && ftruncate(cut.fd, SIZE) == 0);
	for (size_t i = PAGES / 2; i < PAGES; i++)
		cut.page[i] = 0;
	for (size_t i = 0; i < 16; i++)
		put(&cut, cut.fd, PAGES / 2 + (n + i * 17) % (PAGES / 2), n + i);
}

static void step_replaced(uint64_t n)
{
	static struct model next = { .path = "/odd/replaced.new" };

	make(&next, n);
	memcpy(replaced.page, next.page, sizeof(next.page));
	CHECK(rename(next.path, replaced.path) == 0);
}

static void (*const steps[])(uint64_t n) = { step_written, step_mapped, step_punched, step_cut, step_replaced, step_nameless };
#define WRITERS (sizeof(steps) / sizeof(steps[0]))

static void *keep_writing(void *step)
{
	for (uint64_t n = 1000000; !stop; n++) {
		(*(void (*const *)(uint64_t))step)(n);
		usleep(500);
	}
	return NULL;
}

static void verify(const struct model *m)
{
	int fd = open(m->path, O_RDONLY), bad = 0;
	struct stat st;

	CHECK(fd >= 0 && fstat(fd, &st) == 0 && st.st_size == (off_t)SIZE && (st.st_mode & 07777) == 0640);
	for (size_t i = 0; i < PAGES; i++) {
		uint64_t is = 0;

		CHECK(pread(fd, &is, sizeof(is), (off_t)(i * PAGE)) == sizeof(is));
		if (is != m->page[i] && !bad++)
			dprintf(1, "failed: page %zu of %s is %llu, not %llu\n", i, m->path, (unsigned long long)is,
				(unsigned long long)m->page[i]);
	}
	CHECK(!bad);
	close(fd);
}

/* Read first, so that it can be written to without the file being told. */
static void change_late(void)
{
	int fd = open(late.path, O_RDWR), other;
	volatile uint64_t *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(map != MAP_FAILED && map[5 * PAGE / 8] == late.page[5]);
	map[5 * PAGE / 8] = late.page[5] = 555;
	munmap((void *)(uintptr_t)map, SIZE);
	close(fd);
	other = open(late_cut.path, O_RDONLY);
	CHECK(truncate(late_cut.path, SIZE / 2) == 0 && truncate(late_cut.path, SIZE) == 0);
	memset(late_cut.page + PAGES / 2, 0, sizeof(late_cut.page) / 2);
	close(other);
}

static void make_sparse(void)
{
	char block[65536];
	int fd = open("/run/sparse", O_RDWR | O_CREAT, 0600);

	memset(block, 's', sizeof(block));
	for (int i = 0; i < 4; i++)
		CHECK(pwrite(fd, block, sizeof(block), i * (20l << 20)) == sizeof(block));
	CHECK(ftruncate(fd, SPARSE_SIZE + 123) == 0);
	CHECK(fallocate(fd, FALLOC_FL_KEEP_SIZE, SPARSE_SIZE + (1 << 20), 1 << 20) == 0);
	CHECK(link("/run/sparse", "/run/deep/sparse too") == 0);
	close(fd);
}

static void verify_sparse(void)
{
	int fd = open("/run/deep/sparse too", O_RDONLY);
	struct stat st, other;
	char c = 0;

	CHECK(fstat(fd, &st) == 0 && st.st_size == SPARSE_SIZE + 123 && st.st_nlink == 2 && st.st_blocks * 512 < 4 << 20);
	CHECK(stat("/run/sparse", &other) == 0 && other.st_ino == st.st_ino);
	CHECK(pread(fd, &c, 1, 60l << 20) == 1 && c == 's' && pread(fd, &c, 1, 70l << 20) == 1 && c == 0);
	close(fd);
}

/* A file system of its own, which is the very one that was filled before. */
static char odd[512]; /* what the list of mounts says of /odd */

static void look_at_odd(char line[512])
{
	FILE *f = fopen("/proc/self/mounts", "re");

	while (f && fgets(line, 512, f) && strncmp(line, "tmpfs /odd ", 11) != 0)
		line[0] = '\0';
	if (f)
		fclose(f);
}

static void verify_mount(void)
{
	char now[512] = "";
	struct statvfs fs;
	struct stat st;

	CHECK(statvfs("/own", &fs) == 0 && fs.f_blocks * fs.f_frsize == 48u << 20 && (fs.f_flag & ST_NOSUID));
	CHECK(stat("/own", &st) == 0 && (st.st_mode & 07777) == 01750 && st.st_uid == 5 && st.st_gid == 6);
	CHECK(access("/own/deep/er", F_OK) == 0);
	CHECK(stat("/odd", &st) == 0 && (st.st_mode & 07777) == 01750 && st.st_uid == 5 && st.st_gid == 6);
	look_at_odd(now);
	CHECK(*odd && strcmp(odd, now) == 0);
}

/* A large program that lies there, and runs. */
static pid_t run_program(void)
{
	int from = open("/test", O_RDONLY), to = open("/dev/shm/program", O_WRONLY | O_CREAT, 0755);
	char buf[65536];
	ssize_t n;
	pid_t pid;

	while ((n = read(from, buf, sizeof(buf))) > 0)
		CHECK(write(to, buf, (size_t)n) == n);
	close(from);
	close(to);
	pid = fork();
	if (pid == 0)
		_exit(execl("/dev/shm/program", "/dev/shm/program", "waits", (char *)NULL));
	CHECK(pid > 0);
	return pid;
}

static void verify_program(pid_t pid)
{
	char path[64], exe[64] = "";
	int status;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	CHECK(readlink(path, exe, sizeof(exe) - 1) > 0 && strcmp(exe, "/dev/shm/program") == 0);
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
}

int main(int argc, char **argv)
{
	struct timespec then[2] = { { 77, 7 }, { 1234567890, 123456789 } };
	pthread_t writers[WRITERS];
	struct stat st;
	pid_t program;
	int deleted;
	char c = 0;

	(void)argv;
	while (argc > 1)
		pause();
	umask(0);
	program = run_program();
	CHECK(mkdir("/own", 0755) == 0 && mount("tmpfs", "/own", "tmpfs", MS_NOSUID, "size=48m") == 0 && chmod("/own", 01750) == 0 &&
	      chown("/own", 5, 6) == 0);
	CHECK(mkdir("/odd", 0755) == 0 && mount("tmpfs", "/odd", "tmpfs", 0, "size=48m,mode=1750,uid=5,gid=6") == 0);
	look_at_odd(odd);
	CHECK(mkdir("/run/deep", 0755) == 0 && mkdir("/own/deep", 0755) == 0 && mkdir("/own/deep/er", 0755) == 0);
	nameless.fd = memfd_create("nameless", 0);
	CHECK(dup2(nameless.fd, 77) == 77 && fchmod(77, 0640) == 0);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		make(all[i], i * 10000 + 1);
		all[i]->fd = all[i] == &still || all[i] == &late || all[i] == &late_cut ? -1 : open(all[i]->path, O_RDWR);
	}
	make_sparse();
	CHECK(utimensat(AT_FDCWD, still.path, then, 0) == 0);
	deleted = open("/dev/shm/deleted", O_RDWR | O_CREAT, 0600);
	CHECK(pwrite(deleted, "d", 1, SIZE) == 1 && posix_fallocate(deleted, 0, SIZE) == 0 && unlink("/dev/shm/deleted") == 0);
	mapped.map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, mapped.fd, 0);
	CHECK(mapped.map != MAP_FAILED);
	for (size_t i = 0; i < PAGES; i++) /* from then on its time does not change */
		mapped.map[i * (PAGE / 8)] = mapped.page[i];
	for (size_t i = 0; i < WRITERS; i++)
		CHECK(pthread_create(&writers[i], NULL, keep_writing, (void *)(uintptr_t)&steps[i]) == 0);
	be_busy(BUSY, 1000);
	wait_for_restore();
	while (strcmp(guest_line, "late") == 0) {
		change_late();
		dprintf(1, "changed\n");
		wait_for_line();
	}
	stop = 1;
	for (size_t i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		verify(all[i]);
	verify_sparse();
	verify_mount();
	verify_program(program);
	CHECK(stat(still.path, &st) == 0 && st.st_mtim.tv_sec == 1234567890 && st.st_mtim.tv_nsec == 123456789);
	CHECK(pread(deleted, &c, 1, SIZE) == 1 && c == 'd' && fstat(deleted, &st) == 0 && st.st_nlink == 0);
	return done();
}
