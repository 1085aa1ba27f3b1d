/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench_netns start [N]   what giving a VPS its network costs, for the first and the Nth
 * bench_netns rules [N]   the same for a change of its rules
 * bench_netns shape       rates that TCP gets through the shaping, each way, and after a change
 * bench_netns speed       TCP between a VPS and the host, against the host's loopback
 *
 * In network namespaces of its own; needs root.
 */
#include "tests/unit/netns_lab.h"

#include "base/proc.h"

#include <inttypes.h>
#include <pthread.h>
#include <time.h>

static struct netns_host host;

static void must(int r, const struct err *e)
{
	if (r >= 0)
		return;
	fprintf(stderr, "%s\n", e->msg);
	exit(1);
}

/* Of each step both: what it took, and what of that the kernel worked for us. */
struct sample {
	uint64_t wall, cpu;
};

static uint64_t cpu_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static struct sample since(struct sample s)
{
	return (struct sample){ now_monotonic_us() - s.wall, cpu_us() - s.cpu };
}

static struct sample now(void)
{
	return (struct sample){ now_monotonic_us(), cpu_us() };
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static struct sample median(const struct sample *s, size_t n)
{
	uint64_t wall[64], cpu[64];

	for (size_t i = 0; i < n; i++) {
		wall[i] = s[i].wall;
		cpu[i] = s[i].cpu;
	}
	qsort(wall, n, sizeof(*wall), by_number);
	qsort(cpu, n, sizeof(*cpu), by_number);
	return (struct sample){ wall[n / 2], cpu[n / 2] };
}

static void show(const char *what, const struct sample *s, size_t n)
{
	size_t k = n < 40 ? n : 40;
	struct sample first = median(s, k), last = median(s + n - k, k);

	printf("%-9s median of the first %zu: %5" PRIu64 " us (cpu %5" PRIu64
	       "), of the last: %5" PRIu64 " us (cpu %5" PRIu64 ")\n",
	       what, k, first.wall, first.cpu, last.wall, last.cpu);
}

static struct lab_vps *start(size_t n, struct sample *up)
{
	struct lab_vps *t = calloc(n, sizeof(*t));
	struct netns_addr *used = calloc(2 * n, sizeof(*used));
	struct err e = { 0 };

