/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What the VPSs use, read from their control groups and links at the moment of the call; and what
 * they have ever used (counters.h). A VPS costs some 0.3 ms, so those of a whole host are read a few
 * at a time, with the loop in between.
 */
#include "base/macro.h"
#include "base/parse.h"
#include "base/proc.h"
#include "cgroup/stats.h"
#include "runtime/network.h"
#include "supervisor/counters.h"
#include "supervisor/daemon.h"
#include "supervisor/network.h"

#include <fcntl.h>

#define AT_ONCE 8 /* VPSs between two looks at the loop */

static bool has_groups(const struct sup_vps *v)
{
	return v->pid > 0 && (v->state == SUP_RUNNING || v->state == SUP_PAUSED || v->state == SUP_SAVING ||
			      v->state == SUP_STOPPING);
}

static int host_of(struct cgroup_host *h, struct err *e)
{
	cleanup_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return proc < 0 ? err_sys(e, "open /proc") : cgroup_host_read(h, proc, e);
}

static struct cgroup group_of(const struct sup_vps *v, const struct cgroup_host *h)
{
	struct cgroup c = { .host = h };

	snprintf(c.parent, sizeof(c.parent), "%s", v->d->root.tag);
	snprintf(c.name, sizeof(c.name), "%s", v->name);
	return c;
}

static void put(json_t *j, const char *key, uint64_t v)
{
	json_object_set_new(j, key, json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v));
}

/* No limit is null. */
static void put_limit(json_t *j, const char *key, uint64_t v)
{
	json_object_set_new(j, key, v == UINT64_MAX ? json_null() : json_integer((json_int_t)v));
}

/* --- the parts ---------------------------------------------------------------------------------- */

static json_t *cpu_json(const struct sup_vps *v, const struct cgroup_stats *s)
{
	uint64_t max = config_number(&v->config, "cpu.max");
	json_t *j = json_object();

	put(j, "usage_usec", s->cpu_usage_us);
	put(j, "user_usec", s->cpu_user_us);
	put(j, "system_usec", s->cpu_system_us);
	put(j, "throttled_usec", s->cpu_throttled_us);
	put(j, "throttled_periods", s->cpu_throttled_periods);
	put(j, "weight", config_number(&v->config, "cpu.weight"));
	json_object_set_new(j, "max", max == PARSE_MAX ? json_null() :
							 json_real((double)max / 1000));
	return j;
}

static json_t *memory_json(const struct sup_vps *v, const struct cgroup_stats *s,
			   const struct cgroup_counters *b)
{
	json_t *j = json_object();

	put(j, "current", s->memory_current);
	put(j, "peak", s->memory_peak);
	put(j, "cache", s->memory_cache);
	put(j, "anon", s->memory_anon);
	if (s->known & CGROUP_STAT_SWAP)
		put(j, "swap", s->memory_swap);
	put(j, "max_hits", s->memory_max_hits);
	put(j, "oom_kills", s->oom_kills);
	put_limit(j, "max", b->row[CGROUP_BEAN_MEMORY].limit);
	put_limit(j, "high", config_number(&v->config, "memory.high"));
	put_limit(j, "low", config_number(&v->config, "memory.low"));
	put_limit(j, "min", config_number(&v->config, "memory.min"));
	if (b->row[CGROUP_BEAN_SWAP].known)
		put_limit(j, "swap_max", b->row[CGROUP_BEAN_SWAP].limit);
	return j;
}

static json_t *pids_json(const struct cgroup_stats *s, const struct cgroup_counters *b)
{
	json_t *j = json_object();

	put(j, "current", s->pids_current);
	put(j, "peak", s->pids_peak);
	put(j, "refused", s->pids_refused);
	put_limit(j, "max", b->row[CGROUP_BEAN_PIDS].limit);
	return j;
}

