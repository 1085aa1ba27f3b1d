/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"

#include "base/macro.h"

/*
 * Who may do what. The socket's mode has let only root and the members of its group in; root may
 * all, the others what concerns the VPSs that they have created. `verb` is the method's name; `v`
 * is NULL for what concerns no VPS, or one that is not there yet.
 */
int may(uid_t uid, const struct sup_vps *v, const char *verb, struct err *e)
{
	static const char *const of_root[] = {
		"Migrate", "MigrateResolve", "Receive", "Shutdown", "TemplateBuild", "TemplateImport", "TemplateRemove",
	};
	bool allowed = uid == 0 || !v || v->owner == uid;

	for (size_t i = 0; uid != 0 && i < ARRAY_SIZE(of_root); i++)
		if (STREQ(verb, of_root[i]))
			allowed = false;
	if (allowed)
		return 0;
	if (v)
		return err_set(e, ERR_DENIED, "%s belongs to another user", v->name);
	err_set(e, ERR_DENIED, "%s: only root may", verb);
	return err_hint(e, "run it as root");
}

/* Settings that reach out of the VPS are root's: a path of the host, a device of the host. */
int may_set(uid_t uid, const char *key, struct err *e)
{
	static const char *const of_root[] = {
		"mount", "device", "feature", "publish", "net", "net.allow", "net.isolate",
		"autostart", "autostart.order", "autostart.delay", "rlimit",
	};

	for (size_t i = 0; uid != 0 && i < ARRAY_SIZE(of_root); i++)
		if (STREQ(key, of_root[i]))
			return err_set(e, ERR_DENIED, "%s: only root may set it", key);
	return 0;
}
