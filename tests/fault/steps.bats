#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Every step of create, start, stop and destroy fails, and the process that is doing it is killed
# there; afterwards nothing is left behind and the same command succeeds. The steps are not listed
# here: a first run writes down those it passed (base/step.h).
load ../lib

setup_file() {
	root_new
	export TRACE=$BATS_FILE_TMPDIR/trace
	VPS_FAULT_TRACE=$TRACE vps create traced
	VPS_FAULT_TRACE=$TRACE vps start traced
	vps exec traced -- true
	vps stop traced
	vps destroy traced
	daemon_stop
	sort -u "$TRACE" -o "$TRACE"
}

teardown() {
	unset VPS_FAULT
	vps_clean
	daemon_stop
}

# The points of some step tables, all or, on a slow machine, without those after a step.
points() {
	local p
	for p in "$@"; do
		grep "^$p\." "$TRACE"
	done | if [ "$VPS_TEST_SLOW" -gt 1 ]; then grep -v '\.after$'; else cat; fi
}

@test "the steps of create, start and destroy are fault points" {
	for t in create start netns tenant destroy; do
		[ "$(points $t | wc -l)" -ge 2 ] || fail "table $t: $(points $t)"
	done
}

# under POINT ACTION CMD...: with a vpsd that has this fault.
under() {
	daemon_stop
	export VPS_FAULT=$1:$2
	shift 2
	run --separate-stderr vps "$@"
	unset VPS_FAULT
}

# Who lets go of the host's tree beside the first process is killed before it has.
@test "a start does not wait for who has ended" {
	vps create f
	under pivot.beside fail start f
	assert_status 0
	run ! vps exec f -- test -e "$VPS_ROOT"
	vps destroy --force f
}

@test "create fails at each step: nothing is left, the next create succeeds" {
	for p in $(points create); do
		echo "# $p" >&2
		under "$p" fail create web
		assert_status 1
		[[ $stderr == "vps: create web: "*"fault injected"* ]] || fail "$p: $stderr"
		[ -z "$(vps list --json | jq -r '.[].name')" ] || fail "$p: web is listed"
		assert_nothing_left --daemon
		daemon_stop
		succeeds vps create web
		succeeds vps destroy web
	done
}

@test "create is killed at each step: the next vpsd tidies up, the next create succeeds" {
	for p in $(points create); do
		echo "# $p" >&2
		under "$p" kill create web
		# One that was published before its maker died is whole, and vpsd says so.
		[ "$status" -ne 0 ] || vps_is web stopped
		daemon_stop
		if [ -n "$(vps list --json | jq -r '.[].name')" ]; then
			succeeds vps start web # then it is whole
			succeeds vps stop --force web
			succeeds vps destroy web
		fi
		wait_until 20 assert_nothing_left --daemon
		succeeds vps create web
		succeeds vps destroy web
	done
}

@test "start fails at each step: it says so, nothing is left, the next start succeeds" {
	succeeds vps create web
	for p in $(points start netns tenant); do
		echo "# $p" >&2
		under "$p" fail start web
		assert_status 1
		[[ $stderr == "vps: start web: "*"$p: fault injected"* ]] || fail "$p: $stderr"
		vps_is web stopped
		wait_until 20 started_nothing
		daemon_stop
		succeeds vps start web
		succeeds vps exec web -- true
		succeeds vps stop --force web
	done
}

# Nothing in the kernel, and no process but vpsd.
started_nothing() {
	assert_nothing_left --daemon --keep web && [ -z "$(cgroups_of_root)" ] && [ -z "$(monitors)" ]
}

cgroups_of_root() {
	find /sys/fs/cgroup -mindepth 1 -type d -path "*$VPS_TAG/*" 2>/dev/null
}

monitors() {
	"$VPS_TOP/tests/pids" "$VPS_ROOT" vps-monitor
}

@test "the monitor or the tenant's first process is killed at each step of start" {
	succeeds vps create web
	# Dying right before execve looks like an init that ends at once: the start has succeeded.
	for p in $(points start netns tenant | grep -v '^tenant.exec$'); do
		echo "# $p" >&2
		under "$p" kill start web
		[ "$status" -ne 0 ] || fail "$p: it succeeded"
		wait_until 20 vps_is web stopped
		wait_until 20 started_nothing
		daemon_stop
		succeeds vps start web
		succeeds vps stop --force web
	done
}

@test "destroy fails or is killed at each step: another destroy finishes it" {
	for p in $(points destroy); do
		for action in fail kill; do
			echo "# $p $action" >&2
			daemon_stop
			succeeds vps create web
			under "$p" $action destroy web
			daemon_stop
			if [ -n "$(vps list --json | jq -r '.[].name')" ]; then
				succeeds vps destroy web
			fi
			wait_until 20 assert_nothing_left --daemon
		done
	done
}