static json_t *io_json(const struct sup_vps *v, const struct cgroup_stats *s)
{
	json_t *j = json_object();

	put(j, "read_bytes", s->io.read_bytes);
	put(j, "write_bytes", s->io.write_bytes);
	put(j, "read_ops", s->io.read_ops);
	put(j, "write_ops", s->io.write_ops);
	put_limit(j, "read", config_number(&v->config, "io.read"));
	put_limit(j, "write", config_number(&v->config, "io.write"));
	return j;
}

static json_t *stall_json(const struct cgroup_stall *s)
{
	return json_pack("{s:f, s:f, s:f, s:I}", "avg10", s->avg10 / 100.0, "avg60",
			 s->avg60 / 100.0, "avg300", s->avg300 / 100.0, "total_usec",
			 (json_int_t)s->total_us);
}

static void put_pressure(json_t *j, const char *key, const struct cgroup_pressure *p)
{
	if (p->known)
		json_object_set_new(j, key, json_pack("{s:o, s:o}", "some", stall_json(&p->some),
						      "full", stall_json(&p->full)));
}

static json_t *pressure_json(const struct cgroup_stats *s)
{
	json_t *j = json_object();

	put_pressure(j, "cpu", &s->cpu_pressure);
	put_pressure(j, "memory", &s->memory_pressure);
	put_pressure(j, "io", &s->io_pressure);
	return j;
}

/* NULL when it has no links of its own that could be counted. */
static json_t *net_json(const struct sup_vps *v)
{
	const char *uuid = config_get(&v->config, "uuid");
	struct rt_network n;
	struct netns_stat s;
	struct err ignored;
	json_t *j = NULL;

	if (rt_network_parse(&n, network_host(v->d), v->name, uuid ? uuid : "", &v->config,
			     &ignored) < 0)
		return NULL;
	if (!rt_network_is_host(&n) && n.vps.if_count &&
	    netns_vps_stat(&n.host, &n.vps, &s, &ignored) == 0) {
		j = json_object();
		put(j, "rx_bytes", s.rx_bytes);
		put(j, "tx_bytes", s.tx_bytes);
		put(j, "rx_packets", s.rx_packets);
		put(j, "tx_packets", s.tx_packets);
		put(j, "rx_dropped", s.rx_dropped);
		put(j, "tx_dropped", s.tx_dropped);
		put(j, "spoofed_packets", s.spoofed_packets);
		put(j, "refused_packets", s.refused_packets);
	}
	rt_network_done(&n);
	return j;
}

static void put_part(json_t *j, const char *key, json_t *part)
{
	if (part)
		json_object_set_new(j, key, part);
}

/* ERR_STATE when it has ended meanwhile. */
static int stats_json(const struct sup_vps *v, const struct cgroup_host *h, json_t **ret,
		      struct err *e)
{
	struct cgroup c = group_of(v, h);
	struct cgroup_counters b = { 0 };
	struct cgroup_stats s;
	uint64_t now = now_boottime_us();
	json_t *j;
	int r;

	r = cgroup_stats_read(&c, &s, e);
	if (r == 0)
		r = cgroup_counters_update(&b, &c, e); /* for the limits that the kernel holds */
	if (r < 0)
		return r;
	j = json_pack("{s:s, s:s, s:I, s:f}", "name", v->name, "state", sup_state_name(v->state),
		      "time_usec", (json_int_t)now, "uptime_s",
		      (double)(now - v->started_us) / 1e6);
	put_part(j, "cpu", s.known & CGROUP_STAT_CPU ? cpu_json(v, &s) : NULL);
	put_part(j, "memory", s.known & CGROUP_STAT_MEMORY ? memory_json(v, &s, &b) : NULL);
	put_part(j, "pids", s.known & CGROUP_STAT_PIDS ? pids_json(&s, &b) : NULL);
	put_part(j, "io", s.known & CGROUP_STAT_IO ? io_json(v, &s) : NULL);
	put_part(j, "net", net_json(v));
	put_part(j, "pressure", s.cpu_pressure.known || s.memory_pressure.known ||
				s.io_pressure.known ? pressure_json(&s) : NULL);
	*ret = j;
	return 0;
}

