#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load inside

setup() {
	requires root kernel 6.7
	new_counter web1 1
}
teardown() {
	[ -z "${client-}" ] || kill "$client" 2>/dev/null || true
	vps_clean
}

# A command whose output is a file of the host: it cannot go anywhere with the VPS.
begin_outside() {
	mkfifo "$BATS_TEST_TMPDIR/hold"
	"$VPS_TOP/tests/cli/exec_by_api" "$VPS_ROOT/run/vpsd.sock" web1 "$BATS_TEST_TMPDIR/out" \
		sh -c 'sleep 1000 & sleep 1000; :' <>"$BATS_TEST_TMPDIR/hold" &
	client=$!
	wait_until 20 two_sleep
}

two_sleep() {
	[ "$(vps exec web1 -- sh -c 'ps | grep -c "sleep 100[0]$"')" -eq 2 ]
}

@test "one that can be saved" {
	succeeds vps check web1
	assert_output ""
	succeeds vps check --json web1
	assert_equal "$(jq -c '[.name, .movable, .obstacles]' <<<"$output")" '["web1",true,[]]'
	counts web1
}

@test "every obstacle is named, with where it is and what to do" {
	begin_outside
	run vps check web1
	assert_status 11
	[ "${#lines[@]}" -ge 4 ] || fail "$output"
	for l in "${lines[@]}"; do
		[[ $l =~ ^web1,\ process\ [0-9]+\ \[[0-9]+\],\ fd\ [12]:\ .*/out,?\ .*\ \(end\ the\ command.*\)$ ]] ||
			fail "$l"
	done
	run vps check --json web1
	assert_status 11
	assert_equal "$(jq -r .movable <<<"$output")" false
	[ "$(jq -r '[.obstacles[].host_pid] | unique | length' <<<"$output")" -ge 2 ]
	pid=$(jq -r '.obstacles[0].host_pid' <<<"$output")
	assert_equal "$(jq -r '.obstacles[0].pid' <<<"$output")" "$(awk '/^NSpid/ { print $NF }' /proc/$pid/status)"
	# What check says first is what suspend says, and nothing was changed by either.
	run vps suspend web1
	assert_status 11
	[[ $output == "vps: suspend web1: "* ]]
	vps_is web1 running
	counts web1
}

@test "those that do not run" {
	vps stop web1
	succeeds vps check web1
	vps start web1
	vps suspend web1
	succeeds vps check web1
	fails 3 "vps: check web9: there is no VPS named web9 (hint: vps list shows those there are)" vps check web9
}

@test "a paused one stays paused" {
	vps pause web1
	succeeds vps check web1
	vps_is web1 paused
	assert_equal "$(cat "$(find "$(cgroup_v2_point)" -path "*/$VPS_TAG/web1/cgroup.freeze")")" 1
	vps resume web1
	counts web1
}

@test "list has it as a column" {
	begin_outside
	vps create web2
	succeeds vps list -o name,movable
	assert_output "NAME  MOVABLE
web1  no
web2  yes"
	assert_equal "$(vps list -o name,movable --json | jq -c .)" \
		'[{"name":"web1","movable":false},{"name":"web2","movable":true}]'
	# Only when it is asked for: everybody else's list looks at nothing.
	assert_equal "$(vps list --json | jq -r '.[0] | has("movable")')" false
}
