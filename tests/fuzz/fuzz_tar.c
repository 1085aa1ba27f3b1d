/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/macro.h"
#include "storage/catalogue.h"
#include "tests/fuzz/fuzz.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

/* What must hold of every name that goes on to the disk. */
static void check_name(const char *name)
{
	size_t len = strlen(name);

	if (!len || len > TEMPLATE_PATH_MAX || name[0] == '/' || name[len - 1] == '/' ||
	    strstr(name, "//"))
		abort();
	for (const char *part = name; part; part = strchr(part, '/')) {
		part += part[0] == '/';
		if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || !part[2]))
			abort();
	}
}

static void check_taken(struct archive_entry *entry)
{
	const char *name, *link = archive_entry_hardlink(entry);
	const void *value;
	size_t size;

	check_name(archive_entry_pathname(entry));
	if (link)
		check_name(link);
	else if (archive_entry_filetype(entry) == AE_IFCHR ||
		 archive_entry_filetype(entry) == AE_IFBLK)
		abort();
	if (archive_entry_uid(entry) < 0 || archive_entry_uid(entry) > TEMPLATE_ID_MAX ||
	    archive_entry_gid(entry) < 0 || archive_entry_gid(entry) > TEMPLATE_ID_MAX)
		abort();
	if (archive_entry_size(entry) < 0 || archive_entry_uname(entry))
		abort();
	archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &name, &value, &size) == 0)
		if (!storage_xattr_kept(name))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct archive *a = archive_read_new();
	struct archive_entry *entry;
	struct err e;
	int r;

	setlocale(LC_CTYPE, "C.UTF-8");
	archive_read_support_format_tar(a);
	if (archive_read_open_memory(a, data, size) == ARCHIVE_OK)
		while ((r = archive_read_next_header(a, &entry)) == ARCHIVE_OK ||
		       r == ARCHIVE_WARN) {
			r = storage_tar_check(entry, &e);
			if (r < 0 && !e.msg[0])
				abort();
			if (r < 0)
				break;
			if (r > 0)
				check_taken(entry);
		}
	archive_read_free(a);
	return 0;
}
