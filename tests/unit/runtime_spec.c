/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/spec.h"

#include "base/macro.h"
#include "runtime/value.h"
#include "storage/template.h"
#include "tests/unit/tap.h"

#include <jansson.h>
#include <signal.h>

#define cleanup_config __attribute__((cleanup(config_done)))
#define cleanup_spec __attribute__((cleanup(rt_spec_done)))

static const struct storage_template debian = {
	.name = "debian", .init = "/sbin/init --quiet", .stop_signal = "SIGRTMIN+3",
};

static const char basics[] = "uuid = 01234567-89ab-4cde-8f01-23456789abcd\nid.base = 131072\n";

/* The spec of a config with the basics and `more`; NULL-filled when refused. */
static int make(struct rt_spec *s, const char *name, const char *more,
		const struct storage_template *t, struct err *e)
{
	cleanup_config struct config c = { 0 };
	char text[4096];
	int r;

	snprintf(text, sizeof(text), "%s%s", basics, more);
	*s = (struct rt_spec){ .run_dir = "/run/vps/vps/web", .lib_dir = "/var/lib/vps/vps/web",
			       .cgroup_parent = "vps",
			       .root.lower = "/var/lib/vps/templates/debian/0/rootfs" };
	r = config_parse(&c, text, strlen(text), "config", e);
	return r < 0 ? r : rt_spec_from_config(s, name, &c, t, e);
}

TEST(defaults)
{
	cleanup_spec struct rt_spec s = { 0 };
	struct err e;

	if (!eq_int(make(&s, "web", "", &debian, &e), 0, "it is made"))
		return diag("%s", e.msg);
	eq_str(s.name, "web", "name");
	eq_str(s.hostname, "web", "the host name is the name");
	eq_str(s.uuid, "01234567-89ab-4cde-8f01-23456789abcd", "uuid");
	eq_str(s.root.dir, "/var/lib/vps/vps/web/root", "root directory");
	eq_str(s.root.backend, "overlay", "back end");
	ok(s.root.id_base == 131072 && s.root.id_count == 65536, "ids");
	ok(s.boot && !s.tty, "it boots");
	eq_int(s.argv.count, 2, "the template's init");
	eq_str(s.argv.item[0], "/sbin/init", "its path");
	eq_str(s.argv.item[1], "--quiet", "its argument");
	eq_int(s.stop_signal, SIGRTMIN + 3, "the template's stop signal");
	ok(s.stop_timeout_us == 30000000, "half a minute to stop");
	ok(s.migratable && s.features == 0, "migratable");
	ok(strv_has(&s.env, "container=vps"), "container");
	ok(strv_has(&s.env, "container_uuid=01234567-89ab-4cde-8f01-23456789abcd"), "its uuid");
	ok(strv_has(&s.env, "TERM=linux"), "TERM");
	ok(s.env.count == 4 && strncmp(s.env.item[0], "PATH=/", 6) == 0, "PATH");
}

TEST(settings)
{
	cleanup_spec struct rt_spec s = { 0 };
	struct err e;
	int r = make(&s, "web-",
		     "init = /bin/busybox  init\nstop.signal = TERM\nstop.timeout = 1m\n"
		     "env = TERM=dumb\nenv = A=1\nenv = A=2\nmount = /srv:/data:ro\n"
		     "mount = /tmp:/t\ndns = 192.0.2.53\nrlimit = nofile=1024\n"
		     "feature = nesting\n",
		     &debian, &e);

	if (!eq_int(r, 0, "it is made"))
		return diag("%s", e.msg);
	eq_str(s.hostname, "web", "a host name does not end with a hyphen");
	eq_str(s.argv.item[0], "/bin/busybox", "the setting's init");
	eq_str(s.argv.item[1], "init", "its word");
	eq_int(s.stop_signal, SIGTERM, "stop signal");
	ok(s.stop_timeout_us == 60000000, "stop timeout");
	ok(strv_has(&s.env, "TERM=dumb") && !strv_has(&s.env, "TERM=linux"), "env wins");
	ok(strv_has(&s.env, "A=2") && !strv_has(&s.env, "A=1"), "the last wins");
	eq_int(s.mount_count, 2, "mounts");
	eq_str(s.mounts[0].host, "/srv", "host");
	eq_str(s.mounts[0].guest, "/data", "guest");
	ok(s.mounts[0].read_only && !s.mounts[1].read_only, "read-only");
	eq_str(s.dns.item[0], "192.0.2.53", "name server");
	eq_str(s.rlimits.item[0], "nofile=1024", "resource limit");
	ok(s.migratable && s.features == RT_FEATURE_NESTING, "nesting can move");
}

