/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/config.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"
#include "tests/unit/tap.h"

#include <fcntl.h>
#include <sys/stat.h>

#define cleanup_config __attribute__((cleanup(config_done)))

static const char sample[] =
	"# web server of the shop\n"
	"\n"
	"uuid = 01234567-89ab-4cde-8f01-23456789abcd\n"
	"id.base=131072\n"
	"\thostname\t=  shop  \n"
	"env = A=1\n"
	"  # a comment between\n"
	"env = B=two words\n"
	"stop.timeout = 5s\n";

static int parse(struct config *c, const char *text, struct err *e)
{
	return config_parse(c, text, strlen(text), "web/config", e);
}

TEST(round_trip)
{
	cleanup_config struct config c = { 0 };
	cleanup_free char *text = NULL;
	struct err e;

	eq_int(parse(&c, sample, &e), 0, "it is read");
	text = config_format(&c);
	eq_str(text, sample, "and written back byte by byte");
	eq_str(config_get(&c, "hostname"), "shop", "blanks around a value are not part of it");
	eq_int(c.lines[4].number, 5, "lines are counted from 1");
}

TEST(empty_and_unfinished)
{
	cleanup_config struct config c = { 0 }, d = { 0 };
	cleanup_free char *text = NULL, *other = NULL;
	struct err e;

	eq_int(parse(&c, "", &e), 0, "an empty file is one");
	text = config_format(&c);
	eq_str(text, "", "and stays empty");
	eq_int(parse(&d, "hostname = a", &e), 0, "the last line needs no newline");
	other = config_format(&d);
	eq_str(other, "hostname = a\n", "it gets one");
}

TEST(get)
{
	cleanup_config struct config c = { 0 };
	struct err e;

	eq_int(parse(&c, sample, &e), 0, "it is read");
	eq_str(config_get(&c, "env"), "A=1", "the first of a list");
	eq_str(config_get_nth(&c, "env", 1), "B=two words", "the second");
	ok(!config_get_nth(&c, "env", 2), "no third");
	ok(config_number(&c, "stop.timeout") == 5000000, "numbers are in the unit");
	ok(config_number(&c, "id.base") == 131072, "records too");
	eq_str(config_get(&c, "restart"), "no", "a default");
	ok(config_number(&c, "restart.delay") == 1000000, "a default's number");
	ok(config_get(&c, "description") == NULL, "unset without default");
	ok(config_number(&c, "created") == 0, "unset number");
	ok(config_get(&c, "no.such") == NULL, "no such key");
	eq_str(config_get(&c, "onboot"), "no", "by option");
}

TEST(refused)
{
	static const struct {
		const char *text, *msg;
		int code;
	} rows[] = {
		{ "hostname = a\nfoo.bar = 1\n",
		  "web/config:2: unknown setting foo.bar", ERR_USAGE },
		{ "\n\nstop.timeout = soon\n", "web/config:3: stop.timeout: soon is not a duration",
		  ERR_USAGE },
		{ "hostname = a\n# x\nhostname = b\n",
		  "web/config:3: hostname is already set in line 1", ERR_USAGE },
		{ "autostart = yes\nonboot = yes\n",
		  "web/config:2: autostart is already set in line 1", ERR_USAGE },
		{ "garbage\n", "web/config:1: garbage is not KEY = VALUE", ERR_USAGE },
		{ "hostname =\n", "web/config:1: hostname: the value is empty", ERR_USAGE },
		{ "= x\n", "web/config:1: a setting's name is missing or has control characters",
		  ERR_USAGE },
		{ "hostname = a\r\n",
		  "web/config:1: control characters or bytes that are not UTF-8", ERR_USAGE },
		{ "# \xc3\x28\n", "web/config:1: control characters or bytes that are not UTF-8",
		  ERR_USAGE },
		{ "# \033[2J\n", "web/config:1: control characters or bytes that are not UTF-8",
		  ERR_USAGE },
		{ "description = a\tb\n", NULL, 0 },
		{ "uuid = 1\n", "web/config:1: uuid: 1 is not a UUID", ERR_USAGE },
		{ "id.base = 0\n", "web/config:1: id.base: 0 is too small", ERR_USAGE },
		{ "id.base = 4294901761\n", "web/config:1: id.base: 4294901761 is too large",
		  ERR_USAGE },
		{ "template = ../x\n", "web/config:1: template: ../x is not a name", ERR_USAGE },
		{ "env = A=1\nenv = A\n", "web/config:2: env: A is not NAME=VALUE", ERR_USAGE },
	};
	struct config c;
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int r = parse(&c, rows[i].text, &e);

		if (!rows[i].msg) {
			eq_int(r, 0, "row %zu is taken", i);
			config_done(&c);
			continue;
		}
		ok(r < 0, "row %zu is refused", i);
		eq_str(e.msg, rows[i].msg, "with file and line");
		eq_int(e.code, rows[i].code, "as a usage error");
		ok(c.count == 0 && !c.lines, "and nothing is kept");
	}
	ok(config_parse(&c, "a\0b", 3, "f", &e) < 0, "a NUL is refused");
	ok(config_parse(&c, sample, CONFIG_MAX + 1, "f", &e) < 0,
	   "a longer file is refused unread");
}

