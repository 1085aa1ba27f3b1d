/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/hostconf.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/proc.h"
#include "base/str.h"
#include "netns/net.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static int check_pool4(const char *value, struct err *e)
{
	struct netns_host h;

	return netns_host_init(&h, "vps", value, "none", e);
}

static int check_pool6(const char *value, struct err *e)
{
	struct netns_host h;

	return netns_host_init(&h, "vps", "none", value, e);
}

static const struct {
	const char *key;
	size_t offset, size;
	int (*check)(const char *value, struct err *e);
} keys[] = {
	{ "net.pool4", offsetof(struct hostconf, pool4), sizeof(((struct hostconf *)0)->pool4),
	  check_pool4 },
	{ "net.pool6", offsetof(struct hostconf, pool6), sizeof(((struct hostconf *)0)->pool6),
	  check_pool6 },
	{ "boot", offsetof(struct hostconf, boot), sizeof(((struct hostconf *)0)->boot), NULL },
};

static char *trim(char *s)
{
	size_t len;

	s += strspn(s, " \t");
	for (len = strlen(s); len && strchr(" \t\r", s[len - 1]); len--)
		;
	s[len] = '\0';
	return s;
}

static int take(struct hostconf *c, const char *key, const char *value, struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		char *at = (char *)c + keys[i].offset;

		if (!STREQ(keys[i].key, key))
			continue;
		if (*at)
			return err_set(e, ERR_USAGE, "%s is there twice", key);
		if (!*value || strlen(value) >= keys[i].size)
			return err_set(e, ERR_USAGE, "%s: %s", key,
				       *value ? "too long" : "there is no value");
		if (keys[i].check && keys[i].check(value, e) < 0)
			return err_wrap(e, "%s", key);
		strcpy(at, value);
		return 0;
	}
	err_set(e, ERR_USAGE, "unknown key %.40s", key);
	return err_hint(e, "it is net.pool4 or net.pool6; vpsd(8)");
}

static int take_line(struct hostconf *c, char *line, struct err *e)
{
	char *value;

	line = trim(line);
	if (!*line || *line == '#')
		return 0;
	if (!str_is_printable(line))
		return err_set(e, ERR_USAGE, "control characters or bytes that are not UTF-8");
	value = strchr(line, '=');
	if (!value)
		return err_set(e, ERR_USAGE, "%.80s is not KEY = VALUE", line);
	*value++ = '\0';
	return take(c, trim(line), trim(value), e);
}

int hostconf_parse(struct hostconf *c, char *text, const char *file, struct err *e)
{
	unsigned number = 0;
	char *line;

	*c = (struct hostconf){ 0 };
	while ((line = strsep(&text, "\n"))) {
		number++;
		if (take_line(c, line, e) < 0)
			return err_wrap(e, "%s:%u", file, number);
	}
	return 0;
}

/* A file that is not there says nothing. */
static int read_file(struct hostconf *c, const char *path, struct err *e)
{
	cleanup_free char *text = NULL;
	int r = fd_read_file_at(AT_FDCWD, path, HOSTCONF_MAX, &text, NULL);

	*c = (struct hostconf){ 0 };
	if (r == -ENOENT)
		return 0;
	return r < 0 ? err_code(e, r, "read %s", path) : hostconf_parse(c, text, path, e);
}

static const char *kept_path(const struct host_root *root, char path[512])
{
	snprintf(path, 512, "%s/network", root->run);
	return path;
}

static const char *chosen_path(const struct host_root *root, char path[512])
{
	snprintf(path, 512, "%s/pools", root->lib);
	return path;
}

/* Where nothing is said, what was chosen holds. */
static int add_chosen(struct hostconf *c, const struct host_root *root, struct err *e)
{
	struct hostconf chosen;
	char path[512];
	int r = read_file(&chosen, chosen_path(root, path), e);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(keys); i++) {
		char *at = (char *)c + keys[i].offset;

		if (!*at && keys[i].check)
			strcpy(at, (const char *)&chosen + keys[i].offset);
	}
	return r;
}

int hostconf_in_force(struct hostconf *c, const struct host_root *root, struct err *e)
{
	char path[512], boot[37] = "";
	struct hostconf kept;
	int r;

	snprintf(path, sizeof(path), "%s/vpsd.conf", root->lib);
	r = read_file(c, path, e);
	if (r == 0 && *c->boot)
		r = err_set(e, ERR_USAGE, "%s: boot is nothing to be set", path);
	if (r == 0)
		r = add_chosen(c, root, e);
	if (r < 0)
		return r;
	if (read_file(&kept, kept_path(root, path), e) < 0) {
		log_warn("%s", e->msg);
		return 0;
	}
	proc_boot_id(boot);
	if (!*kept.boot || !STREQ(kept.boot, boot))
		return 0;
	if (!STREQ(kept.pool4, c->pool4) || !STREQ(kept.pool6, c->pool6))
		log_warn(
			"the pools of addresses change when no VPS is on the bridge and vpsd starts");
	*c = kept;
	return 0;
}

static int write_file(const struct hostconf *c, const char *path, bool durable)
{
	cleanup_buf struct buf b = { 0 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(keys); i++) {
		const char *value = (const char *)c + keys[i].offset;

		if (*value)
			r = buf_addf(&b, "%s = %s\n", keys[i].key, value);
	}
	return r < 0 ? r : fd_replace_file_at(AT_FDCWD, path, b.data, b.len, 0600, durable);
}

void hostconf_keep(struct hostconf *c, const struct host_root *root)
{
	char path[512];
	int r;

	proc_boot_id(c->boot);
	r = write_file(c, kept_path(root, path), false);
	if (r < 0)
		log_warn("write %s: %s", path, strerrordesc_np(-r));
}

int hostconf_remember(const struct hostconf *chosen, const struct host_root *root, struct err *e)
{
	char path[512];
	int r = write_file(chosen, chosen_path(root, path), true);

	return r < 0 ? err_code(e, r, "write %s", path) : 0;
}

void hostconf_forget(const struct host_root *root)
{
	char path[512];

	unlink(kept_path(root, path));
}
