/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/parse.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/securebits.h>
#include <locale.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/*
 * An archive is read and unpacked by a child whose root directory is the destination, so that no
 * name and no link in it leads elsewhere. Beside that it has namespaces of its own, no fd but the
 * archive, and only the capabilities over files that it needs, in case the archive finds a fault
 * of the library that reads it.
 */

enum { FD_ARCHIVE = 3, FD_DST, FD_TELL, FD_FIRST_FREE };

struct message {
	enum { MSG_PROGRESS, MSG_ERROR, MSG_DONE } kind;
	uint64_t done;
	struct err err;
};

struct unpack {
	struct archive *in, *out;
	uint64_t entries, bytes, reported;
	struct err e;
};

static void say(const struct message *m)
{
	fd_write_full(FD_TELL, m, sizeof(*m));
}

static int confine(struct err *e)
{
	static const int kept[] = { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID,
				    CAP_SETFCAP };
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	if (fchdir(FD_DST) < 0 || chroot(".") < 0 || close(FD_DST) < 0)
		return err_sys(e, "enter the destination");
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		data[0].effective |= 1u << kept[i];
	data[0].permitted = data[0].effective;
	/* Without this, executing anything would give root its capabilities back. */
	if (prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &head, data) < 0)
		return err_sys(e, "give up capabilities");
	return 0;
}

static struct archive *open_archive(struct err *e)
{
	struct archive *a = archive_read_new();

	if (!a) {
		err_code(e, -ENOMEM, "read the archive");
		return NULL;
	}
	/* Named one by one: "all" holds filters that run programs. */
	archive_read_support_filter_gzip(a);
	archive_read_support_filter_bzip2(a);
	archive_read_support_filter_xz(a);
	archive_read_support_filter_lzma(a);
	archive_read_support_filter_lzip(a);
	archive_read_support_filter_lz4(a);
	archive_read_support_filter_zstd(a);
	archive_read_support_filter_compress(a);
	archive_read_support_format_tar(a);
	archive_read_support_format_empty(a);
	if (archive_read_open_fd(a, FD_ARCHIVE, KIB(256)) == ARCHIVE_OK)
		return a;
	err_set(e, ERR_USAGE, "read the archive: %s", archive_error_string(a));
	archive_read_free(a);
	return NULL;
}

static int write_failed(struct unpack *u, struct archive_entry *entry)
{
	const char *name = archive_entry_pathname(entry);
	const char *why = archive_error_string(u->out);
	int errnum = archive_errno(u->out);

	if (!name || !str_is_printable(name))
		name = "an entry";
	if (errnum == ENOSPC || errnum == EDQUOT || errnum == EROFS || !why)
		return err_code(&u->e, -errnum, "unpack %.300s", name);
	return err_set(&u->e, ERR_FAIL, "unpack %.300s: %.300s", name,
		       str_is_printable(why) ? why : strerrordesc_np(errnum));
}

static int read_failed(struct unpack *u)
{
	return err_set(&u->e, ERR_USAGE, "read the archive: %s", archive_error_string(u->in));
}

static void report(struct unpack *u)
{
	struct message m = { .kind = MSG_PROGRESS,
			     .done = (uint64_t)archive_filter_bytes(u->in, -1) };

	if (m.done < u->reported + MIB(1))
		return;
	u->reported = m.done;
	say(&m);
}

static int copy_content(struct unpack *u, struct archive_entry *entry)
{
	const void *block;
	size_t size;
	int64_t offset;
	int r;

	while ((r = archive_read_data_block(u->in, &block, &size, &offset)) == ARCHIVE_OK) {
		u->bytes += size;
		if (u->bytes > TEMPLATE_BYTES_MAX || offset > (int64_t)TEMPLATE_BYTES_MAX)
			return err_set(&u->e, ERR_USAGE, "it unpacks to more than %llu GiB",
				       (unsigned long long)(TEMPLATE_BYTES_MAX >> 30));
		if (archive_write_data_block(u->out, block, size, offset) != ARCHIVE_OK)
			return write_failed(u, entry);
		report(u);
	}
	return r == ARCHIVE_EOF ? 0 : read_failed(u);
}

static int unpack_entry(struct unpack *u, struct archive_entry *entry)
{
	int r;

	if (++u->entries > TEMPLATE_ENTRIES_MAX)
		return err_set(&u->e, ERR_USAGE, "the archive has more than %d entries",
			       TEMPLATE_ENTRIES_MAX);
	r = storage_tar_check(entry, &u->e);
	if (r <= 0)
		return r;
	/* A warning is an owner, a mode or an attribute that could not be set. */
	if (archive_write_header(u->out, entry) != ARCHIVE_OK)
		return write_failed(u, entry);
	if (archive_entry_size(entry) > 0) {
		r = copy_content(u, entry);
		if (r < 0)
			return r;
	}
	if (archive_write_finish_entry(u->out) != ARCHIVE_OK)
		return write_failed(u, entry);
	return 0;
}

