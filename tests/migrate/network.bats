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
	kill ${clients-} 2>/dev/null || true
	hosts_unfault
	hosts_clean
	[ -z "${lacking-}" ] || on b daemon_stop
}

make_echo() {
	vps create web1 init='/bin/busybox nc -ll -p 7000 -e /bin/cat' \
		net=name=eth0,mode=bridge,parent=br0,ip=192.0.2.10/24,ip=2001:db8:5::10/64
	vps start web1
	# Another VPS had the address a moment ago.
	nsenter --net="$CLIENT" ip neigh flush dev up0
}

# client_begin ADDRESS [PROGRAM]: its pid in $client_pid; says that it is connected, ends when it is told.
client_begin() {
	ready=$BATS_TEST_TMPDIR/ready.$1 stop=$BATS_TEST_TMPDIR/stop.$1 out=$BATS_TEST_TMPDIR/out.$1
	nsenter --net="$CLIENT" python3 "$BATS_TEST_DIRNAME/${2:-echo.py}" "$1" 7000 "$ready" "$stop" >"$out" 2>&1 &
	client_pid=$! clients="${clients-} $!"
	wait_until 20 test -e "$ready"
}

client_end() {
	touch "$BATS_TEST_TMPDIR/stop.$1"
	clients=${clients/ $2/}
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

# A server that is busy for seconds, as one that is stopped.
make_busy() {
	vps create web1 init='/bin/busybox sh -c "nc -ll -p 7000 -e /bin/cat & echo $! >/server; while :; do sleep 1; done"' \
		net=name=eth0,mode=bridge,parent=br0,ip=192.0.2.10/24,ip=2001:db8:5::10/64
	vps start web1
	nsenter --net="$CLIENT" ip neigh flush dev up0
	wait_until 20 vps exec web1 -- sh -c "netstat -ltn | grep -q :7000"
	vps exec web1 -- sh -c 'kill -STOP $(cat /server)'
}

@test "connections that nobody has accepted yet go on, with what they have said" {
	make_busy
	client_begin 192.0.2.10 waiters.py
	succeeds vps migrate -e "$RSH" web1 host-b
	assert_only_on b web1
	succeeds on b vps migrate -e "$RSH" web1 host-a
	assert_only_on a web1
	vps exec web1 -- sh -c 'kill -CONT $(cat /server)'
	client_end 192.0.2.10 "$client_pid"
}

@test "where connections that wait cannot be made again they must be accepted first" {
	make_busy
	client_begin 2001:db8:5::10 waiters.py
	lacking=1
	on b daemon_stop
	VPS_WITHOUT=handshakes on b vps list
	fails_like 11 "with connections that were not accepted" vps migrate -e "$RSH" web1 host-b
	assert_only_on a web1
	vps exec web1 -- sh -c 'kill -CONT $(cat /server)'
	client_end 2001:db8:5::10 "$client_pid"
}

# An interface of each host on the wire, for macvlans.
macvlan_parents() {
	local net
	for net in "$A_NET" "$B_NET"; do
		nsenter --net="$net" ip link show up1 >/dev/null 2>&1 && continue
		nsenter --net="$net" ip link add up1 type veth peer name w0
		nsenter --net="$net" ip link set up1 up
		wire "$net"
	done
}

pings_begin() { # ADDRESS: every question must be answered
	rm -f "$BATS_TEST_TMPDIR"/pings*
	nsenter --net="$CLIENT" "$BATS_TEST_DIRNAME/pings.py" "$1" "$BATS_TEST_TMPDIR/pings.ready" \
		"$BATS_TEST_TMPDIR/pings.stop" >"$BATS_TEST_TMPDIR/pings" 2>&1 &
	pings_pid=$!
	wait_until 20 test -e "$BATS_TEST_TMPDIR/pings.ready"
}
pings_end() {
	touch "$BATS_TEST_TMPDIR/pings.stop"
	wait "$pings_pid" || fail "$(cat "$BATS_TEST_TMPDIR/pings")"
	cat "$BATS_TEST_TMPDIR/pings"
}

@test "macvlan: what comes for it meanwhile is held, and there" {
	macvlan_parents
	nsenter --net="$A_NET" nft 'table netdev try { chain c { type filter hook ingress device "up1" priority 0
		ether saddr 02:00:00:00:00:01 fwd to "up1"; }; }; delete table netdev try' || skip "needs nft's fwd in the kernel"
	vps create web1 init='/bin/busybox nc -ll -p 7000 -e /bin/cat' \
		net=name=eth0,mode=macvlan,parent=up1,ip=192.0.2.20/24
	vps start web1
	nsenter --net="$CLIENT" ip neigh flush dev up0
	client_begin 192.0.2.20
	v4=$client_pid
	pings_begin 192.0.2.20
	succeeds vps migrate -e "$RSH" web1 host-b
	assert_only_on b web1
	pings_end
	# A failure gives them to where they were meant.
	on a daemon_stop
	VPS_FAULT=receive.prepare:fail vps daemon start >/dev/null
	pings_begin 192.0.2.20
	fails_like 1 'receive.prepare: fault injected' on b vps migrate -e "$RSH" web1 host-a
	on a daemon_stop
	wait_until 20 assert_only_on b web1
	pings_end
	client_end 192.0.2.20 "$v4"
	for net in "$A_NET" "$B_NET"; do
		refute_tables "$net"
	done
}
refute_tables() {
	local left
	left=$(nsenter --net="$1" nft list tables netdev)
	assert_equal "$left" ""
}

