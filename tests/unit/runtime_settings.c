/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/settings.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"
#include "runtime/value.h"
#include "tests/unit/tap.h"

/* The row as it will be once it is built. */
static struct setting built(const char *name)
{
	const struct setting *s = setting_lookup(name);
	struct setting copy = { 0 };

	if (s) {
		copy = *s;
		copy.flags &= ~(unsigned)SETTING_LATER;
	}
	return copy;
}

struct row {
	const char *name, *value;
	const char *msg; /* NULL: good, and `number` is its value */
	const char *hint;
	uint64_t number;
};

static void walk(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct setting s = built(rows[i].name);
		struct err e = { 0 };
		int r;

		if (!ok(s.name, "%s is in the table", rows[i].name))
			continue;
		r = setting_check(&s, rows[i].value, &e);
		if (!rows[i].msg) {
			eq_int(r, 0, "%s takes %s (%s)", s.name, rows[i].value, e.msg);
			if (r == 0 && rows[i].number)
				ok(setting_number(&s, rows[i].value) == rows[i].number,
				   "%s: %s is %" PRIu64, s.name, rows[i].value, rows[i].number);
			continue;
		}
		ok(r < 0 && e.code == ERR_USAGE, "%s refuses %s", s.name, rows[i].value);
		eq_str(e.msg, rows[i].msg, "and says why");
		if (rows[i].hint)
			eq_str(e.hint, rows[i].hint, "and what would do");
	}
}

TEST(table)
{
	for (size_t i = 0; i < settings_count; i++) {
		struct setting s = settings[i];
		struct err e;

		ok(s.name && s.name[0] && s.help && s.help[0], "row %zu has a name and help", i);
		ok(s.help[strlen(s.help) - 1] != '.', "%s: help has no full stop", s.name);
		ok(strlen(s.help) < 90, "%s: help is one line", s.name);
		ok(setting_lookup(s.name) == &settings[i], "%s is there once", s.name);
		ok(!s.option || setting_lookup(s.option) == &settings[i], "%s: so is its option",
		   s.name);
		ok(strspn(s.name, "abcdefghijklmnopqrstuvwxyz.-") == strlen(s.name),
		   "%s is made of a-z, dots and hyphens", s.name);
		s.flags &= ~(unsigned)SETTING_LATER;
		ok(!s.def || setting_check(&s, s.def, &e) == 0, "%s: its default is a value",
		   s.name);
		ok(s.type != SETTING_ENUM || s.values, "%s: an enum has values", s.name);
		ok(s.type != SETTING_STRING || s.values, "%s: a string shows what it is like",
		   s.name);
		ok(s.type == SETTING_STRING || !s.check, "%s: only strings have a check", s.name);
		ok(!(s.flags & SETTING_KEYED) || s.flags & SETTING_LIST, "%s: keyed is a list",
		   s.name);
		ok(s.type == SETTING_STRING || !(s.flags & SETTING_LIST), "%s: lists are strings",
		   s.name);
	}
}

