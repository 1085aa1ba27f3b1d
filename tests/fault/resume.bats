#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A resume fails, and its monitor and vpsd are killed, at every step: the VPS is suspended in the image
# as it was, until it runs; then there is no image to go back to.
load saved

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
	wait_until 20 assert_nothing_left --daemon --keep web
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
