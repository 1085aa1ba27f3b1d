#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Words that vps does not know, and those that every verb knows.
load ../lib

@test "no verb, an unknown verb, a verb that is only half" {
	fails 2 "vps: a verb is missing (hint: vps --help lists them)" vps
	fails 2 "vps: unknown verb strat (hint: did you mean start?)" vps strat web1
	fails 2 "vps: unknown verb frobnicate (hint: vps --help lists them)" vps frobnicate
	fails 2 "vps: template what? (hint: one of list, build, import, remove)" vps template
	fails 2 "vps: unknown verb template bild (hint: did you mean template build?)" vps template bild
	fails 2 "vps: unknown verb daemon frob (hint: one of start, stop, status)" vps daemon frob
}

@test "unknown options, with the nearest that there is" {
	fails 2 "vps: unknown option --jason (hint: vps --help)" vps --jason list
	fails 2 "vps: --root needs a value (hint: vps --help)" vps --root
	fails 2 "vps: stop: unknown option --forse (hint: did you mean --force?)" vps stop --forse web1
	fails 2 "vps: stop: unknown option -z in -fz (hint: vps stop --help)" vps stop -fz web1
	fails 2 "vps: stop: --force takes no value" vps stop --force=yes web1
	fails 2 "vps: stop: --timeout needs a value (hint: vps stop --help)" vps stop web1 --timeout
	fails 2 "vps: stop web1: --timeout: 5x is not a duration (hint: for example 500ms, 30s or 5m)" \
		vps stop web1 --timeout 5x
}

@test "too few and too many words" {
	fails 2 "vps: start: arguments are missing (hint: usage: vps start [OPTIONS] NAME...)" vps start
	fails 2 "vps: rename: an argument is missing (hint: usage: vps rename NAME NEW-NAME)" vps rename a
	fails 2 "vps: rename: c is one argument too many (hint: usage: vps rename NAME NEW-NAME)" \
		vps rename a b c
	fails 2 "vps: list: web1 is one argument too many (hint: usage: vps list [OPTIONS])" vps list web1
	fails 2 "vps: start: word 1 after the verb is not UTF-8" vps start $'\xff'
}

@test "nothing of that has started a vpsd" {
	[ ! -e "$VPS_ROOT/run" ]
}

@test "every verb has help, and says it without vpsd" {
	local verb
	succeeds vps --help
	for verb in $(vps --help | sed -n '/^verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
		succeeds vps "$verb" --help
		assert_match "^$verb - .*usage:.*  vps $verb.*options of every verb:.*--root DIR"
		assert_equal "$(vps help "$verb")" "$output"
	done
	[ ! -e "$VPS_ROOT/run" ]
}

@test "every option that a verb takes is in its help" {
	local verb option
	for verb in $(vps __complete ""  | cut -f1); do
		for option in $(vps __complete "$verb" "--"); do
			vps "$verb" --help | grep -qE -- "(^|[ ,])$option( |,|$)" || fail "$verb: $option is not in the help"
		done
	done
}

@test "errors under --json are an object on standard output" {
	run --separate-stderr vps --json rename a
	assert_status 2
	assert_equal "$stderr" ""
	assert_equal "$(jq -c . <<<"$output")" \
		'{"error":"an argument is missing","hint":"usage: vps rename NAME NEW-NAME","status":2}'
}

@test "version" {
	succeeds vps --version
	assert_match '^vps [0-9.]+$'
	succeeds vps version --json
	assert_equal "$(jq -c .daemon <<<"$output")" null
	[ ! -e "$VPS_ROOT/run" ]
}

@test "a full disk under standard output is an error" {
	[ -e /dev/full ] || skip "no /dev/full"
	run --separate-stderr bash -c '"$1" --help >/dev/full' - "$VPS_BUILD/vps"
	assert_status 8
	assert_equal "$stderr" "vps: write to standard output: No space left on device"
}

@test "a state root with a path too long is refused" {
	fails_like 2 '^vps: list: state root .*: the path is too long \(200 bytes\)$' \
		vps --root "/tmp/$(printf 'x%.0s' {1..250})" list
}
