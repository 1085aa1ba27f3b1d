#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A whole distribution goes to disk and comes back, and its services do not notice.
load ../lib

setup_file() {
	root_new
	if [ "$(id -u)" -eq 0 ] && debian_tarball >/dev/null; then
		vps template import debian "$(debian_tarball)" >/dev/null
	fi
}

setup() {
	requires root debian kernel 6.7
	vps create deb1 --template debian
	vps start --wait deb1
	wait_until 60 settled
	# What a console's login shell has cannot be saved on all versions of the engine.
	vps check deb1 >/dev/null || vps exec deb1 -- systemctl stop console-getty
	succeeds vps check deb1
}

teardown() {
	vps_clean
}

settled() {
	[ "$(vps exec deb1 -- systemctl is-system-running)" = running ]
}

inside() {
	vps exec deb1 -- sh -c "$1"
}

holds() {
	inside "test -e $1"
}

count_is_past() {
	[ "$(inside 'cat /run/count')" -gt "$1" ]
}

@test "systemd runs on, with its services, timers and the journal" {
	inside 'systemd-run -q --unit=count bash -c "while :; do echo \$((++n)) >/run/count.new
		mv /run/count.new /run/count; sleep 0.1; done"
	systemd-run -q --unit=follow sh -c "exec journalctl -f -n 0 >/run/follow"
	systemd-run -q --on-active=4s touch /run/fired'
	wait_until 20 count_is_past 3
	before=$(inside 'cat /run/count')
	pids=$(inside 'systemctl show -p MainPID --value count follow systemd-journald dbus systemd-logind')
	for round in 1 2 3; do
		succeeds vps suspend deb1
		vps_is deb1 suspended
		succeeds vps resume deb1
		assert_equal "$(inside 'systemctl is-system-running')" running
		assert_equal "$(inside 'systemctl --failed --no-legend')" ""
		assert_equal "$(inside 'systemctl show -p MainPID --value count follow systemd-journald dbus systemd-logind')" \
			"$pids"
		inside "logger in round $round"
		wait_until 20 inside "grep -q 'in round $round' /run/follow"
	done
	[ "$(inside 'cat /run/count')" -ge "$before" ]
	wait_until 20 count_is_past "$((before + 5))"
	wait_until 30 holds /run/fired
	# New services, sessions and logins work as before.
	succeeds inside 'systemctl restart systemd-logind && systemd-run -q --wait true'
	succeeds vps stop deb1
	[ "$(vps status --json deb1 | jq -r .last_exit)" = poweroff ]
}

@test "back to a checkpoint, after it was ruined" {
	inside 'echo then >/root/mark; systemd-run -q --unit=keeper sleep 1000'
	succeeds vps checkpoint --leave-running deb1
	inside 'rm -rf /usr/bin /etc /root'
	vps stop --force deb1
	succeeds vps restore deb1
	assert_equal "$(inside 'cat /root/mark')" then
	assert_equal "$(inside 'systemctl is-active keeper')" active
	assert_equal "$(inside 'systemctl is-system-running')" running
}
