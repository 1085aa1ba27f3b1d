/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/suspend.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define RECORD_MAX 65536

static bool is_there(int lib, const char *name)
{
	return faccessat(lib, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool suspend_is(int lib)
{
	return is_there(lib, SUSPEND_RECORD);
}

json_t *suspend_record(int lib)
{
	cleanup_free char *text = NULL;
	json_t *j;

	if (fd_read_file_at(lib, SUSPEND_RECORD, RECORD_MAX, &text, NULL) < 0)
		return NULL;
	j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_string(json_object_get(j, "id")))
		return j;
	json_decref(j);
	return NULL;
}

int suspend_commit(int lib, json_t *record, struct err *e)
{
	cleanup_free char *text = json_dumps(record, JSON_COMPACT);
	int r;

	if (!text)
		return err_code(e, -ENOMEM, "write the record");
	/* Its name and that of the image are in one directory, which is synced. */
	r = fd_replace_file_at(lib, SUSPEND_RECORD, text, strlen(text), 0600, true);
	return r < 0 ? err_code(e, r, "write the record") : 0;
}

int suspend_resume(int lib, struct err *e)
{
	if (renameat(lib, SUSPEND_RECORD, lib, SUSPEND_RESUMING) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "take the record back");
	return fsync(lib) < 0 ? err_sys(e, "write the VPS's directory") : 0;
}

void suspend_resumed(int lib)
{
	unlinkat(lib, SUSPEND_IMAGE, 0);
	unlinkat(lib, SUSPEND_RESUMING, 0);
}

int suspend_recover(int lib, bool frozen, struct err *e)
{
	if (is_there(lib, SUSPEND_RESUMING)) {
		if (!frozen)
			suspend_resumed(lib);
		else if (renameat(lib, SUSPEND_RESUMING, lib, SUSPEND_RECORD) < 0 || fsync(lib) < 0)
			return err_sys(e, "restore the record");
	}
	suspend_abort(lib);
	return 0;
}

void suspend_abort(int lib)
{
	unlinkat(lib, SUSPEND_TMP, 0);
	unlinkat(lib, CHECKPOINT_TMP, 0);
	if (!suspend_is(lib) && !is_there(lib, SUSPEND_RESUMING))
		unlinkat(lib, SUSPEND_IMAGE, 0);
}

int suspend_discard(int lib, struct err *e)
{
	if (unlinkat(lib, SUSPEND_RECORD, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove the record");
	if (fsync(lib) < 0)
		return err_sys(e, "write the VPS's directory");
	suspend_resumed(lib);
	return 0;
}
