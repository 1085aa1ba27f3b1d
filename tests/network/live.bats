#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The interfaces of a VPS that runs: added, changed, taken away.
load lib

setup_file() {
	root_new
	net_new
	outside_new
	vps create a
	vps create b
	vps start a
	vps start b
	serve a
	vps config a net >"$BATS_FILE_TMPDIR/first"
}

teardown_file() {
	outside_done
	root_done
}

teardown() {
	vps set a publish= net= "net=$(cat "$BATS_FILE_TMPDIR/first")"
}

links() { vps exec a -- ls /sys/class/net | sort | tr '\n' ' '; }
host_links() { in_net ip -o link | grep -c "$VPS_TAG a "; }
entries() { in_net nft list ruleset | grep -cF "$1"; }
# ip_of N: the IPv4 address of its interface number N
ip_of() { vps config a net | sed -n "$1{s/.*ip=\\([0-9.]*\\)\\/.*ip=.*/\\1/p}"; }

@test "an interface is added at once, and taken away with all that was its" {
	pid=$(vps_pid a)
	succeeds vps set a net=name=eth1
	assert_output ""
	address=$(ip_of 2)
	assert_equal "$(links)" "eth0 eth1 lo "
	assert_equal "$(host_gets "$address" 80)" "page of a"
	assert_equal "$(host_gets "$(ip_of 1)" 80)" "page of a"
	succeeds vps set a net=-eth1
	assert_equal "$(links)" "eth0 lo "
	assert_equal "$(host_links)" 1
	assert_equal "$(entries "$address")" 0
	run vps exec a -- ip rule
	refute_match "$address"
	assert_equal "$(host_gets "$(ip_of 1)" 80)" "page of a"
	assert_equal "$(vps_pid a)" "$pid"
}

@test "another address; connections over other interfaces do not notice" {
	vps set a net=name=eth1
	first=$(ip_of 1) second=$(ip_of 2)
	in_net python3 - "$first" <<-'X' &
		import os, socket, sys, time
		s = socket.create_connection((sys.argv[1], 80), 20)
		open(os.environ["BATS_TEST_TMPDIR"] + "/open", "w")
		while not os.path.exists(os.environ["BATS_TEST_TMPDIR"] + "/changed"):
		    time.sleep(0.02)
		s.sendall(b"GET / HTTP/1.0\r\n\r\n")
		sys.exit(b"page of a" not in s.makefile("rb").read())
	X
	client=$!
	wait_until 20 test -e "$BATS_TEST_TMPDIR/open"
	succeeds vps set a net=name=eth1,mode=routed,ip=198.51.100.7/32
	touch "$BATS_TEST_TMPDIR/changed"
	wait "$client"
	assert_equal "$(host_gets 198.51.100.7 80)" "page of a"
	assert_equal "$(entries "$second")" 0
	[ "$(in_net ip route get "$second" | grep -c "$VPS_TAG-br")" = 1 ] # the bridge's network again
}

@test "the only interface gets another address, a fixed MAC and a rate; ports follow it" {
	vps set a publish=8080:80
	old=$(ip_of 1)
	new=${old%.*}.99
	six=$(ip6 a)
	succeeds vps set a "net=name=eth0,ip=$new/22,mac=02:00:00:00:00:63,rate=10MiB/s"
	assert_equal "$(ip6 a)" "$six" # not said otherwise
	assert_equal "$(host_gets "$new" 80)" "page of a"
	assert_equal "$(host_gets 127.0.0.1 8080)" "page of a"
	succeeds vps exec a -- ip -o link show eth0
	assert_match '02:00:00:00:00:63'
	refute_match 'state DOWN'
	[ "$(in_net tc qdisc show | grep -c tbf)" -ge 1 ]
	index=$(vps exec a -- cat /sys/class/net/eth0/ifindex)
	succeeds vps set a "net=name=eth0,ip=$new/22,mac=02:00:00:00:00:63,rate=20MiB/s"
	assert_equal "$(vps exec a -- cat /sys/class/net/eth0/ifindex)" "$index" # in place
}

@test "macvlan, and back; the last one goes, and one comes" {
	vps set a net=name=eth1,mode=macvlan,parent=up0,ip=192.0.2.77/24,ip=none
	assert_equal "$(outside_gets 192.0.2.77 80)" "page of a"
	vps set a net=-eth1
	assert_equal "$(links)" "eth0 lo "
	vps set a net=
	assert_equal "$(links)" "lo "
	assert_equal "$(host_links)" 0
	vps set a net=name=eth0
	assert_equal "$(host_gets "$(ip_of 1)" 80)" "page of a"
	succeeds vps exec a -- ping -c 1 -W 20 "$(gateway4)"
}

