/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/proc.h"
#include "base/str.h"

#include <fcntl.h>
#include <inttypes.h>

/* What starts a VPS without anybody asking: the restart policy, and autostart. */

#define DELAY_MAX_US (300 * 1000000ULL)  /* unless restart.delay itself is longer */
#define STEADY_US (60 * 1000000ULL)      /* one that ran so long begins anew */

bool policy_is_failure(const struct sup_end *end)
{
	if (STREQ(end->how, "exited"))
		return end->value != 0;
	return !STREQ(end->how, "poweroff");
}

uint64_t policy_delay(uint64_t delay_us, unsigned failures)
{
	uint64_t max = delay_us > DELAY_MAX_US ? delay_us : DELAY_MAX_US;

	for (; failures > 0 && delay_us < max; failures--)
		delay_us *= 2;
	return delay_us < max ? delay_us : max;
}

void policy_cancel(struct sup_vps *v)
{
	v->restart = sd_event_source_disable_unref(v->restart);
}

static void try_start(struct sup_vps *v);

static int on_restart(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct sup_vps *v = userdata;

	(void)s;
	(void)usec;
	policy_cancel(v);
	v->restarts++;
	log_info("%s: restarted by its policy (%s)", v->name, config_get(&v->config, "restart"));
	try_start(v);
	return 0;
}

static bool wants_restart(const struct sup_vps *v, const struct sup_end *end)
{
	const char *policy = config_get(&v->config, "restart");

	/* A reboot that was not carried through is what the tenant asked for, policy or not. */
	if (STREQ(end->how, "reboot"))
		return true;
	if (!policy || STREQ(policy, "no"))
		return false;
	return STREQ(policy, "always") || policy_is_failure(end);
}

static void schedule(struct sup_vps *v)
{
	uint64_t max = config_number(&v->config, "restart.max");
	uint64_t delay = policy_delay(config_number(&v->config, "restart.delay"), v->failures);

	if (v->failures >= max) {
		snprintf(v->end.error, sizeof(v->end.error), "given up after %u restart%s",
			 v->failures, str_s(v->failures));
		log_warn("%s: %s", v->name, v->end.error);
		event_emit(v->d, "failed", v->name, v->end.error);
		vps_save_end(v);
		v->failures = 0;
		return;
	}
	v->failures++;
	policy_cancel(v);
	if (sd_event_add_time_relative(v->d->event, &v->restart, CLOCK_MONOTONIC, delay, 0, on_restart,
				       v) < 0)
		log_error("%s: cannot be restarted: out of memory", v->name);
}

/* A start that fails at once counts as one that failed later. */
static void try_start(struct sup_vps *v)
{
	struct err e;

	if (vps_check(v, SUP_EV_START, "start", &e) < 0)
		return;
	if (vps_start(v, NULL, &e) == 0) {
		v->unattended = true;
		return;
	}
	log_error("%s", e.msg);
	snprintf(v->end.error, sizeof(v->end.error), "%.500s", e.msg);
	event_emit(v->d, "failed", v->name, e.msg);
	v->end.at = now_realtime_us() / 1000000;
	snprintf(v->end.how, sizeof(v->end.how), "failed");
	vps_save_end(v);
	if (wants_restart(v, &v->end))
		schedule(v);
}

void policy_ended(struct sup_vps *v, const struct sup_end *end)
{
	if (v->started_us && now_boottime_us() - v->started_us > STEADY_US)
		v->failures = 0;
	v->started_us = 0;
	if (wants_restart(v, end))
		schedule(v);
}

/* Autostart: once a boot of the host, in the order of autostart.order, then by name. */
struct autostart {
	struct sup_daemon *d;
	sd_event_source *timer;
	char (*names)[64];
	size_t count, at;
	char boot[37];
};

void autostart_done(struct sup_daemon *d)
{
	if (!d->autostart)
		return;
	sd_event_source_disable_unref(d->autostart->timer);
	free(d->autostart->names);
	free(d->autostart);
	d->autostart = NULL;
}

/* Written last: a vpsd that dies in the middle has the next one start what is left. */
static void record_boot(struct autostart *a)
{
	cleanup_close int fd = open(a->d->root.run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : fd_replace_file_at(fd, "boot", a->boot, 36, 0600, false);

	if (r < 0)
		log_warn("write %s/boot: %s", a->d->root.run, strerrordesc_np(-r));
}

static int autostart_next(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct autostart *a = userdata;
	struct sup_daemon *d = a->d;
	struct sup_vps *v;
	uint64_t delay = 0;

	(void)s;
	(void)usec;
	if (a->at == a->count) {
		record_boot(a);
		autostart_done(d);
		return 0;
	}
	v = vps_find(d, a->names[a->at++]);
	if (v && (v->state == SUP_STOPPED || v->state == SUP_SUSPENDED)) {
		delay = config_number(&v->config, "autostart.delay");
		log_info("%s: started with the host", v->name);
		try_start(v);
	}
	a->timer = sd_event_source_disable_unref(a->timer);
	sd_event_add_time_relative(d->event, &a->timer, CLOCK_MONOTONIC, delay, 0, autostart_next, a);
	return 0;
}

static int by_order(const void *a, const void *b)
{
	const struct sup_vps *x = *(struct sup_vps *const *)a, *y = *(struct sup_vps *const *)b;
	uint64_t ox = config_number(&x->config, "autostart.order");
	uint64_t oy = config_number(&y->config, "autostart.order");

	if (ox != oy)
		return ox < oy ? -1 : 1;
	return strcmp(x->name, y->name);
}

static bool boot_is_new(const struct sup_daemon *d, const char *boot)
{
	cleanup_close int fd = open(d->root.run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_free char *text = NULL;

	return fd < 0 || fd_read_file_at(fd, "boot", 64, &text, NULL) < 0 || !STREQ(text, boot);
}

void autostart_begin(struct sup_daemon *d)
{
	cleanup_free struct sup_vps **list = calloc(d->count + 1, sizeof(struct sup_vps *));
	struct autostart *a = calloc(1, sizeof(*a));

	if (a)
		a->names = calloc(d->count + 1, sizeof(*a->names));
	if (!list || !a || !a->names || proc_boot_id(a->boot) < 0 || !boot_is_new(d, a->boot)) {
		if (a)
			free(a->names);
		free(a);
		return;
	}
	a->d = d;
	d->autostart = a;
	for (size_t i = 0; i < d->count; i++)
		if (config_number(&d->vps[i]->config, "autostart"))
			list[a->count++] = d->vps[i];
	qsort(list, a->count, sizeof(*list), by_order);
	for (size_t i = 0; i < a->count; i++)
		snprintf(a->names[i], sizeof(a->names[i]), "%s", list[i]->name);
	sd_event_add_time_relative(d->event, &a->timer, CLOCK_MONOTONIC, 0, 0, autostart_next, a);
}
