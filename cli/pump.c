/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/pump.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

bool pump_write(struct pump *p)
{
	while (p->at < p->len) {
		ssize_t n = write(p->to, p->data + p->at, p->len - p->at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		p->at += (size_t)n;
	}
	p->at = p->len = 0;
	return true;
}

bool pump_read(struct pump *p, size_t max)
{
	ssize_t n;

	if (p->len > 0)
		return true;
	p->at = 0;
	do
		n = read(p->from, p->data, max);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		p->len = (size_t)n;
	return n > 0 || (n < 0 && errno == EAGAIN);
}

bool pump_out(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EAGAIN)
			poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, -1);
		else if (n < 0 && errno != EINTR)
			return false;
		data += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return true;
}
