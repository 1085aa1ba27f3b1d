/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * vpsd: one per host and state root. It keeps the list of VPSs, starts a monitor for each that
 * runs, and answers on the control socket. It may be killed at any instant: VPSs go on, the next
 * vpsd finds them by the locks, sockets and records in run/vps.
 */
#include "supervisor/daemon.h"
#include "supervisor/network.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/proc.h"
#include "base/sock.h"
#include "supervisor/protocol/interface.h"
#include "supervisor/spare.h"

#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

struct args {
	const char *root;
	int ready_fd;
};

static struct args args = { .ready_fd = -EBADF };
static bool unlink_socket;

static const char usage[] =
	"Usage: vpsd [--root DIR] [--ready-fd N] [--foreground]\n"
	"The daemon behind vps(1); see vpsd(8).\n"
	"\n"
	"  --root DIR      another state root than /var/lib/vps and /run/vps\n"
	"  --ready-fd N    write a byte there when clients are served\n"
	"  --foreground    accepted; vpsd never leaves the foreground\n"
	"  --version       print the version\n"
	"  --help          print this\n";

static int parse_args(int argc, char **argv, struct err *e)
{
	static const struct option options[] = {
		{ "root", required_argument, NULL, 'r' }, { "ready-fd", required_argument, NULL, 'f' },
		{ "foreground", no_argument, NULL, 'F' }, { "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },       { 0 },
	};
	uint64_t n;
	int c;

	args.root = getenv("VPS_ROOT");
	opterr = 0;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (c == 'r') {
			args.root = optarg;
		} else if (c == 'f') {
			if (parse_u64(optarg, &n) < 0 || n > 65535)
				return err_set(e, ERR_USAGE, "--ready-fd: %s is no fd", optarg);
			args.ready_fd = (int)n;
		} else if (c == 'V' || c == 'h') {
			fputs(c == 'V' ? "vpsd " VPS_VERSION "\n" : usage, stdout);
			exit(0);
		} else if (c != 'F') {
			return err_set(e, ERR_USAGE, "%s: unknown option, or a value is missing",
				       argv[optind - 1]);
		}
	}
	if (optind < argc)
		return err_set(e, ERR_USAGE, "%s: vpsd takes no arguments", argv[optind]);
	return 0;
}

static void say_ready(void)
{
	if (args.ready_fd >= 0 && fd_write_full(args.ready_fd, "\n", 1) < 0)
		log_debug("nobody waits for vpsd any more");
	fd_close(&args.ready_fd);
}

static void socket_path(const struct sup_daemon *d, char *buf, size_t size)
{
	snprintf(buf, size, "%s/vpsd.sock", d->root.run);
}

/*
 * 0 when the lock is ours. Another vpsd that holds it may still be coming up: 1 when it listens.
 * One that is going down, and the workers of one that was killed, let go of it soon.
 */
