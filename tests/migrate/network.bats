#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load hosts
load wire

setup_file() {
	hosts_new
	wire_new
}

teardown_file() {
	local left=0
	hosts_done || left=1
	wire_done
	return "$left"
}

teardown() {
	on a vps_clean
	on b vps_clean
}

make_echo() {
	vps create web1 init='/bin/busybox nc -ll -p 7000 -e /bin/cat' \
		net=name=eth0,mode=bridge,parent=br0,ip=192.0.2.10/24,ip=2001:db8:5::10/64
	vps start web1
	# Another VPS had the address a moment ago.
	nsenter --net="$CLIENT" ip neigh flush dev up0
}

# client ADDRESS: its pid in $client_pid; says that it is connected, ends when it is told.
client_begin() {
	ready=$BATS_TEST_TMPDIR/ready.$1 stop=$BATS_TEST_TMPDIR/stop.$1 out=$BATS_TEST_TMPDIR/out.$1
	nsenter --net="$CLIENT" python3 "$BATS_TEST_DIRNAME/echo.py" "$1" 7000 "$ready" "$stop" >"$out" 2>&1 &
	client_pid=$!
	wait_until 20 test -e "$ready"
}

client_end() {
	touch "$BATS_TEST_TMPDIR/stop.$1"
	wait "$2" || { cat "$BATS_TEST_TMPDIR/out.$1"; return 1; }
	echo "client of $1: $(cat "$BATS_TEST_TMPDIR/out.$1")"
}

@test "connections go on" {
	make_echo
	client_begin 192.0.2.10
	v4=$client_pid
	client_begin 2001:db8:5::10
	v6=$client_pid
	succeeds vps migrate -e "$RSH" web1 host-b
	assert_only_on b web1
	succeeds on b vps migrate -e "$RSH" web1 host-a
	assert_only_on a web1
	client_end 192.0.2.10 "$v4"
	client_end 2001:db8:5::10 "$v6"
}

@test "a failure in the pause: frames that were held go to where they were meant" {
	make_echo
	client_begin 192.0.2.10
	v4=$client_pid
	on b daemon_stop
	VPS_FAULT=receive.prepare:fail on b vps daemon start >/dev/null
	fails_like 1 'receive.prepare: fault injected' vps migrate -e "$RSH" web1 host-b
	on b daemon_stop
	wait_until 10 assert_only_on a web1
	client_end 192.0.2.10 "$v4"
}
