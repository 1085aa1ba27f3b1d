#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a distribution meets when it boots as a tenant, and what its init may do to us.
load ../lib

teardown() {
	vps_clean
}

@test "busybox: the tenant's world" {
	vps create web
	vps set web hostname=www
	vps start web
	[ "$(vps exec web -- hostname)" = www ]
	[ "$(vps exec web -- cat /etc/hostname)" = www ]
	succeeds vps exec web -- grep -c localhost /etc/hosts
	[ "$(vps exec web -- sh -c 'echo $container')" = vps ]
	for d in pts shm mqueue; do
		succeeds vps exec web -- sh -c "grep -q ' /dev/$d ' /proc/mounts"
	done
	for f in null zero full random urandom tty console; do
		succeeds vps exec web -- test -c /dev/$f
	done
	succeeds vps exec web -- sh -c 'echo x >/dev/null && head -c 4 /dev/urandom | wc -c'
	assert_output 4
	succeeds vps exec web -- cat /proc/1/comm
	assert_output init
	# All namespaces are its own.
	pid=$(vps_pid web)
	for ns in user pid mnt net uts ipc cgroup time; do
		[ "$(readlink "/proc/$pid/ns/$ns")" != "$(readlink /proc/self/ns/$ns)" ] || fail "$ns"
	done
	# Its clock began with it.
	[ "$(vps exec web -- cut -d. -f1 /proc/uptime)" -lt 3600 ]
	succeeds vps exec web -- cat /proc/self/cgroup
	assert_match '0::/'
	refute_match "$VPS_TAG"
}

@test "busybox: poweroff stops it, reboot starts it again" {
	vps create web
	vps start web
	wait_until 20 init_is_up web
	pid=$(vps_pid web)
	run vps exec web -- reboot
	wait_until 30 has_another_init web "$pid"
	wait_until 20 vps_is web running
	wait_until 20 init_is_up web
	run vps exec web -- poweroff # it ends with the rest
	wait_until 30 vps_is web stopped
	[ "$(vps status --json web | jq -r .last_exit)" = poweroff ]
}

has_another_init() {
	local now
	now=$(vps_pid "$1")
	[ "$now" != 0 ] && [ "$now" != "$2" ]
}

@test "what is written stays over a restart, and templates are not touched" {
	vps create web
	vps start web
	vps exec web -- sh -c 'echo mine >/root/f; rm /etc/profile; echo x >>/etc/passwd'
	vps restart web
	[ "$(vps exec web -- cat /root/f)" = mine ]
	run vps exec web -- ls /etc/profile
	[ "$status" -ne 0 ]
	vps create fresh
	vps start fresh
	succeeds vps exec fresh -- test -e /etc/profile
}

@test "tenants share the template's files, not copies" {
	vps create a
	vps create b
	vps start a
	vps start b
	x=$(vps exec a -- stat -c %i /bin/busybox)
	y=$(vps exec b -- stat -c %i /bin/busybox)
	assert_equal "$x" "$y"
	[ -z "$(find "$VPS_ROOT"/lib/vps/*/root/upper -name busybox)" ]
}

@test "an init that is not there, or cannot be run, is said and nothing is left" {
	vps create web
	vps set web init=/no/such/init
	fails 127 "vps: start web: run /no/such/init: No such file or directory" vps start web
	vps set web init=/etc/passwd
	fails 126 "vps: start web: run /etc/passwd: Permission denied" vps start web
	vps_is web stopped
	assert_nothing_left --daemon --keep web
}

@test "an init that exits at once" {
	vps create web
	vps set web init=/bin/true
	run vps start web
	wait_until 20 vps_is web stopped
	[ "$(vps status --json web | jq -r .last_exit)" = "exit 0" ]
	wait_until 20 assert_nothing_left --daemon --keep web
}

@test "an init that ignores every signal is killed after the time-out" {
	vps create web
	vps set web 'init=/bin/sh /deaf' stop.timeout=1s
	vps start web || true
	wait_until 20 vps_is web stopped
	vps set web init=
	vps start web
	vps exec web -- sh -c 'cat >/deaf <<"X"
trap "" 1 2 3 10 12 15
while :; do sleep 1; done
X'
	vps stop web
	vps set web 'init=/bin/sh /deaf'
	vps start web
	succeeds vps stop web
	[ "$(vps status --json web | jq -r .last_exit)" != null ]
	vps_is web stopped
	assert_nothing_left --daemon --keep web
}

@test "an init that forks without end at its start can be stopped, and the host goes on" {
	vps create web
	vps set web pids.max=500
	vps start web
	# Each makes others as long as it lives, and none ends because it cannot; process 1 waits for what was there before.
	vps exec web -- sh -c 'echo "BEGIN { while (1) system(\"awk -f /awk &\") }" >/awk
cat >/bomb <<"X"
sleep 100000 &
awk -f /awk &
wait
X'
	vps stop web
	vps set web 'init=/bin/sh /bomb'
	vps start web
	wait_until 20 is_full
	succeeds vps stop --force web
	assert_nothing_left --daemon --keep web
}

