#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A hostile tenant: root in its VPS, with all that a VPS gives it. What bit other runtimes is tried
# here for real.
load ../lib

setup_file() {
	root_new
	vps create web
	vps start web
}

inside() {
	vps exec web -- sh -c "$1"
}

@test "the runtime's programs cannot be overwritten through /proc/PID/exe (CVE-2019-5736)" {
	before=$(sha256sum "$VPS_BUILD"/vps-monitor "$VPS_BUILD"/vps-init)
	# What the program needs to run inside at all.
	for l in $(ldd "$VPS_BUILD/vps-monitor" | grep -o '/[^ ]*'); do
		vps exec web -- mkdir -p "${l%/*}"
		vps push web "$(realpath "$l")" "$l"
	done
	inside 'printf "#!/proc/self/exe\n" >/bin/evil; chmod 755 /bin/evil
		cat >/bin/overwrite <<-"X"
		#!/bin/sh
		while [ ! -e /stop ]; do
			for p in /proc/[0-9]*; do
				case $(readlink $p/exe) in */busybox) continue ;; esac
				(echo pwned >$p/exe) 2>/dev/null && echo $p >>/overwritten
				(cat $p/exe >/dev/null) 2>/dev/null && echo $p >>/read
			done
		done
		X
		chmod 755 /bin/overwrite; setsid /bin/overwrite >/dev/null 2>&1 </dev/null &'
	for i in $(seq 30); do
		run -1 vps exec web -- /bin/evil # it ran, and found no spec
	done
	inside 'touch /stop'
	[ -z "$(inside 'cat /overwritten 2>/dev/null')" ]
	assert_equal "$(sha256sum "$VPS_BUILD"/vps-monitor "$VPS_BUILD"/vps-init)" "$before"
}

@test "a command inherits its three fds and nothing of the host's (CVE-2024-21626)" {
	succeeds inside 'for f in /proc/self/fd/*; do readlink $f; done | grep -v -e "^pipe:" -e "^/dev/null"; true'
	[ -z "$(echo "$output" | grep -e "$VPS_ROOT" -e socket -e cgroup -e memfd)" ] || fail "$output"
	for fd in $(seq 3 40); do
		run vps exec -w /proc/self/fd/$fd web -- true
		[ "$status" -ne 0 ] || fail "the working directory was fd $fd of the runtime"
		run vps exec web -- ls /proc/self/fd/$fd/
		[ "$status" -ne 0 ] || fail "fd $fd is a directory: $output"
	done
}

@test "init has the console and nothing of the host's" {
	succeeds inside 'for f in /proc/1/fd/*; do readlink $f; done'
	for l in "${lines[@]}"; do
		[[ $l == /dev/console || $l == /dev/pts/0 || $l == /dev/null ]] || fail "$l"
	done
	succeeds inside 'tr "\0" "\n" </proc/1/environ'
	refute_match 'VPS_|LISTEN_|MONITOR'
}

@test "neither mounts nor processes of the host are in sight" {
	succeeds inside 'cat /proc/self/mountinfo'
	refute_match "$VPS_ROOT"
	succeeds inside 'ls -d /proc/[0-9]* | wc -l'
	[ "$output" -lt 20 ] || fail "$output processes"
	run vps exec web -- ls /proc/$$
	[ "$status" -ne 0 ]
}

@test "the tenant's root is nobody on the host" {
	base=$(vps status --json web | jq .id_base)
	pid=$(vps_pid web)
	assert_equal "$(stat -c %u "/proc/$pid")" "$base"
	assert_equal "$(awk '/^Uid:/ { print $2, $3, $4, $5 }' "/proc/$pid/status")" \
		"$base $base $base $base"
	inside 'cp /bin/busybox /root/suid; chmod 4755 /root/suid'
	run find "$VPS_ROOT/lib/vps/web" -name suid -uid "$base"
	[ -n "$output" ] || fail "the file of the tenant's root belongs to somebody else"
	[ -z "$(find "$VPS_ROOT/lib/vps/web/root/upper" -uid 0)" ]
}

