#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What answers on the socket is not vpsd, or a vpsd that hangs or dies.
load ../lib
load fake

# says TEXT CMD...: fails with status 9 and this text after the verb.
hint="if vps has been upgraded, end the old vpsd: vps daemon stop"
not_vpsd() {
	fails 9 "vps: list: the answer on $VPS_ROOT/run/vpsd.sock is not vpsd's: $1 (hint: $hint)" vps list
}

@test "a vpsd that hangs does not hang a listing" {
	fake_start hang
	VPS_TIMEOUT=200ms fails 9 "vps: list: vpsd does not answer on $VPS_ROOT/run/vpsd.sock (hint: its log is $VPS_ROOT/run/vpsd.log)" \
		vps list
}

@test "a vpsd that goes away is said, and asked once more when the call changes nothing" {
	fake_start die
	fails 9 "vps: list: vpsd went away before it answered" vps list
	fails 9 "vps: start web1: vpsd went away before it answered (hint: what it was doing is finished or undone when it runs again)" \
		vps start web1
	fake_stop
	rm "$BATS_TEST_TMPDIR/ready"
	fake_start die-once
	succeeds vps list
	assert_match '^NAME '
}

@test "a call that changes something is not sent twice" {
	fake_start die-once
	fails_like 9 '^vps: pause web1: vpsd went away' vps pause web1
	[ ! -s "$VPS_ROOT/calls" ]
}

@test "answers that are none are refused" {
	fake_start raw 'garbage'
	not_vpsd "not JSON"
}

@test "an answer without end is refused" {
	fake_start flood
	not_vpsd "a message without end"
}

@test "an answer that is no Varlink reply is refused" {
	fake_start raw '{"parameters":{"vps":[]},"x":1}'
	not_vpsd "not a Varlink reply"
}

@test "an answer with a wrong type is refused by the name of the parameter" {
	fake_start raw '{"parameters":{"vps":[{"name":1}]}}'
	not_vpsd "vps[0].name: not a string"
}

@test "an answer with members that the interface has not is refused" {
	fake_start raw '{"parameters":{"vps":[],"more":1}}'
	not_vpsd "more: no such parameter"
}

@test "top leaves the terminal as it was when an answer is none" {
	fake_start once '{"parameters":{"stats":[]}}'
	run "$VPS_TOP/tests/cli/on_tty" -- sh -c '
		before=$(stty -a)
		TERM=xterm "$1" top -d 100ms
		echo "status $?"
		[ "$(stty -a)" = "$before" ] && echo "as before"' - "$VPS_BUILD/vps"
	assert_status 0
	[[ $output == *$'\033[?1049h'*$'\033[?1049l'*'vps: top: '*'not JSON'*'status 9'*'as before'* ]] || fail "$output"
}

@test "an error without what errors have is refused" {
	fake_start raw '{"error":"io.vps.Manager.Failed","parameters":{}}'
	not_vpsd "status: missing"
}

@test "a vpsd of another version is said" {
	fake_start raw '{"error":"org.varlink.service.MethodNotFound"}'
	fails 9 "vps: list: vpsd does not know List (hint: it is of another version; end it: vps daemon stop)" \
		vps list
}

@test "control characters in an error do not reach the terminal" {
	fake_start raw '{"error":"io.vps.Manager.Failed","parameters":{"status":3,"error":"a\\u001b[2Jb","hint":""}}'
	fails 3 "vps: list: a?[2Jb" vps list
}

@test "a socket of another type is refused" {
	fake_start seqpacket
	fails 9 "vps: list: $VPS_ROOT/run/vpsd.sock is not a socket of vpsd" vps list
}

@test "a file in the socket's place is refused and stays" {
	mkdir -p "$VPS_ROOT/run"
	echo mine >"$VPS_ROOT/run/vpsd.sock"
	fails 9 "vps: list: $VPS_ROOT/run/vpsd.sock is not a socket (hint: something else was put there; remove it)" \
		vps list
	assert_equal "$(cat "$VPS_ROOT/run/vpsd.sock")" mine
}

@test "a socket of another user is refused" {
	requires root command setpriv
	chmod 777 "$VPS_ROOT"
	mkdir -p -m 777 "$VPS_ROOT/run"
	mkfifo "$BATS_TEST_TMPDIR/ready"
	chmod 711 "$BATS_TEST_TMPDIR"
	setpriv --reuid 65534 --clear-groups "$VPS_TOP/tests/cli/fake_vpsd.py" "$VPS_ROOT" serve \
		>"$BATS_TEST_TMPDIR/ready" 3>&- &
	FAKE_PID=$!
	read -r _ <"$BATS_TEST_TMPDIR/ready"
	fails 9 "vps: list: $VPS_ROOT/run/vpsd.sock is not a socket of vpsd: it belongs to uid 65534" vps list
	[ ! -s "$VPS_ROOT/calls" ]
}

@test "who is not root and finds no vpsd is told" {
	requires root command setpriv
	fails 9 "vps: list: vpsd does not run (nobody listens on $VPS_ROOT/run/vpsd.sock) (hint: only root can start it)" \
		setpriv --reuid 65534 --clear-groups "$VPS_BUILD/vps" list
}

@test "a session that ends without a word is an error" {
	fake_start serve
	fails 125 "vps: exec web1: the VPS's monitor went away" vps exec web1 vanish
}
