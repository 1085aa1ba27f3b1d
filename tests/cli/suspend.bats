#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load inside

setup() {
	requires root kernel 6.7
	vps create web1
	give_counter web1
}
teardown() {
	[ -z "${client-}" ] || kill "$client" 2>/dev/null || true
	vps_clean
}

lib() {
	echo "$VPS_ROOT/lib/vps/web1"
}

@test "a VPS goes on where it was suspended" {
	vps start web1
	wait_until 20 counts_past web1 3
	change_word web1
	before=$(count web1)
	succeeds vps suspend web1
	vps_is web1 suspended
	assert_nothing_left --daemon --keep web1
	[ -s "$(lib)/image" ]
	succeeds vps resume web1
	vps_is web1 running
	word_is web1 later
	[ "$(count web1)" -ge "$before" ]
	counts web1
	[ ! -e "$(lib)/image" ]
	succeeds vps stop web1
	assert_equal "$(vps status web1 --json | jq -r .last_exit)" "exit 0"
}

@test "also a paused one, and start resumes too" {
	vps start web1
	wait_until 20 counts_past web1 1
	vps pause web1
	succeeds vps suspend web1
	vps_is web1 suspended
	succeeds vps start web1
	vps_is web1 running
	counts web1
}

@test "many times over" {
	vps start web1
	for compress in lz4 zstd none lz4 lz4; do
		succeeds vps suspend --compress $compress web1
		succeeds vps resume web1
	done
	counts web1
	fails 2 "vps: suspend web1: lzma is no compression (hint: there are lz4, zstd and none)" \
		vps suspend --compress lzma web1
}

@test "--json tells what was written" {
	vps start web1
	succeeds vps suspend --json web1
	assert_equal "$(jq -r .vps.state <<<"$output")" suspended
	[ "$(jq -r .saved.processes <<<"$output")" -ge 1 ]
	assert_equal "$(jq -r .saved.bytes <<<"$output")" "$(stat -c %s "$(lib)/image")"
}

@test "what may not be done with a suspended one" {
	fails 5 "vps: suspend web1: it is not running (hint: vps start web1)" vps suspend web1
	vps start web1
	vps suspend web1
	fails 5 "vps: suspend web1: it is suspended already (hint: vps resume web1)" vps suspend web1
	fails 5 "vps: pause web1: it is suspended (hint: vps resume web1)" vps pause web1
	fails 125 "vps: exec web1: it is suspended (hint: vps resume web1)" vps exec web1 -- true
	fails 5 "vps: rename web1: it is suspended (hint: vps resume web1)" vps rename web1 web2
	fails 5 "vps: stop web1: it is suspended (hint: vps resume web1, or --force to give up what it was doing)" \
		vps stop web1
	fails 5 "vps: push web1: it is suspended (hint: vps resume web1; its files belong to what it was doing)" \
		vps push web1 /etc/hostname /root
	succeeds vps set web1 memory.max=256M
	succeeds vps resume web1
	counts web1
}

@test "stop --force gives the image up, destroy removes it" {
	vps start web1
	vps suspend web1
	succeeds vps stop --force web1
	vps_is web1 stopped
	[ ! -e "$(lib)/image" ] && [ ! -e "$(lib)/suspended" ]
	vps start web1
	vps suspend web1
	succeeds vps destroy web1
}

@test "autostart resumes it after the host came up again" {
	vps set web1 autostart=yes
	vps start web1
	wait_until 20 counts_past web1 2
	before=$(count web1)
	vps suspend web1
	daemon_stop
	rm -r "$VPS_ROOT/run"
	wait_until 20 vps_is web1 running
	after=$(count web1)
	[ "$after" -ge "$before" ]
	counts web1
}

@test "a limit of open files that is too low for the resume is named" {
	vps start web1
	vps suspend web1
	vps set web1 rlimit=nofile=60:60
	fails_like 5 '^vps: resume web1: [0-9]+ open files, .*hint: vps set NAME rlimit=nofile=[0-9]+:[0-9]+ until it runs' \
		vps resume web1
	vps set web1 rlimit=
	vps resume web1
}

# too_low SETTING VALUE WHAT: it does not resume with that, and does without.
too_low() {
	vps set web1 "$1=$2"
	fails 5 "vps: resume web1: it has more $3 than $1 allows: $2 (hint: vps set NAME $1=… to raise it)" vps resume web1
	vps_is web1 suspended
	vps set web1 "$1="
}

