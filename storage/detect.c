/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"

#include <elf.h>
#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>

/*
 * What a tree says of itself. It may be hostile: every path is resolved below its root, every read
 * is bounded, only regular files are read.
 */

static const char *const inits[] = { "/sbin/init", "/lib/systemd/systemd", "/init", "/bin/init" };

/*
 * How each init is asked to stop, by the name of its program or, for those that are called just
 * `init`, by a text in it. Where a signal can only ask for a reboot that is the clean stop: the
 * services end, and who asked knows not to start the VPS again.
 */
static const struct init_kind {
	const char *name, *text, *signal;
} init_kinds[] = {
	{ "systemd", NULL, "SIGRTMIN+3" }, /* systemd(1): halt.target */
	{ "busybox", "BusyBox v", "SIGUSR2" }, /* poweroff, after the shutdown actions of inittab */
	{ "openrc-init", NULL, "SIGTERM" }, /* runlevel shutdown, then halt */
	{ "runit-init", NULL, "SIGINT" }, /* runit(8): ctrlaltdel, then stage 3 */
	{ "runit", NULL, "SIGINT" },
	{ NULL, "INIT: ", "SIGINT" }, /* System V: the ctrlaltdel line of inittab(5), shutdown -r */
};

static const struct {
	uint16_t machine;
	uint8_t class;
	const char *arch;
} machines[] = {
	{ EM_X86_64, ELFCLASS64, "x86_64" },   { EM_386, ELFCLASS32, "i686" },
	{ EM_AARCH64, ELFCLASS64, "aarch64" }, { EM_ARM, ELFCLASS32, "armv7l" },
	{ EM_RISCV, ELFCLASS64, "riscv64" },   { EM_PPC64, ELFCLASS64, "ppc64le" },
	{ EM_S390, ELFCLASS64, "s390x" },
};

/* A regular file of the tree for reading; a FIFO must not make us wait, a device not open. */
static int open_regular(int rootfd, const char *path, struct stat *st)
{
	cleanup_close int probe = path_open_in_root(rootfd, path, O_PATH, 0);
	int fd;

	if (probe < 0)
		return probe;
	if (fstat(probe, st) < 0)
		return -errno;
	if (!S_ISREG(st->st_mode))
		return -EINVAL;
	fd = path_open_in_root(rootfd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	if (fd >= 0 && (fstat(fd, st) < 0 || !S_ISREG(st->st_mode))) {
		close(fd);
		return -EINVAL;
	}
	return fd;
}

static const char *next_line(const char *line)
{
	const char *end = strchr(line, '\n');

	return end ? end + 1 : NULL;
}

/* The value of a line of os-release(5), without its quotes, when it is a plain word. */
static void os_release_value(const char *text, const char *key, char *out, size_t size)
{
	size_t klen = strlen(key);

	for (const char *line = text; line; line = next_line(line)) {
		struct storage_template probe = { 0 };
		char meta[128];
		struct err e;
		size_t len;

		if (strncmp(line, key, klen) != 0 || line[klen] != '=')
			continue;
		line += klen + 1;
		if (*line == '"' || *line == '\'')
			line++;
		len = strcspn(line, "\"'\n");
		snprintf(meta, sizeof(meta), "version = %.*s", (int)(len < 64 ? len : 64), line);
		if (storage_meta_parse(meta, "", &probe, &e) == 0)
			snprintf(out, size, "%s", probe.version);
		return;
	}
}

static void detect_release(int rootfd, struct storage_template *t)
{
	static const char *const files[] = { "/etc/os-release", "/usr/lib/os-release" };
	char text[16384];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		cleanup_close int fd = -EBADF;
		struct stat st;
		ssize_t n;

		fd = open_regular(rootfd, files[i], &st);
		if (fd < 0)
			continue;
		n = fd_read_full(fd, text, sizeof(text) - 1);
		if (n < 0)
			continue;
		text[n] = '\0';
		if (!t->distribution[0])
			os_release_value(text, "ID", t->distribution, sizeof(t->distribution));
		if (!t->version[0])
			os_release_value(text, "VERSION_ID", t->version, sizeof(t->version));
		if (!t->version[0])
			os_release_value(text, "VERSION_CODENAME", t->version, sizeof(t->version));
		break;
	}
	if (!t->distribution[0])
		snprintf(t->distribution, sizeof(t->distribution), "unknown");
}

