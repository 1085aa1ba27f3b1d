/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/worker.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/parse.h"
#include "migrate/move.h"
#include "netns/hold.h"
#include "supervisor/jobs.h"
#include "supervisor/suspend.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * The ends of a move: what is sent comes from and goes to the two fds that came with the job. For one
 * that runs vpsd's words come by a third; at the destination the image goes into a fourth.
 */
enum {
	FD_WORD = WORKER_FD_FIRST + 2,
	FD_IMAGE,
};

#define PIPE_SIZE (1 << 20)

static int is_cancelled(void)
{
	return worker_cancelled();
}

/* In the pause a tenant waits for us; others that keep the host busy are not to make it longer. */
static void hurry(void)
{
	setpriority(PRIO_PROCESS, 0, -10);
}

static void channel_init(struct mig_channel *c, json_t *job)
{
	*c = (struct mig_channel){ .in = WORKER_FD_FIRST, .out = WORKER_FD_FIRST + 1,
				   .peer = job_text(job, "peer"), .cancelled = is_cancelled,
				   .timeout_ms = 120000 };
	/* Of 64 KiB each end would wait for the other after every frame. Where they are no pipes there is no harm. */
	fcntl(c->in, F_SETPIPE_SZ, PIPE_SIZE);
	fcntl(c->out, F_SETPIPE_SZ, PIPE_SIZE);
}

/* A round is told of in full; pieces of files ten times a second. */
static int tell(void *ctx, const struct mig_status *s)
{
	if (!s->round)
		return worker_progress(ctx, s->stage, s->done, s->total);
	worker_say(json_pack("{s:{s:s, s:I, s:I, s:i, s:I, s:I, s:i}}", "progress", "stage", s->stage,
			     "done", (json_int_t)s->done, "total", (json_int_t)s->total, "round",
			     (int)s->round, "remaining", (json_int_t)s->remaining, "predicted_us",
			     (json_int_t)s->predicted_us, "throttled", (int)s->throttled));
	return worker_cancelled();
}

/* What the destination says, as a line of ours; or the end that has failed says it. */
static json_t *report(const struct mig_record *r, json_t *obstacles)
{
	json_t *j = json_pack("{s:{s:I, s:I, s:I, s:I}}", "report", "pause_us",
			      (json_int_t)r->pause_us, "total_us", (json_int_t)r->total_us, "rounds",
			      (json_int_t)r->rounds, "bytes", (json_int_t)r->bytes);

	if (obstacles)
		json_object_set(j, "obstacles", obstacles);
	return j;
}

static int take_template(json_t *job, struct mig_offer *o, struct err *e)
{
	if (o->mode == MIG_ASK)
		return 0;
	return storage_template_find(job_text(job, "lib"), job_text(job, "template"),
				     job_text(job, "digest"), &o->template, e);
}

static int fill_offer(json_t *job, struct mig_offer *o, struct err *e)
{
	int mode = mig_mode_find(job_text(job, "mode"));

	if (mode < 0)
		return err_set(e, ERR_USAGE, "%s is no way to move", job_text(job, "mode"));
	*o = (struct mig_offer){ .mode = (enum mig_mode)mode };
	o->dry_run = json_is_true(json_object_get(job, "dry_run"));
	o->has_template = json_is_true(json_object_get(job, "with_template"));
	snprintf(o->id, sizeof(o->id), "%s", job_text(job, "id"));
	snprintf(o->from, sizeof(o->from), "%s", job_text(job, "name"));
	o->resume = json_is_true(json_object_get(job, "resume"));
	snprintf(o->name, sizeof(o->name), "%s", job_text(job, "new_name"));
	o->config = strdup(job_text(job, "config"));
	return o->config ? take_template(job, o, e) : err_code(e, -ENOMEM, "make an offer");
}

/* vpsd's word, which it always gives: what we hold must not go on before. Its end is our own. */
static bool hear_word(int sock)
{
	char word = 0;

	while (read(sock, &word, 1) < 0 && errno == EINTR)
		;
	return word == 'c';
}

static int hold(void *ctx, struct err *e)
{
	(void)ctx;
	worker_say(json_pack("{s:{s:s}}", "prepared", "stage", "commit"));
	/* Why not vpsd knows better. */
	return hear_word(FD_WORD) ? 0 : err_set(e, ERR_FAIL, "it was not given up");
}

static int open_source(json_t *job, struct mig_source *s, struct err *e)
{
	int r = mig_source_open(s, job_text(job, "run_dir"),
				(pid_t)json_integer_value(json_object_get(job, "pid")),
				(uint64_t)json_integer_value(json_object_get(job, "start")), e);

	s->max_pause_us = (uint64_t)json_integer_value(json_object_get(job, "max_pause_us"));
	s->paused = json_is_true(json_object_get(job, "paused"));
	s->max_rounds = (unsigned)json_integer_value(json_object_get(job, "max_rounds"));
	s->hold = hold;
	return r;
}

