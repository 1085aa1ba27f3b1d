#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load hosts

# The destination has a small disk.

setup_file() {
	hosts_new
	mkdir "$B_ROOT/lib"
	mount -t tmpfs -o size=24M none "$B_ROOT/lib"
}

teardown_file() {
	local left=0
	on b daemon_stop
	umount "$B_ROOT/lib"
	hosts_done || left=1
	return "$left"
}

teardown() { hosts_clean; }

@test "what is too large is not begun with" {
	vps create web1
	vps start web1
	vps exec web1 -- dd if=/dev/urandom of=/srv.img bs=1M count=40
	vps stop web1
	run vps migrate --dry-run -e "$RSH" web1 host-b
	assert_status 5
	assert_match 'there is no room: .* are needed, .* are free'
	fails_like 5 'there is no room' vps migrate -e "$RSH" web1 host-b
	assert_equal "$(names a)/$(names b)" web1/
	[ -z "$(ls -A "$B_ROOT/lib/vps")" ]
}

# The disk becomes full after it was looked at.
full_at() {
	local point=$1 pid
	on b daemon_stop
	VPS_FAULT=$point:hang on b vps daemon start >/dev/null
	"$VPS_BUILD/vps" --root "$A_ROOT" migrate -e "$RSH" web1 host-b >"$BATS_TEST_TMPDIR/out" 2>&1 &
	pid=$!
	wait_until 30 worker_hangs b
	dd if=/dev/zero of="$B_ROOT/lib/filler" bs=1M count=100 2>/dev/null || true
	worker_goes_on b
	! wait "$pid" || fail "it succeeded"
	cat "$BATS_TEST_TMPDIR/out"
	grep -q 'No space left on device' "$BATS_TEST_TMPDIR/out"
	rm "$B_ROOT/lib/filler"
	on b daemon_stop
}

@test "the disk becomes full: it goes on here, and the next try succeeds" {
	make_counter
	vps exec web1 -- dd if=/dev/urandom of=/srv/img bs=1M count=3
	sum=$(vps exec web1 -- md5sum /srv/img)
	full_at receive.root.after
	assert_only_on a web1
	n=$(count a)
	wait_until 20 counts a "$((n + 2))"
	[ -z "$(ls -A "$B_ROOT/lib/vps")" ]
	succeeds vps migrate -e "$RSH" web1 host-b
	assert_only_on b web1
	assert_equal "$(on b vps exec web1 -- md5sum /srv/img)" "$sum"
}
