# SPDX-License-Identifier: GPL-2.0-or-later
#
# For a machine that is started twice (tests/vm/lane): first.bats leaves VPSs on its work disk, which
# second.bats finds after the boot. What lies there stands for the disk of a host; all else of the machine
# is new: its kernel, its clocks, its other disk.

TWIN=/work/twin

# As root_new, but a place that stays.
twin_root() {
	VPS_ROOT=$TWIN/$1
	mkdir -p "$VPS_ROOT"
	VPS_TAG=$(root_tag "$VPS_ROOT")
	VPS_ROOT_BORN=$(cut -d. -f1 /proc/uptime)
	PATH=$VPS_BUILD:$PATH
	export VPS_ROOT VPS_TAG VPS_ROOT_BORN PATH
}

# Nothing but what is to last is left when the machine goes down.
twin_leave() {
	daemon_stop
	wait_until 20 assert_nothing_left $(printf -- '--keep %s ' "$@")
	assert_no_crash
	rm -rf "$VPS_ROOT/run"
}

requires_twin() {
	[ -n "${VPS_TEST_TWIN-}" ] || skip "needs a machine that is started twice"
}

in_debian() {
	vps exec deb1 -- sh -c "$1"
}

debian_settled() {
	[ "$(in_debian 'systemctl is-system-running')" = running ]
}

main_pids() {
	in_debian 'systemctl show -p MainPID --value count follow systemd-journald dbus'
}

# The tenant's own clock, in milliseconds.
uptime_of() {
	vps exec "$1" -- cat /proc/uptime | awk '{ print int($1 * 1000) }'
}