/* --- the methods -------------------------------------------------------------------------------- */

void method_stats(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Stats");
	struct cgroup_host h;
	json_t *j = NULL;
	struct err e;
	int r;

	if (!v)
		return;
	if (!has_groups(v)) {
		err_set(&e, ERR_STATE, "it is not running");
		method_fail(c, "stats", v->name, &e);
		return;
	}
	r = host_of(&h, &e);
	if (r == 0)
		r = stats_json(v, &h, &j, &e);
	if (r < 0)
		method_fail(c, "stats", v->name, &e);
	else
		server_reply(c, json_pack("{s:o}", "stats", j), NULL, 0);
}

struct gathering {
	struct server_call *call;
	struct sup_daemon *d;
	sd_event_source *source;
	struct cgroup_host host;
	json_t *list;
	char last[64]; /* VPSs come and go between two rounds: they are sorted by name */
};

static struct sup_vps *next_vps(const struct gathering *g)
{
	for (size_t i = 0; i < g->d->count; i++)
		if (strcmp(g->d->vps[i]->name, g->last) > 0)
			return g->d->vps[i];
	return NULL;
}

static int gather(sd_event_source *s, void *userdata)
{
	struct gathering *g = userdata;
	struct sup_vps *v = NULL;
	struct err ignored;

	for (int n = 0; n < AT_ONCE && (v = next_vps(g)); n++) {
		json_t *j;

		snprintf(g->last, sizeof(g->last), "%s", v->name);
		if (has_groups(v) && may(call_uid(g->call), v, "Stats", &ignored) == 0 &&
		    stats_json(v, &g->host, &j, &ignored) == 0)
			json_array_append_new(g->list, j);
	}
	if (v)
		return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	sd_event_source_disable_unref(g->source);
	server_reply(g->call, json_pack("{s:o}", "stats", g->list), NULL, 0);
	free(g);
	return 0;
}

void method_stats_all(struct server_call *c, void *userdata)
{
	struct gathering *g = calloc(1, sizeof(*g));
	struct sup_daemon *d = userdata;
	struct err e;
	int r;

	r = g ? host_of(&g->host, &e) : err_code(&e, -ENOMEM, "stats");
	if (r == 0) {
		g->call = c;
		g->d = d;
		g->list = json_array();
		r = sd_event_add_defer(d->event, &g->source, gather, g);
		if (r < 0) {
			err_code(&e, r, "stats");
			json_decref(g->list);
		}
	}
	if (r >= 0)
		return;
	free(g);
	server_fail(c, &e);
}

void method_counters(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Counters");
	json_t *list = json_array();
	struct cgroup_counters b;
	struct cgroup_host h;
	struct cgroup group;
	struct err ignored;
	char dir[512];

	if (!v) {
		json_decref(list);
		return;
	}
	counters_load(host_root_lib(&v->d->root, v->name, dir), &b);
	if (has_groups(v) && host_of(&h, &ignored) == 0) {
		group = group_of(v, &h);
		cgroup_counters_update(&b, &group, &ignored);
	}
	for (int i = 0; i < CGROUP_BEAN_COUNT; i++) {
		const struct cgroup_counter *r = &b.row[i];
		json_t *j;

		if (!r->known && !r->limit && !r->maxheld && !r->failcnt)
			continue; /* nothing on this host counts it */
		j = json_pack("{s:s}", "name", cgroup_bean_name(i));
		put(j, "held", has_groups(v) ? r->held : 0);
		put(j, "maxheld", r->maxheld);
		put_limit(j, "limit", r->limit);
		put(j, "failcnt", r->failcnt);
		json_array_append_new(list, j);
	}
	server_reply(c, json_pack("{s:o}", "counters", list), NULL, 0);
}
