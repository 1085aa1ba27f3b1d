#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A suspend and a resume fail, and each of the three processes that take part is killed, at every
# step. Afterwards the VPS either runs untouched or is suspended in a whole image; never both, never
# neither, and nothing else is left.
load ../lib
load ../cli/inside

setup_file() {
	root_new
	export TRACE=$BATS_FILE_TMPDIR/trace
	vps create web
	give_counter web
	daemon_stop
	VPS_FAULT_TRACE=$TRACE vps start web
	vps suspend web
	vps resume web
	vps destroy --force web
	daemon_stop
	sort -u "$TRACE" -o "$TRACE"
}

setup() {
	requires root kernel 6.7
	vps create web
	give_counter web
}

teardown() {
	unset VPS_FAULT
	vps_clean
	daemon_stop
}

points() {
	grep "^$1\." "$TRACE" | grep -v '\.after$'
}

lib() {
	echo "$VPS_ROOT/lib/vps/web"
}

# under POINT:ACTION: the vpsd that comes next, and all that it starts, has this fault.
under() {
	daemon_stop
	export VPS_FAULT=$1
	vps list >/dev/null
	unset VPS_FAULT
}

# The VPS runs with the fault in its monitor.
start_under() {
	under "$1"
	vps start web
	wait_until 20 counts_past web 2
	before=$(count web)
	pid=$(vps_pid web)
}

files_are() {
	assert_equal "$(cd "$(lib)" && echo image* suspended* resuming*)" "$1"
}

runs_untouched() {
	wait_until 20 vps_is web running
	assert_equal "$(vps_pid web)" "$pid"
	counts web
	files_are "image* suspended* resuming*"
}

# Also by a vpsd without faults; and its image is whole.
is_suspended() {
	wait_until 20 vps_is web suspended
	wait_until 10 assert_nothing_left --daemon --keep web
	files_are "image suspended resuming*"
	daemon_stop
	vps_is web suspended
	succeeds vps resume web
	after=$(count web)
	[ "$after" -ge "$before" ] && [ "$after" -lt $((before + 200)) ] || fail "$before, then $after"
	counts web
	files_are "image* suspended* resuming*"
}

again() {
	vps destroy --force web
	daemon_stop
	vps create web
	give_counter web
}

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

stopped_processes() {
	local p
	for p in $("$VPS_TOP/tests/pids" "$VPS_ROOT" "$1"); do
		[ "$(cut -d' ' -f3 "/proc/$p/stat")" != T ] || echo "$p"
	done
}

hangs() {
	[ -n "$(stopped_processes "$1")" ]
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

@test "a resume that fails, or whose monitor is killed, before it runs leaves it suspended" {
	for p in $(points restore) resume.prepared resume.frozen resume.record; do
		for action in fail kill; do
			echo "# $p $action" >&2
			start_under $p:$action
			vps suspend web
			sum=$(sha256sum "$(lib)/image")
			run vps resume web
			[ "$status" -ne 0 ] || fail "$p $action: it succeeded"
			wait_until 20 vps_is web suspended
			assert_equal "$(sha256sum "$(lib)/image")" "$sum"
			is_suspended
			again
		done
	done
}

@test "a monitor that is killed when it runs takes it along, and no image is left to go back to" {
	start_under resume.runs:kill
	vps suspend web
	run vps resume web
	wait_until 20 vps_is web stopped
	wait_until 10 assert_nothing_left --daemon --keep web
	files_are "image* suspended* resuming*"
}

@test "a vpsd that is killed while it is resumed" {
	for p in restore.pages resume.prepared resume.frozen resume.record resume.runs; do
		echo "# $p" >&2
		start_under $p:hang
		vps suspend web
		"$VPS_BUILD/vps" resume web >/dev/null 2>&1 &
		wait_until 20 hangs vps-monitor
		hung=$(stopped_processes vps-monitor)
		daemon_kill
		kill -CONT $hung
		wait $! || true
		wait_until 20 vps_is web running
		[ "$(count web)" -ge "$before" ]
		counts web
		files_are "image* suspended* resuming*"
		again
	done
}

@test "a client that is interrupted lets it run on" {
	for p in checkpoint.pages suspend.prepared; do
		start_under $p:hang
		"$VPS_BUILD/vps" suspend web 2>"$BATS_TEST_TMPDIR/err" &
		client=$!
		wait_until 20 hangs vps-worker
		hung=$(stopped_processes vps-worker)
		kill -TERM "$client" # as SIGINT, which a background job ignores
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
