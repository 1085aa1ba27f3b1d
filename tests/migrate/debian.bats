#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A whole distribution moves there and back while it runs, and its services do not notice.
load ../lib
load hosts

setup_file() {
	hosts_new
	if [ "$(id -u)" -eq 0 ] && debian_tarball >/dev/null; then
		vps template import debian "$(debian_tarball)" >/dev/null
	fi
}

teardown_file() { hosts_done; }

setup() {
	requires root debian kernel 6.7
}

teardown() { hosts_clean; }

# inside a|b CMD
inside() {
	on "$1" vps exec deb1 -- sh -c "$2"
}

settled() {
	[ "$(inside a 'systemctl is-system-running')" = running ]
}

count_is_past() { # a|b N
	[ "$(inside "$1" 'cat /run/count')" -gt "$2" ]
}

@test "Debian with systemd moves there and back" {
	local pids count from=a to=b _
	vps create deb1 --template debian
	vps start --wait deb1
	wait_until 60 settled
	inside a 'systemd-run -q --unit=count bash -c "while :; do echo \$((++n)) >/run/count.new
		mv /run/count.new /run/count; sleep 0.1; done"
	systemd-run -q --unit=follow sh -c "exec journalctl -f -n 0 >/run/follow"
	echo kept >/root/mark'
	wait_until 20 count_is_past a 3
	pids=$(inside a 'systemctl show -p MainPID --value count follow systemd-journald dbus systemd-logind')
	for _ in 1 2 3 4; do
		count=$(inside $from 'cat /run/count')
		# The template goes along the first time.
		succeeds on $from vps migrate -e "$RSH" deb1 host-$to
		assert_only_on $to deb1
		wait_until 20 count_is_past $to "$((count + 3))"
		assert_equal "$(inside $to 'systemctl is-system-running')" running
		assert_equal "$(inside $to 'systemctl show -p MainPID --value count follow systemd-journald dbus systemd-logind')" \
			"$pids"
		inside $to "logger on host $to after $count"
		wait_until 20 inside $to "grep -q 'on host $to after $count' /run/follow"
		assert_equal "$(inside $to 'cat /root/mark')" kept
		if [ $to = b ]; then from=b to=a; else from=a to=b; fi
	done
	# New services and logins work as before.
	succeeds inside a 'systemctl restart systemd-logind && systemd-run -q --wait true'
	succeeds vps stop deb1
}