static void elf_arch(const unsigned char *head, ssize_t n, char *arch, size_t size)
{
	uint16_t machine;

	if (n < 20 || memcmp(head, ELFMAG, SELFMAG) != 0)
		return;
	machine = head[EI_DATA] == ELFDATA2MSB ? (uint16_t)(head[18] << 8 | head[19]) :
						 (uint16_t)(head[19] << 8 | head[18]);
	for (size_t i = 0; i < ARRAY_SIZE(machines); i++)
		if (machines[i].machine == machine && machines[i].class == head[EI_CLASS])
			snprintf(arch, size, "%s", machines[i].arch);
}

/* From the init, or from the shell where that is a script. */
static void detect_arch(int rootfd, int init, struct storage_template *t)
{
	unsigned char head[20];
	ssize_t n = pread(init, head, sizeof(head), 0);

	if (n > 2 && head[0] == '#' && head[1] == '!') {
		struct stat st;
		cleanup_close int sh = open_regular(rootfd, "/bin/sh", &st);

		n = sh < 0 ? -1 : pread(sh, head, sizeof(head), 0);
	}
	elf_arch(head, n, t->arch, sizeof(t->arch));
	if (!t->arch[0])
		snprintf(t->arch, sizeof(t->arch), "unknown");
}

static void detect_signal(int init, struct storage_template *t)
{
	char proc[32], real[4096];
	cleanup_free char *text = malloc(MIB(4));
	const char *name;
	ssize_t n;

	snprintf(t->stop_signal, sizeof(t->stop_signal), "SIGTERM");
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", init);
	n = readlink(proc, real, sizeof(real) - 1);
	real[n < 0 ? 0 : n] = '\0';
	name = strrchr(real, '/') ? strrchr(real, '/') + 1 : real;
	n = text ? pread(init, text, MIB(4), 0) : 0;
	for (size_t i = 0; i < ARRAY_SIZE(init_kinds); i++) {
		const struct init_kind *k = &init_kinds[i];

		if ((k->name && STREQ(k->name, name)) ||
		    (k->text && n > 0 && memmem(text, (size_t)n, k->text, strlen(k->text)))) {
			snprintf(t->stop_signal, sizeof(t->stop_signal), "%s", k->signal);
			return;
		}
	}
}

/* An open fd of the init that t->init names, or of the first that is there. */
static int find_init(int rootfd, struct storage_template *t, struct err *e)
{
	struct stat st;
	int fd;

	if (t->init[0]) {
		char path[sizeof(t->init)];

		snprintf(path, sizeof(path), "%.*s", (int)strcspn(t->init, " "), t->init);
		fd = open_regular(rootfd, path, &st);
		if (fd >= 0 && (st.st_mode & 0111))
			return fd;
		if (fd >= 0)
			close(fd);
		return err_set(e, ERR_USAGE, "init %s: not an executable file of the tree", path);
	}
	for (size_t i = 0; i < ARRAY_SIZE(inits); i++) {
		fd = open_regular(rootfd, inits[i], &st);
		if (fd >= 0 && (st.st_mode & 0111)) {
			snprintf(t->init, sizeof(t->init), "%s", inits[i]);
			return fd;
		}
		if (fd >= 0)
			close(fd);
	}
	err_set(e, ERR_USAGE, "the tree has no init");
	return err_hint(e, "looked for /sbin/init, /lib/systemd/systemd, /init and /bin/init; name "
			   "another with --init, or `init` in a source's metadata");
}

int storage_meta_detect(int rootfd, struct storage_template *t, struct err *e)
{
	cleanup_close int init = find_init(rootfd, t, e);

	if (init < 0)
		return init;
	if (!t->arch[0])
		detect_arch(rootfd, init, t);
	if (!t->stop_signal[0])
		detect_signal(init, t);
	detect_release(rootfd, t);
	return 0;
}
