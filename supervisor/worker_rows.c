/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The jobs of vps-worker. Those with archives are vps-packer's: linking libarchive, with all that it
 * pulls in, takes several times as long as a create or a destroy.
 */
#include "supervisor/worker.h"

#include "base/macro.h"

const struct worker_row worker_rows[] = {
	{ "create", worker_create },
	{ "destroy", worker_destroy },
	{ "sweep", worker_sweep },
	{ "rename", worker_rename },
	{ "cleanup", worker_cleanup },
	{ "set", worker_set },
	{ "set-text", worker_set_text },
	{ "move-out", worker_move_out },
	{ "move-offer", worker_move_offer },
	{ "move-in", worker_move_in },
	{ "move-recover", worker_move_recover },
	{ "doctor", worker_doctor },
	{ "save", worker_save },
	{ "adopt", worker_adopt },
	{ "adopt-sweep", worker_adopt_sweep },
	{ "image-show", worker_image_show },
	{ "image-verify", worker_image_verify },
	{ "discard", worker_discard },
	{ "check", worker_check },
};
const size_t worker_row_count = ARRAY_SIZE(worker_rows);
const char *const worker_other = "vps-packer";
