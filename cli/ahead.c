/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The program begins here. Where the hypervisor traps CPUID the C library takes half a millisecond to begin
 * (HACKING.md), as long as vpsd and a monitor need to have a command running. So what the plain forms of
 * the verbs that one waits for ask,
 *
 *	vps [--root DIR] start NAME
 *	vps [--root DIR] exec NAME [--] WORD...
 *
 * is sent at once. While vpsd works on an exec the library begins; main() finds it sent, and goes on as after a
 * call of its own (client_adopt()). A start has both processors to itself, as its halves run beside each other,
 * and when its answer says no more than yes, the library is not begun at all. Whatever is not plain, and whatever
 * goes wrong, is left to main(): then nothing was sent.
 *
 * There is no C library here yet, no thread-local storage, and no address is relocated: cli/meson.build tells
 * the compiler, and tests/unit/cli_ahead.c sees that nothing from elsewhere is needed.
 */
#include "cli/ahead.h"

#include "base/rawcall.h"
#include "cli/signals.h"
#include "supervisor/protocol/interface.h"

#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct ahead ahead;

#if defined(__x86_64__)
/* As the kernel begins a program: all of it on the stack, and %rdx for _start. */
__asm__(".globl ahead_begin\n"
	".type ahead_begin, @function\n"
	"ahead_begin:\n"
	"	xorl %ebp, %ebp\n"
	"	movq %rdx, %r12\n"
	"	movq %rsp, %rbx\n"
	"	movq %rsp, %rdi\n"
	"	call ahead_stack\n"
	"	movq %rbx, %rsp\n"
	"	movq %r12, %rdx\n"
	"	jmp _start\n");

void ahead_stack(char **stack);
__attribute__((visibility("hidden"))) void ahead_stack(char **stack)
{
	char **argv = stack + 1;

	ahead_send(&ahead, argv, argv + (intptr_t)*stack + 1);
	if (ahead_is_done(&ahead))
		SYS(exit_group, 0);
}
#endif

struct words {
	const char *root; /* NULL: the host's own */
	const char *name;
	char **command; /* of exec; NULL: start */
};

