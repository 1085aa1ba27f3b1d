/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The three files in /etc that a VPS gets from outside. They are written as the tenant's root from
 * inside the tenant's root file system, so the worst that a link in the tree can do is to hit a
 * file of the tenant's own; it does not come to that, as links are replaced and never followed.
 */
#include "base/path.h"
#include "base/str.h"
#include "runtime/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define MARK "# Written by vps; kept as it is when this line is taken out.\n"
#define FILE_MAX KIB(64)

/* The text of a file of ours or of the tenant's; NULL when it is not a regular file or too long. */
static char *read_plain(int etc, const char *name)
{
	char *text = NULL;
	struct stat st;

	if (fstatat(etc, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return NULL;
	return fd_read_file_at(etc, name, FILE_MAX, &text, NULL) < 0 ? NULL : text;
}

static int replace(int etc, const char *name, const char *text, struct err *e)
{
	int r = fd_replace_file_at(etc, name, text, strlen(text), 0644, false);

	return r < 0 ? err_code(e, r, "write /etc/%s", name) : 0;
}

static int write_hostname(int etc, const struct rt_spec *s, struct err *e)
{
	cleanup_free char *old = read_plain(etc, "hostname");
	char text[80];

	snprintf(text, sizeof(text), "%s\n", s->hostname);
	return old && STREQ(old, text) ? 0 : replace(etc, "hostname", text, e);
}

/* Only where there is none, or the one there is ours. */
static int write_marked(int etc, const char *name, const char *text, struct err *e)
{
	cleanup_free char *old = read_plain(etc, name);

	if (old && (STREQ(old, text) || (*old && strncmp(old, MARK, strlen(MARK)) != 0)))
		return 0;
	return replace(etc, name, text, e);
}

static int write_hosts(int etc, const struct rt_spec *s, struct err *e)
{
	cleanup_buf struct buf b = { 0 };
	int r;

	r = buf_addf(&b, MARK "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
			      "127.0.1.1\t%s\n", s->hostname);
	return r < 0 ? err_code(e, r, "write /etc/hosts") : write_marked(etc, "hosts", b.data, e);
}

/* A link into /run belongs to a resolver of the tenant's own (systemd-resolved, resolvconf); any
 * other link is replaced. */
static int write_resolv_conf(int etc, const char *text, struct err *e)
{
	char target[256];
	ssize_t n = readlinkat(etc, "resolv.conf", target, sizeof(target) - 1);

	if (n > 0) {
		target[n] = '\0';
		if (strncmp(target, "/run/", 5) == 0 || strncmp(target, "../run/", 7) == 0)
			return 0;
		return replace(etc, "resolv.conf", text, e);
	}
	return write_marked(etc, "resolv.conf", text, e);
}

int rt_files_write(const struct rt_spec *s, const char *resolv_conf, struct err *e)
{
	cleanup_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int etc = -EBADF;
	int r;

	if (root < 0)
		return err_sys(e, "open the root file system");
	if (mkdirat(root, "etc", 0755) < 0 && errno != EEXIST)
		return err_sys(e, "make /etc");
	etc = path_open_no_links(root, "etc", O_RDONLY | O_DIRECTORY, 0, false);
	if (etc == -ELOOP || etc == -ENOTDIR)
		return err_set(e, ERR_FAIL, "write /etc/hostname: /etc is not a plain directory");
	if (etc < 0)
		return err_code(e, etc, "open /etc");
	r = write_hostname(etc, s, e);
	if (r == 0)
		r = write_hosts(etc, s, e);
	if (r == 0)
		r = write_resolv_conf(etc, resolv_conf, e);
	return r;
}

/* The host's name servers that a tenant can reach: not those on loopback. */
static int add_host_servers(struct buf *b, const char *path)
{
	cleanup_free char *real = realpath(path, NULL); /* a link on hosts with resolvconf(8) */
	cleanup_free char *text = NULL;
	char *next, *line;
	int found = 0;

	if (!real || fd_read_file_at(AT_FDCWD, real, FILE_MAX, &text, NULL) < 0)
		return 0;
	next = text;
	while ((line = strsep(&next, "\n")) && found < 3) {
		if (strncmp(line, "nameserver", 10) != 0 || !strchr(" \t", line[10]))
			continue;
		line += 10 + strspn(line + 10, " \t");
		line[strcspn(line, " \t\r#")] = '\0';
		if (strncmp(line, "127.", 4) == 0 || STREQ(line, "::1") ||
		    strspn(line, "0123456789abcdefABCDEF.:%") != strlen(line))
			continue;
		if (buf_addf(b, "nameserver %s\n", line) == 0)
			found++;
	}
	return found;
}

char *rt_resolv_conf(const struct rt_spec *s)
{
	struct buf b = { 0 };

	if (buf_addf(&b, MARK) < 0)
		return NULL;
	for (size_t i = 0; i < s->dns.count + s->search.count; i++) {
		bool server = i < s->dns.count;
		const char *what = server ? s->dns.item[i] : s->search.item[i - s->dns.count];

		if (buf_addf(&b, "%s %s\n", server ? "nameserver" : "search", what) < 0) {
			buf_done(&b);
			return NULL;
		}
	}
	if (s->dns.count == 0 && add_host_servers(&b, "/etc/resolv.conf") == 0)
		add_host_servers(&b, "/run/systemd/resolve/resolv.conf");
	return b.data;
}