TEST(set)
{
	cleanup_config struct config c = { 0 };
	cleanup_free char *text = NULL;
	struct err e;

	eq_int(parse(&c, sample, &e), 0, "it is read");
	eq_int(config_set(&c, "hostname", "other", &e), 0, "a changed value");
	eq_int(config_set(&c, "onboot", "yes", &e), 0, "a new one, by option");
	eq_int(config_set(&c, "env", "C=3", &e), 0, "an entry more");
	eq_int(config_set(&c, "stop.timeout", NULL, &e), 0, "one less");
	eq_int(config_set(&c, "restart.delay", "", &e), 0, "one that was not there");
	text = config_format(&c);
	eq_str(text,
	       "# web server of the shop\n"
	       "\n"
	       "uuid = 01234567-89ab-4cde-8f01-23456789abcd\n"
	       "id.base=131072\n"
	       "hostname = other\n"
	       "env = A=1\n"
	       "  # a comment between\n"
	       "env = B=two words\n"
	       "env = C=3\n"
	       "autostart = yes\n",
	       "all other lines stay as they were");
}

TEST(set_same_value)
{
	cleanup_config struct config c = { 0 };
	cleanup_free char *text = NULL;
	struct err e;

	eq_int(parse(&c, sample, &e), 0, "it is read");
	eq_int(config_set(&c, "hostname", "shop", &e), 0, "the value that it has");
	text = config_format(&c);
	eq_str(text, sample, "changes nothing, not even blanks");
}

TEST(set_list)
{
	cleanup_config struct config c = { 0 };
	struct err e;

	eq_int(config_set(&c, "dns", "192.0.2.1", &e), 0, "one");
	eq_int(config_set(&c, "dns", "192.0.2.2", &e), 0, "two");
	eq_int(config_set(&c, "dns", "192.0.2.1", &e), 0, "one again");
	eq_int(c.count, 2, "is there once");
	eq_int(config_set(&c, "dns", "-192.0.2.1", &e), 0, "taken out");
	eq_str(config_get(&c, "dns"), "192.0.2.2", "the other stays");
	ok(config_set(&c, "dns", "-192.0.2.9", &e) < 0, "one that is not there");
	eq_str(e.msg, "dns: there is no entry 192.0.2.9", "is said so");
	eq_int(config_set(&c, "dns", NULL, &e), 0, "all out");
	eq_int(c.count, 0, "nothing left");

	eq_int(config_set(&c, "env", "A=1", &e), 0, "a variable");
	eq_int(config_set(&c, "env", "AB=1", &e), 0, "one with a longer name");
	eq_int(config_set(&c, "env", "A=2", &e), 0, "the first again");
	eq_int(c.count, 2, "takes its own place");
	eq_str(config_get_nth(&c, "env", 0), "A=2", "with the new value");
	eq_int(config_set(&c, "env", "-A", &e), 0, "out by its name");
	eq_str(config_get_nth(&c, "env", 0), "AB=1", "the other stays");
	eq_int(config_set(&c, "env", "-AB=1", &e), 0, "out as a whole");
	eq_int(c.count, 0, "nothing left");

	eq_int(config_set(&c, "net", "mode=bridge", &e), 0, "an interface");
	eq_int(config_set(&c, "net", "mode=bridge,name=eth1", &e), 0, "one with a name");
	eq_int(config_set(&c, "net", "name=eth10", &e), 0, "one with a longer name");
	eq_int(config_set(&c, "net", "name=eth0,mode=routed", &e), 0, "the first by its name");
	eq_int(config_set(&c, "net", "name=eth1,mode=routed", &e), 0, "the second again");
	eq_int(c.count, 3, "each takes its own place");
	eq_str(config_get_nth(&c, "net", 0), "name=eth0,mode=routed", "the first");
	eq_str(config_get_nth(&c, "net", 1), "name=eth1,mode=routed", "the second");
	eq_int(config_set(&c, "net", "-eth1", &e), 0, "out by its name");
	ok(config_set(&c, "net", "-eth1", &e) < 0, "once");
	eq_str(config_get_nth(&c, "net", 1), "name=eth10", "the third stays");
}