static bool is(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* The value of KEY=; NULL when there is none. */
static const char *env_get(char **env, const char *key)
{
	for (; *env; env++) {
		const char *at = *env, *k = key;

		while (*k && *at == *k)
			at++, k++;
		if (!*k)
			return at;
	}
	return NULL;
}

static bool is_name(const char *s)
{
	size_t n = 0;

	for (; s[n]; n++)
		if (!((s[n] >= 'a' && s[n] <= 'z') || (s[n] >= '0' && s[n] <= '9') || (n && s[n] == '-')))
			return false;
	return n >= 1 && n <= 63;
}

static bool read_words(struct words *w, char **argv, char **env)
{
	bool exec;

	if (!argv[0] || env_get(env, "VPS_TIMEOUT="))
		return false;
	w->root = env_get(env, "VPS_ROOT=");
	if (*++argv && is(*argv, "--root")) {
		w->root = *++argv;
		if (!w->root || !*w->root)
			return false;
		argv++;
	}
	if (!argv[0] || !argv[1] || !is_name(argv[1]))
		return false;
	exec = is(argv[0], "exec");
	if (!exec && !is(argv[0], "start"))
		return false;
	w->name = argv[1];
	argv += 2;
	w->command = NULL;
	if (!exec)
		return !*argv;
	w->command = *argv && is(*argv, "--") ? argv + 1 : argv;
	/* An option, perhaps. */
	return *w->command && (w->command != argv || **argv != '-');
}

/* What is to be sent, as jansson writes it. */
struct text {
	char *to;
	size_t len, size;
	bool bad; /* too long, or with characters that are not plain */
};

static void add_char(struct text *t, char c)
{
	if (t->len + 1 < t->size)
		t->to[t->len++] = c;
	else
		t->bad = true;
	t->to[t->len] = '\0';
}

static void add(struct text *t, const char *s)
{
	while (*s)
		add_char(t, *s++);
}

static void add_string(struct text *t, const char *s)
{
	add_char(t, '"');
	for (; *s; s++) {
		t->bad = t->bad || *s < ' ' || *s > '~';
		if (*s == '"' || *s == '\\')
			add_char(t, '\\');
		add_char(t, *s);
	}
	add_char(t, '"');
}

static bool write_call(struct ahead *a, const struct words *w)
{
	struct text t = { .to = a->text, .size = sizeof(a->text) };

	add(&t, "{\"method\":\"" PROTOCOL_INTERFACE ".");
	add(&t, w->command ? "Exec" : "Start");
	add(&t, "\",\"parameters\":{\"name\":");
	add_string(&t, w->name);
	if (w->command) {
		add(&t, ",\"argv\":[");
		for (char **word = w->command; *word; word++) {
			if (word != w->command)
				add_char(&t, ',');
			add_string(&t, *word);
		}
		add(&t, "],\"env\":[]}}");
	} else {
		add(&t, ",\"wait\":false}}");
	}
	a->len = t.len;
	return !t.bad;
}

static bool is_trusted(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (SYS(getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	return peer.uid == 0 || (long)peer.uid == SYS(geteuid);
}

/* The connection to vpsd, or a negative number. */
static int reach(const char *root)
{
	struct sockaddr_un sa;
	struct text t = { .to = sa.sun_path, .size = sizeof(sa.sun_path) };
	int fd;

	sa.sun_family = AF_UNIX;
	add(&t, root && *root ? root : "");
	add(&t, root && *root ? "/run/vpsd.sock" : "/run/vps/vpsd.sock");
	if (t.bad)
		return -ENAMETOOLONG;
	fd = (int)SYS(socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	if (SYS(connect, fd, &sa, sizeof(sa)) == 0 && is_trusted(fd))
		return fd;
	SYS(close, fd);
	return -ECONNREFUSED;
}

static bool send_text(struct ahead *a, bool with_stdio)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(a->stdio.child))];
	} control;
	struct iovec iov = { .iov_base = a->text, .iov_len = a->len + 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (with_stdio) {
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(a->stdio.child));
		for (int i = 0; i < 3; i++)
			((int *)CMSG_DATA(&control.head))[i] = a->stdio.child[i];
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
	}
	return SYS(sendmsg, a->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == (long)iov.iov_len;
}

/* Signals are the command's from now on (cli_signals()): main() takes those that come meanwhile. */
static bool send_with_stdio(struct ahead *a)
{
	static const unsigned char signals[] = { SIGNALS_END, SIGNALS_TERMINAL };
	uint64_t set = 0, before;

	if (attach_stdio_open(&a->stdio) < 0)
		return false;
	for (size_t i = 0; i < sizeof(signals); i++)
		set |= 1ULL << (signals[i] - 1);
	SYS(rt_sigprocmask, SIG_BLOCK, &set, &before, sizeof(set));
	if (send_text(a, true))
		return true;
	SYS(rt_sigprocmask, SIG_SETMASK, &before, 0, sizeof(before));
	attach_stdio_done(&a->stdio);
	return false;
}

void ahead_send(struct ahead *a, char **argv, char **env)
{
	struct words w;

	if (!read_words(&w, argv, env) || !write_call(a, &w))
		return;
	attach_stdio_hold();
	a->fd = reach(w.root);
	if (a->fd < 0)
		return;
	a->quiet = !w.command;
	a->sent = w.command ? send_with_stdio(a) : send_text(a, false);
	if (!a->sent)
		SYS(close, a->fd);
}

/* The answer stays where it is, for main(). */
bool ahead_is_done(struct ahead *a)
{
	static const char yes[] = "{\"parameters\":";
	char text[AHEAD_MAX];
	long n, i = 0;

	if (!a->sent || !a->quiet)
		return false;
	n = SYS(recvfrom, a->fd, text, sizeof(text), MSG_PEEK);
	if (n == -ECONNRESET) { /* nobody has read it (client_ask()), which is told only once */
		SYS(close, a->fd);
		a->sent = false;
		return false;
	}
	while (i < n && i < (long)sizeof(yes) - 1 && text[i] == yes[i])
		i++;
	return i == (long)sizeof(yes) - 1 && text[n - 1] == '\0';
}
