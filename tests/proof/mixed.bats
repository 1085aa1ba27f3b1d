#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A tenant that does everything at once, each part of which knows what it must find. Both hosts' files are
# compared while it stands still.
load ../lib
load ../migrate/hosts
load ../migrate/wire
load proof

PORT=7000

teardown() {
	hosts_unfault
	proof_end
}

rounds() { cat "$(upper "$AT")/srv/rounds"; }

# Each has gone round twice since then, or the VPS has ended.
all_go_on() {
	paste -d' ' "$BATS_TEST_TMPDIR/rounds" <(rounds) | awk '$4 < $2 + 2 { exit 1 }' || ! on "$AT" vps_is web1 running
}

assert_goes_on() {
	rounds >"$BATS_TEST_TMPDIR/rounds"
	wait_until 120 all_go_on || { rounds; cat "$BATS_TEST_TMPDIR/rounds"; inside sh -c 'grep . /proc/[0-9]*/comm'; false; }
	on "$AT" vps_is web1 running || { on "$AT" vps logs web1; false; }
}

@test "all kinds of work at once" {
	local to=b seed=$RANDOM n pid
	echo "seed $seed"
	daemon_with_fault a receive.publish:hang
	daemon_with_fault b receive.publish:hang
	vps create web1 --template services "$ON_WIRE" init="/usr/bin/python3 -B /root/mixed.py $PORT $seed" stop.signal=SIGKILL
	vps push web1 "$LOADS/mixed.py" /root
	start "$PORT"
	load_begin crowd crowd.py "$TENANT" "$PORT" 20
	assert_goes_on
	for ((n = 0; n < VPS_PROOF_MOVES; n++)); do
		on "$AT" vps migrate -e "$RSH" web1 "host-$to" >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
		pid=$!
		wait_until 120 worker_hangs_or_ended "$to" "$pid"
		worker_hangs "$to" || { cat "$BATS_TEST_TMPDIR/out"; false; }
		assert_same "$to"
		worker_goes_on "$to"
		wait "$pid" || { cat "$BATS_TEST_TMPDIR/out"; false; }
		read -r AT to <<<"$to $AT"
		assert_goes_on
		load_is_on crowd
	done
	load_end crowd
	say "$n moves, all the same; $load_out"
}
