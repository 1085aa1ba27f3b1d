/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/hostroot.h"

#include "base/macro.h"

#include <inttypes.h>
#include <limits.h>
#include <stdint.h>

/* FNV-1a: stable over versions and machines, which is all that is asked of it. */
static uint32_t hash_path(const char *s)
{
	uint32_t h = 2166136261U;

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619U;
	return h;
}

int host_root_init(struct host_root *r, const char *dir, struct err *e)
{
	char abs[PATH_MAX], cwd[PATH_MAX];
	cleanup_free char *real = NULL;
	size_t len;

	if (!dir || !*dir) {
		*r = (struct host_root){ .lib = "/var/lib/vps", .run = "/run/vps", .tag = "vps" };
		return 0;
	}
	real = realpath(dir, NULL); /* the same host by whatever name it is reached */
	if (real) {
		snprintf(abs, sizeof(abs), "%s", real);
	} else if (*dir == '/') {
		snprintf(abs, sizeof(abs), "%s", dir);
	} else {
		if (!getcwd(cwd, sizeof(cwd)))
			return err_sys(e, "find the current directory");
		if ((size_t)snprintf(abs, sizeof(abs), "%s/%s", cwd, dir) >= sizeof(abs))
			abs[0] = '\0';
	}
	len = strlen(abs);
	while (len > 1 && abs[len - 1] == '/')
		abs[--len] = '\0';
	/* Sockets are reached through /proc/self/fd when their path is too long for sun_path. */
	if (len == 0 || len > 200)
		return err_set(e, ERR_USAGE, "state root %.80s: the path is too long (200 bytes)",
			       dir);
	snprintf(r->lib, sizeof(r->lib), "%s/lib", abs);
	snprintf(r->run, sizeof(r->run), "%s/run", abs);
	snprintf(r->tag, sizeof(r->tag), "vps-%08" PRIx32, hash_path(abs));
	return 0;
}

const char *host_root_lib(const struct host_root *r, const char *name, char buf[512])
{
	snprintf(buf, 512, "%s/vps/%s", r->lib, name);
	return buf;
}

const char *host_root_run(const struct host_root *r, const char *name, char buf[512])
{
	snprintf(buf, 512, "%s/vps/%s", r->run, name);
	return buf;
}
