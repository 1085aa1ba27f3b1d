#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What first.bats saved goes on after another boot, and on a host that only has the files.
load ../lib
load ../cli/inside
load lib

setup_file() {
	[ -n "${VPS_TEST_TWIN-}" ] || return 0
	# The kernel's vdso and each new program lie elsewhere than on the first boot.
	echo 2 >/proc/sys/kernel/randomize_va_space
	mkdir "$TWIN/twin"
	cp -a "$TWIN/host/lib" "$TWIN/twin/lib"
	twin_root host
}

teardown_file() {
	[ -n "${VPS_TEST_TWIN-}" ] || return 0
	root_done
	twin_root twin
	root_done
}

setup() {
	requires root
	requires_twin
}

noted() {
	cat "$TWIN/$1"
}

@test "another boot: the suspended one goes on when it is started" {
	vps_is web1 suspended
	succeeds vps start web1
	[ "$(count web1)" -ge "$(noted web1.count)" ]
	counts web1
	assert_equal "$(vps exec web1 -- cat /mark)" kept
	[ "$(uptime_of web1)" -ge "$(noted web1.uptime)" ]
	[ ! -e "$VPS_ROOT/lib/vps/web1/image" ]
}

@test "another boot: a Debian and its services do not notice" {
	succeeds vps resume deb1
	debian_settled
	assert_equal "$(main_pids)" "$(noted deb1.pids)"
	[ "$(in_debian 'cat /run/count')" -ge "$(noted deb1.count)" ]
	[ "$(uptime_of deb1)" -ge "$(noted deb1.uptime)" ]
	in_debian 'logger on another boot'
	wait_until 20 in_debian 'grep -q "on another boot" /run/follow'
	wait_until 60 in_debian 'test -e /run/fired'
	succeeds in_debian 'systemctl restart dbus && systemd-run -q --wait true'
	assert_equal "$(in_debian 'systemctl --failed --no-legend')" ""
	vps stop deb1
	[ "$(vps status --json deb1 | jq -r .last_exit)" = poweroff ]
}

@test "the twin: from a file, with the files of then" {
	twin_root twin
	vps_is web2 stopped
	succeeds vps restore --from "$TWIN/web2.image" web2
	now=$(count web2)
	[ "$now" -ge "$(noted web2.count)" ]
	counts web2
	assert_equal "$(vps exec web2 -- cat /mark)" then
	vps stop --force web2
	# And once more.
	succeeds vps restore --from "$TWIN/web2.image" web2
	counts web2
}
