/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a destination has against a VPS that runs. */
#include "checkpoint/xstate.h"
#include "migrate/internal.h"
#include "tests/unit/tap.h"

/* The first obstacle; `cpu` is given away. */
static const char *first(json_t *cpu)
{
	static char text[512];
	json_t *list = json_array();
	struct mig_offer o = { .cpu = cpu };

	mig_check_live(&o, list);
	snprintf(text, sizeof(text), "%s", json_string_value(json_array_get(list, 0)));
	json_decref(list);
	json_decref(cpu);
	return text;
}

TEST(registers)
{
	const struct ckpt_xstate *x = ckpt_xstate_here();
	json_int_t mask = (json_int_t)(x->mask & 7);
	const char *vdso = "the kernels' vdso differ";

	if (!(mask & 4)) {
		skip("this processor has no AVX");
		return;
	}
	ok(strstr(first(json_pack("{s:I}", "xsave", mask)), vdso), "an older vps does not say where they lie");
	ok(strstr(first(json_pack("{s:I, s:[iii]}", "xsave", mask, "xstate", 2, 256, 4096)), vdso), "they lie elsewhere");
	ok(strstr(first(json_pack("{s:I, s:[iii]}", "xsave", mask, "xstate", 2, 128, 576)),
		  "component 2 of XSAVE takes 256 bytes, not 128"), "they are others");
	ok(strstr(first(json_pack("{s:I, s:[iii]}", "xsave", mask, "xstate", 2, 256, -1)), "damaged"), "nowhere");
	ok(strstr(first(json_pack("{s:I}", "xsave", mask | 1ll << 62)), "lacks registers"), "they are missing here");
}

static json_t *ask(const char *huge)
{
	json_t *list = json_array(), *cpu = json_pack("{s:i, s:s}", "xsave", 0, "vdso", "none");
	struct mig_offer o = { .cpu = cpu };

	if (huge)
		json_object_set_new(cpu, "huge", json_loads(huge, 0, NULL));
	mig_check_live(&o, list);
	json_decref(cpu);
	return list;
}

static const char *second(const char *huge)
{
	static char text[512];
	json_t *list = ask(huge);
	const char *s = json_string_value(json_array_get(list, 1)); /* the vdso comes first */

	snprintf(text, sizeof(text), "%s", s ? s : "");
	json_decref(list);
	return text;
}

TEST(huge_pages)
{
	eq_str(second(NULL), "", "an offer of an older vps says nothing of huge pages");
	eq_str(second("{}"), "", "none are needed");
	eq_str(second("{\"21\": 0}"), "", "none of a size are needed");
	ok(strstr(second("{\"21\": 1125899906842624}"), "huge pages of 2.0 MiB: 1.0 PiB are needed, "),
	   "more than there are: %s", second("{\"21\": 1125899906842624}"));
	ok(strstr(second("{\"14\": 16384}"), "huge pages of 16.0 KiB: 16.0 KiB are needed, 0 B are free"),
	   "a size that is not here: %s", second("{\"14\": 16384}"));
	eq_str(second("[1]"), "", "what is no object is none");
	ok(strstr(second("{\"99\": 1}"), "a size that is none"), "no size: %s", second("{\"99\": 1}"));
}
