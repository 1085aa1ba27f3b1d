/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The destination's answer to an offer: what stands in the way of it here, and whether the template is to come, too. */
#include "migrate/in.h"

#include "base/macro.h"
#include "base/parse.h"
#include "checkpoint/handshake.h"

#include <sys/statvfs.h>

static void check_room(struct mig_in *i, bool template)
{
	uint64_t need = i->offer.bytes + i->offer.entries * 4096 + (template ? i->offer.template.size : 0);
	struct statvfs st;
	uint64_t room;
	char a[32], b[32];

	if (statvfs(i->lib, &st) < 0)
		return;
	room = (uint64_t)st.f_bavail * st.f_frsize;
	if (room < need)
		mig_obstacle(i->obstacles, "there is no room: %s are needed, %s are free",
			 format_size(need, a, sizeof(a)), format_size(room, b, sizeof(b)));
	if (st.f_files && st.f_favail < i->offer.entries)
		mig_obstacle(i->obstacles, "there is no room: %llu files are needed, %llu are free",
			 (unsigned long long)i->offer.entries, (unsigned long long)st.f_favail);
}

bool mig_in_has_template(const struct mig_in *i)
{
	struct storage_template t;
	struct err ignored;

	return storage_template_find(i->lib, i->offer.template.name, i->offer.template.digest, &t,
				     &ignored) == 0;
}

static int answer(struct mig_in *i, bool template, struct err *e)
{
	json_t *j = json_pack("{s:O, s:b, s:b}", "obstacles", i->obstacles, "template", template, "waiting",
			      i->offer.live && ckpt_handshakes_known());
	int r = mig_send_json(i->channel, MIG_ANSWER, j, e);

	return r < 0 ? r : mig_flush(i->channel, e);
}

static int refuse_stream(const struct mig_in *i, struct err *e)
{
	return err_set(e, ERR_STATE, "%.900s", json_string_value(json_array_get(i->obstacles, 0)));
}

int mig_in_agree(struct mig_in *i, struct err *e)
{
	bool here = mig_in_has_template(i), stream = i->offer.mode == MIG_STREAM;
	struct mig_offer us = { 0 };
	int r;

	mig_offer_host(&us);
	if (!STREQ(us.arch, i->offer.arch))
		mig_obstacle(i->obstacles, "this host is %s, the VPS is for %s", us.arch, i->offer.arch);
	if (!here && stream && !i->offer.has_template)
		mig_obstacle(i->obstacles, "template %s with digest %.12s… is not here", i->offer.template.name,
			 i->offer.template.digest);
	check_room(i, !here);
	if (i->offer.live)
		mig_check_live(&i->offer, i->obstacles);
	if (i->offer.image)
		mig_check_image(&i->offer, i->obstacles);
	if (stream)
		return json_array_size(i->obstacles) ? refuse_stream(i, e) : 0;
	r = answer(i, !here, e);
	if (r < 0)
		return r;
	i->told = true;
	return json_array_size(i->obstacles) || i->offer.dry_run ? 1 : 0;
}
