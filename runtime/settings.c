/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/settings.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"
#include "runtime/value.h"

#include <inttypes.h>
#include <stdio.h>

#define LIVE SETTING_LIVE
#define LIST SETTING_LIST
#define MAX_OK SETTING_MAX_OK
#define LATER SETTING_LATER
#define LIMIT SETTING_LIMIT
#define KEYED SETTING_KEYED
#define NAMED SETTING_NAMED

#define SECONDS INT64_C(1000000)
#define HOURS (3600 * SECONDS)
#define MEBI INT64_C(1048576)

/* clang-format off */
const struct setting settings[] = {
	{ "hostname", SETTING_STRING, .check = value_hostname, .option = "hostname", .max = 63,
	  .values = "NAME", .help = "Host name inside; the VPS's name when unset" },
	{ "description", SETTING_STRING, LIVE,
	  .values = "TEXT", .help = "A line of text for the administrator" },

	{ "autostart", SETTING_BOOL, LIVE, .def = "no", .option = "onboot",
	  .help = "Start it when vpsd starts" },
	{ "autostart.order", SETTING_INT, LIVE, .def = "100", .min = 0, .max = 9999,
	  .help = "Low numbers start first" },
	{ "autostart.delay", SETTING_DURATION, LIVE, .def = "0s", .min = 0, .max = HOURS,
	  .help = "Wait this long after starting it before the next one" },
	{ "restart", SETTING_ENUM, LIVE, .def = "no", .values = "no|on-failure|always",
	  .help = "Whether to start it again when it has ended by itself" },
	{ "restart.delay", SETTING_DURATION, LIVE, .def = "1s", .min = 0, .max = HOURS,
	  .help = "Wait before the first new start; it doubles with each further one" },
	{ "restart.max", SETTING_INT, LIVE | MAX_OK, .def = "10", .min = 1, .max = 1000000,
	  .help = "Give up after this many starts in a row" },
	{ "stop.timeout", SETTING_DURATION, LIVE, .def = "30s", .min = 0, .max = 24 * HOURS,
	  .help = "How long a clean stop may take before everything is killed" },
	{ "stop.signal", SETTING_STRING, .check = value_signal, .max = 16,
	  .values = "SIGNAL",
	  .help = "Signal to init for a clean stop; the template's when unset" },

	{ "init", SETTING_STRING, .check = value_init, .max = 4095,
	  .values = "COMMAND",
	  .help = "Command of PID 1 and its arguments; the template's when unset" },
	{ "env", SETTING_STRING, LIST | KEYED, .check = value_env, .max = 4095,
	  .values = "NAME=VALUE", .help = "Environment variable of init" },
	{ "mount", SETTING_STRING, LIST, .check = value_mount, .max = 4095,
	  .values = "HOST:GUEST[:ro]", .help = "A path of the host, shown inside" },
	{ "feature", SETTING_STRING, LIST, .check = value_feature, .max = 32,
	  .values = "io_uring|landlock|nesting|socketcall|userfaultfd",
	  .help = "What is refused by default; see FEATURES" },
	{ "rlimit", SETTING_STRING, LIST | KEYED, .check = value_rlimit,
	  .values = "NAME=SOFT[:HARD]",
	  .help = "Resource limit of init, inherited by all (setrlimit(2))" },
	{ "dns", SETTING_STRING, LIST, .check = value_address,
	  .values = "ADDRESS", .help = "Name server; the bridge's, else the host's, when unset" },

	{ "cpu.weight", SETTING_WEIGHT, LIVE | LIMIT, .def = "100", .min = 1, .max = 10000,
	  .help = "Share of the CPU time when the host is busy; 100% is 100" },
	{ "cpu.max", SETTING_MILLI, LIVE | LIMIT | MAX_OK, .def = "max", .option = "cpus",
	  .min = 10, .max = 8192000, .help = "CPUs that it may use, in fractions" },
	{ "cpu.pin", SETTING_STRING, LIVE | LIMIT, .check = value_cpus,
	  .values = "LIST", .help = "CPUs that it may run on" },
	{ "memory.max", SETTING_SIZE, LIVE | LIMIT | MAX_OK, .def = "max", .option = "ram",
	  .min = MEBI, .max = INT64_MAX, .help = "Memory that it may use" },
	{ "memory.high", SETTING_SIZE, LIVE | LIMIT | MAX_OK, .def = "max",
	  .min = MEBI, .max = INT64_MAX,
	  .help = "Memory above which it is slowed and reclaimed from" },
	{ "memory.low", SETTING_SIZE, LIVE | LIMIT | MAX_OK, .def = "0",
	  .min = 0, .max = INT64_MAX,
	  .help = "Memory that is reclaimed only when others have none to spare" },
	{ "memory.min", SETTING_SIZE, LIVE | LIMIT | MAX_OK, .def = "0",
	  .min = 0, .max = INT64_MAX, .help = "Memory that is never reclaimed" },
	{ "memory.swap", SETTING_SIZE, LIVE | LIMIT | MAX_OK, .def = "max",
	  .min = 0, .max = INT64_MAX, .help = "Swap that it may use beside its memory" },
	{ "oom.group", SETTING_BOOL, LIVE | LIMIT, .def = "no",
	  .help = "When memory runs out kill all of it, not one process" },
	{ "pids.max", SETTING_INT, LIVE | LIMIT | MAX_OK, .def = "16384",
	  .min = 1, .max = 4194304, .help = "Processes and threads" },
	{ "hugetlb.max", SETTING_SIZE, LIVE | LIMIT | MAX_OK, .def = "max",
	  .min = 0, .max = INT64_MAX, .help = "Huge pages, of each size" },
	{ "io.weight", SETTING_WEIGHT, LIVE | LIMIT, .def = "100", .min = 1, .max = 10000,
	  .help = "Share of the disk when it is busy; 100% is 100" },
	{ "io.read", SETTING_RATE, LIVE | LIMIT | MAX_OK, .def = "max",
	  .min = 4096, .max = INT64_MAX, .help = "Reading from the disk under its root" },
	{ "io.write", SETTING_RATE, LIVE | LIMIT | MAX_OK, .def = "max",
	  .min = 4096, .max = INT64_MAX, .help = "Writing to the disk under its root" },
	{ "io.read-ops", SETTING_INT, LIVE | LIMIT | MAX_OK, .def = "max",
	  .min = 1, .max = INT32_MAX, .help = "Read operations a second" },
	{ "io.write-ops", SETTING_INT, LIVE | LIMIT | MAX_OK, .def = "max",
	  .min = 1, .max = INT32_MAX, .help = "Write operations a second" },
	{ "device", SETTING_STRING, LIST | LIMIT, .check = value_device,
	  .values = "PATH[:rwm]", .help = "A device of the host that it may use" },

	{ "net", SETTING_STRING, LIVE | LIST | NAMED | LIMIT, .check = value_net, .max = 1023,
	  .values = "name=eth0,mode=bridge,ip=ADDRESS/PREFIX,gw=ADDRESS,mac=MAC,rate=RATE",
	  .help = "A network interface" },
	{ "publish", SETTING_STRING, LIVE | LIST | LIMIT, .check = value_publish,
	  .values = "[ADDRESS:]PORT[-PORT]:PORT[-PORT][/tcp|/udp|/tcp+udp]",
	  .help = "Ports of the host, forwarded to as many inside" },
	{ "firewall", SETTING_STRING, LIVE | LIST | LIMIT, .check = value_firewall,
	  .values = "allow|deny [any|tcp|udp|icmp] [PORT[-PORT]] [from ADDRESS[/PREFIX]]",
	  .help = "A rule for what comes to it; the first that matches wins" },
	{ "firewall.default", SETTING_ENUM, LIVE | LIMIT, .def = "allow", .values = "allow|deny",
	  .help = "What becomes of what no firewall rule matches" },
	{ "net.rate-in", SETTING_RATE, LIVE | LIMIT | MAX_OK, .def = "max",
	  .min = 1024, .max = INT64_MAX, .help = "Traffic to it, on each interface without a rate of its own" },
	{ "net.rate-out", SETTING_RATE, LIVE | LIMIT | MAX_OK, .def = "max",
	  .min = 1024, .max = INT64_MAX, .help = "Traffic from it, on each interface without a rate of its own" },
	{ "net.isolate", SETTING_BOOL, LIVE | LIMIT, .def = "yes",
	  .help = "Keep it from the host's services and from other VPSs" },
	{ "net.allow", SETTING_STRING, LIVE | LIST | LIMIT, .check = value_allow,
	  .values = "NAME|ADDRESS[/PREFIX]|host[:PORT[/tcp|/udp]]",
	  .help = "What it may reach in spite of net.isolate" },
};
/* clang-format on */
const size_t settings_count = ARRAY_SIZE(settings);

