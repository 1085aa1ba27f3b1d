/* SPDX-License-Identifier: GPL-2.0-or-later */

/* How much there is of TCP in the network of a VPS that runs, roughly: what is prepared for it goes by that. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/tcp.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOCKETS_FILE_MAX MIB(4) /* some 28000 lines; of more nothing is said */

/* "TCP: inuse 3 orphan …" */
unsigned long ckpt_tcp_count(pid_t init)
{
	static const char *const files[][2] = { { "sockstat", "TCP: inuse " }, { "sockstat6", "TCP6: inuse " } };
	unsigned long sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		cleanup_free char *text = NULL;
		char path[64];
		const char *at;

		snprintf(path, sizeof(path), "/proc/%d/net/%s", (int)init, files[i][0]);
		if (fd_read_file_at(AT_FDCWD, path, 4096, &text, NULL) < 0)
			continue;
		at = strstr(text, files[i][1]);
		sum += at ? strtoul(at + strlen(files[i][1]), NULL, 10) : 0;
	}
	return sum;
}

/* "   0: 0100007F:1B58 00000000:0000 0A 00000000:00000000 …": the state, what is to be sent and what was received. Of who
 * listens (0A) these are counts. */
static size_t queued(const char *line)
{
	unsigned state, out, in;

	return sscanf(line, "%*u: %*[0-9A-F]:%*x %*[0-9A-F]:%*x %x %x:%x", &state, &out, &in) == 3 && state != 10 ?
		       (size_t)out + in :
		       0;
}

size_t ckpt_tcp_queued(pid_t init)
{
	static const char *const files[] = { "tcp", "tcp6" };
	size_t sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		cleanup_free char *text = NULL;
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/net/%s", (int)init, files[i]);
		if (fd_read_file_at(AT_FDCWD, path, SOCKETS_FILE_MAX, &text, NULL) < 0)
			continue;
		for (const char *l = strchr(text, '\n'); l; l = strchr(l + 1, '\n'))
			sum += queued(l + 1);
	}
	return sum;
}
