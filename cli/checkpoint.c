/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"
#include "base/parse.h"

#include <fcntl.h>

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
static int open_file(const char *file, int flags, struct err *e)
{
	int fd = open(file, flags | O_CLOEXEC | O_NOCTTY, 0600);

	if (fd >= 0)
		return fd;
	err_sys(e, "%s", file);
	if (errno == ENOENT || errno == ENOTDIR)
		e->code = ERR_NOT_FOUND;
	return -EIO;
}

/* A file that was not there before is not left behind half written. */
static int open_new(const char *file, bool *ret_made, struct err *e)
{
	int fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	*ret_made = fd >= 0;
	return fd >= 0 ? fd : open_file(file, O_RDWR, e);
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
	const char *file = cli_option(c, "to");
	cleanup_free char *path = file ? absolute(file) : NULL;
	cleanup_close int fd = -EBADF;
	bool made = false;
	int r;

	if (cli_has(c, "no-disk") && !cli_has(c, "leave-running"))
		return err_set(e, ERR_USAGE, "--no-disk needs --leave-running");
	if (file && !path)
		return err_code(e, -ENOMEM, "%s", file);
	fd = file ? open_new(file, &made, e) : -EBADF;
	if (file && fd < 0)
		return fd;
	r = checkpoint(c, fd, path, e);
	if (r < 0 && made)
		unlink(file);
	return r;
}

int cmd_restore(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	const char *file = cli_option(c, "from");
	cleanup_free char *path = file ? absolute(file) : NULL;
	cleanup_close int fd = file ? open_file(file, O_RDONLY, e) : -EBADF;
	int r;

	if (file && fd < 0)
		return fd;
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
	char text[64];

	if (r < 0)
		return r;
	image = json_object_get(reply.params, "image");
	if (c->json) {
		cli_json(image);
		return 0;
	}
	put_clean(stdout, json_string_value(json_object_get(image, "vps")));
	printf(", %s: %d processes, %d threads, %d open files%s\n",
	       show_time(json_integer_value(json_object_get(image, "created")), text, sizeof(text)),
	       (int)json_integer_value(json_object_get(image, "processes")),
	       (int)json_integer_value(json_object_get(image, "threads")),
	       (int)json_integer_value(json_object_get(image, "open_files")),
	       json_is_true(json_object_get(image, "files")) ? ", with its files" : "");
	return 0;
}