TEST(not_migratable)
{
	static const char *const rows[] = { "feature = io_uring\n", "feature = userfaultfd\n",
					    "feature = nesting\nfeature = io_uring\n" };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cleanup_spec struct rt_spec s = { 0 };
		struct err e;

		eq_int(make(&s, "web", rows[i], &debian, &e), 0, "it is made");
		ok(!s.migratable, "and cannot move: %s", rows[i]);
	}
}

TEST(not_made)
{
	static const struct storage_template none = { .name = "none" };
	static const struct storage_template odd = { .name = "odd", .init = "sh -c x" };
	static const struct storage_template bad = { .name = "bad", .init = "/init",
						     .stop_signal = "SIGFOO" };
	struct config c = { 0 };
	struct rt_spec s;
	struct err e;

	ok(make(&s, "web", "", &none, &e) < 0, "without an init");
	eq_str(e.msg, "template none has no init", "is said so");
	rt_spec_done(&s);
	ok(make(&s, "web", "", NULL, &e) < 0, "without a template");
	rt_spec_done(&s);
	ok(make(&s, "web", "", &odd, &e) < 0, "with a relative init");
	rt_spec_done(&s);
	ok(make(&s, "web", "", &bad, &e) < 0, "with an unknown signal");
	eq_str(e.msg, "template bad: stop signal SIGFOO is unknown", "is said so");
	rt_spec_done(&s);
	eq_int(make(&s, "web", "init = /init\n", NULL, &e), 0, "the setting alone will do");
	eq_int(s.stop_signal, SIGTERM, "SIGTERM when nobody says");
	rt_spec_done(&s);
	s = (struct rt_spec){ 0 };
	ok(rt_spec_from_config(&s, "web", &c, &debian, &e) < 0, "without records");
	eq_str(e.msg, "web: the config has no uuid", "is said so");
	rt_spec_done(&s);
}

TEST(json_round_trip)
{
	cleanup_spec struct rt_spec s = { 0 }, back = { 0 };
	cleanup_free char *json = NULL, *again = NULL;
	struct err e;

	eq_int(make(&s, "web",
		    "env = A=1\nmount = /srv:/data:ro\nmount = /tmp:/t\ndns = ::1\n"
		    "rlimit = core=max\nfeature = io_uring\nfeature = nesting\n", &debian, &e), 0,
	       "it is made");
	/* A command's words may hold anything but NUL. */
	strv_add(&s.argv, "echo \"a\"\n\tb");
	json = rt_spec_format(&s);
	if (!ok(json, "it is written"))
		return;
	if (!eq_int(rt_spec_parse(&back, json, strlen(json), &e), 0, "and read"))
		return diag("%s\n%s", e.msg, json);
	again = rt_spec_format(&back);
	eq_str(again, json, "with everything in it");
	eq_str(back.argv.item[2], "echo \"a\"\n\tb", "words stay as they are");
	eq_int(back.features, RT_FEATURE_IO_URING | RT_FEATURE_NESTING, "features");
	ok(!back.migratable, "cannot move");
	eq_int(back.mount_count, 2, "mounts");
	ok(back.mounts[0].read_only && !back.mounts[1].read_only, "read-only");
	eq_int(back.stop_signal, s.stop_signal, "signal");
	eq_str(back.root.lower, s.root.lower, "root");
}

