#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load hosts

setup_file() { hosts_new; }
teardown_file() { hosts_done; }
teardown() {
	hosts_unfault
	hosts_clean
	[ -z "${VPS_WITHOUT-}" ] || as_without ""
}

has_memory() {
	[ "$(vps stats web1 --json | jq '[.. | .anon? // empty] | max')" -gt "$1" ]
}

@test "a running VPS goes on where it was" {
	make_counter
	vps set web1 memory.max=64M description=text
	vps exec web1 -- sh -c 'mkdir /srv/d && echo hello >/srv/d/f && ln /srv/d/f /srv/l && rm -r /usr/share'
	pid=$(vps exec web1 -- cat /srv/pid)
	config=$(vps config web1 | sort)
	before=$(count a)
	succeeds vps migrate -e "$RSH" --json web1 host-b
	echo "$output"
	assert_equal "$(tail -n 1 <<<"$output" | jq -c 'keys')" '["bytes","pause_ms","rounds","total_ms"]'
	assert_only_on b web1
	wait_until 20 no_words b
	assert_equal "$(on b vps list --json | jq -r '.[0].state')" running
	after=$(count b)
	[ "$after" -ge "$before" ]
	wait_until 20 counts b "$((after + 3))"
	assert_equal "$(on b vps exec web1 -- cat /srv/pid)" "$pid"
	assert_equal "$(on b vps exec web1 -- cat /srv/l)" hello
	assert_equal "$(on b vps exec web1 -- stat -c %h /srv/d/f)" 2
	on b vps exec web1 -- test ! -e /usr/share
	assert_equal "$(on b vps config web1 | sort)" "$config"
	assert_equal "$(on b vps logs web1 | grep -c "begins to count")" 1
	[ "$(on b vps status web1 --json | jq .arrived.pause_us)" -gt 0 ]
	on b vps status web1 | grep -E '^arrived .* a pause of [0-9.]+ ms after (1 round|[0-9]+ rounds)$'
	# And back, all in the pause.
	succeeds on b vps migrate -e "$RSH" --max-rounds 0 web1 host-a
	assert_only_on a web1
	after=$(count a)
	wait_until 20 counts a "$((after + 3))"
	vps stop web1
}

# clocks a|b: by how much those of web1 are ahead of the host's, which are the same ones here.
clocks() {
	local init
	init=$(on "$1" eval 'jq .init_pid "$VPS_ROOT/run/vps/web1/state"')
	awk '{ printf "%.0f ", $2 * 1000000000 + $3 }' "/proc/$init/timens_offsets"
}

# Neither is behind what it was: the pause would be as much longer.
assert_no_clock_lost() {
	local were=($1) are=($2)
	[ "${are[0]}" -ge "${were[0]}" ] && [ "${are[1]}" -ge "${were[1]}" ] || fail "clocks: $1 then $2"
}

begins_at_b() { [ "$(on b vps list --json | jq -r '.[0].state')" = starting ]; }

@test "on its way nothing can be asked of it, at either end, and an interrupted one stays" {
	on b vps create seed # its template is there
	on b vps destroy seed
	make_counter
	"$VPS_BUILD/vps" migrate -e "$RSH" --bandwidth 5K web1 host-b 2>"$BATS_TEST_TMPDIR/err" &
	client=$!
	wait_until 60 begins_at_b
	for verb in "set web1 description=x" "stop web1" "suspend web1" "rename web1 web2" "destroy --force web1" \
		"migrate -e $RSH web1 host-b" "migrate -e $RSH --offline web1 host-b"; do
		fails 5 "vps: ${verb%% *} web1: it is being moved" vps $verb
		fails 5 "vps: ${verb%% *} web1: it is being received" on b vps $verb
	done
	kill -TERM "$client" # as SIGINT, which a background job ignores
	status=0
	wait "$client" || status=$?
	assert_equal "$status" 10
	grep -q "^vps: migrate web1: cancelled" "$BATS_TEST_TMPDIR/err"
	# It did not wait until what it had sent was paid for.
	! grep "web1: its worker does not end" "$A_ROOT/run/vpsd.log" || fail "it had to be killed"
	assert_only_on a web1
	wait_until 20 counts a "$(($(count a) + 3))"
	succeeds vps set web1 description=x
}

@test "several times there and back" {
	local were are
	make_counter
	were=$(clocks a)
	for _ in 1 2 3; do
		succeeds vps migrate -e "$RSH" web1 host-b
		are=$(clocks b)
		assert_no_clock_lost "$were" "$are"
		succeeds on b vps migrate -e "$RSH" web1 host-a
		were=$(clocks a)
		assert_no_clock_lost "$are" "$were"
	done
	n=$(count a)
	wait_until 20 counts a "$((n + 3))"
}

# as_without FEATURES: vpsd begins anew, on a kernel that has them not.
as_without() {
	daemon_stop
	export VPS_WITHOUT=$1
}

@test "where nothing tells what was written to all goes in the pause" {
	make_counter
	as_without userfaultfd,soft-dirty
	succeeds vps migrate -e "$RSH" --json web1 host-b
	assert_equal "$(tail -n 1 <<<"$output" | jq .rounds)" 0
	assert_only_on b web1
	after=$(count b)
	wait_until 20 counts b "$((after + 3))"
}

@test "soft-dirty marks tell it, too" {
	make_counter
	as_without userfaultfd
	succeeds vps migrate -e "$RSH" --json web1 host-b
	assert_only_on b web1
	after=$(count b)
	wait_until 20 counts b "$((after + 3))"
	[ "$(tail -n 1 <<<"$output" | jq .rounds)" -gt 0 ] || skip "this kernel has none"
}

