/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The program that a process of the VPS executes until the engine takes it over. */
#include "base/macro.h"
#include "checkpoint/restore_internal.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* for (;;) pause(); */
struct waiter {
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr;
	uint8_t code[16];
};
#define WAITER_AT 0x10000

static int open_waiter(void)
{
	static const struct waiter w = {
		.ehdr = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
				       EV_CURRENT },
			  .e_type = ET_EXEC,
			  .e_machine = EM_X86_64,
			  .e_version = EV_CURRENT,
			  .e_entry = WAITER_AT + offsetof(struct waiter, code),
			  .e_phoff = offsetof(struct waiter, phdr),
			  .e_ehsize = sizeof(Elf64_Ehdr),
			  .e_phentsize = sizeof(Elf64_Phdr),
			  .e_phnum = 1 },
		.phdr = { .p_type = PT_LOAD,
			  .p_flags = PF_R | PF_X,
			  .p_vaddr = WAITER_AT,
			  .p_paddr = WAITER_AT,
			  .p_filesz = sizeof(w),
			  .p_memsz = sizeof(w),
			  .p_align = CKPT_PAGE },
		.code = { 0xb8, SYS_pause, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7 },
	};
	int fd = memfd_create("restore", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 all can be executed */
		fd = memfd_create("restore", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd >= 0 && write(fd, &w, sizeof(w)) == sizeof(w))
		return fd;
	return -1;
}

void restore_wait(int first, int end)
{
	static char *const none[] = { NULL };
	int fd = open_waiter();

	close_range((unsigned)end, ~0u, CLOSE_RANGE_CLOEXEC);
	if (first > 3)
		close_range(3, (unsigned)first - 1, CLOSE_RANGE_CLOEXEC);
	for (int i = first; i < end; i++)
		fcntl(i, F_SETFD, 0);
	execveat(fd, "", none, none, AT_EMPTY_PATH);
	_exit(1);
}
