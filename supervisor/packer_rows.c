/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The jobs of vps-packer; see worker_rows.c. */
#include "supervisor/worker.h"

#include "base/macro.h"

const struct worker_row worker_rows[] = {
	{ "template-build", worker_template_build },
	{ "template-import", worker_template_import },
	{ "template-remove", worker_template_remove },
	{ "template-sweep", worker_template_sweep },
	{ "push", worker_push },
	{ "pull", worker_pull },
};
const size_t worker_row_count = ARRAY_SIZE(worker_rows);
const char *const worker_other = NULL;