static int fill_channel(json_t *job, struct mig_channel *c, const struct mig_offer *o, struct err *e)
{
	int encoding = mig_encoding_find(job_text(job, "compress"));

	if (encoding < 0)
		return err_set(e, ERR_USAGE, "%s is no compression", job_text(job, "compress"));
	channel_init(c, job);
	c->encoding = (enum mig_encoding)encoding;
	c->rate = (uint64_t)json_integer_value(json_object_get(job, "bandwidth"));
	if (o->mode == MIG_STREAM)
		c->in = -EBADF;
	return 0;
}

/* What it is suspended in. */
static int open_image(json_t *job, int *ret, struct err *e)
{
	char path[512];

	if (!json_is_true(json_object_get(job, "suspended")))
		return 0;
	snprintf(path, sizeof(path), "%s/vps/%s/" SUSPEND_IMAGE, job_text(job, "lib"), job_text(job, "name"));
	*ret = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return *ret < 0 ? err_sys(e, "open its image") : 0;
}

int worker_move_out(json_t *job, json_t **ret, struct err *e)
{
	struct mig_channel c = { .in = -EBADF, .out = -EBADF };
	struct mig_out o = { .channel = &c, .lib = job_text(job, "lib"), .image = -EBADF, .tell = tell };
	struct mig_source source = { .pidfd = -EBADF };
	int r = fill_offer(job, &o.offer, e);

	fd_limit_raise(); /* one for each process, and those of a network's switches */
	o.id_base = (uint32_t)json_integer_value(json_object_get(job, "id_base"));
	o.keep = json_is_true(json_object_get(job, "keep"));
	if (r == 0)
		r = fill_channel(job, &c, &o.offer, e);
	if (r == 0 && json_object_get(job, "pid")) {
		hurry();
		r = open_source(job, &source, e);
		o.live = &source;
		o.offer.paused = source.paused;
	}
	if (r == 0)
		r = open_image(job, &o.image, e);
	if (r == 0)
		r = mig_out_run(&o, e);
	if (r == 0) {
		*ret = report(&o.report, o.obstacles);
		if (o.offer.mode == MIG_ASK)
			json_object_set_new(*ret, "taken", json_boolean(o.taken));
	}
	fd_close(&o.image);
	mig_out_done(&o);
	mig_source_done(&source);
	mig_channel_done(&c);
	return r;
}

/* Whether this host took a migration over: a source that is in doubt asks. */
static int answer(struct mig_channel *c, json_t *job, const char *id, struct err *e)
{
	json_t *busy;
	size_t i;
	int r;

	json_array_foreach(json_object_get(job, "busy"), i, busy)
		if (STREQ(json_string_value(busy), id))
			return err_set(e, ERR_STATE, "that migration is still under way");
	r = mig_taken_has(job_text(job, "lib"), id, e);
	if (r >= 0)
		r = mig_send_json(c, MIG_ANSWER, json_pack("{s:b}", "taken", r), e);
	return r < 0 ? r : mig_flush(c, e);
}

/* Reads what is offered, and no byte more: vpsd decides, and another job goes on. */
int worker_move_offer(json_t *job, json_t **ret, struct err *e)
{
	struct mig_offer o = { 0 };
	struct mig_channel c;
	json_t *j = NULL;
	int r;

	channel_init(&c, job);
	r = mig_recv_json(&c, MIG_HELLO, &j, e);
	if (r == -EPIPE && c.received == 0) {
		/* The other end has thought better of it. */
		*ret = json_pack("{s:n}", "offer");
		mig_channel_done(&c);
		return 0;
	}
	if (r == 0)
		r = mig_offer_parse(j, &o, e);
	if (r == 0 && o.mode == MIG_ASK)
		r = answer(&c, job, o.id, e);
	/* An error that came from there is known there; who does not speak our language reads none. */
	if (r < 0 && r != -EREMOTEIO && c.greeted && o.mode != MIG_STREAM)
		mig_send_error(&c, e);
	if (r == 0)
		*ret = json_pack("{s:O}", "offer", j);
	json_decref(j);
	mig_offer_done(&o);
	mig_channel_done(&c);
	return r;
}

/* The answer to what was said: "c", or the error as JSON. */
static int hear_answer(struct err *e)
{
	char text[2048];
	ssize_t n;
	json_t *j;

	do
		n = read(FD_WORD, text, sizeof(text));
	while (n < 0 && errno == EINTR && !worker_cancelled());
	if (n == 1 && text[0] == 'c')
		return 0;
	if (n <= 0)
		return err_set(e, ERR_CANCELLED, "cancelled");
	j = json_loadb(text, (size_t)n, 0, NULL);
	err_set(e, ERR_FAIL, "%.900s", job_text(j, "error"));
	if (*job_text(j, "hint"))
		err_hint(e, "%.200s", job_text(j, "hint"));
	json_decref(j);
	return -EIO;
}

