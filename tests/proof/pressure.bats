#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tenants that make it hard: no memory left, processes that come and go, a fork bomb. A client talks to a server
# among them all the while, and a count goes on.
load ../lib
load ../migrate/hosts
load ../migrate/wire
load proof

PORT=7000

# hard NAME=VALUE... SHELL-TEXT: a tenant whose process 1 counts in /srv/n, with no other's help, and echoes,
# beside what the text begins when it is told to (hard_begin).
hard() {
	cat >"$BATS_TEST_TMPDIR/init.sh" <<-INIT
		trap exit TERM
		busybox mkfifo /srv/fifo
		exec 8<>/srv/fifo
		busybox nc -ll -p $PORT -e cat &
		{
			until [ -e /srv/go ]; do busybox sleep 0.1; done
			${*: -1}
		} 2>/dev/null &
		while :; do n=\$((n + 1)); echo \$n >/srv/n; read -t 0.1 x <&8; done
	INIT
	vps create web1 "$ON_WIRE" init='/bin/sh /root/init.sh' stop.signal=SIGTERM "${@:1:$#-1}"
	vps push web1 "$BATS_TEST_TMPDIR/init.sh" /root
	start $PORT
	wait_until 30 has_count_past 3
}

# Read from outside: in a tenant without a process to spare nothing can be started.
now_count() {
	local n=
	# It may be being written just now.
	until [ -n "$n" ]; do n=$(cat "$(upper)/srv/n"); done
	echo "$n"
}

upper() {
	if [ "$AT" = a ]; then echo "$A_ROOT/lib/vps/web1/root/upper"; else echo "$B_ROOT/lib/vps/web1/root/upper"; fi
}

has_count_past() { [ "$(now_count)" -gt "$1" ]; }

# moves_on CMD...: moves it with clients at work, once what makes it hard does; the count is never behind
# what it was.
moves_on() {
	local n _
	load_begin crowd crowd.py "$TENANT" $PORT 5
	inside touch /srv/go
	wait_until 60 "$@"
	for _ in $(seq "$VPS_PROOF_MOVES"); do
		n=$(now_count)
		move
		wait_until 60 has_count_past $((n + 3))
	done
	load_end crowd
	say "$load_out"
}

processes() { on "$AT" vps stats web1 --json | jq .pids.current; }
are_many() { [ "$(processes)" -ge "$1" ]; }

@test "processes that are born and end all the time" {
	hard 'for i in 1 2 3 4; do (while :; do busybox true; (exit 3); done) & done'
	moves_on are_many 7
}

@test "more processes than a program may usually have files open" {
	hard 'for i in $(busybox seq 1100); do busybox sleep 100000 & done; wait'
	inside touch /srv/go
	wait_until 60 are_many 1100
	succeeds on a vps suspend web1
	succeeds on a vps resume web1
	are_many 1100
}

@test "a fork bomb while memory is copied" {
	# Each makes others as long as it lives, and none ends because it cannot.
	hard pids.max=60 cpu.max=1 'echo "BEGIN { while (1) system(\"awk -f /srv/bomb &\") }" >/srv/bomb; exec awk -f /srv/bomb'
	moves_on are_many 55
	wait_until 30 are_many 55
}

has_read() { [ -s "$(upper)/srv/read" ]; }

@test "no memory left" {
	# An array of its own of half of what it may have, and more of a file than fits beside it.
	hard memory.max=64M 'dd if=/dev/zero of=/srv/large bs=1M count=80 2>/dev/null
		awk "BEGIN { for (i = 0; i < 200000; i++) a[i] = i; while (1) { for (i = 0; i < 200000; i++) if (a[i] % 200000 != i) exit 1; else a[i] += 200000 } }" || echo wrong >/srv/wrong &
		while :; do cat /srv/large | md5sum >/srv/read; done &'
	moves_on has_read
	[ ! -e "$(upper)/srv/wrong" ]
	[ -n "$(inside pidof awk)" ]
}
