/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/hostroot.h"

#include "base/macro.h"
#include "tests/unit/tap.h"

TEST(the_default)
{
	struct host_root r;
	struct err e;
	char buf[512];

	eq_int(host_root_init(&r, NULL, &e), 0, "no directory given");
	eq_str(r.lib, "/var/lib/vps", "lib");
	eq_str(r.run, "/run/vps", "run");
	eq_str(r.tag, "vps", "tag");
	eq_str(host_root_lib(&r, "web", buf), "/var/lib/vps/vps/web", "lib of a VPS");
	eq_str(host_root_run(&r, "web", buf), "/run/vps/vps/web", "run of a VPS");
}

TEST(another)
{
	struct host_root r, same;
	struct err e;

	eq_int(host_root_init(&r, "/a", &e), 0, "an absolute path");
	eq_str(r.lib, "/a/lib", "lib");
	eq_str(r.tag, "vps-70d2182d", "the tag is the one that the tests look for");
	eq_int(host_root_init(&same, "/a///", &e), 0, "final slashes");
	eq_str(same.tag, r.tag, "do not make another host");
}

TEST(by_another_name)
{
	char dir[] = "/tmp/vps-hostroot-XXXXXX", name[128];
	struct host_root r, same;
	struct err e;

	if (!ok(mkdtemp(dir) != NULL, "a directory"))
		return;
	snprintf(name, sizeof(name), "%s/link", dir);
	eq_int(symlink(dir, name), 0, "a link to it");
	eq_int(host_root_init(&r, dir, &e), 0, "directly");
	eq_int(host_root_init(&same, name, &e), 0, "through the link");
	eq_str(same.tag, r.tag, "is the same host");
	eq_str(same.run, r.run, "with the same socket");
	unlink(name);
	rmdir(dir);
}

TEST(too_long)
{
	char path[300];
	struct host_root r;
	struct err e;

	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[200] = '\0';
	eq_int(host_root_init(&r, path, &e), 0, "200 bytes");
	path[200] = 'a';
	path[201] = '\0';
	ok(host_root_init(&r, path, &e) < 0, "201 bytes");
	eq_int(e.code, ERR_USAGE, "is a usage error");
}
