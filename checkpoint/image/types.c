/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/image/image.h"

#include "base/macro.h"

#include "checkpoint/image.pb-c.h" /* made from image.proto */

static const struct {
	const char *name;
	const ProtobufCMessageDescriptor *message;
} types[CKPT_REC_COUNT] = {
	[CKPT_REC_END]        = { "end", NULL },
	[CKPT_REC_HEADER]     = { "header", &ckpt__header__descriptor },
	[CKPT_REC_PROCESS]    = { "process", &ckpt__process__descriptor },
	[CKPT_REC_THREAD]     = { "thread", &ckpt__thread__descriptor },
	[CKPT_REC_SIGACTIONS] = { "signal-actions", &ckpt__signal_actions__descriptor },
	[CKPT_REC_PENDING]    = { "pending-signals", &ckpt__pending_signals__descriptor },
	[CKPT_REC_MM]         = { "mm", &ckpt__mm__descriptor },
	[CKPT_REC_SHMEM]      = { "shmem", &ckpt__shmem__descriptor },
	[CKPT_REC_FDS]        = { "fds", &ckpt__fd_table__descriptor },
	[CKPT_REC_FILE]       = { "file", &ckpt__file__descriptor },
	[CKPT_REC_PAGES]      = { "pages", NULL },
	[CKPT_REC_GHOST]      = { "ghost", &ckpt__ghost__descriptor },
	[CKPT_REC_IPC]        = { "ipc", &ckpt__ipc_object__descriptor },
	[CKPT_REC_MQUEUE]     = { "mqueue", &ckpt__mqueue__descriptor },
	[CKPT_REC_GHOST_DATA] = { "ghost-data", &ckpt__ghost_data__descriptor },
	[CKPT_REC_SECCOMP]    = { "seccomp-filter", &ckpt__seccomp_filter__descriptor },
	[CKPT_REC_ZOMBIE]     = { "zombie", &ckpt__zombie__descriptor },
	[CKPT_REC_TMPFS]      = { "tmpfs", &ckpt__tmpfs_entry__descriptor },
	[CKPT_REC_SPACE]      = { "space", &ckpt__space__descriptor },
	[CKPT_REC_SUPER]      = { "super", &ckpt__super__descriptor },
	[CKPT_REC_MOUNT]      = { "mount", &ckpt__mount__descriptor },
	[CKPT_REC_GROUP]      = { "group", &ckpt__group__descriptor },
	[CKPT_REC_PRECOPY]    = { "precopy", &ckpt__header__descriptor },
	[CKPT_REC_LAYOUT]     = { "layout", &ckpt__layout__descriptor },
	[CKPT_REC_POPULATED]  = { "populated", &ckpt__populated__descriptor },
	[CKPT_REC_HERITAGE]   = { "heritage", &ckpt__heritage__descriptor },
	[CKPT_REC_SOCKET_DATA] = { "socket-data", &ckpt__socket_data__descriptor },
	[CKPT_REC_SOCKET_OPTIONS] = { "socket-options", &ckpt__socket_options__descriptor },
	[CKPT_REC_NET_STATE]  = { "net-state", &ckpt__net_state__descriptor },
};

const char *ckpt_record_name(uint32_t type)
{
	return type < ARRAY_SIZE(types) ? types[type].name : NULL;
}

const ProtobufCMessageDescriptor *ckpt_record_descriptor(uint32_t type)
{
	return type < ARRAY_SIZE(types) ? types[type].message : NULL;
}
