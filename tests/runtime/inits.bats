#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian with inits other than systemd, unmodified: they boot, are stopped in their own way, and tell
# reboot from power-off.
load ../lib

setup_file() {
	root_new
	net_new
}

# in_tree NAME PACKAGE...: a VPS of that name made of such a tree
in_tree() {
	local tar
	tar=$(debian_tree "$@") || skip "no Debian tree with $1 can be made here"
	vps template import "$1" "$tar"
	vps create "$1" --template "$1"
	vps start "$1"
}

done_with() {
	vps destroy --force "$1"
	vps template remove "$1"
}

bus_is_up() { vps exec "$1" -- pgrep dbus-daemon; }

# Its services were stopped by its own scripts, and it was not killed.
assert_clean_stop() { # NAME
	vps stop --timeout 60 "$1"
	[ "$(vps status --json "$1" | jq -r .last_exit)" != killed ]
	succeeds vps logs "$1"
	assert_match 'Will now restart|Stopping system message bus: dbus'
}

@test "System V init boots to its runlevel and is stopped by its own scripts" {
	in_tree sysvinit sysvinit-core
	wait_until 60 bus_is_up sysvinit
	assert_equal "$(vps exec sysvinit -- runlevel)" "N 2"
	assert_equal "$(vps exec sysvinit -- readlink -f /proc/1/exe)" /usr/sbin/init
	assert_clean_stop sysvinit
}

@test "System V init's reboot restarts the VPS, its poweroff stops it" {
	vps_is sysvinit stopped || skip "there is no such VPS"
	vps start sysvinit
	wait_until 60 bus_is_up sysvinit
	vps exec sysvinit -- reboot
	is_new() { [ "$(vps status --json sysvinit | jq .restarts)" = 1 ] && bus_is_up sysvinit; }
	wait_until 90 is_new
	vps exec sysvinit -- poweroff
	VPS_TEST_TIMEOUT=90 vps wait sysvinit
	assert_equal "$(vps status --json sysvinit | jq -r .last_exit)" poweroff
	done_with sysvinit
}

dbus_is_started() {
	vps exec openrc -- rc-status default | grep -E 'dbus +\[ +started +\]'
}

@test "OpenRC under System V init brings its services up and down" {
	in_tree openrc sysvinit-core openrc
	wait_until 60 bus_is_up openrc
	wait_until 60 dbus_is_started
	assert_clean_stop openrc
}

@test "OpenRC's own init" {
	vps_is openrc stopped || skip "there is no such VPS"
	vps set openrc init=/sbin/openrc-init stop.signal=SIGTERM
	vps start openrc
	wait_until 60 bus_is_up openrc
	assert_equal "$(vps exec openrc -- readlink -f /proc/1/exe)" /usr/sbin/openrc-init
	assert_clean_stop openrc
	assert_equal "$(vps status --json openrc | jq -r .last_exit)" poweroff
	done_with openrc
}
