/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"

#include "base/macro.h"

#include <archive_entry.h>
#include <limits.h>

/*
 * Puts a name of an archive into the form the tree has it in: no leading slash, no empty and no
 * `.` parts; "." for the top. -EINVAL for `..` and for what no file system takes.
 */
static int clean_name(const char *in, char out[TEMPLATE_PATH_MAX + 1])
{
	size_t len = 0;

	while (*in) {
		size_t n = strcspn(in, "/");

		if (n == 2 && memcmp(in, "..", 2) == 0)
			return -EINVAL;
		if (n > 0 && !(n == 1 && in[0] == '.')) {
			if (n > NAME_MAX || len + n + 1 >= TEMPLATE_PATH_MAX)
				return -ENAMETOOLONG;
			if (len)
				out[len++] = '/';
			memcpy(out + len, in, n);
			len += n;
		}
		in += n + (in[n] == '/');
	}
	if (!len)
		out[len++] = '.';
	out[len] = '\0';
	return 0;
}

/* For messages: an archive may hold terminal escapes. */
static const char *printable(const char *name)
{
	return name && str_is_printable(name) ? name : "an entry with unprintable name";
}

static int refuse_name(const char *name, int r, struct err *e)
{
	if (r == -ENAMETOOLONG)
		return err_set(e, ERR_USAGE, "%.200s: the name is too long", printable(name));
	return err_set(e, ERR_USAGE, "%.200s: leads out of the tree", printable(name));
}

static int check_names(struct archive_entry *entry, struct err *e)
{
	const char *name = archive_entry_pathname(entry);
	char clean[TEMPLATE_PATH_MAX + 1];
	int r;

	if (!name || !name[0])
		return err_set(e, ERR_USAGE, "an entry has no name");
	r = clean_name(name, clean);
	if (r < 0)
		return refuse_name(name, r, e);
	if (STREQ(clean, ".") &&
	    (archive_entry_hardlink(entry) || archive_entry_filetype(entry) != AE_IFDIR))
		return err_set(e, ERR_USAGE, "%.200s: the top is not a directory", printable(name));
	/* Copied in one piece: `name` points into the entry. */
	archive_entry_copy_pathname(entry, clean);
	name = archive_entry_hardlink(entry);
	if (!name)
		return 0;
	r = clean_name(name, clean);
	if (r < 0)
		return refuse_name(name, r, e);
	if (STREQ(clean, "."))
		return err_set(e, ERR_USAGE, "%.200s: a hard link to the top",
			       printable(archive_entry_pathname(entry)));
	archive_entry_copy_hardlink(entry, clean);
	/* Some writers repeat the content with each link; the first one had it. */
	archive_entry_set_size(entry, 0);
	return 0;
}

static int check_owner(struct archive_entry *entry, struct err *e)
{
	int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry);

	if (uid < 0 || uid > TEMPLATE_ID_MAX || gid < 0 || gid > TEMPLATE_ID_MAX)
		return err_set(e, ERR_USAGE, "%.200s: its owner %lld:%lld is past %u",
			       printable(archive_entry_pathname(entry)), (long long)uid,
			       (long long)gid, TEMPLATE_ID_MAX);
	/* The numbers count, not what this host calls them. */
	archive_entry_copy_uname(entry, NULL);
	archive_entry_copy_gname(entry, NULL);
	return 0;
}

/* file capabilities and user.* alone; ACLs come as something else, whose ids nobody has checked. */
static bool xattr_is_taken(const char *name, size_t size)
{
	if (!storage_xattr_kept(name) || strncmp(name, "system.", 7) == 0)
		return false;
	return strlen(name) <= 255 && size <= 65536;
}

static int filter_xattrs(struct archive_entry *entry, struct err *e)
{
	/* Kept ones wait in a second entry while the first is emptied. */
	struct archive_entry *kept;
	const char *name;
	const void *value;
	size_t size;

	if (archive_entry_xattr_reset(entry) == 0)
		return 0;
	kept = archive_entry_new();
	if (!kept)
		return err_code(e, -ENOMEM, "read the archive");
	while (archive_entry_xattr_next(entry, &name, &value, &size) == 0)
		if (name && xattr_is_taken(name, size))
			archive_entry_xattr_add_entry(kept, name, value, size);
	archive_entry_xattr_clear(entry);
	archive_entry_xattr_reset(kept);
	while (archive_entry_xattr_next(kept, &name, &value, &size) == 0)
		archive_entry_xattr_add_entry(entry, name, value, size);
	archive_entry_free(kept);
	return 0;
}

static bool type_is_taken(const struct archive_entry *entry)
{
	switch (archive_entry_filetype((struct archive_entry *)(uintptr_t)entry)) {
	case AE_IFREG:
	case AE_IFDIR:
	case AE_IFLNK:
	case AE_IFIFO:
		return true;
	default:
		return false;
	}
}

int storage_tar_check(struct archive_entry *entry, struct err *e)
{
	const char *target;
	int r;

	if (!archive_entry_hardlink(entry) && !type_is_taken(entry))
		return 0;
	if ((r = check_names(entry, e)) < 0 || (r = check_owner(entry, e)) < 0 ||
	    (r = filter_xattrs(entry, e)) < 0)
		return r;
	if (archive_entry_size(entry) < 0 ||
	    (uint64_t)archive_entry_size(entry) > TEMPLATE_BYTES_MAX)
		return err_set(e, ERR_USAGE, "%.200s: it is too large",
			       printable(archive_entry_pathname(entry)));
	target = archive_entry_symlink(entry);
	if (!archive_entry_hardlink(entry) && archive_entry_filetype(entry) == AE_IFLNK &&
	    (!target || !target[0] || strlen(target) > TEMPLATE_PATH_MAX))
		return err_set(e, ERR_USAGE, "%.200s: a link to nothing",
			       printable(archive_entry_pathname(entry)));
	archive_entry_set_perm(entry, archive_entry_perm(entry) & 07777);
	archive_entry_set_fflags(entry, 0, 0);
	archive_entry_acl_clear(entry);
	archive_entry_copy_mac_metadata(entry, NULL, 0);
	archive_entry_unset_birthtime(entry);
	return 1;
}
