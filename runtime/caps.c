/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/internal.h"

#include "runtime/value.h"

#include <errno.h>
#include <linux/securebits.h>
#include <signal.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

/*
 * What a tenant's root may have in its own user namespace. The rest either has no meaning there
 * (the kernel asks for it in the host's namespace: modules, raw I/O, the clock, the kernel's log)
 * or makes a distribution believe that it manages a machine.
 */
static const cap_value_t kept[] = {
	CAP_CHOWN,      CAP_DAC_OVERRIDE,   CAP_DAC_READ_SEARCH, CAP_FOWNER,
	CAP_FSETID,     CAP_KILL,           CAP_SETGID,          CAP_SETUID,
	CAP_SETPCAP,    CAP_LINUX_IMMUTABLE, CAP_NET_BIND_SERVICE, CAP_NET_BROADCAST,
	CAP_NET_ADMIN,  CAP_NET_RAW,        CAP_IPC_LOCK,        CAP_IPC_OWNER,
	CAP_SYS_CHROOT, CAP_SYS_PTRACE,     CAP_SYS_ADMIN,       CAP_SYS_BOOT,
	CAP_SYS_NICE,   CAP_SYS_RESOURCE,   CAP_SYS_TTY_CONFIG,  CAP_MKNOD,
	CAP_LEASE,      CAP_AUDIT_WRITE,    CAP_AUDIT_CONTROL,   CAP_SETFCAP,
};

static bool is_kept(cap_value_t cap)
{
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (kept[i] == cap)
			return true;
	return false;
}

int rt_caps_limit(struct err *e)
{
	for (cap_value_t cap = 0; cap < cap_max_bits(); cap++)
		if (!is_kept(cap) && cap_get_bound(cap) > 0 && cap_drop_bound(cap) < 0)
			return err_sys(e, "give up capability %d", cap);
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return err_sys(e, "clear ambient capabilities");
	return 0;
}

static int apply_limit(const char *text, pid_t pid, struct err *e)
{
	struct rlimit want, now;
	int res, r;

	r = rt_rlimit_parse(text, &res, &want, e);
	if (r < 0)
		return r;
	if (prlimit(pid, (enum __rlimit_resource)res, &want, NULL) == 0)
		return 0;
	/* Without CAP_SYS_RESOURCE the hard limit can only sink. */
	if (errno != EPERM || prlimit(pid, (enum __rlimit_resource)res, NULL, &now) < 0)
		return err_sys(e, "set limit %s", text);
	if (want.rlim_max > now.rlim_max)
		want.rlim_max = now.rlim_max;
	if (want.rlim_cur > want.rlim_max)
		want.rlim_cur = want.rlim_max;
	if (prlimit(pid, (enum __rlimit_resource)res, &want, NULL) < 0)
		return err_sys(e, "set limit %s", text);
	return 0;
}

int rt_rlimits_apply(const struct strv *rlimits, pid_t pid, struct err *e)
{
	/* What systemd gives a machine's PID 1; a low soft limit keeps select(2) users safe. */
	int r = apply_limit("nofile=1024:524288", pid, e);

	if (r == 0)
		r = apply_limit("core=0:max", pid, e);
	for (size_t i = 0; r == 0 && i < rlimits->count; i++)
		r = apply_limit(rlimits->item[i], pid, e);
	return r;
}

void rt_signals_reset(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(0022);
}