TEST(numbers)
{
	static const struct row rows[] = {
		{ "memory.max", "512M", NULL, NULL, 512 << 20 },
		{ "memory.max", "1.5GiB", NULL, NULL, 1536 << 20 },
		{ "memory.max", "max", NULL, NULL, PARSE_MAX },
		{ "memory.max", "12Q", "memory.max: 12Q is not a size",
		  "for example 512M, 2GiB or max" },
		{ "memory.max", "512", "memory.max: 512 is too small",
		  "at least 1M; a number without a unit is bytes" },
		{ "memory.max", "4K", "memory.max: 4K is too small", "at least 1M" },
		{ "memory.max", "-1", "memory.max: -1 is not a size", NULL },
		{ "memory.max", "99999999999999999999G",
		  "memory.max: 99999999999999999999G is too large", "" },
		{ "memory.max", "16000000000T", "memory.max: 16000000000T is too large", NULL },
		{ "memory.max", "", "memory.max: the value is empty", NULL },
		{ "memory.max", "1\nG",
		  "memory.max: the value has control characters or is not UTF-8", NULL },
		{ "memory.max", "1\xffG",
		  "memory.max: the value has control characters or is not UTF-8", NULL },
		{ "memory.swap", "0", NULL, NULL, 0 },
		{ "cpu.max", "1.5", NULL, NULL, 1500 },
		{ "cpu.max", "50%", NULL, NULL, 500 },
		{ "cpu.max", "max", NULL, NULL, PARSE_MAX },
		{ "cpu.max", "max%", "cpu.max: max% is not a number of CPUs", NULL },
		{ "cpu.max", "0.05%", "cpu.max: 0.05% is not a number of CPUs", NULL },
		{ "cpu.max", "%", "cpu.max: % is not a number of CPUs",
		  "for example 0.5, 2, 150% or max" },
		{ "cpu.max", "0.001", "cpu.max: 0.001 is too small", "at least 0.01" },
		{ "cpu.max", "9000", "cpu.max: 9000 is too large", "at most 8192" },
		{ "cpu.max", "two", "cpu.max: two is not a number of CPUs", NULL },
		{ "cpu.weight", "10000", NULL, NULL, 10000 },
		{ "cpu.weight", "50%", NULL, NULL, 50 },
		{ "io.weight", "200%", NULL, NULL, 200 },
		{ "cpu.weight", "%", "cpu.weight: % is not a whole number", "from 1 to 10000" },
		{ "cpu.weight", "0.5%", "cpu.weight: 0.5% is not a whole number", "from 1 to 10000" },
		{ "cpu.weight", "20000%", "cpu.weight: 20000% is too large", "from 1 to 10000" },
		{ "cpu.weight", "0", "cpu.weight: 0 is too small", "from 1 to 10000" },
		{ "cpu.weight", "10001", "cpu.weight: 10001 is too large", "from 1 to 10000" },
		{ "cpu.weight", "max", "cpu.weight: max is not a whole number", "from 1 to 10000" },
		{ "pids.max", "max", NULL, NULL, PARSE_MAX },
		{ "pids.max", "0", "pids.max: 0 is too small", "from 1 to 4194304 or max" },
		{ "pids.max", "1.5", "pids.max: 1.5 is not a whole number", NULL },
		{ "io.read", "10MiB/s", NULL, NULL, 10 << 20 },
		{ "io.read", "10MiB/h", "io.read: 10MiB/h is not a rate",
		  "for example 500K, 10MiB/s or max" },
		{ "io.read", "10", "io.read: 10 is too small",
		  "at least 4K; a number without a unit is bytes a second" },
		{ "stop.timeout", "2m", NULL, NULL, 120000000 },
		{ "stop.timeout", "30", NULL, NULL, 30000000 },
		{ "stop.timeout", "0", NULL, NULL, 0 },
		{ "stop.timeout", "max", "stop.timeout: max is not a duration",
		  "for example 500ms, 30s or 5m" },
		{ "stop.timeout", "3 weeks", "stop.timeout: 3 weeks is not a duration", NULL },
		{ "stop.timeout", "2d", "stop.timeout: 2d is too large", "at most 1d 0h" },
		{ "autostart", "yes", NULL, NULL, 1 },
		{ "autostart", "off", NULL, NULL, 0 },
		{ "autostart", "maybe", "autostart: maybe is not yes or no", "" },
		{ "restart", "always", NULL, NULL, 0 },
		{ "restart", "sometimes",
		  "restart: sometimes is not no, on-failure or always", "" },
		{ "restart", "no|always",
		  "restart: no|always is not no, on-failure or always", "" },
	};

	walk(rows, ARRAY_SIZE(rows));
}

