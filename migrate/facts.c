/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/parse.h"
#include "cgroup/stats.h"
#include "base/str.h"
#include "checkpoint/check.h"
#include "checkpoint/host.h"
#include "migrate/hold.h"

#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/stat.h>
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

static json_t *registers(const struct ckpt_xstate *x)
{
	uint32_t numbers[3 * CKPT_XSTATE_PARTS];
	size_t n = ckpt_xstate_format(x, numbers);
	json_t *j = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(j, json_integer(numbers[i]));
	return j;
}

/* A peer that is older does not tell where they lie. */
static int take_registers(const json_t *cpu, struct ckpt_xstate *ret, struct err *e)
{
	uint64_t mask = (uint64_t)json_integer_value(json_object_get(cpu, "xsave"));
	const json_t *j = json_object_get(cpu, "xstate");
	uint32_t numbers[3 * CKPT_XSTATE_PARTS];
	size_t n = 0;

	for (; n < json_array_size(j) && n < ARRAY_SIZE(numbers); n++) {
		json_int_t v = json_integer_value(json_array_get(j, n));

		numbers[n] = v < 0 || v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
	}
	return ckpt_xstate_parse(mask, numbers, n, ret, e);
}

static json_t *facts(void)
{
	const struct ckpt_xstate *x = ckpt_xstate_here();
	char vdso[20];

	snprintf(vdso, sizeof(vdso), "%016llx", (unsigned long long)vdso_digest());
	return json_pack("{s:I, s:o, s:s}", "xsave", (json_int_t)x->mask, "xstate", registers(x), "vdso", vdso);
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

/* Of the host that the image was made on, which need not be this one. */
/* By the logarithm of their size, as text. */
static json_t *huge_needs(const uint64_t need[CKPT_HUGE_SIZES])
{
	json_t *j = json_object();
	char size[16];

	for (unsigned i = 0; i < CKPT_HUGE_SIZES; i++) {
		snprintf(size, sizeof(size), "%u", i);
		if (need[i])
			json_object_set_new(j, size, json_integer((json_int_t)need[i]));
	}
	return j;
}

int mig_offer_image(struct mig_offer *o, int image, struct err *e)
{
	struct ckpt_host h;
	struct stat st;
	char vdso[33] = "";
	int r = ckpt_host_read(image, &h, e);

	if (r < 0)
		return r;
	if (fstat(image, &st) < 0 || lseek(image, 0, SEEK_SET) < 0)
		return err_sys(e, "read its image");
	for (size_t i = 0; h.has_vdso && i < sizeof(h.vdso); i++)
		snprintf(vdso + 2 * i, 3, "%02x", h.vdso[i]);
	o->image = (uint64_t)st.st_size;
	o->bytes += o->image;
	o->cpu = json_pack("{s:I, s:o, s:s, s:s, s:I}", "xsave", (json_int_t)h.xstate.mask, "xstate", registers(&h.xstate),
			   "vdso", vdso, "kernel", h.kernel, "page", (json_int_t)h.page_size);
	json_object_set_new(o->cpu, "huge", huge_needs(h.huge));
	return o->cpu ? 0 : err_code(e, -ENOMEM, "make an offer");
}

static int digit(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

static bool take_digest(const char *text, uint8_t ret[16])
{
	for (size_t i = 0; i < 32; i++) {
		int d = digit(text[i]);

		if (d < 0)
			return false;
		ret[i / 2] = (uint8_t)(ret[i / 2] << 4 | d);
	}
	return text[32] == '\0';
}

/* A peer that is older does not tell. */
static void check_huge(json_t *needs, json_t *obstacles)
{
	const char *size;
	struct err e;
	json_t *need;

	json_object_foreach(needs, size, need)
		if (ckpt_huge_room(strtoull(size, NULL, 10), (uint64_t)json_integer_value(need), &e) < 0)
			mig_obstacle(obstacles, "%s", e.msg);
}

void mig_check_image(const struct mig_offer *o, json_t *obstacles)
{
	const char *vdso = json_string_value(json_object_get(o->cpu, "vdso"));
	const char *kernel = json_string_value(json_object_get(o->cpu, "kernel"));
	struct ckpt_host h = {
		.page_size = (uint32_t)json_integer_value(json_object_get(o->cpu, "page")),
	};
	struct err e;

	snprintf(h.kernel, sizeof(h.kernel), "%s", kernel && str_is_printable(kernel) ? kernel : "?");
	h.has_vdso = vdso && take_digest(vdso, h.vdso);
	if (take_registers(o->cpu, &h.xstate, &e) < 0 || ckpt_host_check(&h, &e) < 0)
		mig_obstacle(obstacles, "%s", e.msg);
	check_huge(json_object_get(o->cpu, "huge"), obstacles);
}

int mig_check_source(const struct mig_source *v, struct mig_offer *offer, json_t *obstacles, struct err *e)
{
	struct ckpt_dump_options o = { .spec = &v->spec, .paused = v->paused };
	struct mig_hold hold;
	struct ckpt_check c = { 0 };
	int r;

	mig_hold_open(&hold, v, &o);
	r = ckpt_check(&v->cgroup, v->init, &o, &c, e);
	mig_hold_end(&hold);
	for (size_t i = 0; r == 0 && i < c.count; i++)
		mig_obstacle(obstacles, "%s", c.list[i].what);
	if (r == 0)
		json_object_set_new(offer->cpu, "huge", huge_needs(c.huge));
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
	const char *vdso = json_string_value(json_object_get(o->cpu, "vdso"));
	uint64_t room = memory_available();
	json_t *ours = facts();
	struct ckpt_xstate x;
	char a[32], b[32];
	struct err e;

	if (take_registers(o->cpu, &x, &e) < 0 || ckpt_xstate_check(&x, ckpt_xstate_here(), &e) < 0)
		mig_obstacle(obstacles, "%s", e.msg);
	if (!vdso || !STREQ(vdso, json_string_value(json_object_get(ours, "vdso"))))
		mig_obstacle(obstacles, "the kernels' vdso differ: the VPS runs on %s", o->kernel);
	if (room < o->memory)
		mig_obstacle(obstacles, "there is no room: %s of memory are needed, %s are free",
			 format_size(o->memory, a, sizeof(a)), format_size(room, b, sizeof(b)));
	check_huge(json_object_get(o->cpu, "huge"), obstacles);
	json_decref(ours);
}
