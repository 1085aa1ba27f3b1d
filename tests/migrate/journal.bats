#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A VPS with many files: the last pass looks only at what was changed. Whatever way a file is written, it is the same
# there. VPS_PROOF_MOVES is how often the one moves that changes anything at random (2).
load ../lib
load hosts

VPS_TEST_TIMEOUT=600

# The writer is a program in Python, which the smaller trees do not have.
setup_file() {
	local tar
	hosts_new
	[ "$(id -u)" -eq 0 ] && tar=$(debian_tree services nginx-light redis-server openssh-server cron postgresql php-fpm \
		python3 wrk iperf3 iputils-ping) || return 0
	on a vps template import many "$tar" >/dev/null
	on b vps template import many "$tar" >/dev/null
	export MANY=many
}

teardown_file() { hosts_done; }
setup() {
	requires root kernel 6.7
	[ -n "${MANY-}" ] || skip "no Debian tree with services can be made here"
}
teardown() {
	hosts_unfault
	hosts_clean
}

make_writer() {
	vps create web1 --template many init='/usr/bin/python3 -B /root/writer.py' stop.signal=SIGKILL
	vps push web1 "$BATS_TEST_DIRNAME/writer.py" /root
	vps start web1
	wait_until 60 has_written 3
}

# It stands still, compares and goes on.
assert_right() {
	on "$1" vps exec web1 -- touch /srv/check
	wait_until 60 written "$1"
	assert_equal "$(written "$1")" "all as it should be"
	on "$1" vps exec web1 -- rm /srv/check /srv/checked
}

written() { on "$1" vps exec web1 -- cat /srv/checked 2>/dev/null; }
has_written() { [ "$(cat "$A_ROOT/lib/vps/web1/root/upper/srv/rounds" 2>/dev/null || echo 0)" -ge "$1" ]; }

@test "files that are written in every way, among five thousand" {
	make_writer
	for _ in 1 2; do
		succeeds vps migrate -e "$RSH" web1 host-b
		assert_only_on b web1
		assert_right b
		succeeds on b vps migrate -e "$RSH" web1 host-a
		assert_right a
	done
}

@test "the same where nothing tells what was changed" {
	daemon_stop
	export VPS_WITHOUT=journal
	make_writer
	succeeds vps migrate -e "$RSH" web1 host-b
	assert_right b
}

@test "files that are changed at random: both hosts have the same when it stands still" {
	local at=a to=b seed=$RANDOM n=0 pid
	echo "seed $seed"
	daemon_with_fault a receive.publish:hang
	daemon_with_fault b receive.publish:hang
	vps create web1 --template many init="/usr/bin/python3 -B /root/churn.py $seed" stop.signal=SIGKILL
	vps push web1 "$BATS_TEST_DIRNAME/churn.py" /root
	vps start web1
	wait_until 60 test -e "$(upper a)/srv/ready"
	while ((n < ${VPS_PROOF_MOVES:-2})); do
		on "$at" vps migrate -e "$RSH" web1 "host-$to" >"$BATS_TEST_TMPDIR/out" 2>&1 &
		pid=$!
		wait_until 60 worker_hangs_or_ended "$to" "$pid"
		if worker_hangs "$to"; then
			assert_same "$to"
			worker_goes_on "$to"
			wait "$pid" || { cat "$BATS_TEST_TMPDIR/out"; false; }
			on "$to" vps_is web1 running || { on "$to" vps logs web1; false; }
			read -r at to <<<"$to $at"
			n=$((n + 1))
		else # an open file that was removed and has other names, which are not looked for everywhere
			grep 'has another name that cannot be found' "$BATS_TEST_TMPDIR/out" || { cat "$BATS_TEST_TMPDIR/out"; false; }
			wait_until 20 assert_only_on "$at" web1
		fi
	done
}
