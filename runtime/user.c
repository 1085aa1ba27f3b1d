/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Users of a tenant. The files are read by hand: the C library's look-up would load the tenant's
 * name service modules into this privileged process.
 */
#include "base/parse.h"
#include "runtime/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#define FILE_MAX (1024 * 1024)

/* Splits a line at colons into at most n fields. */
static size_t fields_of(char *line, char **field, size_t n)
{
	size_t count = 0;

	while (line && count < n)
		field[count++] = strsep(&line, ":");
	return count;
}

static int parse_id(const char *s, unsigned *ret)
{
	uint64_t v;

	if (parse_u64(s, &v) < 0 || v >= 65535)
		return -EINVAL;
	*ret = (unsigned)v;
	return 0;
}

/* Inside a tenant's root, where it may be anything: O_NONBLOCK waits neither for the other end of a FIFO nor for
 * whoever holds a lease (fcntl(2), F_SETLEASE). */
static char *read_db(const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	char *text = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return NULL;
	return fd_read_all(fd, FILE_MAX, &text, NULL) < 0 ? NULL : text;
}

/* By name, or by number when name is NULL. Returns 1 when found. */
static int find_passwd(const char *name, uid_t uid, struct rt_user *u)
{
	cleanup_free char *text = read_db("/etc/passwd");
	char *next = text, *line, *field[7];
	unsigned id, gid;

	while ((line = strsep(&next, "\n"))) {
		if (fields_of(line, field, 7) < 7 || parse_id(field[2], &id) < 0 ||
		    parse_id(field[3], &gid) < 0)
			continue;
		if (name ? !STREQ(field[0], name) : id != uid)
			continue;
		u->uid = id;
		u->gid = gid;
		snprintf(u->name, sizeof(u->name), "%s", field[0]);
		snprintf(u->home, sizeof(u->home), "%s", *field[5] ? field[5] : "/");
		snprintf(u->shell, sizeof(u->shell), "%s", *field[6] ? field[6] : "/bin/sh");
		return 1;
	}
	return 0;
}

static bool in_list(char *list, const char *name)
{
	char *item;

	while ((item = strsep(&list, ",")))
		if (STREQ(item, name))
			return true;
	return false;
}

/* The supplementary groups of u->name, and the number of group `name` when it is given. Returns 1
 * when that was found. */
static int find_groups(struct rt_user *u, const char *name, gid_t *ret_gid)
{
	cleanup_free char *text = read_db("/etc/group");
	char *next = text, *line, *field[4];
	unsigned gid;
	int found = 0;

	while ((line = strsep(&next, "\n"))) {
		if (fields_of(line, field, 4) < 4 || parse_id(field[2], &gid) < 0)
			continue;
		if (name && STREQ(field[0], name)) {
			*ret_gid = gid;
			found = 1;
		}
		if (u->name[0] && u->group_count < ARRAY_SIZE(u->groups) &&
		    in_list(field[3], u->name))
			u->groups[u->group_count++] = gid;
	}
	return found;
}

int rt_user_find(const char *who, struct rt_user *u, struct err *e)
{
	char user[64];
	const char *group = strchr(who, ':');
	unsigned id;

	*u = (struct rt_user){ .home = "/", .shell = "/bin/sh" };
	snprintf(user, sizeof(user), "%.*s", (int)(group ? group - who : 63), who);
	if (!*user)
		snprintf(user, sizeof(user), "0");
	if (parse_id(user, &id) == 0) {
		u->uid = id;
		u->gid = id;
		if (!find_passwd(NULL, id, u) && id == 0)
			snprintf(u->home, sizeof(u->home), "/root");
		if (id == 0 && !u->name[0])
			snprintf(u->name, sizeof(u->name), "root");
	} else if (!find_passwd(user, 0, u)) {
		return err_set(e, ERR_NOT_FOUND, "user %s: no such user in the VPS", user);
	}
	if (group && parse_id(group + 1, &id) == 0) {
		u->gid = id;
		find_groups(u, NULL, NULL);
	} else if (!find_groups(u, group ? group + 1 : NULL, &u->gid) && group) {
		return err_set(e, ERR_NOT_FOUND, "group %s: no such group in the VPS", group + 1);
	}
	return 0;
}

int rt_user_become(const struct rt_user *u, struct err *e)
{
	if (setgroups(u->group_count, u->groups) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 ||
	    setresuid(u->uid, u->uid, u->uid) < 0)
		return err_sys(e, "become user %u", u->uid);
	/* See rt_enter(). */
	return prctl(PR_SET_DUMPABLE, 0) < 0 ? err_sys(e, "keep user %u out of our memory", u->uid) : 0;
}
