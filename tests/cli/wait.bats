#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load inside

setup() {
	requires root
	vps create web1
}
teardown() { vps_clean; }

@test "until it stops, and how it ended" {
	give_init web1 'sleep 0.2; exit 3'
	vps start web1
	succeeds vps wait web1
	assert_output "exit 3"
}

@test "a state that is there already, and one that does not come" {
	succeeds vps wait web1 --json
	assert_equal "$(jq -r .state <<<"$output")" stopped
	fails 7 "vps: wait web1: it is still stopped" vps wait --state running --timeout 50ms web1
	fails 2 "vps: wait web1: --state: bogus is not a state (hint: one of stopped, starting, running, paused, suspended, stopping)" \
		vps wait --state bogus web1
	fails_like 3 '^vps: wait web9: there is no VPS named web9' vps wait web9
}

@test "a name that is not there is said before any is waited for" {
	vps start web1
	fails 3 "vps: wait typo: there is no VPS named typo (hint: vps list shows those there are)" \
		vps wait web1 typo
}

@test "a client that waits while vpsd dies asks the next one" {
	vps start web1
	"$VPS_BUILD/vps" wait web1 >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
	pid=$!
	asked() { [ -n "$(ls -l "/proc/$pid/fd" 2>/dev/null | grep socket)" ]; }
	wait_until 20 asked
	daemon_kill
	vps stop web1
	wait "$pid"
}

@test "events, as they happen" {
	mkfifo "$BATS_TEST_TMPDIR/out"
	"$VPS_BUILD/vps" events --json >"$BATS_TEST_TMPDIR/out" 3>&- &
	pid=$!
	exec 7<"$BATS_TEST_TMPDIR/out"
	# Asked for before it is certain that the stream is open, so changes until one is seen.
	for i in $(seq 100); do
		vps set web1 description="$i"
		read -r -t 0.2 line <&7 && break
	done
	assert_equal "$(jq -r '[.event, .name] | join(" ")' <<<"$line")" "changed web1"
	vps start web1
	until [[ $line == *'"started"'* ]]; do read -r line <&7; done
	vps stop --force web1
	until [[ $line == *'"stopped"'* ]]; do read -r line <&7; done
	assert_equal "$(jq -r .name <<<"$line")" web1
	kill "$pid"
	wait "$pid" || true
	exec 7<&-
}