@test "an interface that the tenant has deleted comes back with the next change" {
	vps exec a -- ip link del eth0
	assert_equal "$(host_links)" 0
	vps set a publish=9019:80
	assert_equal "$(outside_gets 192.0.2.1 9019)" "page of a"
	vps exec a -- ip link del eth0
	vps set a net=name=eth0,rate=20MiB/s
	assert_equal "$(outside_gets 192.0.2.1 9019)" "page of a"
	vps set a net=name=eth0 publish=-9019:80
}

@test "an answer leaves as the question came, also to a neighbour on another interface's network" {
	lan=name=eth1,mode=macvlan,parent=up0,ip=192.0.2.77/24,gw=192.0.2.1,ip=none
	vps set a publish=9020:80 "net=$lan"
	assert_equal "$(outside_gets 192.0.2.1 9020)" "page of a"
	assert_equal "$(outside_gets 192.0.2.77 80)" "page of a"
	run vps exec a -- ip route get 192.0.2.2 from 192.0.2.77 # and not by the gateway
	assert_match "^192.0.2.2 from 192.0.2.77 dev eth1"
	succeeds vps exec a -- ip route add blackhole 203.0.113.0/24 # a route of its own counts for its first address
	fails 2 "ip: RTNETLINK answers: Invalid argument" vps exec a -- ip route get 203.0.113.1 from "$(ip_of 1)"
	vps exec a -- ip route del blackhole 203.0.113.0/24
	vps set a net=-eth1
	run vps exec a -- ip rule
	refute_match "lookup 10"
	vps create c "net=name=eth0" "net=$lan" publish=9021:80
	vps start c
	serve c
	assert_equal "$(outside_gets 192.0.2.1 9021)" "page of c"
	vps destroy --force c
}

@test "so does one to the gateway of another interface that has no network" {
	lan=name=eth1,mode=macvlan,parent=up0,ip=198.51.100.77/32,gw=192.0.2.2,ip=none
	outside ip route add 198.51.100.77 dev up1
	vps set a publish=9022:80 "net=$lan"
	assert_equal "$(outside_gets 192.0.2.1 9022)" "page of a"
	assert_equal "$(outside_gets 198.51.100.77 80)" "page of a"
	vps set a net=-eth1 publish=-9022:80
	run vps exec a -- ip rule
	refute_match "lookup 10"
	outside ip route del 198.51.100.77 dev up1
}

@test "what cannot be leaves all as it was" {
	before=$(vps config a net)
	fails 3 "vps: set a: parent=nowhere: the host has no such interface" \
		vps set a net=name=eth1,mode=macvlan,parent=nowhere
	fails 4 "vps: set a: net: address $(ip4 b) is that of b" vps set a "net=name=eth1,ip=$(ip4 b)/22"
	fails 2 "vps: set a: net: there is no entry eth7" vps set a net=-eth7
	fails 2 "vps: set a: net: it cannot be changed for the running VPS alone (hint: leave --runtime away)" \
		vps set --runtime a net=name=eth1
	assert_equal "$(vps config a net)" "$before"
	assert_equal "$(links)" "eth0 lo "
	assert_equal "$(host_gets "$(ip_of 1)" 80)" "page of a"
}

@test "each step that fails is undone" {
	before=$(vps config a net)
	for step in relink.old.after relink.new.after relink.rates; do
		vps stop --force a
		daemon_stop
		export VPS_FAULT=$step:fail
		vps start a
		unset VPS_FAULT
		serve a
		run vps set a net=name=eth1 "net=name=eth0,ip=10.255.255.9/24"
		[ "$status" -ne 0 ] || fail "$step did not fail"
		assert_equal "$(vps config a net)" "$before"
		assert_equal "$(links)" "eth0 lo "
		assert_equal "$(host_links)" 1
		assert_equal "$(host_gets "$(ip_of 1)" 80)" "page of a"
		assert_equal "$(entries 10.255.255.9)" 0
	done
	vps stop --force a
	daemon_stop
	vps start a
	serve a
}

@test "the host's own network is taken at the next start" {
	succeeds vps set a net=none
	assert_output ""
	assert_equal "$(links)" "lo "
	succeeds vps set a net=host
	assert_output "net takes effect at the next start of a"
	assert_equal "$(links)" "lo "
}
