#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A suspend fails, and each of the three processes that take part is killed, at every step. Afterwards
# the VPS either runs untouched or is suspended in a whole image; never both, never neither, and nothing
# else is left.
load saved

@test "there are points to fail at" {
	for p in suspend.prepared suspend.held suspend.committed suspend.kill \
		resume.prepared resume.frozen resume.record resume.runs; do
		grep -qx "$p" "$TRACE" || fail "no $p in: $(cat "$TRACE")"
	done
}

@test "a suspend that fails before its record is on disk leaves it running" {
	for p in $(points checkpoint) suspend.prepared suspend.held; do
		echo "# $p" >&2
		start_under $p:fail
		run --separate-stderr vps suspend web
		assert_status 1
		[[ $stderr == "vps: suspend web: "*"$p: fault injected"* ]] || fail "$p: $stderr"
		runs_untouched
		again
	done
}

@test "a suspend that fails after that is one" {
	for p in suspend.committed suspend.kill; do
		echo "# $p" >&2
		start_under $p:fail
		succeeds vps suspend web
		is_suspended
		again
	done
}

@test "a worker or monitor that is killed at each step of a suspend" {
	for p in $(points checkpoint) suspend.prepared; do # a worker that holds the VPS
		echo "# $p" >&2
		start_under $p:kill
		run vps suspend web
		assert_status 1
		runs_untouched
		again
	done
	for p in suspend.kill suspend.held suspend.committed; do
		echo "# $p" >&2
		start_under $p:kill
		succeeds vps suspend web
		is_suspended
		again
	done
}

@test "a vpsd that is killed at each step of a suspend" {
	for p in checkpoint.stop checkpoint.pages suspend.prepared suspend.kill suspend.held \
		suspend.committed; do
		echo "# $p" >&2
		case $p in
		suspend.held | suspend.committed) who=vps-monitor ;;
		*) who=vps-worker ;;
		esac
		start_under $p:hang
		"$VPS_BUILD/vps" suspend web >/dev/null 2>&1 &
		wait_until 20 hangs $who
		hung=$(stopped_processes $who)
		daemon_kill
		kill -CONT $hung 2>/dev/null || true
		wait $! || true
		case $p in
		checkpoint.* | suspend.prepared) runs_untouched ;;
		*) is_suspended ;;
		esac
		again
	done
}

@test "its user's file stays when vpsd dies before it has answered" {
	file=$BATS_TEST_TMPDIR/image
	start_under suspend.kill:hang
	"$VPS_BUILD/vps" checkpoint --to "$file" web >/dev/null 2>&1 &
	wait_until 20 hangs vps-worker
	hung=$(stopped_processes vps-worker)
	daemon_kill
	kill -CONT $hung 2>/dev/null || true
	wait $! || true
	wait_until 20 vps_is web suspended
	succeeds vps restore --from "$file" web
	counts web
}

# SIGTERM waits for it.
is_told_to_end() {
	local pending
	pending=$(sed -n 's/^ShdPnd:[[:space:]]*//p' "/proc/$1/status")
	(((0x$pending >> 14) & 1))
}

@test "a client that is interrupted lets it run on" {
	for p in checkpoint.pages suspend.prepared; do
		start_under $p:hang
		"$VPS_BUILD/vps" suspend web 2>"$BATS_TEST_TMPDIR/err" &
		client=$!
		wait_until 20 hangs vps-worker
		hung=$(stopped_processes vps-worker)
		kill -TERM "$client" # as SIGINT, which a background job ignores
		wait_until 20 is_told_to_end $hung
		kill -CONT $hung
		status=0
		wait "$client" || status=$?
		assert_equal "$status" 10
		assert_equal "$(cat "$BATS_TEST_TMPDIR/err")" "vps: suspend web: cancelled"
		runs_untouched
		again
	done
}

@test "a full disk" {
	start_under no.point:fail
	mkdir "$BATS_TEST_TMPDIR/full"
	# The image's place alone: a file system of one page on it.
	touch "$(lib)/image.tmp"
	truncate -s 64K "$BATS_TEST_TMPDIR/disk"
	mount -t tmpfs -o size=4096 tmpfs "$BATS_TEST_TMPDIR/full" || skip "no tmpfs to be had"
	touch "$BATS_TEST_TMPDIR/full/image"
	mount --bind "$BATS_TEST_TMPDIR/full/image" "$(lib)/image.tmp"
	run --separate-stderr vps suspend web
	umount "$(lib)/image.tmp" "$BATS_TEST_TMPDIR/full"
	assert_status 8
	[[ $stderr == "vps: suspend web: "*"No space left on device"* ]] || fail "$stderr"
	rm -f "$(lib)/image.tmp"
	runs_untouched
}
