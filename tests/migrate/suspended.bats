#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A VPS that is suspended goes to another host with its image.
load ../lib
load hosts

setup_file() { hosts_new; }
teardown_file() { hosts_done; }
teardown() { hosts_clean; }

# It counts on from what it had counted when it was suspended.
make_suspended() {
	make_counter
	vps suspend web1
	n=$(last a web1)
}

# last a|b NAME: what it has counted, read from outside
last() {
	local root=$A_ROOT
	[ "$1" = a ] || root=$B_ROOT
	cat "$root/lib/vps/$2/root/upper/srv/n"
}

has_passed() { [ "$(last "$1" "$2")" -gt "$3" ]; }

@test "a move: it is suspended there, and goes on" {
	make_suspended
	succeeds vps migrate --dry-run -e "$RSH" web1 host-b
	assert_output "nothing stands in the way"
	succeeds vps migrate -e "$RSH" --json web1 host-b
	assert_equal "$(tail -n 1 <<<"$output" | jq -c 'keys')" '["bytes","pause_ms","rounds","total_ms"]'
	assert_only_on b web1
	on b vps_is web1 suspended
	assert_equal "$(last b web1)" "$n"
	on b daemon_stop
	on b vps_is web1 suspended
	on b vps resume web1
	wait_until 20 has_passed b web1 $((n + 3))
	assert_equal "$(on b vps exec web1 -- cat /srv/pid)" 1
	# And back, where it is resumed.
	on b vps suspend web1
	n=$(last b web1)
	succeeds on b vps migrate --resume -e "$RSH" web1 host-a
	assert_only_on a web1
	wait_until 20 has_passed a web1 $((n + 3))
	[ ! -e "$A_ROOT/lib/vps/web1/image" ]
}

@test "a copy has an identity of its own" {
	make_suspended
	succeeds vps copy -e "$RSH" --name web2 web1 host-b
	vps_is web1 suspended
	on b vps_is web2 suspended
	[ "$(on a vps list --json | jq -r '.[0].uuid')" != "$(on b vps list --json | jq -r '.[0].uuid')" ]
	on b vps resume web2
	wait_until 20 has_passed b web2 $((n + 3))
	assert_equal "$(last a web1)" "$n"
	vps resume web1
	wait_until 20 has_passed a web1 $((n + 3))
}

@test "through a file" {
	make_suspended
	vps send --compress lz4 web1 >"$BATS_TEST_TMPDIR/web1.vps" 2>/dev/null
	vps_is web1 suspended
	succeeds on b vps receive <"$BATS_TEST_TMPDIR/web1.vps"
	on b vps_is web1 suspended
	on b vps resume web1
	wait_until 20 has_passed b web1 $((n + 3))
	head -c -100 "$BATS_TEST_TMPDIR/web1.vps" >"$BATS_TEST_TMPDIR/cut"
	fails_like 1 "the connection ended too early" on b vps receive --name web4 <"$BATS_TEST_TMPDIR/cut"
	assert_equal "$(names b)" web1
	vps resume web1
	wait_until 20 has_passed a web1 $((n + 3))
}

@test "after a failure it is suspended here" {
	local fault
	make_suspended
	for fault in send.image receive.content receive.prepare receive.commit; do
		daemon_stop
		on b daemon_stop
		VPS_FAULT=$fault:fail vps daemon start >/dev/null
		VPS_FAULT=$fault:fail on b vps daemon start >/dev/null
		fails_like 1 "$fault: fault injected" vps migrate -e "$RSH" web1 host-b
		daemon_stop
		on b daemon_stop
		assert_only_on a web1
		vps_is web1 suspended
		assert_equal "$(ls -A "$B_ROOT/lib/vps")" ""
	done
	# The last one is past the point where only the destination knows.
	fails_like 5 "it may have moved to host-b" vps resume web1
	fails_like 5 "it may have moved to host-b" vps stop --force web1
	fails_like 5 "it may have moved to host-b" vps restore web1
	succeeds vps migrate -e "$RSH" web1 host-b
	vps_is web1 suspended
	succeeds vps migrate -e "$RSH" web1 host-b
	on b vps resume web1
	wait_until 20 has_passed b web1 $((n + 3))
}

is_on() { case " $(names "$1") " in *" web1 "*) ;; *) return 1 ;; esac; }
settled() { [ -z "$(ls -A "$A_ROOT/lib/vps" "$B_ROOT/lib/vps" | grep '^\.')" ]; }

@test "whoever is killed: it is suspended on one host, and the next try succeeds" {
	local point
	make_suspended
	for point in send.image.after send.record.after send.commit.after receive.content receive.prepare.after \
		receive.taken.after receive.publish; do
		echo "--- $point"
		daemon_stop
		on b daemon_stop
		VPS_FAULT=$point:kill vps daemon start >/dev/null
		VPS_FAULT=$point:kill on b vps daemon start >/dev/null
		vps migrate -e "$RSH" web1 host-b && echo "it succeeded all the same"
		daemon_stop
		on b daemon_stop
		for _ in 1 2 3; do
			! is_on a || vps migrate -e "$RSH" web1 host-b || true
			wait_until 20 settled
		done
		assert_only_on b web1
		on b vps_is web1 suspended
		assert_equal "$(last b web1)" "$n"
		succeeds on b vps migrate -e "$RSH" web1 host-a
		assert_only_on a web1
	done
	vps resume web1
	wait_until 20 has_passed a web1 $((n + 3))
}

@test "a destination whose worker dies when it has named it has it" {
	make_suspended
	on b daemon_stop
	VPS_FAULT=receive.publish.after:kill on b vps daemon start >/dev/null
	vps send web1 2>/dev/null >"$BATS_TEST_TMPDIR/web1.vps"
	! on b vps receive <"$BATS_TEST_TMPDIR/web1.vps" || false
	wait_until 20 is_on b
	on b vps_is web1 suspended
	assert_equal "$(last b web1)" "$n"
	vps resume web1
	on b vps stop --force web1
}

# An image that says something else than its checksums.
@test "a damaged image stays where it is" {
	make_suspended
	flip "$A_ROOT/lib/vps/web1/image" 5000
	fails_like 1 "image" vps migrate -e "$RSH" web1 host-b
	assert_only_on a web1
	vps_is web1 suspended
	assert_equal "$(ls -A "$B_ROOT/lib/vps")" ""
	vps stop --force web1
}

@test "one whose image is its user's stays where it is" {
	make_counter
	vps checkpoint web1 --to "$BATS_TEST_TMPDIR/image"
	vps_is web1 suspended
	fails_like 5 "its image is in .*image .hint: vps restore web1 --from" vps migrate -e "$RSH" web1 host-b
	assert_only_on a web1
	vps stop --force web1
}
