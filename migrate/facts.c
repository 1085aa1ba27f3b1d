/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/parse.h"
#include "cgroup/stats.h"
#include "checkpoint/check.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/auxv.h>
#include <sys/utsname.h>
#include <xxhash.h>

/*
 * What a running process takes for granted of its host: the registers that the processor saves, and
 * the vdso, whose code it may stand in and whose addresses its C library has noted.
 */

#define VDSO_BYTES 4096 /* its headers and symbols, which name every address; all of it is larger */

static uint64_t vdso_digest(void)
{
	const void *vdso = (const void *)getauxval(AT_SYSINFO_EHDR);

	return vdso ? XXH3_64bits(vdso, VDSO_BYTES) : 0;
}

static json_t *facts(void)
{
	char vdso[20];

	snprintf(vdso, sizeof(vdso), "%016llx", (unsigned long long)vdso_digest());
	return json_pack("{s:I, s:s}", "xsave", (json_int_t)ckpt_xsave_mask(), "vdso", vdso);
}

int mig_offer_live(struct mig_offer *o, const struct mig_source *v, struct err *e)
{
	struct cgroup_stats st;
	int r = cgroup_stats_read(&v->cgroup, &st, e);

	if (r < 0)
		return r;
	o->live = true;
	o->memory = st.memory_anon;
	o->cpu = facts();
	return o->cpu ? 0 : err_code(e, -ENOMEM, "make an offer");
}

__attribute__((format(printf, 2, 3))) static void obstacle(json_t *list, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(list, json_string(text));
}

int mig_check_source(const struct mig_source *v, json_t *obstacles, struct err *e)
{
	struct ckpt_dump_options o = { .spec = &v->spec, .paused = v->paused };
	struct ckpt_check c = { 0 };
	int r = ckpt_check(&v->cgroup, v->init, &o, &c, e);

	for (size_t i = 0; r == 0 && i < c.count; i++)
		obstacle(obstacles, "%s", c.list[i].what);
	ckpt_check_done(&c);
	return r;
}

static uint64_t memory_available(void)
{
	cleanup_free char *text = NULL;
	unsigned long long kb = 0;
	const char *line;

	if (fd_read_file_at(AT_FDCWD, "/proc/meminfo", 65536, &text, NULL) < 0)
		return UINT64_MAX;
	line = strstr(text, "MemAvailable:");
	return line && sscanf(line, "MemAvailable: %llu", &kb) == 1 ? kb * 1024 : UINT64_MAX;
}

void mig_check_live(const struct mig_offer *o, json_t *obstacles)
{
	json_int_t xsave = json_integer_value(json_object_get(o->cpu, "xsave"));
	const char *vdso = json_string_value(json_object_get(o->cpu, "vdso"));
	uint64_t room = memory_available();
	json_t *ours = facts();
	char a[32], b[32];

	if ((uint64_t)xsave & ~ckpt_xsave_mask())
		obstacle(obstacles, "this processor lacks registers that the VPS uses (XCR0 is %#llx, not %#llx)",
			 (unsigned long long)ckpt_xsave_mask(), (unsigned long long)xsave);
	if (!vdso || !STREQ(vdso, json_string_value(json_object_get(ours, "vdso"))))
		obstacle(obstacles, "the kernels' vdso differ: the VPS runs on %s", o->kernel);
	if (room < o->memory)
		obstacle(obstacles, "there is no room: %s of memory are needed, %s are free",
			 format_size(o->memory, a, sizeof(a)), format_size(room, b, sizeof(b)));
	json_decref(ours);
}
