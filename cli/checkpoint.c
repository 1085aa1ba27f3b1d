/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

/* The file's absolute path, for the daemon's messages. */
static char *absolute(const char *file)
{
	cleanup_free char *dir = NULL;
	char *path = NULL;

	if (*file == '/')
		return strdup(file);
	dir = getcwd(NULL, 0);
	return dir && asprintf(&path, "%s/%s", dir, file) >= 0 ? path : NULL;
}

/* Opened here, with the caller's rights. */
static int err_open(const char *file, struct err *e)
{
	bool missing = errno == ENOENT || errno == ENOTDIR;

	err_sys(e, "%s", file);
	if (missing)
		e->code = ERR_NOT_FOUND;
	return -EIO;
}

static int open_file(const char *file, int flags, struct err *e)
{
	int fd = open(file, flags | O_CLOEXEC | O_NOCTTY);

	return fd < 0 ? err_open(file, e) : fd;
}

/* Where --to leads. */
struct target {
	const char *name; /* as given */
	char *path;       /* absolute, of the file itself */
	char *made;       /* what is not to be left behind half written; or NULL */
	bool replaces;    /* `made` is to take the place of `path` */
	int fd;
};

static void target_done(struct target *t)
{
	free(t->path);
	free(t->made);
	fd_close(&t->fd);
}

/* What is there stays until the new image is complete. Where no file can be made beside it, it is written to. */
static int open_beside(struct target *t, struct err *e)
{
	char *beside = NULL, *real = realpath(t->name, NULL);
	struct stat st;
	int fd;

	t->fd = open_file(t->name, O_RDWR, e);
	if (t->fd < 0 || !real || fstat(t->fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    asprintf(&beside, "%s.XXXXXX", real) < 0) {
		free(real);
		return t->fd < 0 ? t->fd : 0;
	}
	free(t->path);
	t->path = real;
	fd = mkostemp(beside, O_CLOEXEC);
	if (fd < 0) {
		free(beside);
		return 0;
	}
	/* Whoever could read the one before can read this one. */
	if (fchown(fd, st.st_uid, st.st_gid) == 0)
		fchmod(fd, st.st_mode & 0777);
	close(t->fd);
	t->fd = fd;
	t->made = beside;
	t->replaces = true;
	return 0;
}

/* One that the VPS will be suspended in has its name from the beginning: who says that it is may outlive us. */
static int target_open(struct target *t, bool leave, struct err *e)
{
	if (!t->name)
		return 0;
	t->path = absolute(t->name);
	if (!t->path)
		return err_code(e, -ENOMEM, "%s", t->name);
	t->fd = open(t->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (t->fd >= 0) {
		t->made = strdup(t->path);
		return 0;
	}
	if (errno != EEXIST)
		return err_open(t->name, e);
	if (leave)
		return open_beside(t, e);
	t->fd = open_file(t->name, O_RDWR, e);
	return t->fd < 0 ? t->fd : 0;
}

static int target_keep(struct target *t, struct err *e)
{
	if (t->replaces && rename(t->made, t->path) < 0) {
		err_sys(e, "%s", t->name);
		unlink(t->made);
		return -EIO;
	}
	return 0;
}

static void show_saved(json_t *saved)
{
	json_int_t us = json_integer_value(json_object_get(saved, "frozen_us"));
	char size[32], time[32];

	printf("%s, stood still for %s\n",
	       format_size((uint64_t)json_integer_value(json_object_get(saved, "bytes")), size, sizeof(size)),
	       format_duration((uint64_t)us, time, sizeof(time)));
}

static int checkpoint(struct cli *c, int fd, const char *path, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	bool leave = cli_has(c, "leave-running");
	json_t *in = json_pack("{s:s, s:b, s:b, s:s*, s:s*}", "name", c->args[0], "leave_running", leave,
			       "files", !cli_has(c, "no-disk"), "compress", cli_option(c, "compress"),
			       "file", path);
	int r;

	if (!in)
		return err_set(e, ERR_USAGE, "a word is not UTF-8");
	r = cli_follow(c, "Checkpoint", in, &fd, fd >= 0, &reply, e);
	if (r < 0)
		return r;
	if (c->json)
		cli_json(reply.params);
	else
		show_saved(json_object_get(reply.params, "saved"));
	return 0;
}

int cmd_checkpoint(struct cli *c, struct err *e)
{
	struct target t = { .name = cli_option(c, "to"), .fd = -EBADF };
	bool leave = cli_has(c, "leave-running");
	int r;

	if (cli_has(c, "no-disk") && !leave)
		return err_set(e, ERR_USAGE, "--no-disk needs --leave-running");
	r = target_open(&t, leave, e);
	if (r == 0) {
		r = checkpoint(c, t.fd, t.path, e);
		/* Whoever answered nothing may have suspended it in this file. */
		if (r < 0 && t.made && (leave || !c->client || !client_in_doubt(c->client)))
			unlink(t.made);
		else if (r == 0)
			r = target_keep(&t, e);
	}
	target_done(&t);
	return r;
}

int cmd_restore(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	const char *file = cli_option(c, "from");
	cleanup_free char *path = file ? absolute(file) : NULL;
	cleanup_close int fd = file ? open_file(file, O_RDONLY, e) : -EBADF;
	struct stat st;
	int r;

	if (file && fd < 0)
		return fd;
	if (file && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) /* it is read again and again */
		return err_set(e, ERR_USAGE, "%s is no file", file);
	r = cli_follow(c, "Restore", json_pack("{s:s, s:s*}", "name", c->args[0], "file", path), &fd, fd >= 0,
		       &reply, e);
	if (r == 0 && c->json)
		cli_json(json_object_get(reply.params, "vps"));
	return r;
}

int cmd_checkpoint_show(struct cli *c, struct err *e)
{
	int fds[2] = { open_file(c->args[0], O_RDONLY, e), 1 };
	cleanup_reply struct client_reply reply = { 0 };
	int r = fds[0] < 0 ? fds[0] : cli_client(c, e);

	c->output_given = r == 0;
	if (r == 0)
		r = client_call(c->client, "ImageShow", json_pack("{s:b}", "json", c->json), fds, 2, &reply,
				e);
	fd_close(&fds[0]);
	return r < 0 ? r : 0;
}

int cmd_checkpoint_verify(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	cleanup_close int fd = open_file(c->args[0], O_RDONLY, e);
	json_t *image;
	int r = fd < 0 ? fd : cli_follow(c, "ImageVerify", NULL, &fd, 1, &reply, e);
	int processes, threads, files;
	char text[64];

	if (r < 0)
		return r;
	image = json_object_get(reply.params, "image");
	if (c->json) {
		cli_json(image);
		return 0;
	}
	processes = (int)json_integer_value(json_object_get(image, "processes"));
	threads = (int)json_integer_value(json_object_get(image, "threads"));
	files = (int)json_integer_value(json_object_get(image, "open_files"));
	put_clean(stdout, json_string_value(json_object_get(image, "vps")));
	printf(", %s: %d process%s, %d thread%s, %d open file%s%s\n",
	       show_time(json_integer_value(json_object_get(image, "created")), text, sizeof(text)),
	       processes, processes == 1 ? "" : "es", threads, str_s((unsigned)threads), files, str_s((unsigned)files),
	       json_is_true(json_object_get(image, "files")) ? ", with its files" : "");
	return 0;
}
