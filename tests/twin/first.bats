#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# VPSs are saved, each in its way, and the machine is switched off.
load ../lib
load ../cli/inside
load lib

setup_file() {
	[ -n "${VPS_TEST_TWIN-}" ] || return 0
	twin_root host
	vps template import debian "$(debian_tarball)" >/dev/null
}

teardown_file() {
	[ -n "${VPS_TEST_TWIN-}" ] || return 0
	twin_leave web1 web2 deb1
}

setup() {
	requires_twin
	requires root debian
}

# note WHAT: the second boot compares with it.
note() {
	cat >"$TWIN/$1"
}

@test "one that is suspended" {
	new_counter web1 5
	vps exec web1 -- sh -c 'echo kept >/mark'
	count web1 | note web1.count
	uptime_of web1 | note web1.uptime
	succeeds vps suspend web1
}

@test "one whose checkpoint goes elsewhere, and which goes on" {
	new_counter web2 5
	vps exec web2 -- sh -c 'echo then >/mark'
	count web2 | note web2.count
	succeeds vps checkpoint --leave-running --to "$TWIN/web2.image" web2
	count web2 | note web2.after
	vps exec web2 -- sh -c 'echo later >/mark'
	vps stop --force web2
}

@test "a Debian with its services" {
	vps create deb1 --template debian
	vps start --wait deb1
	wait_until 60 debian_settled
	vps check deb1 >/dev/null || vps exec deb1 -- systemctl stop console-getty
	in_debian 'systemd-run -q --unit=count bash -c "while :; do echo \$((++n)) >/run/count.new
		mv /run/count.new /run/count; sleep 0.1; done"
	systemd-run -q --unit=follow sh -c "exec journalctl -f -n 0 >/run/follow"
	systemd-run -q --on-active=30s touch /run/fired'
	wait_until 20 in_debian 'test -s /run/count'
	main_pids | note deb1.pids
	in_debian 'cat /run/count' | note deb1.count
	uptime_of deb1 | note deb1.uptime
	succeeds vps suspend deb1
}
