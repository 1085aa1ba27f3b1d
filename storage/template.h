/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef STORAGE_TEMPLATE_H
#define STORAGE_TEMPLATE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The templates of a state root, below lib/templates:
 *
 *   NAME/current             text file: the digest of the generation that `create` takes
 *   NAME/<digest>/rootfs/    the tree, owned by ids 0-65535, never changed once it is there
 *   NAME/<digest>/template   its metadata, `key = value`
 *   .staging-*               being built; swept when vpsd starts
 *
 * A generation is published by one rename and removed when it is neither current nor used by a
 * VPS, so a template can be rebuilt while tenants run on the old tree.
 */
struct storage_template {
	char name[64];
	char digest[65];       /* SHA-256 of the content, hexadecimal; names the directory */
	char distribution[64]; /* "debian", "busybox", … */
	char version[64];      /* "12", "1.35.0" */
	char arch[16];         /* as uname -m: "x86_64" */
	char init[256];        /* command of PID 1, words separated by blanks: "/sbin/init" */
	char stop_signal[16];  /* "SIGRTMIN+3", "SIGUSR2", … */
	uint64_t size;         /* bytes of all regular files */
	uint64_t created;      /* seconds since 1970 */
};

/*
 * The digest covers each entry's path (sorted bytewise), type, mode, uid, gid, size, link target,
 * device number, extended attributes and content; not times and not inode numbers. Equal digests
 * mean interchangeable lower layers.
 */

/* Reads the current generation (digest NULL) or a given one. ERR_NOT_FOUND with the names there
 * are as a hint. `lib` is the state root's lib directory. */
int storage_template_find(const char *lib, const char *name, const char *digest,
			  struct storage_template *ret, struct err *e);

/* The path of a generation's tree into buf; returns buf. */
const char *storage_template_rootfs(const char *lib, const struct storage_template *t,
				    char *buf, size_t size);

/* All current generations by name; the caller frees *ret. */
int storage_template_list(const char *lib, struct storage_template **ret, size_t *ret_count,
			  struct err *e);

/* Told now and then during long work: bytes done and bytes in all (0: unknown), and a word for
 * what is being done. Returning non-zero cancels the work (ERR_CANCELLED). May be NULL. */
typedef int (*storage_progress)(void *ctx, const char *stage, uint64_t done, uint64_t total);

/* Builds template `name` with the build script of the source of that name (see templates/README.md)
 * and publishes it as `as`. `include` holds extra packages (NULL-terminated, may be NULL);
 * unknown source: ERR_NOT_FOUND with the sources there are. */
int storage_template_build(const char *lib, const char *source, const char *as,
			   const char *const *include, storage_progress progress, void *ctx,
			   struct storage_template *ret, struct err *e);

/* Makes a template of a tarball (any compression that libarchive knows; `fd` readable) or of a
 * directory (fd of one). Empty metadata fields are found out: distribution from /etc/os-release,
 * init from the first of /sbin/init, /lib/systemd/systemd, /init, /bin/init that is there, the
 * stop signal from which init it is. A tree without init is ERR_USAGE unless `meta->init` names
 * one that is there. The input is hostile. */
int storage_template_import(const char *lib, int fd, const struct storage_template *meta,
			    storage_progress progress, void *ctx,
			    struct storage_template *ret, struct err *e);

/*
 * A generation from another host: records of storage/delta.h (STORAGE_TEMPLATE), which may be
 * hostile. done() publishes it when the tree has the digest that `meta` promises; `create` takes it
 * only when there was no template of that name. free() removes what was not published.
 */
struct storage_template_in;
int storage_template_in_new(const char *lib, const struct storage_template *meta,
			    struct storage_template_in **ret, struct err *e);
int storage_template_in_put(struct storage_template_in *t, const void *record, size_t len,
			    struct err *e);
int storage_template_in_done(struct storage_template_in *t, storage_progress progress, void *ctx,
			     struct err *e);
void storage_template_in_free(struct storage_template_in *t);

/* Removes all generations; ERR_STATE when one of `used` ("NAME/digest", NULL-terminated) is. */
int storage_template_remove(const char *lib, const char *name, const char *const *used,
			    struct err *e);

/* Removes staging directories and generations that are neither current nor in `used`. */
int storage_template_sweep(const char *lib, const char *const *used, struct err *e);

#endif