TEST(strings)
{
	static const struct row rows[] = {
		{ "hostname", "web1" },
		{ "hostname", "web-1.example.com" },
		{ "hostname", "1" },
		{ "hostname", "web1.", "hostname: web1. is not a host name", NULL },
		{ "hostname", "-web", "hostname: -web is not a host name", NULL },
		{ "hostname", "web-.com", "hostname: web-.com is not a host name", NULL },
		{ "hostname", "a..b", "hostname: a..b is not a host name", NULL },
		{ "hostname", "under_score", "hostname: under_score is not a host name", NULL },
		{ "hostname", "a123456789b123456789c123456789d123456789e123456789f123456789wxyz",
		  "hostname: the value is too long (64 bytes, at most 63)", NULL },
		{ "description", "Grüße, 100 %" },
		{ "description", " x", "description: the value begins or ends with a blank", NULL },
		{ "init", "/sbin/init --log-level debug" },
		{ "init", "init", "init: init is not a command with an absolute path", NULL },
		{ "init", "/", "init: / is not a command with an absolute path", NULL },
		{ "init", "/../init", "init: /../init is not a command with an absolute path",
		  NULL },
		{ "env", "A=" },
		{ "env", "_A1=b=c d" },
		{ "env", "1A=b", "env: 1A=b is not NAME=VALUE", NULL },
		{ "env", "A", "env: A is not NAME=VALUE", NULL },
		{ "env", "=b", "env: =b is not NAME=VALUE", NULL },
		{ "env", "A-B=c", "env: A-B=c is not NAME=VALUE", NULL },
		{ "mount", "/srv:/data" },
		{ "mount", "/srv:/data:ro" },
		{ "mount", "/:/host:ro" },
		{ "mount", "/srv:/dev/shm/x" },
		{ "mount", "/srv:/processes" },
		{ "mount", "/srv",
		  "mount: /srv is not HOST:GUEST[:ro], two absolute paths without ..", NULL },
		{ "mount", "/srv:/data:rx",
		  "mount: /srv:/data:rx is not HOST:GUEST[:ro], two absolute paths without ..",
		  NULL },
		{ "mount", "srv:/data",
		  "mount: srv:/data is not HOST:GUEST[:ro], two absolute paths without ..", NULL },
		{ "mount", "/srv:/a/../b",
		  "mount: /srv:/a/../b is not HOST:GUEST[:ro], two absolute paths without ..",
		  NULL },
		{ "mount", "/srv:/a//b",
		  "mount: /srv:/a//b is not HOST:GUEST[:ro], two absolute paths without ..", NULL },
		{ "mount", "/srv:/", "mount: /srv:/: nothing can be mounted at / inside", NULL },
		{ "mount", "/srv:/proc/1",
		  "mount: /srv:/proc/1: nothing can be mounted at /proc/1 inside", NULL },
		{ "mount", "/srv:/sys", "mount: /srv:/sys: nothing can be mounted at /sys inside",
		  NULL },
		{ "feature", "io_uring" },
		{ "feature", "nesting" },
		{ "feature", "bpf", "feature: bpf is not a feature",
		  "io_uring, landlock, nesting, socketcall or userfaultfd" },
		{ "rlimit", "nofile=1024:524288" },
		{ "rlimit", "memlock=64M" },
		{ "rlimit", "core=0:max" },
		{ "rlimit", "nofile=2:1", "rlimit: nofile=2:1: soft is above hard", NULL },
		{ "rlimit", "nofile=64M",
		  "rlimit: nofile=64M is not NAME=SOFT[:HARD] of a resource limit", NULL },
		{ "rlimit", "files=1",
		  "rlimit: files=1 is not NAME=SOFT[:HARD] of a resource limit", NULL },
		{ "rlimit", "nofile",
		  "rlimit: nofile is not NAME=SOFT[:HARD] of a resource limit", NULL },
		{ "rlimit", "nofile=1:2:3",
		  "rlimit: nofile=1:2:3 is not NAME=SOFT[:HARD] of a resource limit", NULL },
		{ "dns", "192.0.2.53" },
		{ "dns", "2001:db8::53" },
		{ "dns", "192.0.2.300", "dns: 192.0.2.300 is not an IP address", NULL },
		{ "dns", "192.0.2.53/24", "dns: 192.0.2.53/24 is not an IP address", NULL },
		{ "stop.signal", "SIGRTMIN+3" },
		{ "stop.signal", "15" },
		{ "stop.signal", "SIGNONE", "stop.signal: SIGNONE is not a signal", NULL },
		{ "stop.signal", "0", "stop.signal: 0 is not a signal", NULL },
		{ "cpu.pin", "0-3,8" },
		{ "cpu.pin", "3-0", "cpu.pin: 3-0 is not a list of CPUs", NULL },
		{ "cpu.pin", "0,", "cpu.pin: 0, is not a list of CPUs", NULL },
		{ "cpu.pin", "0-", "cpu.pin: 0- is not a list of CPUs", NULL },
		{ "cpu.pin", "9000", "cpu.pin: 9000 is not a list of CPUs", NULL },
		{ "device", "/dev/fuse" },
		{ "device", "/dev/nvme1n1:r" },
		{ "device", "/dev/../etc/x", "device: /dev/../etc/x is not a device", NULL },
		{ "device", "/dev/fuse:x", "device: /dev/fuse:x is not a device", NULL },
		{ "device", "/etc/passwd", "device: /etc/passwd is not a device", NULL },
		{ "net", "name=eth0,mode=bridge,ip=10.20.0.5/24,gw=10.20.0.1" },
		{ "net", "mode=routed,ip=2001:db8::5/64,mac=02:00:00:aa:bb:cc,rate=10MiB/s" },
		{ "net", "mode=tap", "net: mode=tap is unknown", NULL },
		{ "net", "name=a/b", "net: name=a/b: not the name of an interface", NULL },
		{ "net", "colour=red", "net: colour is no key of a network interface", NULL },
		{ "publish", "8080:80" },
		{ "publish", "8080:80/udp" },
		{ "publish", "192.0.2.1:8080:80/tcp" },
		{ "publish", "[2001:db8::1]:8080:80/tcp" },
		{ "publish", "80", "publish: 80 is not a port to publish", NULL },
		{ "publish", "0:80", "publish: 0:80 is not a port to publish", NULL },
		{ "publish", "8080:65536",
		  "publish: 8080:65536 is not a port to publish", NULL },
		{ "publish", "8080:80/sctp",
		  "publish: 8080:80/sctp is not a port to publish", NULL },
		{ "net.allow", "db1" },
		{ "net.allow", "db1:5432/tcp" },
		{ "net.allow", "192.0.2.0/24" },
		{ "net.allow", "host:53/udp" },
		{ "net.allow", "Not A Name",
		  "net.allow: Not A Name is not the name of a VPS, an address or host", NULL },
	};

	walk(rows, ARRAY_SIZE(rows));
}