/* A good spec's JSON with one member replaced (NULL: taken out); `in_root`: of its root. */
static int parse_with(const char *member, const char *value, bool in_root, struct err *e)
{
	cleanup_spec struct rt_spec s = { 0 }, back = { 0 };
	cleanup_free char *json = NULL, *changed = NULL;
	json_t *j, *o;
	int r;

	if (make(&s, "web", "", &debian, e) < 0)
		return -1000;
	json = rt_spec_format(&s);
	j = json_loads(json, 0, NULL);
	o = in_root ? json_object_get(j, "root") : j;
	if (value)
		json_object_set_new(o, member, json_loads(value, JSON_DECODE_ANY, NULL));
	else
		json_object_del(o, member);
	changed = json_dumps(j, 0);
	json_decref(j);
	r = rt_spec_parse(&back, changed, strlen(changed), e);
	if (r < 0 && (back.argv.count || back.mounts || back.name[0]))
		return -1001;
	return r;
}

/* What an older vpsd may not have written, and a VPS starts the same without. */
static const char *const optional[] = { "pool4", "pool6", "arriving", "tty", "user", "cwd", "features", "mounts",
					"dns", "search", "may_ignore" };

static bool is_optional(const char *member)
{
	for (size_t i = 0; i < ARRAY_SIZE(optional); i++)
		if (STREQ(optional[i], member))
			return true;
	return false;
}

TEST(json_missing)
{
	cleanup_spec struct rt_spec s = { 0 };
	cleanup_free char *json = NULL;
	const char *key;
	json_t *j, *v;
	struct err e;

	eq_int(make(&s, "web", "", &debian, &e), 0, "it is made");
	json = rt_spec_format(&s);
	j = json_loads(json, 0, NULL);
	json_object_foreach(j, key, v) {
		int r = parse_with(key, NULL, false, &e);

		if (is_optional(key))
			eq_int(r, 0, "without %s it is taken", key);
		else
			ok(r == -EINVAL && e.code == ERR_USAGE && strstr(e.msg, key) &&
			   strstr(e.msg, "is missing"), "without %s it is refused by name", key);
		ok(parse_with(key, json_is_integer(v) ? "\"x\"" : "42", false, &e) == -EINVAL,
		   "%s of another type is refused", key);
		ok(parse_with(key, "null", false, &e) == -EINVAL, "so is null");
	}
	json_decref(j);
}

TEST(json_from_another_version)
{
	cleanup_spec struct rt_spec s = { 0 };
	cleanup_free char *json = NULL, *newer = NULL;
	json_t *j, *list;
	struct err e;

	eq_int(make(&s, "web", "", &debian, &e), 0, "it is made");
	json = rt_spec_format(&s);
	rt_spec_done(&s);
	j = json_loads(json, 0, NULL);
	list = json_object_get(j, "may_ignore");
	ok(list, "it says what may be ignored");
	json_object_set_new(j, "future", json_pack("{s:[i]}", "x", 1));
	newer = json_dumps(j, 0);
	ok(rt_spec_parse(&s, newer, strlen(newer), &e) < 0, "an unknown member is refused");
	eq_str(e.msg, "spec: unknown member future", "by name");
	eq_str(e.hint, "vpsd is newer than vps-monitor: install both", "and what to do");
	free(newer);
	json_array_append_new(list, json_string("future"));
	newer = json_dumps(j, 0);
	eq_int(rt_spec_parse(&s, newer, strlen(newer), &e), 0, "unless it may be ignored");
	json_object_set_new(json_object_get(j, "root"), "future", json_true());
	free(newer);
	newer = json_dumps(j, 0);
	rt_spec_done(&s);
	ok(rt_spec_parse(&s, newer, strlen(newer), &e) < 0, "which counts for its own level only");
	json_decref(j);
}

