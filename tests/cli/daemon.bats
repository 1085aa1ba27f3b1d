#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib

setup() { requires root; }
teardown() { vps_clean; }

@test "status starts none, start does, stop ends it" {
	daemon_stop
	fails 9 "vps: daemon status: vpsd does not run (nobody listens on $VPS_ROOT/run/vpsd.sock) (hint: vps daemon start)" \
		vps daemon status
	succeeds vps daemon stop
	succeeds vps daemon start
	assert_output ""
	pid=$(daemon_pid)
	[ -n "$pid" ]
	succeeds vps daemon start
	assert_equal "$(daemon_pid)" "$pid"
	succeeds vps daemon status
	assert_match "^vpsd [0-9.]+, pid $pid, up .*, 0 running, state root $VPS_ROOT"
	assert_equal "$(vps daemon status --json | jq .pid)" "$pid"
	succeeds vps daemon stop
	wait_until 20 daemon_is_down
}

one_daemon() {
	[ "$("$VPS_TOP/tests/pids" "$VPS_ROOT" vpsd | wc -w)" -eq 1 ]
}

@test "ten clients that find none start one" {
	daemon_stop
	for i in $(seq 10); do
		"$VPS_BUILD/vps" list >/dev/null 2>"$BATS_TEST_TMPDIR/$i" 3>&- &
	done
	wait
	assert_equal "$(cat "$BATS_TEST_TMPDIR"/*)" ""
	wait_until 20 one_daemon
}

# Children of a vpsd that was killed have its socket until their own programs begin. Here each of three takes
# a connection, or has one that waits, and goes; the call is sent before that when it is to be.
listen_for_a_moment() { # accept|wait
	rm -f "$VPS_ROOT/run/vpsd.sock" "$BATS_TEST_TMPDIR/ready"
	python3 - "$VPS_ROOT/run/vpsd.sock" "$BATS_TEST_TMPDIR/ready" "$1" 3>&- <<-'E' &
		import os, select, socket, sys
		path, ready, how = sys.argv[1:]
		def listener():
		    s = socket.socket(socket.AF_UNIX)
		    s.bind(path + ".new")
		    s.listen()
		    os.rename(path + ".new", path)
		    return s
		s = listener()
		open(ready, "w").close()
		for left in (2, 1, 0):
		    select.select([s], [], [])
		    next = listener() if left else None
		    if how == "accept":
		        conn = s.accept()[0]
		        select.select([conn], [], [])
		        conn.close()
		    s.close()
		    s = next
	E
	wait_until 20 test -e "$BATS_TEST_TMPDIR/ready"
}

@test "who goes away before it has read what it is asked is asked again" {
	vps daemon start
	daemon_kill
	while read -r how verb; do
		listen_for_a_moment "$how"
		succeeds vps $verb </dev/null
		wait
		daemon_kill
	done <<-'E'
		accept create web1
		wait start web1
		accept exec web1 -- true
		wait suspend web1
	E
}

@test "one that was killed is replaced, and its VPSs run on" {
	vps create web1
	vps start web1
	pid=$(vps_pid web1)
	daemon_kill
	succeeds vps exec web1 -- true
	assert_equal "$(vps_pid web1)" "$pid"
}

@test "it holds nothing of the terminal that started it" {
	daemon_stop
	run "$VPS_TOP/tests/cli/on_tty" -- "$VPS_BUILD/vps" daemon start
	assert_status 0
	[ -z "$(ls -l "/proc/$(daemon_pid)/fd" | grep -E '/dev/(pts|tty)')" ]
	assert_equal "$(readlink "/proc/$(daemon_pid)/cwd")" /
	assert_equal "$(ps -o tty= -p "$(daemon_pid)" | tr -d ' ')" '?'
}

@test "one that cannot start says why" {
	daemon_stop
	mkdir -p "$BATS_TEST_TMPDIR/bad"
	touch "$BATS_TEST_TMPDIR/bad/lib"
	run --separate-stderr vps --root "$BATS_TEST_TMPDIR/bad" list
	assert_status 9
	[[ $stderr =~ ^"vps: list: vpsd did not start: "..*"(hint: its log is $BATS_TEST_TMPDIR/bad/run/vpsd.log)"$ ]] ||
		fail "$stderr"
}