/* "150%" without its sign. 0: there is none. */
static int cut_percent(const char *s, char num[32])
{
	size_t len = strlen(s);

	if (len < 2 || s[len - 1] != '%')
		return 0;
	if (len > 32)
		return -ERANGE;
	memcpy(num, s, len - 1);
	num[len - 1] = '\0';
	return 1;
}

/* 150% of a CPU is 1.5 CPUs. */
static int parse_cpus(const char *s, uint64_t *ret)
{
	uint64_t v;
	char num[32];
	int r = cut_percent(s, num);

	if (r <= 0)
		return r < 0 ? r : parse_milli(s, ret);
	r = parse_milli(num, &v);
	if (r < 0)
		return r;
	if (v == PARSE_MAX || v % 100)
		return -EINVAL;
	*ret = v / 100;
	return 0;
}

/* 100% is the weight that one has without being given another. */
static int parse_weight(const char *s, uint64_t *ret)
{
	char num[32];
	int r = cut_percent(s, num);

	return r < 0 ? r : parse_u64(r ? num : s, ret);
}

static int parse_int(const char *s, uint64_t *ret)
{
	if (STREQ(s, "max") || STREQ(s, "unlimited")) {
		*ret = PARSE_MAX;
		return 0;
	}
	return parse_u64(s, ret);
}