	for (size_t i = 0; i < n; i++) {
		char a4[64], a6[64], net[256];
		struct sample at;

		must(netns_pool_take(&host, AF_INET, used, 2 * i, &used[2 * i], &e), &e);
		must(netns_pool_take(&host, AF_INET6, used, 2 * i, &used[2 * i + 1], &e), &e);
		snprintf(net, sizeof(net), "ip=%s,ip=%s", netns_addr_format(&used[2 * i], a4),
			 netns_addr_format(&used[2 * i + 1], a6));
		lab_vps_init(&t[i], &host, (int)i, net);
		t[i].v.isolate = true;
		at = now();
		must(netns_vps_up(&host, &t[i].v, t[i].ns, &e), &e);
		up[i] = since(at);
	}
	free(used);
	return t;
}

static void bench_start(size_t n)
{
	struct sample *up = calloc(n, sizeof(*up)), *down = calloc(n, sizeof(*down)), at;
	const struct netns_vps **all = calloc(n, sizeof(*all));
	struct lab_vps *t = start(n, up);
	struct err e = { 0 };

	show("up", up, n);
	if (getenv("ONLY_UP"))
		exit(0);
	for (size_t i = 0; i < n; i++)
		all[i] = &t[i].v;
	at = now();
	must(netns_rules_replace(&host, all, n, &e), &e);
	printf("%-10s all %zu in one transaction: %" PRIu64 " us\n", "replace", n, since(at).wall);
	for (size_t i = 0; i < n; i++) {
		at = now();
		must(netns_vps_down(&host, &t[i].v, &e), &e);
		down[i] = since(at);
	}
	show("down", down, n);
}

static void bench_rules(size_t n)
{
	struct sample *up = calloc(n, sizeof(*up)), *us = calloc(n, sizeof(*us));
	struct lab_vps *t = start(n, up);
	struct netns_rule rule[3];
	struct err e = { 0 };

	netns_rule_parse("allow 80/tcp", &rule[0], &e);
	netns_rule_parse("allow 443/tcp", &rule[1], &e);
	netns_rule_parse("deny from 192.0.2.0/24", &rule[2], &e);
	for (size_t i = 0; i < n; i++) {
		struct netns_vps v = t[i].v;
		struct sample at = now();

		v.rules = rule;
		v.rule_count = 3;
		v.closed = true;
		must(netns_vps_change(&host, &t[i].v, &v, -EBADF, &e), &e);
		us[i] = since(at);
	}
	show("firewall", us, n);
}

struct pump {
	int from, to;
	volatile bool stop;
	volatile uint64_t bytes;
};

static void *send_all(void *arg)
{
	static char buf[128 * 1024];
	struct pump *p = arg;

	while (!p->stop && send(p->from, buf, sizeof(buf), MSG_NOSIGNAL) > 0)
		;
	shutdown(p->from, SHUT_WR);
	return NULL;
}

static void *receive_all(void *arg)
{
	static __thread char buf[256 * 1024];
	struct pump *p = arg;
	ssize_t n;

	while ((n = recv(p->to, buf, sizeof(buf), 0)) > 0)
		p->bytes += (uint64_t)n;
	return NULL;
}

/* Bytes a second from one end of a connection to the other, after `settle` ms, for `ms`. */
static double rate(struct pump *p, unsigned settle, unsigned ms)
{
	uint64_t at, bytes;

	usleep(settle * 1000);
	at = now_monotonic_us();
	bytes = p->bytes;
	usleep(ms * 1000);
	return (double)(p->bytes - bytes) * 1e6 / (double)(now_monotonic_us() - at);
}

static void connect_pair(int client_ns, int server_ns, const char *ip, int *client, int *server)
{
	int l = lab_bound(server_ns, SOCK_STREAM, "0.0.0.0", 5001);

	if (lab_connect_ms(client_ns, ip, 5001, 2000, client) < 0)
		exit(1);
	*server = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	fcntl(*client, F_SETFL, 0);
	close(l);
}

static double measure(int from, int to, unsigned ms)
{
	struct pump p = { .from = from, .to = to };
	pthread_t a, b;
	double r;

	pthread_create(&a, NULL, send_all, &p);
	pthread_create(&b, NULL, receive_all, &p);
	r = rate(&p, 1000, ms);
	p.stop = true;
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	return r;
}

static void bench_shape(void)
{
	static const uint64_t rates[] = { 256 << 10, 1 << 20, 10 << 20, 100 << 20 };
	struct lab_vps t;
	struct err e = { 0 };
	int world = lab_world(), c, s;

	lab_vps_init(&t, &host, 1, "ip=10.20.0.5/22");
	must(netns_vps_up(&host, &t.v, t.ns, &e), &e);
	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		double in, out;

		t.ifs[0].rate_in = t.ifs[0].rate_out = rates[i];
		must(netns_vps_shape(&host, &t.v, 0, &e), &e);
		connect_pair(t.ns, world, "198.51.100.2", &c, &s);
		out = measure(c, s, 3000);
		close(c), close(s);
		connect_pair(t.ns, world, "198.51.100.2", &c, &s);
		in = measure(s, c, 3000);
		close(c), close(s);
		printf("%9" PRIu64 " KiB/s: out %.3f, in %.3f of it\n", rates[i] >> 10,
		       out / (double)rates[i], in / (double)rates[i]);
	}
	/* Changed while traffic flows: the first full second after it. */
	connect_pair(t.ns, world, "198.51.100.2", &c, &s);
	{
		struct pump p = { .from = c, .to = s };
		pthread_t a, b;

		pthread_create(&a, NULL, send_all, &p);
		pthread_create(&b, NULL, receive_all, &p);
		rate(&p, 500, 500);
		t.ifs[0].rate_out = 1 << 20;
		must(netns_vps_shape(&host, &t.v, 0, &e), &e);
		printf("from 100 MiB/s to 1 MiB/s: %.3f of it\n", rate(&p, 1000, 1000) / (1 << 20));
		t.ifs[0].rate_out = 50 << 20;
		must(netns_vps_shape(&host, &t.v, 0, &e), &e);
		printf("from 1 MiB/s to 50 MiB/s: %.3f of it\n", rate(&p, 1000, 1000) / (50 << 20));
		p.stop = true;
		pthread_join(a, NULL);
		pthread_join(b, NULL);
	}
	netns_vps_down(&host, &t.v, &e);
}

static void bench_speed(void)
{
	struct lab_vps t;
	struct err e = { 0 };
	int home = lab_open(), c, s;
	int world = lab_world();
	double lo, br, veth;

	lab_vps_init(&t, &host, 1, "ip=10.20.0.5/22");
	must(netns_vps_up(&host, &t.v, t.ns, &e), &e);
	for (int i = 0; i < 3; i++) {
		connect_pair(home, home, "127.0.0.1", &c, &s);
		lo = measure(c, s, 1500);
		close(c), close(s);
		connect_pair(t.ns, home, "10.20.0.1", &c, &s);
		br = measure(c, s, 1500);
		close(c), close(s);
		connect_pair(world, home, "198.51.100.1", &c, &s);
		veth = measure(c, s, 1500);
		close(c), close(s);
		printf("loopback %.2f GiB/s, bare veth %.2f GiB/s, VPS to host %.2f GiB/s: %.3f of veth\n",
		       lo / (1 << 30), veth / (1 << 30), br / (1 << 30), br / veth);
	}
	netns_vps_down(&host, &t.v, &e);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "start";
	size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 300;
	struct err e = { 0 };

	if (!lab_host()) {
		fprintf(stderr, "needs root\n");
		return 1;
	}
	must(netns_host_init(&host, "vps-bench", "10.20.0.0/22", NULL, &e), &e);
	must(netns_host_up(&host, NULL, 0, &e), &e);
	if (STREQ(what, "start"))
		bench_start(n);
	else if (STREQ(what, "rules"))
		bench_rules(n);
	else if (STREQ(what, "shape"))
		bench_shape();
	else if (STREQ(what, "speed"))
		bench_speed();
	else
		return 2;
	must(netns_host_down(&host, &e), &e);
	return 0;
}