TEST(find)
{
	static const struct {
		const char *name, *hint;
	} rows[] = {
		{ "memory.mx", "did you mean memory.max?" },
		{ "meomry.max", "did you mean memory.max?" },
		{ "memory-max", "did you mean memory.max?" },
		{ "hostnam", "did you mean hostname?" },
		{ "cpu", "did you mean cpus?" },
		{ "mem.max", "did you mean memory.max?" },
		{ "zzzzzzzzzzzzzz", "vps.conf(5) lists them" },
	};
	char longname[400], msg[500];
	struct err e;

	eq_str(setting_find("memory.max", &e)->name, "memory.max", "by name");
	eq_str(setting_find("ram", &e)->name, "memory.max", "by option");
	eq_str(setting_find("cpus", &e)->name, "cpu.max", "by option");
	eq_str(setting_find("onboot", &e)->name, "autostart", "by option");
	ok(!setting_find("foo.bar", &e), "foo.bar is none");
	eq_str(e.msg, "unknown setting foo.bar", "and says so");
	eq_int(e.code, ERR_USAGE, "as a usage error");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		snprintf(msg, sizeof(msg), "unknown setting %s", rows[i].name);
		ok(!setting_find(rows[i].name, &e), "%s is none", rows[i].name);
		eq_str(e.msg, msg, "and says so");
		eq_str(e.hint, rows[i].hint, "and what was meant");
	}
	memset(longname, 'm', sizeof(longname) - 1);
	longname[sizeof(longname) - 1] = '\0';
	ok(!setting_find(longname, &e), "a long name is none");
	ok(!setting_find("", &e), "nor is an empty one");
	ok(!setting_find("a\033[31m", &e) && str_is_printable(e.msg), "escapes are not printed");
}

TEST(later)
{
	size_t seen = 0;
	struct err e;

	for (size_t i = 0; i < settings_count; i++) {
		const struct setting *s = &settings[i];

		if (!(s->flags & SETTING_LATER) || !s->def)
			continue;
		seen++;
		ok(setting_check(s, s->def, &e) < 0 && e.code == ERR_UNSUPPORTED, "%s is refused",
		   s->name);
		ok(strstr(e.msg, ": not built yet"), "%s says not built yet", s->name);
		ok(s->type == SETTING_BOOL ||
			   (setting_check(s, "12Q", &e) < 0 && e.code == ERR_USAGE),
		   "%s: a bad value is refused as such", s->name);
	}
	if (!seen)
		skip("everything is built");
}

TEST(rlimits)
{
	struct rlimit l;
	struct err e;
	int res = -1;

	eq_int(rt_rlimit_parse("nofile=1024:524288", &res, &l, &e), 0, "soft and hard");
	ok(res == RLIMIT_NOFILE && l.rlim_cur == 1024 && l.rlim_max == 524288, "both are taken");
	eq_int(rt_rlimit_parse("memlock=64M", &res, &l, &e), 0, "one for both");
	ok(res == RLIMIT_MEMLOCK && l.rlim_cur == 64 << 20 && l.rlim_max == 64 << 20, "in bytes");
	eq_int(rt_rlimit_parse("core=0:max", &res, &l, &e), 0, "without end");
	ok(l.rlim_cur == 0 && l.rlim_max == RLIM_INFINITY, "is RLIM_INFINITY");
	ok(rt_rlimit_parse("nofile=184467440737095516160", &res, &l, &e) < 0,
	   "a huge number is not");
	ok(rt_rlimit_parse("nofile=18446744073709551615", &res, &l, &e) < 0,
	   "nor is the one that would mean infinity");
}

TEST(features)
{
	eq_int(rt_feature_find("io_uring"), RT_FEATURE_IO_URING, "io_uring");
	eq_int(rt_feature_find("IO_URING"), 0, "case counts");
	eq_str(rt_feature_name(RT_FEATURE_NESTING), "nesting", "nesting");
}