static int parse_yes_no(const char *s, uint64_t *ret)
{
	bool b;
	int r = parse_bool(s, &b);

	if (r == 0)
		*ret = b;
	return r;
}

static const char *format_int(uint64_t v, char *buf, size_t size)
{
	snprintf(buf, size, "%" PRIu64, v);
	return buf;
}

static const char *format_milli(uint64_t v, char *buf, size_t size)
{
	snprintf(buf, size, "%" PRIu64 ".%03" PRIu64, v / 1000, v % 1000);
	for (size_t n = strlen(buf); buf[n - 1] == '0' || buf[n - 1] == '.'; n--) {
		bool point = buf[n - 1] == '.';

		buf[n - 1] = '\0';
		if (point)
			break;
	}
	return buf;
}

/* How each type is read, and what is said about a value that is not of it. */
static const struct form {
	int (*parse)(const char *s, uint64_t *ret);
	const char *(*format)(uint64_t v, char *buf, size_t size);
	const char *noun;
	const char *examples, *last_example;
	const char *bare; /* what a number without a unit is, for one that is too small */
} forms[] = {
	[SETTING_BOOL] = { parse_yes_no, NULL, "yes or no", NULL, NULL, NULL },
	[SETTING_INT] = { parse_int, format_int, "a whole number", NULL, NULL, NULL },
	[SETTING_SIZE] = { parse_size, format_size_exact, "a size", "512M", "2GiB",
			   "; a number without a unit is bytes" },
	[SETTING_RATE] = { parse_rate, format_size_exact, "a rate", "500K", "10MiB/s",
			   "; a number without a unit is bytes a second" },
	[SETTING_MILLI] = { parse_cpus, format_milli, "a number of CPUs", "0.5, 2", "150%", NULL },
	[SETTING_WEIGHT] = { parse_weight, format_int, "a whole number", NULL, NULL, NULL },
	[SETTING_DURATION] = { parse_duration, format_duration, "a duration", "500ms, 30s", "5m",
			       NULL },
};

static bool is_whole(const struct setting *s)
{
	return s->type == SETTING_INT || s->type == SETTING_WEIGHT;
}