is_full() {
	local f
	for f in $(find /sys/fs/cgroup -path "*$VPS_TAG/web/pids.current"); do
		[ "$(cat "$f")" -gt 100 ] && return 0
	done
	return 1
}

@test "a console that is flooded, hung up or closed harms nobody" {
	vps create web
	vps start web
	vps exec web -- sh -c 'yes flood >/dev/console & sleep 1; kill $!'
	succeeds vps exec web -- echo alive
	assert_output alive
	[ "$(stat -c %s "$VPS_ROOT/lib/vps/web/console.log")" -le $((300 * 1024)) ]
	vps exec web -- sh -c 'exec </dev/console >/dev/console 2>&1; exec <&- >&- 2>&-'
	succeeds vps exec web -- sh -c 'echo after >/dev/console'
	wait_until 20 logged after
	succeeds vps stop web
}

logged() {
	vps logs web | grep -q "$1"
}

@test "a volume of the host, writable and read-only" {
	mkdir -p "$BATS_TEST_TMPDIR/rw" "$BATS_TEST_TMPDIR/ro"
	echo host >"$BATS_TEST_TMPDIR/ro/f"
	vps create web
	vps set web "mount=$BATS_TEST_TMPDIR/rw:/srv/rw" "mount=$BATS_TEST_TMPDIR/ro:/ro:ro"
	vps start web
	[ "$(vps exec web -- cat /ro/f)" = host ]
	run vps exec web -- sh -c 'echo x >/ro/f'
	[ "$status" -ne 0 ]
	vps exec web -- sh -c 'echo tenant >/srv/rw/f'
	[ "$(cat "$BATS_TEST_TMPDIR/rw/f")" = tenant ]
	[ "$(stat -c %u "$BATS_TEST_TMPDIR/rw/f")" = 0 ]
}

@test "a full disk and a read-only disk are named" {
	mkdir -p "$BATS_TEST_TMPDIR/small"
	mount -t tmpfs -o size=3m none "$BATS_TEST_TMPDIR/small"
	run --separate-stderr vps --root "$BATS_TEST_TMPDIR/small" create web
	first=$status
	dd if=/dev/zero of="$BATS_TEST_TMPDIR/small/fill" bs=4k 2>/dev/null || true
	run --separate-stderr vps --root "$BATS_TEST_TMPDIR/small" create web2
	show_run
	[ "$status" -eq 8 ]
	[[ $stderr == "vps: create web2: "*"No space left on device"* ]]
	vps --root "$BATS_TEST_TMPDIR/small" daemon stop
	umount "$BATS_TEST_TMPDIR/small"
}

@test "Debian with systemd boots, says that it is ready, has no failed unit, stops cleanly" {
	requires root debian
	vps template import debian "$(debian_tarball)"
	vps create deb --template debian
	VPS_TEST_TIMEOUT=120 vps start --wait deb
	succeeds vps exec deb -- systemctl is-system-running
	assert_output running
	succeeds vps exec deb -- systemctl --failed --no-legend --no-pager
	assert_output ""
	succeeds vps exec deb -- cat /proc/1/comm
	assert_output systemd
	succeeds vps exec deb -- systemctl show -p Virtualization --value
	refute_match '^$'
	pid=$(vps_pid deb)
	succeeds vps restart deb
	has_another_init deb "$pid"
	succeeds vps stop deb
	[ "$(vps status --json deb | jq -r .last_exit)" = poweroff ]
	vps destroy deb
	vps template remove debian
}

@test "Debian: units with namespaces of their own, an unprivileged user, a login shell" {
	requires root debian
	vps template import debian "$(debian_tarball)"
	vps create deb --template debian
	VPS_TEST_TIMEOUT=120 vps start --wait deb
	succeeds vps exec deb -- systemd-run --wait --pipe -p PrivateUsers=yes -p PrivateNetwork=yes \
		-p PrivateTmp=yes -p ProtectSystem=strict -p NoNewPrivileges=yes \
		-p SystemCallFilter=@system-service true
	succeeds vps exec -u nobody deb -- id -un
	assert_output nobody
	succeeds vps exec deb -- bash -lc 'echo $HOME'
	assert_output /root
	vps destroy --force deb
	vps template remove debian
}

@test "Debian: its systemd bounds its own units, in what the VPS was sold" {
	requires root debian unified
	vps template import debian "$(debian_tarball)"
	vps create deb --template debian --ram 512M
	VPS_TEST_TIMEOUT=120 vps start --wait deb
	vps exec deb -- systemd-run --unit web sleep 1000
	vps exec deb -- systemctl set-property --runtime web.service MemoryMax=64M CPUQuota=20% TasksMax=7
	group=/sys/fs/cgroup/system.slice/web.service
	succeeds vps exec deb -- cat $group/memory.max $group/pids.max $group/cpu.max
	assert_output "67108864
7
20000 100000"
	# Its own group's bounds are the host's to set.
	run vps exec deb -- sh -c 'echo max >/sys/fs/cgroup/memory.max'
	[ "$status" -ne 0 ]
	assert_equal "$(cat "$(group_file deb memory memory.max)")" 536870912
	vps destroy --force deb
	vps template remove debian
}