@test "limits that are too low for what it holds are named" {
	vps start web1
	vps exec web1 -- /bin/sh -c 'awk "BEGIN { for (i = 0; i < 200000; i++) a[i] = i \"................\"
		system(\"touch /done; sleep 1000\") }" </dev/null >/dev/null 2>&1 &'
	wait_until 20 vps exec web1 -- test -e /done
	vps suspend web1
	too_low memory.max 8M memory
	too_low pids.max 1 processes
	succeeds vps resume web1
	counts web1
}

@test "an interface that it has no more is named" {
	vps start web1
	vps suspend web1
	before=$(vps config web1 net)
	vps set web1 net=none
	fails 5 "vps: resume web1: it was saved with interface eth0, which leads to its host and is not given to it any more \
(hint: set \`net\` as it was then)" vps resume web1
	vps_is web1 suspended
	vps set web1 net=
	vps set web1 "net=$before"
	succeeds vps resume web1
	counts web1
}

@test "a damaged image is refused, and stays" {
	vps start web1
	vps suspend web1
	cp "$(lib)/image" "$BATS_TEST_TMPDIR/good"
	size=$(stat -c %s "$(lib)/image")
	for at in 0 9 100 $((size / 2)) $((size - 20)); do
		flip "$(lib)/image" "$at"
		run vps resume web1
		[ "$status" -ne 0 ] || fail "resumed with byte $at changed"
		vps_is web1 suspended
		cp "$BATS_TEST_TMPDIR/good" "$(lib)/image"
	done
	for len in 0 10 $((size / 2)) $((size - 1)); do
		truncate -s "$len" "$(lib)/image"
		run vps resume web1
		[ "$status" -ne 0 ] || fail "resumed with $len bytes of $size"
		vps_is web1 suspended
		assert_equal "$(stat -c %s "$(lib)/image")" "$len"
		cp "$BATS_TEST_TMPDIR/good" "$(lib)/image"
	done
	assert_nothing_left --daemon --keep web1
	succeeds vps resume web1
	counts web1
}

goes_on() {
	[ "$(vps exec web1 -- sh -c 'cat /done' 2>/dev/null)" = "$1" ]
}

@test "a command of exec goes on, and its client is told" {
	vps start web1
	"$VPS_BUILD/vps" exec web1 -- sh -c 'echo begun >/done; while [ ! -e /go ]; do sleep 0.1; done
		echo over >/done' </dev/null >/dev/null 2>"$BATS_TEST_TMPDIR/err" &
	client=$!
	wait_until 20 goes_on begun
	succeeds vps suspend web1
	status=0
	wait "$client" || status=$?
	assert_equal "$status" 125
	assert_equal "$(cat "$BATS_TEST_TMPDIR/err")" \
		"vps: exec web1: the VPS was suspended (hint: what ran here goes on with it, without us)"
	succeeds vps resume web1
	vps exec web1 -- touch /go
	wait_until 20 goes_on over
}

@test "one with a terminal, too" {
	vps start web1
	"$VPS_TOP/tests/cli/on_tty" expect:'was suspended' -- "$VPS_BUILD/vps" exec -t web1 -- sh -c 'echo begun >/done
		while [ ! -e /go ]; do sleep 0.1; done; tty >/done' </dev/null >/dev/null 2>&1 &
	client=$!
	wait_until 20 goes_on begun
	succeeds vps suspend web1
	status=0
	wait "$client" || status=$?
	assert_equal "$status" 125
	succeeds vps resume web1
	vps exec web1 -- touch /go
	wait_until 20 goes_on /dev/pts/1
}

@test "what it says to nobody does not hold it up" {
	vps start web1
	"$VPS_TOP/tests/cli/on_tty" expect:'was suspended' -- "$VPS_BUILD/vps" exec -t web1 -- sh -c 'echo begun >/done
		while [ ! -e /go ]; do sleep 0.1; done; seq 1 50000; echo said >/done' </dev/null >/dev/null 2>&1 &
	client=$!
	wait_until 20 goes_on begun
	succeeds vps suspend web1
	wait "$client" || true
	succeeds vps resume web1
	vps exec web1 -- touch /go
	wait_until 60 goes_on said
}

@test "what cannot be saved is named, and runs on" {
	vps start web1
	mkfifo "$BATS_TEST_TMPDIR/hold"
	"$VPS_TOP/tests/cli/exec_by_api" "$VPS_ROOT/run/vpsd.sock" web1 "$BATS_TEST_TMPDIR/out" sh -c 'echo begun >/done
		while [ ! -e /go ]; do sleep 0.1; done; echo said; echo over >/done' <>"$BATS_TEST_TMPDIR/hold" &
	client=$!
	wait_until 20 goes_on begun
	pid=$(vps_pid web1)
	mark=$(count web1)
	fails_like 11 "^vps: suspend web1: .*fd/?[ 0-9]+.*cannot be saved" vps suspend web1
	vps_is web1 running
	assert_equal "$(vps_pid web1)" "$pid"
	wait_until 20 counts_past web1 "$mark"
	[ ! -e "$(lib)/image.tmp" ]
	# What ran meanwhile was not disturbed.
	vps exec web1 -- touch /go
	wait_until 20 goes_on over
	assert_equal "$(cat "$BATS_TEST_TMPDIR/out")" said
	kill "$client"
}
