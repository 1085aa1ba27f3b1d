#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib

setup() { requires root; }
teardown() { vps_clean; }

nothing_there() {
	# The command's end is told first; its sandbox goes right after.
	wait_until 20 none_is_listed
	wait_until 20 assert_nothing_left --daemon
}

none_is_listed() {
	[ "$(vps list --json | jq length)" = 0 ]
}

@test "output, error, input and status pass through, and nothing stays" {
	run --separate-stderr vps run --rm -- sh -c 'echo out; echo err >&2; exit 9'
	assert_status 9
	assert_output out
	assert_equal "$stderr" err
	assert_equal "$(echo hello | vps run --rm -- cat)" hello
	nothing_there
}

@test "what goes at its end is not flushed to the disk, anything else is" {
	succeeds vps run --rm -- grep ' / overlay ' /proc/mounts
	assert_match '[,=]volatile[, ]'
	succeeds vps run -n kept -- grep ' / overlay ' /proc/mounts
	run ! grep -q volatile <<<"$output"
}

@test "without --rm its files stay" {
	succeeds vps run -n box -- touch /root/mine
	vps_is box stopped
	succeeds vps pull box /root/mine "$BATS_TEST_TMPDIR"
	[ -e "$BATS_TEST_TMPDIR/mine" ]
}

@test "settings, user, directory and variables" {
	succeeds vps run --rm --hostname box -u 1000 -w /tmp -e A=b -- sh -c 'echo $(hostname) $(id -u) $PWD $A'
	assert_output "box 1000 /tmp b"
	succeeds vps run --rm hostname=box -- hostname
	assert_output box
}

@test "as many arguments as the kernel takes" {
	run xargs -s 2000000 -n 100000 "$VPS_BUILD/vps" run --rm -- sh -c 'echo $#' sh < <(seq 100000)
	assert_output 100000
}

@test "-v shows a directory of the host, :ro read-only" {
	chmod 711 "$BATS_TEST_TMPDIR" "$BATS_RUN_TMPDIR" 2>/dev/null || true
	mkdir "$BATS_TEST_TMPDIR/shown"
	echo text >"$BATS_TEST_TMPDIR/shown/file"
	cd "$BATS_TEST_TMPDIR"
	succeeds vps run --rm -v shown:/src:ro -- sh -c 'cat /src/file; touch /src/x 2>/dev/null || echo ro'
	assert_output $'text\nro'
	fails 125 "vps: run: -v nowhere: No such file or directory" vps run --rm -v nowhere:/src -- true
	fails 125 'vps: run: -v src: not HOST:GUEST[:ro] (hint: for example -v $PWD:/src:ro)' \
		vps run --rm -v src -- true
	nothing_there
}

@test "-t gives it a terminal" {
	run "$VPS_TOP/tests/cli/on_tty" expect:is-tty send:'yes\n' expect:'got yes' \
		-- "$VPS_BUILD/vps" run --rm -t -- sh -c 'test -t 0 && echo is-tty; read x; echo got $x; exit 3'
	assert_status 3
	nothing_there
}

@test "signals are passed on" {
	mkfifo "$BATS_TEST_TMPDIR/out"
	"$VPS_BUILD/vps" run --rm -- sh -c 'trap "exit 42" TERM; echo ready; while :; do sleep 0.05; done' \
		>"$BATS_TEST_TMPDIR/out" 3>&- &
	pid=$!
	read -r line <"$BATS_TEST_TMPDIR/out"
	kill -TERM "$pid"
	status=0
	wait "$pid" || status=$?
	assert_equal "$status" 42
	nothing_there
}

@test "a client that is killed takes its sandbox along" {
	mkfifo "$BATS_TEST_TMPDIR/out"
	"$VPS_BUILD/vps" run --rm -n box -- sh -c 'echo ready; sleep 1000' >"$BATS_TEST_TMPDIR/out" 3>&- &
	pid=$!
	read -r line <"$BATS_TEST_TMPDIR/out"
	kill -KILL "$pid"
	wait "$pid" || true
	is_gone() { [ "$(vps list --json | jq length)" = 0 ]; }
	wait_until 20 is_gone
	nothing_there
}

@test "a signal ends the wait for what the command left" {
	local daemon status=0
	mkfifo "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
	"$VPS_BUILD/vps" run -n box -- sh -c 'trap "" TERM; echo ready; read line; exit 3' \
		<"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out" 3>&- &
	pid=$!
	exec 8>"$BATS_TEST_TMPDIR/in"
	read -r line <"$BATS_TEST_TMPDIR/out"
	daemon=$(daemon_pid)
	kill -STOP "$daemon"
	exec 8>&-
	is_ended() { ! kill -TERM "$pid" 2>/dev/null; } # the first ones may be the command's
	wait_until 20 is_ended || status=99
	kill -CONT "$daemon"
	[ "$status" = 0 ] || fail "it waits on"
	wait "$pid" || status=$?
	assert_equal "$status" 3
}

@test "125 and 127" {
	fails_like 127 '^vps: run: start run-[a-z0-9]+: run nowhere: No such file or directory$' vps run --rm nowhere
	fails_like 125 '^vps: run: .*template nope: not found' vps run --rm -T nope -- true
	fails 125 "vps: run: a command is missing (hint: usage: vps run [OPTIONS] [KEY=VALUE...] -- COMMAND [ARGUMENT...])" \
		vps run --rm
	nothing_there
	vps create box
	fails_like 125 '^vps: run: .*there is a VPS of that name already' vps run -n box -- true
}
