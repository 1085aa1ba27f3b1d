/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/mountinfo.h"

#include "base/array.h"
#include "base/macro.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#define MOUNTS_MAX 100000 /* fs.mount-max of a namespace */
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

void ckpt_mountinfo_unescape(char *s)
{
	char *to = s;

	for (; *s; s++)
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	*to = '\0';
}

static void parse_attributes(char *options, struct ckpt_mountinfo *m)
{
	static const struct {
		const char *name;
		uint64_t attribute;
	} names[] = {
		{ "ro", MOUNT_ATTR_RDONLY },	     { "nosuid", MOUNT_ATTR_NOSUID },
		{ "nodev", MOUNT_ATTR_NODEV },	     { "noexec", MOUNT_ATTR_NOEXEC },
		{ "noatime", MOUNT_ATTR_NOATIME },   { "nodiratime", MOUNT_ATTR_NODIRATIME },
		{ "relatime", MOUNT_ATTR_RELATIME }, { "nosymfollow", MOUNT_ATTR_NOSYMFOLLOW },
	};
	bool atime = true;
	char *word;

	while ((word = strsep(&options, ","))) {
		for (size_t i = 0; i < ARRAY_SIZE(names); i++)
			if (STREQ(word, names[i].name))
				m->attributes |= names[i].attribute;
		if (STREQ(word, "relatime") || STREQ(word, "noatime"))
			atime = false;
		if (STREQ(word, "idmapped"))
			m->idmapped = true;
	}
	if (atime)
		m->attributes |= MOUNT_ATTR_STRICTATIME;
}

static int parse_line(char *line, struct ckpt_mountinfo *m)
{
	unsigned major, minor;
	unsigned long long id, parent;
	char *field[3], *word;
	int at = 0;

	if (sscanf(line, "%llu %llu %u:%u %n", &id, &parent, &major, &minor, &at) != 4 || !at)
		return -EPROTO;
	*m = (struct ckpt_mountinfo){ .id = id, .parent = parent, .dev = makedev(major, minor) };
	line += at;
	for (int i = 0; i < 3; i++)
		field[i] = strsep(&line, " ");
	if (!line)
		return -EPROTO;
	m->root = field[0];
	m->at = field[1];
	parse_attributes(field[2], m);
	while ((word = strsep(&line, " ")) && !STREQ(word, "-")) {
		unsigned n;

		if (sscanf(word, "shared:%u", &n) == 1)
			m->peers = n;
		else if (sscanf(word, "master:%u", &n) == 1)
			m->master = n;
		else if (STREQ(word, "unbindable"))
			m->unbindable = true;
	}
	m->type = strsep(&line, " ");
	m->source = strsep(&line, " ");
	m->options = strsep(&line, " ");
	if (!m->options)
		return -EPROTO;
	ckpt_mountinfo_unescape(m->root);
	ckpt_mountinfo_unescape(m->at);
	ckpt_mountinfo_unescape(m->source);
	return 0;
}

int ckpt_mountinfo_parse(char *text, struct ckpt_mountinfo **ret, size_t *ret_count, struct err *e)
{
	cleanup_free struct ckpt_mountinfo *m = NULL;
	size_t count = 0, room = 0;
	char *line;

	while ((line = strsep(&text, "\n"))) {
		if (!*line)
			continue;
		if (count == 2 * MOUNTS_MAX || array_grow(&m, count, &room, 64) < 0)
			return err_code(e, -ENOMEM, "read the mounts");
		if (parse_line(line, &m[count++]) < 0)
			return err_set(e, ERR_FAIL, "the mounts of a namespace cannot be read");
	}
	*ret = TAKE_PTR(m);
	*ret_count = count;
	return 0;
}

ssize_t ckpt_mountinfo_find(const struct ckpt_mountinfo *m, size_t count, uint64_t id)
{
	for (size_t i = 0; i < count; i++)
		if (m[i].id == id)
			return (ssize_t)i;
	return -1;
}

const char *ckpt_path_below(const char *path, const char *top)
{
	size_t len = STREQ(top, "/") ? 0 : strlen(top);

	if (strncmp(path, top, len) != 0 || (path[len] && path[len] != '/'))
		return NULL;
	return path[len] && path[len + 1] ? path + len : "";
}
