#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load hosts

# A wire: the bridge br0 of each host leads to it, and so does a client.

setup_file() {
	hosts_new
	WIRE=$A_ROOT.wire CLIENT=$A_ROOT.client
	touch "$WIRE" "$CLIENT"
	unshare --net="$WIRE" ip link add br0 type bridge
	nsenter --net="$WIRE" ip link set br0 up
	unshare --net="$CLIENT" ip link set lo up
	for net in "$A_NET" "$B_NET" "$CLIENT"; do
		nsenter --net="$net" ip link add up0 type veth peer name w0
		wire "$net"
	done
	for net in "$A_NET" "$B_NET"; do
		nsenter --net="$net" ip link add br0 type bridge
		nsenter --net="$net" ip link set up0 master br0 up
		nsenter --net="$net" ip link set br0 up
	done
	nsenter --net="$CLIENT" ip addr add 192.0.2.1/24 dev up0
	nsenter --net="$CLIENT" ip addr add 2001:db8:5::1/64 dev up0 nodad
	nsenter --net="$CLIENT" ip link set up0 up
	export WIRE CLIENT
}

# The other end of the pair goes to the wire.
wire() {
	local name=w$((RANDOM * 32768 + RANDOM)) pid
	name=${name:0:15}
	nsenter --net="$WIRE" sleep 1000 &
	pid=$!
	wait_until 5 in_namespace "$pid" "$WIRE"
	nsenter --net="$1" ip link set w0 name "$name" netns "$pid"
	kill "$pid"
	nsenter --net="$WIRE" ip link set "$name" master br0 up
}

in_namespace() {
	[ "/proc/$1/ns/net" -ef "$2" ]
}

teardown_file() {
	hosts_done
	umount "$WIRE" "$CLIENT"
	rm -f "$WIRE" "$CLIENT"
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