static int refuse_form(const struct setting *s, const char *value, struct err *e)
{
	const struct form *f = &forms[s->type];
	bool max = s->flags & SETTING_MAX_OK;

	err_set(e, ERR_USAGE, "%s: %.80s is not %s", s->name, value, f->noun);
	if (is_whole(s) && s->max)
		return err_hint(e, "from %" PRId64 " to %" PRId64 "%s", s->min, s->max,
				max ? " or max" : "");
	if (!f->examples)
		return err_errno(ERR_USAGE);
	return err_hint(e, max ? "for example %s, %s or max" : "for example %s or %s", f->examples,
			f->last_example);
}

static int refuse_range(const struct setting *s, const char *value, bool small, struct err *e)
{
	const struct form *f = &forms[s->type];
	char low[32], high[32];

	f->format((uint64_t)s->min, low, sizeof(low));
	f->format((uint64_t)s->max, high, sizeof(high));
	err_set(e, ERR_USAGE, "%s: %.80s is too %s", s->name, value, small ? "small" : "large");
	if (is_whole(s))
		return err_hint(e, "from %s to %s%s", low, high,
				s->flags & SETTING_MAX_OK ? " or max" : "");
	if (small && f->bare && strspn(value, "0123456789") == strlen(value))
		return err_hint(e, "at least %s%s", low, f->bare);
	if (small)
		return err_hint(e, "at least %s", low);
	if (s->max && s->max != INT64_MAX)
		return err_hint(e, "at most %s", high);
	return err_errno(ERR_USAGE);
}

static int check_number(const struct setting *s, const char *value, struct err *e)
{
	uint64_t v;
	int r;

	r = forms[s->type].parse(value, &v);
	if (r == -ERANGE)
		return refuse_range(s, value, false, e);
	if (r < 0)
		return refuse_form(s, value, e);
	if (s->type == SETTING_BOOL)
		return 0;
	if (v == PARSE_MAX)
		return s->flags & SETTING_MAX_OK ? 0 : refuse_form(s, value, e);
	if (v < (uint64_t)s->min)
		return refuse_range(s, value, true, e);
	if (s->max && v > (uint64_t)s->max)
		return refuse_range(s, value, false, e);
	return 0;
}

static int check_enum(const struct setting *s, const char *value, struct err *e)
{
	cleanup_strv struct strv v = { 0 };
	char list[200] = "";

	if (strv_split(&v, s->values, "|") < 0)
		return err_code(e, -ENOMEM, "%s", s->name);
	if (strv_has(&v, value))
		return 0;
	for (size_t i = 0; i < v.count; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s",
			 i == 0 ? "" : i + 1 == v.count ? " or " : ", ", v.item[i]);
	err_set(e, ERR_USAGE, "%s: %.80s is not %s", s->name, value, list);
	return err_errno(ERR_USAGE);
}

static int check_string(const struct setting *s, const char *value, struct err *e)
{
	size_t len = strlen(value), max = s->max ? (size_t)s->max : 255;

	if (len > max)
		return err_set(e, ERR_USAGE, "%s: the value is too long (%zu bytes, at most %zu)",
			       s->name, len, max);
	/* They would be lost in the file, where blanks around a value are not part of it. */
	if (value[0] == ' ' || value[len - 1] == ' ')
		return err_set(e, ERR_USAGE, "%s: the value begins or ends with a blank", s->name);
	if (!s->check)
		return 0;
	if (s->check(value, e) < 0)
		return err_wrap(e, "%s", s->name);
	return 0;
}

int setting_check(const struct setting *s, const char *value, struct err *e)
{
	int r;

	if (!*value)
		return err_set(e, ERR_USAGE, "%s: the value is empty", s->name);
	if (!str_is_printable(value))
		return err_set(e, ERR_USAGE, "%s: the value has control characters or is not UTF-8",
			       s->name);
	if (s->type == SETTING_STRING)
		r = check_string(s, value, e);
	else if (s->type == SETTING_ENUM)
		r = check_enum(s, value, e);
	else
		r = check_number(s, value, e);
	if (r < 0)
		return r;
	if (s->flags & SETTING_LATER)
		return err_set(e, ERR_UNSUPPORTED, "%s: not built yet", s->name);
	return 0;
}

uint64_t setting_number(const struct setting *s, const char *value)
{
	uint64_t v;

	if (s->type >= ARRAY_SIZE(forms) || !forms[s->type].parse ||
	    forms[s->type].parse(value, &v) < 0)
		return 0;
	return v;
}