static int take_lock(struct sup_daemon *d, struct err *e)
{
	char path[512], sock[512];
	int fd;

	snprintf(path, sizeof(path), "%s/vpsd.lock", d->root.run);
	socket_path(d, sock, sizeof(sock));
	d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (d->lock_fd < 0)
		return err_sys(e, "open %s", path);
	for (int i = 0; i < 1500; i++) {
		if (flock(d->lock_fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK)
			return err_sys(e, "lock %s", path);
		fd = sock_connect(sock, SOCK_STREAM);
		if (fd >= 0) {
			close(fd);
			return 1;
		}
		usleep(20000); /* nothing tells when a lock is let go without waiting in flock(2) */
	}
	return err_set(e, ERR_DAEMON, "another vpsd holds %s and does not listen", path);
}

/* 0660 root:vps where that group exists, else root's alone. */
static int own_socket(const char *path, struct err *e)
{
	struct group *g = getgrnam("vps");

	if (!g)
		return 0;
	if (chown(path, (uid_t)-1, g->gr_gid) < 0 || chmod(path, 0660) < 0)
		return err_sys(e, "give %s to the group vps", path);
	return 0;
}

static int listening_fd(struct sup_daemon *d, struct err *e)
{
	char path[512];
	int fd, n = sd_listen_fds(1);

	socket_path(d, path, sizeof(path));
	if (n == 1 && sd_is_socket(SD_LISTEN_FDS_START, AF_UNIX, SOCK_STREAM, 1) > 0) {
		fd = fcntl(SD_LISTEN_FDS_START, F_DUPFD_CLOEXEC, 3);
		close(SD_LISTEN_FDS_START);
		if (fd < 0)
			return err_sys(e, "take the socket");
		if (own_socket(path, e) < 0)
			log_warn("%s", e->msg); /* the unit may have put it elsewhere */
		return fd;
	}
	if (n > 0)
		return err_set(e, ERR_USAGE, "the sockets given are not one listening Unix socket");
	fd = sock_listen(path, SOCK_STREAM, 0600);
	if (fd < 0)
		return err_code(e, fd, "listen on %s", path);
	unlink_socket = true;
	if (own_socket(path, e) < 0) {
		close(fd);
		return -EIO;
	}
	return fd;
}

static void on_open(struct sup_daemon *d)
{
	struct err e;
	int fd = listening_fd(d, &e);

	if (fd < 0 || server_listen(d->server, fd, &e) < 0) {
		log_error("%s", e.msg);
		sd_event_exit(d->event, ERR_DAEMON);
		return;
	}
	log_info("serves %zu VPSs below %s", d->count, d->root.lib);
	sd_notify(0, "READY=1");
	say_ready();
	network_mend(d);
	spare_prepare(d);
	autostart_begin(d);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
	(void)userdata;
	log_info("signal %u from %u: ends; running VPSs stay up", si->ssi_signo, si->ssi_pid);
	sd_notify(0, "STOPPING=1");
	return sd_event_exit(sd_event_source_get_event(s), 0);
}

/* SIGCHLD must be blocked for sd_event_add_child(3). */
static int set_signals(struct sup_daemon *d, struct err *e)
{
	sigset_t mask;
	int r;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
		return err_sys(e, "block signals");
	r = sd_event_add_signal(d->event, NULL, SIGTERM, on_signal, d);
	if (r >= 0)
		r = sd_event_add_signal(d->event, NULL, SIGINT, on_signal, d);
	if (r >= 0)
		r = sd_event_set_watchdog(d->event, true);
	return r < 0 ? err_code(e, r, "watch for signals") : 0;
}

static int set_up(struct sup_daemon *d, struct err *e)
{
	const struct idl *idl;
	int r;

	r = set_signals(d, e);
	if (r < 0)
		return r;
	r = jobs_new(&d->jobs, d->event, d->lock_fd, e);
	if (r < 0)
		return r;
	idl = protocol_idl(e);
	if (!idl)
		return -EINVAL;
	r = server_new(&d->server, d->event, idl, protocol_interface_text, sup_methods,
		       sup_method_count, d, e);
	if (r < 0)
		return r;
	d->on_open = on_open;
	return daemon_scan(d, e);
}

/* The status of the process, or a negative value and *e. */
static int run(struct sup_daemon *d, struct err *e)
{
	char path[512];
	int r;

	r = daemon_init(d, args.root, e);
	if (r == 0 && chdir("/") < 0)
		r = err_sys(e, "change to /");
	if (r == 0)
		r = take_lock(d, e);
	if (r != 0) {
		if (r > 0)
			log_info("another vpsd serves %s already", d->root.run);
		return r < 0 ? r : 0;
	}
	r = set_up(d, e);
	if (r < 0)
		return r;
	r = sd_event_loop(d->event);
	if (r < 0)
		return err_code(e, r, "wait for events");
	if (unlink_socket) {
		socket_path(d, path, sizeof(path));
		unlink(path);
	}
	return r;
}

int main(int argc, char **argv)
{
	static struct sup_daemon d;
	struct err e;
	char text[1400];
	int r;

	log_init("vpsd");
	r = parse_args(argc, argv, &e);
	if (r == 0 && geteuid() != 0)
		r = err_set(&e, ERR_DENIED, "vpsd runs as root only");
	if (r == 0) {
		if (args.ready_fd >= 0)
			fd_set_cloexec(args.ready_fd, true);
		umask(022);
		fd_limit_raise(); /* a few for each VPS, and for each client */
		r = run(&d, &e);
	}
	if (r < 0) {
		log_error("%s", err_format(&e, text, sizeof(text)));
		return e.code;
	}
	daemon_done(&d);
	return r;
}