TEST(json_refused)
{
	static const struct {
		const char *member, *value;
		bool in_root;
	} rows[] = {
		{ "extra", "1" },
		{ "extra", "1", true },
		{ "name", "\"../x\"" },
		{ "name", "\"\"" },
		{ "uuid", "\"01234567-89AB-4cde-8f01-23456789abcd\"" },
		{ "hostname", "\"a b\"" },
		{ "hostname", "\"a\\nb\"" },
		{ "run_dir", "\"run\"" },
		{ "run_dir", "\"/run/../etc\"" },
		{ "run_dir", "\"/\"" },
		{ "lib_dir", "\"\"" },
		{ "cgroup_parent", "\"\"" },
		{ "cgroup_parent", "\"/vps\"" },
		{ "cgroup_parent", "\"a/../../b\"" },
		{ "cgroup_parent", "\"a b\"" },
		{ "pool4", "\"10.0.0.0/33\"" },
		{ "pool4", "\"fd00::/64\"" },
		{ "pool6", "\"fd00::/48\"" },
		{ "id_base", "0", true },
		{ "id_base", "65535", true },
		{ "id_base", "-1", true },
		{ "id_base", "4294967295", true },
		{ "id_base", "4294901760", true },
		{ "id_count", "0", true },
		{ "id_count", "4294967296", true },
		{ "dir", "\"root\"", true },
		{ "lower", "\"/a/./b\"", true },
		{ "backend", "\"../overlay\"", true },
		{ "backend", "\"a-name-of-sixteen\"", true },
		{ "argv", "[]" },
		{ "argv", "[\"\"]" },
		{ "argv", "[\"init\"]" },
		{ "argv", "[\"/init\", 1]" },
		{ "env", "[\"A\"]" },
		{ "env", "[\"=A\"]" },
		{ "user", "\"-u\"" },
		{ "user", "\"a:\"" },
		{ "user", "\":0\"" },
		{ "user", "\"0:0:0\"" },
		{ "user", "\"../a\"" },
		{ "cwd", "\"tmp\"" },
		{ "stop_signal", "0" },
		{ "stop_signal", "65" },
		{ "stop_timeout_us", "-1" },
		{ "stop_timeout_us", "1.5" },
		{ "features", "[\"magic\"]" },
		{ "features", "[\"io_uring\"]" }, /* migratable is true */
		{ "migratable", "1" },
		{ "mounts", "[\"/a\"]" },
		{ "mounts", "[\"/a:/proc\"]" },
		{ "mounts", "[\"/a:/b/../c\"]" },
		{ "dns", "[\"localhost\"]" },
		{ "search", "[\"a b\"]" },
		{ "rlimits", "[\"nofile=2:1\"]" },
		{ "limits", "[[\"hostname\", \"x\"]]" },
		{ "limits", "[[\"cpu.weight\"]]" },
		{ "limits", "[[\"cpu.weight\", \"0\"]]" },
		{ "limits", "[[\"cpu.weight\", \"\"]]" },
		{ "limits", "[[\"cpu.weight\", \"1\", \"2\"]]" },
		{ "limits", "{}" },
	};
	static const struct {
		const char *member, *value;
		bool in_root;
	} good[] = {
		{ "cgroup_parent", "\"system.slice/vpsd.service\"" },
		{ "pool4", "\"none\"" },
		{ "pool6", "\"fd00::/64\"" },
		{ "id_base", "4294901759", true },
		{ "user", "\"www-data\"" },
		{ "user", "\"1000:1000\"" },
		{ "lower", "\"\"", true },
		{ "argv", "[\"/init\", \"\"]" },
	};
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ok(parse_with(rows[i].member, rows[i].value, rows[i].in_root, &e) < 0 &&
		   strncmp(e.msg, "spec: ", 6) == 0,
		   "%s: %s is refused (%s)", rows[i].member, rows[i].value, e.msg);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		eq_int(parse_with(good[i].member, good[i].value, good[i].in_root, &e), 0,
		       "%s: %s is taken (%s)", good[i].member, good[i].value, e.msg);
}

TEST(json_garbage)
{
	static const char *const rows[] = { "", "x", "[]", "{}", "1", "{", "{}{}", "\"\033[2J\"",
					    "{\"name\":\"a\",\"name\":\"b\"}",
					    "{\"name\":\"a\\u0000b\"}", "{\"name\":\"\xff\"}" };
	struct rt_spec s;
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		ok(rt_spec_parse(&s, rows[i], strlen(rows[i]), &e) < 0 && e.code == ERR_USAGE,
		   "row %zu is refused", i);
		ok(str_is_printable(e.msg), "in clean words");
	}
	ok(rt_spec_parse(&s, "{}", RT_SPEC_MAX + 1, &e) < 0, "a longer one is refused unread");
}
