/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"
#include "supervisor/ids.h"
#include "supervisor/jobs.h"

#include "tests/unit/tap.h"

#define COUNT ((IDS_END - IDS_FIRST) / IDS_SIZE)

TEST(id_ranges)
{
	uint32_t used[3] = { IDS_FIRST, IDS_FIRST + 2 * IDS_SIZE, 0 }, got = 0;
	struct err e;

	ok(ids_alloc(IDS_FIRST, NULL, 0, &got, &e) == 0 && got == IDS_FIRST, "the first");
	ok(ids_alloc(IDS_FIRST, used, 3, &got, &e) == 0 && got == IDS_FIRST + IDS_SIZE, "a gap");
	used[2] = IDS_FIRST + IDS_SIZE;
	ok(ids_alloc(IDS_FIRST, used, 3, &got, &e) == 0 && got == IDS_FIRST + 3 * IDS_SIZE, "the end");
	used[2] = IDS_FIRST + IDS_SIZE + 5;
	ok(ids_alloc(IDS_FIRST, used, 3, &got, &e) == 0 && got == IDS_FIRST + 3 * IDS_SIZE,
	   "a base that is not aligned takes two");
	used[0] = IDS_END - IDS_SIZE;
	ok(ids_alloc(IDS_END - IDS_SIZE, used, 1, &got, &e) == 0 && got == IDS_FIRST, "it wraps");
	used[0] = UINT32_MAX;
	ok(ids_alloc(IDS_FIRST, used, 1, &got, &e) == 0 && got == IDS_FIRST, "nonsense is no harm");
}

TEST(ids_used_up)
{
	uint32_t *used = calloc(COUNT, sizeof(*used)), got = 0;
	struct err e = { 0 };

	for (uint32_t i = 0; i < COUNT; i++)
		used[i] = IDS_FIRST + i * IDS_SIZE;
	ok(ids_alloc(IDS_FIRST, used, COUNT, &got, &e) < 0, "none is left");
	eq_int(e.code, ERR_NOSPACE, "as out of room");
	used[1234] = 0;
	ok(ids_alloc(IDS_FIRST, used, COUNT, &got, &e) == 0 && got == IDS_FIRST + 1234 * IDS_SIZE,
	   "the last one is found");
	free(used);
}

TEST(id_starts)
{
	uint32_t a = ids_start("vps-00000001"), b = ids_start("vps-deadbeef");

	eq_int(ids_start("vps"), IDS_FIRST, "the default root begins at the beginning");
	ok(a >= IDS_FIRST && a < IDS_END && (a - IDS_FIRST) % IDS_SIZE == 0, "a range");
	ok(b >= IDS_FIRST && b < IDS_END && (b - IDS_FIRST) % IDS_SIZE == 0, "another");
	ok(a != b, "roots begin at places of their own");
}

TEST(job_lines)
{
	static const struct {
		const char *line;
		int kind;
	} rows[] = {
		{ "{\"progress\":{\"stage\":\"x\",\"done\":1,\"total\":0}}", JOB_LINE_PROGRESS },
		{ "{\"result\":{}}", JOB_LINE_RESULT },
		{ "{\"status\":3,\"error\":\"no\",\"hint\":\"h\"}", JOB_LINE_ERROR },
		{ "{\"status\":3,\"error\":\"no\"}", JOB_LINE_ERROR },
		{ "{\"status\":0,\"error\":\"no\"}", -EBADMSG },
		{ "{\"status\":300,\"error\":\"no\"}", -EBADMSG },
		{ "{\"status\":\"3\",\"error\":\"no\"}", -EBADMSG },
		{ "{\"status\":3}", -EBADMSG },
		{ "{\"result\":5}", -EBADMSG },
		{ "{\"progress\":null}", -EBADMSG },
		{ "[]", -EBADMSG },
		{ "", -EBADMSG },
		{ "{\"result\":{}} x", -EBADMSG },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct err e = { 0 };
		json_t *v = NULL;

		eq_int(job_line_parse(rows[i].line, strlen(rows[i].line), &v, &e), rows[i].kind, "%s",
		       rows[i].line);
		ok((v != NULL) == (rows[i].kind == JOB_LINE_PROGRESS ||
				   rows[i].kind == JOB_LINE_RESULT), "with its value");
		if (rows[i].kind == JOB_LINE_ERROR)
			eq_int(e.code, ERR_NOT_FOUND, "with its status");
		json_decref(v);
	}
}

TEST(policy)
{
	static const struct {
		struct sup_end end;
		bool failure;
		const char *text;
	} rows[] = {
		{ { .how = "exited", .value = 0 }, false, "exit 0" },
		{ { .how = "exited", .value = 3 }, true, "exit 3" },
		{ { .how = "signaled", .value = 9 }, true, "signal SIGKILL" },
		{ { .how = "poweroff" }, false, "poweroff" },
		{ { .how = "killed" }, true, "killed" },
		{ { .how = "died" }, true, "died" },
		{ { .how = "failed", .value = 1 }, true, "failed" },
	};
	char buf[64];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		eq_int(policy_is_failure(&rows[i].end), rows[i].failure, "%s", rows[i].text);
		eq_str(vps_end_text(&rows[i].end, buf, sizeof(buf)), rows[i].text, "as text");
	}
	ok(!vps_end_text(&(struct sup_end){ 0 }, buf, sizeof(buf)), "one that never ran");
	eq_int(policy_delay(1000000, 0), 1000000, "the first wait");
	eq_int(policy_delay(1000000, 3), 8000000, "it doubles");
	eq_int(policy_delay(1000000, 60), 300000000, "up to a bound");
	eq_int(policy_delay(3600000000, 5), 3600000000, "unless the first is longer");
	eq_int(policy_delay(0, 50), 0, "no wait stays none");
}

TEST(who_may)
{
	struct sup_vps mine = { .owner = 1000, .name = "mine" }, roots = { .name = "roots" };
	struct err e = { 0 };

	ok(may(0, &mine, "Stop", &e) == 0 && may(0, NULL, "Shutdown", &e) == 0, "root may all");
	ok(may(1000, &mine, "Destroy", &e) == 0, "its owner may");
	ok(may(1001, &mine, "Status", &e) < 0, "another may not");
	eq_int(e.code, ERR_DENIED, "with that status");
	ok(may(1000, &roots, "Exec", &e) < 0, "nor with root's");
	ok(may(1000, NULL, "Create", &e) == 0, "anybody let in may create");
	ok(may(1000, NULL, "TemplateBuild", &e) < 0, "but not make templates");
	ok(may(1000, NULL, "Shutdown", &e) < 0, "nor end vpsd");
	ok(may_set(0, "mount", &e) == 0 && may_set(1000, "mount", &e) < 0, "mounts are root's");
	ok(may_set(1000, "hostname", &e) == 0, "a host name is not");
}
