#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load inside

setup() {
	requires root
	vps create web1
}
teardown() { vps_clean; }

talker='echo one; echo two; echo three; while read x; do echo "got $x"; done; sleep 1000'

on_console() {
	run "$VPS_TOP/tests/cli/on_tty" "$@" -- "$VPS_BUILD/vps" console web1
}

@test "history, input, output, and Ctrl-] three times" {
	give_init web1 "$talker"
	vps start web1
	on_console expect:'attached to web1' expect:'one.*two.*three' send:'hello\n' expect:'got hello' \
		send:'\x1d\x1d\x1d' expect:'left the console of web1'
	assert_status 0
	vps_is web1 running
}

@test "it ends with the VPS" {
	vps start --wait web1
	on_console expect:'attached' send:'poweroff\n'
	assert_status 0
}

@test "scripts: input that is no terminal, to its end" {
	give_init web1 "$talker"
	vps start web1
	# A console that says nothing is left soon after that.
	{ echo hello; wait_until 20 grep -q 'got hello' "$BATS_TEST_TMPDIR/out"; } |
		vps console web1 >"$BATS_TEST_TMPDIR/out"
	grep 'got hello' "$BATS_TEST_TMPDIR/out"
}

@test "logs: all, the last lines, and after the stop" {
	give_init web1 "$talker"
	vps start web1
	wait_until 20 grep -q $'three\r' "$VPS_ROOT/lib/vps/web1/console.log"
	succeeds vps logs web1
	assert_line $'two\r'
	succeeds vps logs -n 1 web1
	assert_output $'three\r'
	vps stop --force web1
	succeeds vps logs -n 2 web1
	assert_line $'three\r'
}

@test "logs -f goes on until the VPS stops" {
	give_init web1 "$talker"
	vps start web1
	mkfifo "$BATS_TEST_TMPDIR/out"
	"$VPS_BUILD/vps" logs -f web1 >"$BATS_TEST_TMPDIR/out" 3>&- &
	pid=$!
	exec 7<"$BATS_TEST_TMPDIR/out"
	until read -r line <&7 && [[ $line == three* ]]; do :; done
	vps stop --force web1
	wait "$pid"
	exec 7<&-
}

@test "logs on a terminal have no escape sequences of the tenant's" {
	give_init web1 'printf "a\033]52;c;eA==\007b\n"; exec sleep 1000'
	vps start web1
	wait_until 20 grep -q b "$VPS_ROOT/lib/vps/web1/console.log"
	run "$VPS_TOP/tests/cli/on_tty" -- "$VPS_BUILD/vps" logs web1
	assert_status 0
	refute_match $'\033'
	assert_match 'ab'
}

@test "of one that does not run, or is not there" {
	fails 5 "vps: console web1: it is not running (hint: vps start web1)" vps console web1
	fails_like 3 '^vps: console web9: there is no VPS named web9' vps console web9
	fails 2 "vps: logs web1: --lines: x is not a number of lines (hint: for example 20)" vps logs -n x web1
	succeeds vps logs web1
	assert_output ""
}
