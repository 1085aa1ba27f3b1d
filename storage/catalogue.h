/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef STORAGE_CATALOGUE_H
#define STORAGE_CATALOGUE_H

#include "base/str.h"
#include "storage/template.h"

/* Inside the folder: what building, importing and looking up templates share. */

#define TEMPLATE_ID_MAX 65535
#define TEMPLATE_ENTRIES_MAX 2000000
#define TEMPLATE_BYTES_MAX (UINT64_C(64) << 30)
#define TEMPLATE_PATH_MAX 4095

/* Whom to tell how far we are. */
struct tell {
	storage_progress fn;
	void *ctx;
	char stage[64]; /* the last one told, and when to tell the next */
	uint64_t next_us;
};

/* 0, or ERR_CANCELLED when the receiver wants no more. Cheap: a stage is told when it begins and
 * then ten times a second. */
int storage_tell(struct tell *tell, const char *stage, uint64_t done, uint64_t total,
		 struct err *e);

/* ---- metadata ---- */

/* Reads `key = value` lines into *t and leaves what is not named as it was. `where` names the file
 * in errors, which give the line. Unknown keys are skipped: a newer version may know them. */
int storage_meta_parse(const char *text, const char *where, struct storage_template *t,
		       struct err *e);
int storage_meta_format(const struct storage_template *t, struct buf *out);

/* Fills the empty ones of distribution, version, arch, init and stop_signal from the tree, which
 * may be hostile. ERR_USAGE when there is no init. */
int storage_meta_detect(int rootfd, struct storage_template *t, struct err *e);

/* ---- trees ---- */

/*
 * The paths of all entries below rootfd, relative to it and without a leading slash, a directory
 * before what is in it. Mounts inside are entered as empty directories. More than
 * TEMPLATE_ENTRIES_MAX entries or a path longer than TEMPLATE_PATH_MAX are ERR_USAGE.
 */
int storage_tree_list(int rootfd, struct strv *paths, struct tell *tell, struct err *e);

/* Opens the directory that holds `path`; *ret_name points into path. The last directory is kept
 * in the cache, so that siblings cost nothing: zero-initialise it with fd -EBADF. */
struct parent_cache {
	int fd;
	char path[TEMPLATE_PATH_MAX + 1];
};
int storage_parent(struct parent_cache *c, int rootfd, const char *path, const char **ret_name,
		   struct err *e);
void storage_parent_done(struct parent_cache *c);

/* Whether an extended attribute belongs to a template: file capabilities, ACLs and user.*; not
 * security labels, which are the host's, and not the notes of an overlay. */
bool storage_xattr_kept(const char *name);

/* Removes device nodes (the runtime makes a tenant's /dev) and sockets; an owner past
 * TEMPLATE_ID_MAX is ERR_USAGE. Takes what it removes out of `paths`. */
int storage_tree_clean(int rootfd, struct strv *paths, struct err *e);

/* The digest of template.h over a listed tree (sorts `paths`), and the bytes of its files. */
int storage_tree_digest(int rootfd, struct strv *paths, struct tell *tell, char digest[65],
			uint64_t *ret_size, struct err *e);

/* Copies the tree below src to the empty directory dst: owners, modes, times, kept attributes,
 * hard links and holes; device nodes and sockets are left out. */
int storage_tree_copy(int src, int dst, struct tell *tell, struct err *e);

/* Unpacks an archive below the directory `dst` (its path, for the child's root, and an fd). */
int storage_tar_extract(int archive, int dst, struct tell *tell, struct err *e);

/* Decides on one entry of an archive and puts it right: relative names, numeric owners, no device
 * nodes, no attributes that are not ours. 1: take it, 0: leave it out, negative: refuse the whole
 * archive. */
struct archive_entry;
int storage_tar_check(struct archive_entry *entry, struct err *e);

/* ---- staging ---- */

/* A template in the making: lib/templates/.staging-*, locked so that no sweep takes it. */
struct staging {
	int templates; /* lib/templates */
	int dir;       /* the staging directory */
	int root;      /* its rootfs/ */
	char name[64];
	const char *digest; /* what it must be; NULL: any */
	bool keep_current;  /* a generation that `create` takes already stays so */
};

int storage_staging_open(const char *lib, struct staging *s, struct err *e);
/* Removes what was not published. */
void storage_staging_done(struct staging *s);

/* What a stranger says of a template goes through the same door as what a file says. */
int storage_meta_check(const struct storage_template *meta, struct err *e);

/* Completes *t (digest, size, created), writes it to the disk and makes it the current generation
 * of t->name. */
int storage_staging_publish(struct staging *s, struct storage_template *t, struct tell *tell,
			    struct err *e);

/* lib/templates, made if it is not there. */
int storage_templates_open(const char *lib, struct err *e);

/* Runs a program in pid and mount namespaces of its own, so that nothing of it is left when it ends, is cancelled, or
 * we die. argv[0] is its path, its working directory `cwd`, its TMPDIR `tmp`, both absolute. Lines that it writes to
 * fd 3 are stages. On failure the error has the last lines it wrote to standard error. */
int storage_script_run(const char *const *argv, const char *cwd, const char *tmp,
		       struct tell *tell, struct err *e);

#endif