@test "two tenants have ids of their own" {
	vps create other
	a=$(vps status --json web | jq .id_base)
	b=$(vps status --json other | jq .id_base)
	((a >= b + 65536 || b >= a + 65536)) || fail "$a $b"
	vps destroy other
}

@test "seccomp filters init and commands, capabilities are bounded" {
	succeeds inside 'grep ^Seccomp: /proc/1/status /proc/self/status'
	assert_line "/proc/1/status:Seccomp:	2"
	assert_line "/proc/self/status:Seccomp:	2"
	bnd=$(inside 'sed -n "s/^CapBnd:[[:space:]]*//p" /proc/self/status')
	for bit in 16 17 25 34 39; do # module, rawio, time, syslog, bpf
		(((0x$bnd >> bit & 1) == 0)) || fail "capability $bit is there"
	done
}

@test "what belongs to the host can be neither read nor written" {
	for f in /proc/kcore /proc/timer_list /proc/kpagecount; do
		[ -z "$(inside "head -c 1 $f 2>/dev/null | wc -c | grep -v ^0")" ] || fail "$f can be read"
	done
	run inside 'echo h >/proc/sysrq-trigger' # h only prints help
	[ "$status" -ne 0 ] || [ -z "$(dmesg 2>/dev/null | tail -n 3 | grep 'sysrq: HELP')" ]
	for f in /proc/sys/kernel/panic /proc/sys/vm/swappiness /sys/kernel/mm/ksm/run; do
		run inside "echo 1 >$f"
		[ "$status" -ne 0 ] || fail "$f can be written"
	done
}

@test "taking the masks off gains nothing" {
	inside 'umount /proc/kcore /proc/timer_list /proc/keys /proc/sysrq-trigger; true' || true
	for f in /proc/kcore /proc/timer_list; do
		[ -z "$(inside "head -c 1 $f 2>/dev/null | wc -c | grep -v ^0")" ] || fail "$f can be read"
	done
	run inside 'mount -o remount,rw /sys && echo 1 >/sys/kernel/mm/ksm/run'
	[ "$status" -ne 0 ]
}

@test "no device node can be made, no host file system mounted" {
	run inside 'mknod /root/mem c 1 1 && head -c 1 /root/mem'
	[ "$status" -ne 0 ]
	run inside 'mknod /root/disk b 8 0'
	[ "$status" -ne 0 ]
	for t in debugfs tracefs securityfs ext4; do
		run inside "mkdir -p /root/m && mount -t $t none /root/m"
		[ "$status" -ne 0 ] || fail "$t can be mounted"
	done
}

@test "the cgroup's limits are the host's" {
	run inside 'for f in /sys/fs/cgroup/*.max /sys/fs/cgroup/cgroup.max.depth; do echo max >$f && echo "$f was written"; done 2>/dev/null; true'
	assert_output ""
	run inside 'mkdir /sys/fs/cgroup/own && echo $$ >/sys/fs/cgroup/own/cgroup.procs'
	assert_status 0
}

# The kernel breaks a lease after 45 s (/proc/sys/fs/lease-break-time), and a command that has not begun after 30 s by the
# clock is given up (START_TIMEOUT_US of supervisor/monitor_exec.c): a machine may stand still for so long.
@test "leases on what a command needs hold up nothing but that" {
	local blocked began status=0
	vps exec web -- sh -c 'cat >/bin/lease && chmod 755 /bin/lease' <"$VPS_BUILD/tests/security/security_lease"
	inside 'cp /bin/busybox /bin/slow
		setsid lease /bin/slow /etc/passwd /etc/group >/leased 2>&1 </dev/null &'
	wait_until 20 inside 'grep -qx held /leased'
	began=$SECONDS
	"$VPS_BUILD/vps" exec web -- /bin/slow true 3>&- &
	blocked=$!
	wait_until 20 inside 'grep -qx vps-monitor /proc/[0-9]*/comm'
	assert_equal "$(inside 'echo another')" another
	vps stop --force web
	wait "$blocked" || status=$?
	# It was on its way, and killed.
	[ $((SECONDS - began)) -ge 30 ] || assert_equal "$status" 137
	vps start web
}