@test "a failure in the pause: frames that were held go to where they were meant" {
	make_echo
	client_begin 192.0.2.10
	v4=$client_pid
	daemon_with_fault b receive.prepare:fail
	fails_like 1 'receive.prepare: fault injected' vps migrate -e "$RSH" web1 host-b
	wait_until 20 assert_only_on a web1
	client_end 192.0.2.10 "$v4"
}

@test "frames that still come to the old place are led to the new one" {
	make_echo
	client_begin 192.0.2.10
	v4=$client_pid
	# A switch that does not learn where it is.
	mac=$(nsenter --net="$CLIENT" ip -j neigh show 192.0.2.10 | jq -r '.[0].lladdr')
	port=$(nsenter --net="$WIRE" bridge fdb show br br0 | awk -v mac="$mac" '$1 == mac { print $3; exit }')
	nsenter --net="$WIRE" bridge fdb replace "$mac" dev "$port" master static sticky
	daemon_with_fault a live.stopped:hang
	"$VPS_BUILD/vps" --root "$A_ROOT" migrate -e "$RSH" web1 host-b >/dev/null 2>&1 &
	pid=$!
	wait_until 30 worker_hangs a
	before=$(cat "$ready")
	worker_goes_on a
	wait "$pid"
	after=$(cat "$ready")
	assert_only_on b web1
	[ "$after" -gt $((before + 5)) ] || fail "$before lines had come back, then $after"
	nsenter --net="$WIRE" bridge fdb del "$mac" dev "$port" master
	client_end 192.0.2.10 "$v4"
}

# What links there are, by number.
numbers() { on "$1" vps exec web1 -- ip -o link | cut -d: -f1,2 | sed 's/@.*//'; }

@test "interfaces that came and went while it ran keep their numbers" {
	local second=net=name=eth1,mode=bridge,parent=br0,ip=198.51.100.2/24 before
	make_echo
	vps exec web1 -- ip link add v0 type veth peer name v1
	vps set web1 "$second"
	vps set web1 net=name=eth0,mode=bridge,parent=br0,ip=192.0.2.12/24 "$second"
	before=$(numbers a)
	assert_equal "$(wc -l <<<"$before")" 5
	client_begin 192.0.2.12
	succeeds vps migrate -e "$RSH" web1 host-b
	assert_equal "$(numbers b)" "$before"
	client_end 192.0.2.12 "$client_pid"
	on b vps suspend web1
	on b vps resume web1
	assert_equal "$(numbers b)" "$before"
	client_begin 192.0.2.12
	client_end 192.0.2.12 "$client_pid"
}

# Segments that the client has sent once more, so far.
sent_again() {
	nsenter --net="$CLIENT" awk '$1 == "Tcp:" && $2 ~ /[0-9]/ { print $13 }' /proc/net/snmp
}

@test "a check and a checkpoint hold frames: nothing is sent again" {
	make_echo
	client_begin 192.0.2.10 flow.py
	v4=$client_pid
	before=$(sent_again)
	for _ in 1 2 3 4; do
		succeeds vps check web1
		succeeds vps checkpoint --leave-running --no-disk web1
	done
	again=$(($(sent_again) - before))
	echo "$again segments were sent again"
	# Each look would cost several; on a machine that takes 200 ms for it, an emulated one, it costs one, too.
	[ "$again" -lt 14 ] || fail "$again segments were sent again"
	client_end 192.0.2.10 "$v4"
	refute_holds
}

# refute_holds: no TAP and no filter of a hold is there.
refute_holds() {
	local links
	links=$(nsenter --net="$A_NET" ip -o link | grep -c ' [hs][0-9a-f]*: .*NOARP' || true)
	assert_equal "$links" 0
}

@test "whoever dies while frames are held leaves none behind" {
	make_echo
	client_begin 192.0.2.10
	v4=$client_pid
	daemon_with_fault a checkpoint.files:kill
	fails_like 1 'the worker' vps checkpoint --leave-running web1
	client_end 192.0.2.10 "$v4"
	refute_holds
}