static int unpack_all(struct unpack *u)
{
	struct archive_entry *entry;
	int r;

	for (;;) {
		r = archive_read_next_header(u->in, &entry);
		if (r == ARCHIVE_EOF)
			break;
		if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
			return read_failed(u);
		r = unpack_entry(u, entry);
		if (r < 0)
			return r;
		report(u);
	}
	/* Modes and times of directories are set here, once all is in them. */
	if (archive_write_close(u->out) != ARCHIVE_OK)
		return err_set(&u->e, ERR_FAIL, "unpack: %s", archive_error_string(u->out));
	return 0;
}

static int unpack(struct unpack *u)
{
	int r = confine(&u->e);

	if (r < 0)
		return r;
	u->in = open_archive(&u->e);
	if (!u->in)
		return -EINVAL;
	u->out = archive_write_disk_new();
	if (!u->out)
		return err_code(&u->e, -ENOMEM, "unpack");
	/* Links inside the tree may be written through (/bin -> usr/bin): they cannot leave it. */
	archive_write_disk_set_options(u->out, ARCHIVE_EXTRACT_OWNER | ARCHIVE_EXTRACT_PERM |
					       ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_XATTR |
					       ARCHIVE_EXTRACT_SECURE_NODOTDOT);
	r = unpack_all(u);
	archive_write_free(u->out);
	archive_read_free(u->in);
	return r;
}

__attribute__((noreturn)) static void child(int archive, int dst, int tell)
{
	static struct unpack u;
	struct message m = { .kind = MSG_DONE };
	sigset_t none;
	int fds[] = { archive, dst, tell };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Above the range first, so that no dup2() hits one that is still to be moved. */
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FD_FIRST_FREE);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] < 0 || dup2(fds[i], FD_ARCHIVE + (int)i) < 0)
			_exit(1);
	if (close_range(FD_FIRST_FREE, ~0U, 0) < 0)
		_exit(1);
	umask(022);
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
#ifndef __SANITIZE_ADDRESS__
	/* What an archive may make its decompressor allocate. */
	setrlimit(RLIMIT_DATA, &(struct rlimit){ MIB(1024), MIB(1024) });
#endif
	/* Names in pax headers are UTF-8 whatever the locale of the daemon is. */
	setlocale(LC_CTYPE, "C.UTF-8");
	if (unpack(&u) < 0) {
		m.kind = MSG_ERROR;
		m.err = u.e;
	}
	say(&m);
	_exit(0);
}

static uint64_t total_of(int archive)
{
	struct stat st;

	return fstat(archive, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

/* 0 when the child said that it is done. */
static int follow(int from, uint64_t total, struct tell *tell, struct err *e)
{
	struct message m = { 0 };

	for (;;) {
		struct pollfd p = { .fd = from, .events = POLLIN };
		int r = poll(&p, 1, 200);
		ssize_t n;

		if (r < 0 && errno != EINTR)
			return err_sys(e, "wait for the archive's reader");
		if (r > 0) {
			uint64_t before = m.done;

			n = fd_read_full(from, &m, sizeof(m));
			if (n != (ssize_t)sizeof(m))
				return err_set(e, ERR_FAIL, "the archive's reader died");
			if (m.kind == MSG_DONE)
				return 0;
			if (m.kind == MSG_ERROR) {
				*e = m.err;
				e->msg[sizeof(e->msg) - 1] = '\0';
				e->hint[sizeof(e->hint) - 1] = '\0';
				return err_errno((enum err_status)e->code);
			}
			if (m.done < before)
				m.done = before;
		}
		r = storage_tell(tell, "unpack", m.done, total, e);
		if (r < 0)
			return r;
	}
}

int storage_tar_extract(int archive, int dst, struct tell *tell, struct err *e)
{
	cleanup_close int from = -EBADF;
	int pipefd[2], pidfd = -EBADF, r;
	long pid;

	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	from = pipefd[0];
	/* Without an exit signal: whoever reaps children on SIGCHLD does not take it from us. */
	pid = syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
				 CLONE_NEWNS | CLONE_PIDFD, NULL, &pidfd, NULL, NULL);
	if (pid == 0)
		child(archive, dst, pipefd[1]);
	r = pid < 0 ? err_sys(e, "start the archive's reader") : 0;
	close(pipefd[1]);
	if (r < 0)
		return r;
	r = follow(from, total_of(archive), tell, e);
	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	while (waitpid((pid_t)pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	close(pidfd);
	return r;
}