static int on_image(void *ctx, struct err *e)
{
	int r;

	(void)ctx;
	worker_say(json_pack("{s:{s:s}}", "prepared", "stage", "image"));
	r = hear_answer(e);
	return r < 0 ? r : FD_IMAGE;
}

static int on_complete(void *ctx, struct err *e)
{
	(void)ctx;
	close(FD_IMAGE);
	return hear_answer(e);
}

/* vpsd says nothing from then on but that its monitor died. */
static int on_standing(void *ctx, struct err *e)
{
	struct pollfd p = { .fd = FD_WORD, .events = POLLIN };

	(void)ctx;
	return poll(&p, 1, 0) > 0 ? hear_answer(e) : 0;
}

static int on_ours(void *ctx, struct err *e)
{
	(void)ctx;
	worker_say(json_pack("{s:{s:s}}", "prepared", "stage", "commit"));
	return hear_answer(e);
}

/* Sockets to the interfaces of the VPS, opened when the first frame comes. */
struct links {
	json_t *job;
	struct rt_network network;
	bool tried, there;
	int fd[NETNS_IF_MAX];
};

static void open_links(struct links *l)
{
	const char *config = job_text(l->job, "config");
	const char *pool4 = job_text(l->job, "pool4"), *pool6 = job_text(l->job, "pool6");
	struct netns_host host;
	struct config c = { 0 };
	struct err e;

	l->tried = true;
	if (netns_host_init(&host, job_text(l->job, "tag"), *pool4 ? pool4 : NULL, *pool6 ? pool6 : NULL, &e) < 0 ||
	    config_parse(&c, config, strlen(config), "config", &e) < 0)
		return;
	l->there = rt_network_parse(&l->network, &host, job_text(l->job, "name"),
				    config_get(&c, "uuid") ?: "", &c, &e) == 0;
	for (unsigned i = 0; l->there && i < l->network.vps.if_count; i++)
		l->fd[i] = netns_hold_socket(&host, &l->network.vps, i, &e);
	config_done(&c);
}

static void on_frame(void *ctx, unsigned i, const void *frame, size_t len)
{
	struct links *l = ctx;

	if (!l->tried)
		open_links(l);
	if (l->there && i < l->network.vps.if_count && l->fd[i] >= 0)
		(void)!write(l->fd[i], frame, len);
}

static void close_links(struct links *l)
{
	for (size_t i = 0; l->there && i < l->network.vps.if_count; i++)
		fd_close(&l->fd[i]);
	if (l->there)
		rt_network_done(&l->network);
}

static int open_image_file(void *ctx, int dir, struct err *e)
{
	int fd = openat(dir, SUSPEND_IMAGE, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	(void)ctx;
	return fd < 0 ? err_sys(e, "make its image") : fd;
}

static int on_suspended(void *ctx, int dir, const struct ckpt_facts *f, uint64_t bytes, struct err *e)
{
	json_t *record = json_pack("{s:s, s:I, s:I}", "id", f->id, "at",
				   (json_int_t)(f->realtime_ns / 1000000000), "bytes", (json_int_t)bytes);
	int r = record ? suspend_commit(dir, record, e) : err_set(e, ERR_FAIL, "its image has no name");

	(void)ctx;
	json_decref(record);
	return r;
}

int worker_move_in(json_t *job, json_t **ret, struct err *e)
{
	static const struct mig_arrival arrival = { on_image, on_complete, on_standing, on_ours, on_frame, open_image_file,
						    on_suspended };
	struct links links = { .job = job };
	struct mig_channel c;
	struct mig_in i = { .channel = &c, .lib = job_text(job, "lib"), .tell = tell, .ctx = &links };
	int r;

	hurry();
	channel_init(&c, job);
	c.greeted = true; /* worker_move_offer() has read the first frame */
	c.received_count = 1;
	i.config = job_text(job, "config");
	i.id_base = (uint32_t)json_integer_value(json_object_get(job, "id_base"));
	i.obstacles = json_object_get(job, "obstacles");
	i.arrival = &arrival;
	r = mig_offer_parse(json_object_get(job, "offer"), &i.offer, e);
	if (r == 0) {
		snprintf(i.offer.name, sizeof(i.offer.name), "%s", job_text(job, "name"));
		r = mig_in_run(&i, e);
	}
	if (r >= 0 || i.told) {
		/* The source tells its user; here it is no news. */
		*ret = report(&i.report, NULL);
		json_object_set_new(*ret, "received", json_boolean(r == 0));
		json_object_set_new(*ret, "error", json_string(r < 0 ? e->msg : "") ?: json_string("?"));
		r = 0;
	}
	close_links(&links);
	mig_offer_done(&i.offer);
	mig_channel_done(&c);
	return r;
}

int worker_move_recover(json_t *job, json_t **ret, struct err *e)
{
	int r = mig_in_recover(job_text(job, "lib"), job_text(job, "name"), job_text(job, "id"), e);

	if (r >= 0)
		*ret = json_pack("{s:b}", "received", r);
	return r < 0 ? r : 0;
}
