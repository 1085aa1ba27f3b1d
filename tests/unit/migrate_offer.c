/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Offers that no source of ours makes. */
#include "migrate/internal.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

static struct err e;

static struct mig_offer stream(void)
{
	struct mig_offer o = { .mode = MIG_STREAM, .id = "0c6d1b3e-0000-4000-8000-000000000001", .name = "web1",
			       .from = "web1", .has_template = true, .template.name = "busybox" };

	memset(o.template.digest, 'a', 64);
	mig_offer_host(&o);
	return o;
}

static int parse(const struct mig_offer *o)
{
	json_t *j = mig_offer_format(o);
	struct mig_offer back;
	int r = mig_offer_parse(j, &back, &e);

	if (r == 0)
		mig_offer_done(&back);
	json_decref(j);
	return r;
}

TEST(streams)
{
	struct mig_offer o = stream();

	eq_int(parse(&o), 0, "a stream");
	o.dry_run = true;
	ok(parse(&o) < 0, "one that asks only would hear nothing");
	o.mode = MIG_MOVE;
	eq_int(parse(&o), 0, "a move may");
}

TEST(no_ids)
{
	char lib[] = "/tmp/test-offer-XXXXXX", vps[64];
	struct mig_channel c = { .in = -EBADF, .out = -EBADF };
	struct mig_in i = { .channel = &c, .offer = stream(), .lib = mkdtemp(lib), .config = "",
			    .obstacles = json_array() };

	snprintf(vps, sizeof(vps), "%s/vps", lib);
	if (mkdir(vps, 0700) < 0)
		abort();
	ok(mig_in_run(&i, &e) < 0, "nothing is received for which there are no ids");
	eq_str(e.msg, "web1 has no ids here", "and that is why");
	json_decref(i.obstacles);
	mig_channel_done(&c);
	rmdir(vps);
	rmdir(lib);
}
