/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/disk.h"

#include "base/fd.h"
#include "base/macro.h"

#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <sys/mman.h>

/* What stands behind an image, as `vps checkpoint verify` reads it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_close int fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct err e = { 0 };

	if (fd < 0 || fd_write_full(fd, data, size) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		abort();
	if (disk_load(fd, NULL, NULL, &e) < 0 && !e.msg[0])
		abort();
	return 0;
}
