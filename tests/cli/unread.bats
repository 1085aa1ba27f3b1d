#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The reader of standard output has gone, as head(1) does: vps ends as any program of a pipeline, without a word.
load ../lib
load inside

setup() {
	requires root kernel 6.7
	new_counter web1
}
teardown() { vps_clean; }

has_logged() {
	vps logs web1 | grep -q one
}

# unread CMD...: with a standard output that nobody reads.
unread() {
	local fifo=$BATS_TEST_TMPDIR/fifo
	rm -f "$fifo"
	mkfifo "$fifo"
	(
		exec 3<>"$fifo"
		exec 4>"$fifo" 3<&-
		exec "$@" >&4 4>&-
	)
}

# unread_ignoring CMD...: and with SIGPIPE ignored, as by some programs that begin others.
unread_ignoring() {
	(
		trap '' PIPE
		unread "$@"
	)
}

@test "what prints ends silently when nobody reads" {
	local cmd
	vps exec web1 -- sh -c "echo one >/dev/console"
	wait_until 20 has_logged
	vps checkpoint --leave-running --to "$BATS_TEST_TMPDIR/image" web1
	for cmd in "list" "list --json" "status web1" "status --json web1" "stats web1" "stats --json web1" "logs web1" \
		"config web1" "config --json web1" "top --count 1" "top --json --count 1" "doctor" "check --json web1" \
		"template list" "firewall web1" "version" "--help" "list --help" "events" "events --json" "daemon status" \
		"checkpoint show $BATS_TEST_TMPDIR/image" "checkpoint show --json $BATS_TEST_TMPDIR/image" \
		"checkpoint verify $BATS_TEST_TMPDIR/image" "pull web1 /etc -"; do
		echo "vps $cmd"
		# shellcheck disable=SC2086
		fails 141 "" unread timeout 60 vps $cmd
		# shellcheck disable=SC2086
		fails 141 "" unread_ignoring timeout 60 vps $cmd
	done
	vps_is web1 running
}

@test "what prints as things happen ends when its reader goes, not when the next thing happens" {
	fails 141 "" unread timeout 60 vps logs --follow web1
	fails 141 "" unread timeout 60 vps events
}

@test "an error is told all the same" {
	fails 3 "vps: status none: there is no VPS named none (hint: vps list shows those there are)" unread vps status none
	fails_like 3 'missing: No such file' unread vps checkpoint show "$BATS_TEST_TMPDIR/missing"
}

to_full() {
	"$@" >/dev/full
}

@test "a full disk is told, at once or as things happen" {
	vps exec web1 -- sh -c "echo one >/dev/console"
	wait_until 20 has_logged
	local cmd
	for cmd in "logs web1" "logs -f web1" list; do
		# shellcheck disable=SC2086
		fails 8 "vps: ${cmd/-f /}: write to standard output: No space left on device" to_full timeout 60 vps $cmd
	done
	vps_is web1 running
}