TEST(set_refused)
{
	cleanup_config struct config c = { 0 };
	cleanup_free char *text = NULL;
	struct err e;

	eq_int(parse(&c, sample, &e), 0, "it is read");
	ok(config_set(&c, "hostname", "a b", &e) < 0 && e.code == ERR_USAGE, "a bad value");
	ok(config_set(&c, "nothing", "1", &e) < 0 && e.code == ERR_USAGE, "an unknown key");
	ok(config_set(&c, "uuid", "x", &e) < 0, "a record");
	eq_str(e.msg, "uuid is set at creation and cannot be changed", "says why");
	ok(config_set(&c, "uuid", NULL, &e) < 0, "nor is it taken out");
	ok(config_set_record(&c, "hostname", "x", &e) < 0, "a setting is no record");
	ok(config_set_record(&c, "uuid", "x", &e) < 0, "a record with a bad value");
	text = config_format(&c);
	eq_str(text, sample, "nothing has changed");
}

TEST(records)
{
	cleanup_config struct config c = { 0 };
	static const char *const rows[][2] = {
		{ "uuid", "01234567-89ab-4cde-8f01-23456789abcd" },
		{ "template", "debian" },
		{ "template.digest",
		  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" },
		{ "backend", "overlay" },
		{ "id.base", "65536" },
		{ "created", "1790000000" },
		{ "ephemeral", "yes" },
	};
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		eq_int(config_set_record(&c, rows[i][0], rows[i][1], &e), 0, "%s is set",
		       rows[i][0]);
		eq_str(config_get(&c, rows[i][0]), rows[i][1], "and read");
		ok(config_is_record(rows[i][0]), "it is a record");
	}
	ok(!config_is_record("hostname"), "hostname is none");
}

TEST(files)
{
	cleanup_config struct config c = { 0 }, d = { 0 }, none = { 0 };
	char dir[] = "/tmp/test-config-XXXXXX";
	cleanup_close int fd = -EBADF;
	cleanup_free char *big = NULL, *text = NULL;
	struct stat st;
	struct err e;

	if (!ok(mkdtemp(dir), "a directory"))
		return;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	eq_int(parse(&c, sample, &e), 0, "it is read");
	umask(022);
	eq_int(config_write(&c, fd, "config", true, &e), 0, "written");
	ok(fstatat(fd, "config", &st, 0) == 0 && (st.st_mode & 07777) == 0600, "mode 0600");
	eq_int(config_read(&d, fd, "config", &e), 0, "read back");
	text = config_format(&d);
	eq_str(text, sample, "the same");
	ok(config_read(&none, fd, "nothing", &e) == -ENOENT, "one that is not there");
	eq_str(e.msg, "read nothing: No such file or directory", "is said so");
	big = malloc(CONFIG_MAX + 1);
	memset(big, '\n', CONFIG_MAX + 1);
	int out = openat(fd, "big", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ok(write(out, big, CONFIG_MAX + 1) == CONFIG_MAX + 1, "a big file");
	close(out);
	ok(config_read(&none, fd, "big", &e) < 0 && e.code == ERR_USAGE, "is refused");
	unlinkat(fd, "big", 0);
	unlinkat(fd, "config", 0);
	rmdir(dir);
}
