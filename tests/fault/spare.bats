#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The monitor that waits for the next start: it saves time and may be lost at any moment.
load ../lib

setup_file() {
	root_new
	net_new
	vps create a
}

spare() { "$VPS_TOP/tests/pids" "$VPS_ROOT" vps-spare; }
there_is_one() { [ "$(spare | wc -l)" = 1 ]; }
monitor() { "$VPS_TOP/tests/pids" "$VPS_ROOT" vps-monitor; }

setup() {
	vps daemon start
	wait_until 20 there_is_one
}

teardown() {
	vps stop --force a || true
}

@test "a start takes it, shows the VPS's name, and another one comes" {
	was=$(spare)
	vps start a
	assert_equal "$(monitor)" "$was"
	assert_equal "$(tr -d '\0' <"/proc/$was/cmdline")" vps-monitora
	wait_until 20 there_is_one
	[ "$(spare)" != "$was" ]
}

@test "a start does without it" {
	was=$(spare)
	kill -KILL "$was"
	wait_until 20 process_is_gone "$was"
	succeeds vps start a
	succeeds vps exec a -- echo there
	assert_output there
	wait_until 20 there_is_one
}

@test "one that hangs and is killed costs the start that took it, and nothing more" {
	was=$(spare)
	kill -STOP "$was"
	"$VPS_BUILD/vps" start a &
	starting=$!
	wait_until 20 vps_is a starting
	kill -KILL "$was"
	run wait "$starting"
	[ "$status" -ne 0 ]
	wait_until 20 vps_is a stopped
	succeeds vps start a
}

# Its monitor has been told the name, and makes its groups, when the config is found to be of no use.
refused() {
	config=$VPS_ROOT/lib/vps/a/config
	cp "$config" "$VPS_ROOT/config"
	sed -i '/^template =/d' "$config"
	fails_like 2 'there is no template in it' vps start a
	cp "$VPS_ROOT/config" "$config"
}

@test "a start that is refused takes it, and leaves nothing behind" {
	was=$(spare)
	refused
	wait_until 20 process_is_gone "$was"
	wait_until 20 vps_is a stopped
	assert_nothing_left --daemon --keep a
	succeeds vps start a
	wait_until 20 there_is_one
}

@test "one that hangs while a start is refused is killed" {
	was=$(spare)
	kill -STOP "$was"
	refused
	wait_until 20 process_is_gone "$was"
	wait_until 20 vps_is a stopped
	assert_nothing_left --daemon --keep a
	succeeds vps start a
}

@test "one that is killed when it has made the groups costs that start, and nothing more" {
	is_unified && skip "there are no v1 hierarchies, of which the first is where it dies"
	daemon_stop
	VPS_FAULT=cgroup.v1:kill vps daemon start
	wait_until 20 there_is_one
	fails 5 "vps: start a: it stopped while it was starting: its monitor died" vps start a
	wait_until 20 vps_is a stopped
	daemon_stop
	vps daemon start
	wait_until 20 assert_nothing_left --daemon --keep a
	succeeds vps start a
}

@test "the pid of one that is gone may be that of any other child" {
	[ -w /proc/sys/kernel/ns_last_pid ] || skip "this kernel does not let pids be chosen"
	daemon_stop
	run unshare --pid --fork --mount-proc bash -c '
		load() { :; }
		. "$VPS_TOP/tests/lib.bash" 2>/dev/null
		spare() { "$VPS_TOP/tests/pids" "$VPS_ROOT" vps-spare; }
		there_is_one() { [ "$(spare | wc -l)" = 1 ]; }
		enter() { nsenter "--net=$VPS_NET" -- "$VPS_BUILD/vps" "$@"; }
		enter daemon start
		wait_until 20 there_is_one
		was=$(spare)
		kill -KILL "$was"
		wait_until 20 process_is_gone "$was"
		enter create b # what is done by a child of vpsd
		for before in 1 2 3 4 5; do
			echo $((was - before)) >/proc/sys/kernel/ns_last_pid
			enter set b description=$before || exit
		done
		enter destroy b
		enter daemon stop
		wait_until 20 daemon_is_down'
	assert_status 0
}

@test "it goes with vpsd, killed or stopped" {
	was=$(spare)
	daemon_kill
	wait_until 20 process_is_gone "$was"
	vps daemon start
	wait_until 20 there_is_one
	was=$(spare)
	daemon_stop
	wait_until 20 process_is_gone "$was"
}

@test "after an upgrade the new program is started, not the spare" {
	copy=$VPS_ROOT/bin
	mkdir "$copy"
	cp "$VPS_BUILD"/vps{,d,-monitor,-worker,-packer,-init} "$copy"
	daemon_stop
	"$copy/vps" daemon start
	wait_until 20 there_is_one
	was=$(spare)
	cp "$copy/vps-monitor" "$copy/new"
	mv "$copy/new" "$copy/vps-monitor"
	vps start a
	[ "$(monitor)" != "$was" ]
	assert_equal "$(readlink "/proc/$(monitor)/exe")" "$copy/vps-monitor"
	wait_until 20 process_is_gone "$was"
	vps stop --force a
	daemon_stop
	rm -r "$copy"
}
