/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cgroup/internal.h"
#include "cgroup/stats.h"
#include "cgroup/write.h"

#include "base/macro.h"

#include "tests/fuzz/fuzz.h"

/* Both texts in one input, a NUL byte between them. */
static void mountinfo(const char *text, size_t size)
{
	size_t len = strnlen(text, size);
	cleanup_free char *mounts = strndup(text, len);
	cleanup_free char *self = strdup(len < size ? text + len + 1 : "");
	struct cgroup_host h;

	if (!mounts || !self || cgroup_host_parse(&h, mounts, self) < 0)
		return;
	if (h.v2[0] != '/' || (h.v2_self[0] && h.v2_self[0] != '/') || h.v2_base[0])
		abort();
	for (int c = 0; c < CGROUP_CONTROLLER_COUNT; c++)
		if (h.ctl[c].version == 1 && h.ctl[c].path[0] != '/')
			abort();
}

static void counters(const char *text)
{
	char out[CGROUP_COUNTERS_TEXT];
	struct cgroup_counters b, again;

	if (cgroup_counters_parse(&b, text) < 0)
		return;
	if (cgroup_counters_format(&b, out) >= sizeof(out) || cgroup_counters_parse(&again, out) < 0 ||
	    memcmp(&b, &again, sizeof(b)) != 0)
		abort();
}

/* The first byte chooses the parser. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *text = size ? calloc(1, size) : NULL;
	uint64_t cpus[CGROUP_CPUS_MAX / 64], a = 0, b = 0;
	struct cgroup_pressure psi;
	struct cgroup_io io = { 0 };

	if (!text)
		return 0;
	memcpy(text, data + 1, size - 1);
	switch (data[0]) {
	case 'm':
		mountinfo(text, size - 1);
		break;
	case 'k':
		cgroup_keyed(text, "oom_kill", &a);
		cgroup_list_has(text, "max");
		break;
	case 'i':
		cgroup_sum_io_stat(text, &io);
		break;
	case 'b':
		cgroup_sum_blkio(text, &a, &b);
		break;
	case 'p':
		cgroup_parse_pressure(text, &psi);
		break;
	case 'c':
		counters(text);
		break;
	case 'l':
		cgroup_cpus_parse(text, cpus);
		break;
	}
	return 0;
}
