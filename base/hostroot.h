/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_HOSTROOT_H
#define BASE_HOSTROOT_H

#include "base/err.h"

/*
 * Where one "host" keeps its state. Several live side by side on one machine, each with a vpsd of
 * its own: tests and the demo use that.
 *
 *   lib/vps/NAME/     config, root/ (what the storage back end keeps), console.log
 *   lib/templates/    see storage/template.h
 *   run/vpsd.sock     the control socket
 *   run/vpsd.lock     locked by the vpsd that owns this state root
 *   run/vps/NAME/     monitor.sock, state, exit: what is void after a reboot of the host
 */
struct host_root {
	char lib[256]; /* /var/lib/vps, or DIR/lib */
	char run[256]; /* /run/vps, or DIR/run */
	/* Names kernel objects apart (cgroup parent, links, nft table): "vps" for the default root,
	 * "vps-" and 8 hexadecimal digits of the path's hash for another. */
	char tag[16];
};

/* An empty file in lib/vps/NAME of a VPS that goes when it ends. It says so also when the host has
 * crashed and left the config without content. */
#define HOST_ROOT_EPHEMERAL "ephemeral"

/*
 * `dir` is what --root or VPS_ROOT said, NULL or "" for the default. It is made absolute; it need
 * not exist. A path of more than
 * 200 bytes is ERR_USAGE.
 */
int host_root_init(struct host_root *r, const char *dir, struct err *e);

/* lib/vps/NAME and run/vps/NAME; `name` must be valid. They return buf. */
const char *host_root_lib(const struct host_root *r, const char *name, char buf[512]);
const char *host_root_run(const struct host_root *r, const char *name, char buf[512]);

#endif