@test "what cannot move runs on" {
	make_counter
	succeeds vps migrate --dry-run -e "$RSH" web1 host-b
	assert_output "nothing stands in the way"
	vps_is web1 running
	on b vps create web1
	fails_like 5 "there is a VPS named web1 already" vps migrate -e "$RSH" web1 host-b
	vps_is web1 running
	n=$(count a)
	wait_until 20 counts a "$((n + 3))"
	on b vps destroy web1
}

@test "one that is paused moves, and is paused" {
	make_counter
	vps pause web1
	n=$(cat "$A_ROOT/lib/vps/web1/root/upper/srv/n")
	succeeds vps migrate -e "$RSH" web1 host-b
	assert_only_on b web1
	on b vps_is web1 paused
	assert_equal "$(cat "$B_ROOT/lib/vps/web1/root/upper/srv/n")" "$n"
	on b vps resume web1
	wait_until 20 counts b "$((n + 3))"
	# A failure leaves it as it was.
	on b vps pause web1
	n=$(cat "$B_ROOT/lib/vps/web1/root/upper/srv/n")
	daemon_stop
	VPS_FAULT=receive.prepare:fail vps daemon start >/dev/null
	fails_like 1 'receive.prepare: fault injected' on b vps migrate -e "$RSH" web1 host-a
	daemon_stop
	on b vps_is web1 paused
	assert_equal "$(cat "$B_ROOT/lib/vps/web1/root/upper/srv/n")" "$n"
	on b vps resume web1
	wait_until 20 counts b "$((n + 3))"
}

@test "what it has of the network is taken there, or about to be" {
	make_counter
	vps set web1 net=name=eth0,ip=10.99.0.7/24 publish=8080:80
	on b vps create other net=name=eth0,ip=10.99.0.7/24
	fails 5 "vps: migrate web1: net: address 10.99.0.7 is that of other" vps migrate -e "$RSH" web1 host-b
	vps_is web1 running
	on b vps destroy other
	# From the agreement on they are its own.
	daemon_with_fault b receive.root:hang
	"$VPS_BUILD/vps" --root "$A_ROOT" migrate -e "$RSH" web1 host-b >"$BATS_TEST_TMPDIR/out" 2>&1 &
	pid=$!
	wait_until 30 worker_hangs b
	fails 4 "vps: create other: net: address 10.99.0.7 is that of web1" on b vps create other net=name=eth0,ip=10.99.0.7/24
	fails 4 "vps: create other: publish: port 8080 of the host is that of web1" on b vps create other publish=8080:80
	worker_goes_on b
	wait "$pid" || { cat "$BATS_TEST_TMPDIR/out"; false; }
	assert_only_on b web1
}

# versioned in|out: a remote shell by which what goes into it, or comes out, is of another version.
versioned() {
	local change="{ dd bs=1 count=7; dd bs=1 count=1 of=/dev/null; printf '\\007'; exec cat; } 2>/dev/null"
	printf '#!/bin/bash\nexec "%s" "$@" %s\n' "$RSH" "$([ "$1" = in ] && echo "< <($change)" || echo "> >($change)")" \
		>"$BATS_TEST_TMPDIR/rsh"
	chmod 755 "$BATS_TEST_TMPDIR/rsh"
}

@test "a peer of another version is none" {
	make_counter
	for way in in out; do
		versioned $way
		run vps migrate -e "$BATS_TEST_TMPDIR/rsh" web1 host-b
		[ "$status" -ne 0 ]
		assert_match 'the stream is of version 7, this is version 1'
		assert_only_on a web1
	done
	n=$(count a)
	wait_until 20 counts a "$((n + 3))"
	assert_equal "$(ls -A "$B_ROOT/lib/vps")" ""
}

# A shell that was begun by `vps exec`, waits on its standard input and is nobody else's.
inside_is_at() {
	[ "$(on "$1" vps exec web1 -- cat /srv/inside)" = "$(on "$1" vps exec web1 -- sh -c 'p=$(cat /srv/inside); [ -d "/proc/$p" ] && echo $p')" ]
}

@test "a command that runs inside goes along, and who began it is told" {
	make_counter
	mkfifo "$BATS_TEST_TMPDIR/in"
	exec 4<>"$BATS_TEST_TMPDIR/in"
	vps exec web1 -- sh -c 'echo $$ >/srv/inside; exec sleep 100000' <&4 >/dev/null 2>"$BATS_TEST_TMPDIR/told" 4<&- &
	client=$!
	wait_until 20 inside_is_at a
	succeeds vps migrate -e "$RSH" web1 host-b
	assert_only_on b web1
	status=0
	wait "$client" || status=$?
	exec 4>&-
	assert_equal "$status" 125
	assert_equal "$(cat "$BATS_TEST_TMPDIR/told")" \
		"vps: exec web1: the VPS has moved to another host (hint: what ran here goes on with it, without us)"
	inside_is_at b
}

@test "one that writes faster than the link carries is slowed down, and not for good" {
	vps create web1 init='/usr/bin/awk "BEGIN { while (1) for (i = 0; i < 20000; i++) a[i] = n++ }"'
	vps start web1
	wait_until 20 has_memory 1000000
	succeeds vps migrate -e "$RSH" --json --bandwidth 500K --max-pause 30ms --max-rounds 3 web1 host-b
	echo "$output"
	[ "$(jq -s '[.[] | .throttled // 0] | max' <<<"$output")" -gt 0 ]
	assert_equal "$(on b vps config web1 cpu.max)" max
}
