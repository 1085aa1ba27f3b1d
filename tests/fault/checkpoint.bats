#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A checkpoint that fails leaves a running VPS and the checkpoint before it; a restore that fails
# leaves the VPS's files and what it was suspended in.
load ../lib
load ../cli/inside
load points

save_and_restore() {
	vps checkpoint --leave-running web
	vps stop web
	vps restore web
}

setup_file() {
	root_new
	trace save_and_restore
}

setup() {
	requires root kernel 6.7
	new_counter web 2
}

files_are() {
	assert_equal "$(cd "$(lib)" && echo checkpoint* image* suspended* root*)" "$1"
}

@test "there are points to fail at" {
	for p in checkpoint.stop checkpoint.files adopt.verify adopt.copy adopt.files adopt.swap adopt.record; do
		grep -qx "$p" "$TRACE" || fail "no $p in: $(cat "$TRACE")"
	done
}

@test "a checkpoint that fails or is killed: the VPS runs, the one before is there" {
	vps checkpoint --leave-running web
	sum=$(sha256sum "$(lib)/checkpoint")
	pid=$(vps_pid web)
	for p in $(points checkpoint); do
		for action in fail kill; do
			echo "# $p $action" >&2
			under $p:$action
			run vps checkpoint --leave-running web
			assert_status 1
			vps_is web running
			assert_equal "$(vps_pid web)" "$pid"
			counts web
			files_are "checkpoint image* suspended* root"
			assert_equal "$(sha256sum "$(lib)/checkpoint")" "$sum"
		done
	done
}

@test "a restore that fails at each step leaves the files, and what it was suspended in before the swap" {
	vps exec web -- sh -c 'echo then >/mark'
	vps checkpoint --leave-running web
	vps exec web -- sh -c 'echo now >/mark'
	for p in $(points adopt); do
		echo "# $p" >&2
		vps suspend web
		under $p:fail
		run --separate-stderr vps restore web
		assert_status 1
		[[ $stderr == "vps: restore web: "*"$p: fault injected"* ]] || fail "$p: $stderr"
		case $p in
		adopt.record) vps_is web stopped ;; # it was given up for the one that did not come
		*) vps_is web suspended ;;
		esac
		daemon_stop
		files_are "checkpoint $(vps_is web suspended && echo image suspended || echo 'image* suspended*') root"
		succeeds vps start web
		assert_equal "$(vps exec web -- cat /mark)" now
		counts web
	done
}

nothing_waits() {
	[ ! -e "$(lib)/root.new" ]
}

@test "a restore that is killed at each step can be repeated" {
	vps exec web -- sh -c 'echo then >/mark'
	vps checkpoint --leave-running web
	vps exec web -- sh -c 'echo now >/mark'
	vps stop web
	for p in $(points adopt); do
		echo "# $p" >&2
		under $p:kill
		run vps restore web
		assert_status 1
		wait_until 20 nothing_waits
		daemon_stop
		vps_is web stopped
		succeeds vps restore web
		assert_equal "$(vps exec web -- cat /mark)" then
		counts web
		vps stop web
		files_are "checkpoint image* suspended* root"
	done
}
