/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_PATH_H
#define BASE_PATH_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Leaves: they return a negative errno value and fill no error. */

/*
 * Opens a path below `rootfd` as a process with that root would see it: absolute and `..` links
 * cannot leave it (openat2(2) RESOLVE_IN_ROOT, Linux 5.6). Magic links are refused. O_CLOEXEC is
 * added. This is the only way a privileged process may open a path of a tenant.
 */
int path_open_in_root(int rootfd, const char *path, int flags, mode_t mode);

/* As above, but a symbolic link anywhere in the path is an error (-ELOOP), and so is crossing a
 * mount point (-EXDEV) when `same_mount`. */
int path_open_no_links(int rootfd, const char *path, int flags, mode_t mode, bool same_mount);

/* As open(2), from the caller's own root, of a path that leads through no magic link (-ELOOP): none of its open files,
 * nor what lies below one. With O_PATH the flags that say what it is opened for are dropped. O_CLOEXEC is added. */
int path_open_no_magic(const char *path, int flags);
/* How openat2(2) is asked for that, where somebody else is to make the call. */
struct open_how;
void path_how_no_magic(int flags, struct open_how *ret);

/* Opens a directory to be read, itself or ("." for dirfd's own) anew: no other reader shares its place.
 * Never through a symbolic link as the last part. NULL with errno. */
DIR *path_opendir_at(int dirfd, const char *name);

/* mkdir -p below dirfd for paths of our own (never a tenant's). 0 also when it is there. */
int path_mkdirs_at(int dirfd, const char *path, mode_t mode);

/*
 * Removes `name` below dirfd with all that is in it; the way there, when it has one, is ours. Never follows a
 * symbolic link, never leaves the mount `name` lies on (-EBUSY names a mount point inside). 0 when it does not exist.
 * The tree may be hostile (deep, changing); depth costs one fd for each level at most.
 */
int path_remove_tree_at(int dirfd, const char *name);

/* The directory that the running program lies in (from /proc/self/exe), without a final slash. */
int path_self_dir(char *buf, size_t size);

/*
 * A helper program of ours: beside the running program when it runs from a build tree, else in
 * the libexec directory it was configured with. Fails with -ENOENT when neither has it.
 */
int path_program(const char *name, char *buf, size_t size);

/*
 * Data of ours ("templates", "templates/busybox/build"): of the source tree when the program runs
 * from a build tree in it, else of the data directory it was configured with. Fails with -ENOENT
 * when neither has it.
 */
int path_data(const char *name, char *buf, size_t size);

#endif
