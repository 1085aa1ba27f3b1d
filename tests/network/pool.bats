#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The pools of addresses that the operator chose: lib/vpsd.conf.
load lib

setup_file() {
	root_new
	net_new
	mkdir -p "$VPS_ROOT/lib"
}

teardown_file() {
	rm -f "$VPS_ROOT/lib/vpsd.conf"
	root_done
}

pools() { # LINE...: vpsd comes up with these
	daemon_stop
	printf '%s\n' "$@" >"$VPS_ROOT/lib/vpsd.conf"
}

@test "addresses come from the pools named, and work" {
	pools '# of our own' 'net.pool4 = 10.77.0.0/29' '' 'net.pool6=fd12:3456:789a:1::/64'
	vps create a
	vps start a
	assert_equal "$(ip4 a) $(ip6 a)" "10.77.0.2 fd12:3456:789a:1::2"
	assert_equal "$(gateway4) $(gateway6)" "10.77.0.1 fd12:3456:789a:1::1"
	serve a
	assert_equal "$(host_gets 10.77.0.2 80)" "page of a"
	assert_equal "$(host_gets fd12:3456:789a:1::2 80)" "page of a"
	succeeds vps exec a -- ip route
	assert_match 'default via 10\.77\.0\.1'
}

@test "an exhausted pool is told, and nothing is made" {
	for i in 3 4 5 6; do
		vps create "n$i"
		assert_equal "$(ip4 "n$i")" "10.77.0.$i"
	done
	fails 8 "vps: create more: no address is left of 10.77.0.0/29, all 5 are used (hint: destroy VPSs that are not needed, or give the host a larger pool, see vpsd(8))" \
		vps create more
	[ ! -e "$VPS_ROOT/lib/vps/more" ]
	vps destroy n6
	succeeds vps create more
	assert_equal "$(ip4 more)" 10.77.0.6
	for i in n3 n4 n5 more; do vps destroy "$i"; done
}

@test "pools in use stay until the last VPS on the bridge has stopped" {
	pools 'net.pool4 = 10.78.0.0/24' 'net.pool6 = none'
	vps create late
	assert_equal "$(ip4 late) $(ip6 late)" "10.77.0.3 fd12:3456:789a:1::3"
	assert_equal "$(host_gets 10.77.0.2 80)" "page of a"
	grep -q 'the pools of addresses change when no VPS is on the bridge' "$VPS_ROOT/run/vpsd.log"
	vps destroy late
	vps stop --force a
	daemon_stop
	vps create new
	assert_equal "$(ip4 new) $(ip6 new)" "10.78.0.2 "
	vps start new
	assert_equal "$(gateway4) $(gateway6)" "10.78.0.1 "
	# One that has kept its address is reached all the same.
	vps start a
	serve a
	assert_equal "$(host_gets 10.77.0.2 80)" "page of a"
	assert_equal "$(vps_gets new 10.78.0.1 80 || echo none)" none
	vps set a net= net=ip=10.78.0.9/24
	vps restart --force a
	assert_equal "$(ip4 a)" 10.78.0.9
}

@test "a pool that overlaps the host's own network is refused by name" {
	vps stop --force a
	vps stop --force new
	in_net ip link add lan0 type veth peer name lan1
	in_net ip addr add 10.79.3.4/16 dev lan0
	in_net ip link set lan0 up
	pools 'net.pool4 = 10.79.8.0/24'
	vps set new net= net=name=eth0
	fails_like 2 '^vps: start new: the pool 10\.79\.8\.0/24 overlaps the host.s route to 10\.79\.0\.0/16 \(hint: choose another pool for this state root, see vpsd\(8\)\)$' \
		vps start new
	succeeds vps_is new stopped
	in_net ip link del lan0
	vps start new
	vps stop --force new
}

@test "bridge and rules go a while after the last VPS, or with vpsd" {
	vps create only
	vps start only
	in_net ip link show "$VPS_TAG-br"
	vps stop --force only
	vps start only
	vps stop --force only
	bridge_is_gone() {
		! in_net ip link show "$VPS_TAG-br" && [ -z "$(in_net nft list tables | grep "$VPS_TAG")" ] &&
			[ ! -e "$VPS_ROOT/run/network" ]
	}
	wait_until 30 bridge_is_gone
	vps start only
	vps stop --force only
	daemon_stop
	wait_until 20 bridge_is_gone
	vps destroy only
}

@test "what is no pool is refused with file and line, and vpsd does not come up" {
	file=$VPS_ROOT/lib/vpsd.conf
	bad() { # LINE TEXT
		pools '# first' "$1"
		run vps list
		assert_status 9
		[[ $output == *"$file:2: $2"* ]] || { show_run; return 1; }
	}
	bad 'net.pool4 = 10.77.0.0/33' 'net.pool4: '
	bad 'net.pool4 = 10.77.0.0/30' 'net.pool4: pool 10.77.0.0/30: must be an IPv4 network from /16 to /29'
	bad 'net.pool4 = 10.77.0.5/24' 'net.pool4: pool 10.77.0.5/24: has bits beyond its prefix'
	bad 'net.pool4 = fd00::/64' 'net.pool4: '
	bad 'net.pool6 = fd00::/48' 'net.pool6: pool fd00::/48: must be an IPv6 network /64'
	bad 'net.pool4' 'net.pool4 is not KEY = VALUE'
	bad 'net.pool = 10.0.0.0/24' 'unknown key net.pool'
	rm "$file"
	succeeds vps list
}

@test "a default pool that the host has a network in gives way to another, for good" {
	pools
	vps create taken
	vps start taken
	first=$(gateway4)
	vps stop --force taken
	for name in taken a new; do vps destroy --force "$name"; done
	daemon_stop
	in_net ip link add lan2 type veth peer name lan3
	in_net ip addr add "${first%.*}.200/24" dev lan2
	in_net ip link set lan2 up
	vps create free
	vps start free
	second=$(gateway4)
	assert_equal "$(ip4 free)" "${second%.*}.2"
	[ "$second" != "$first" ]
	serve free
	assert_equal "$(host_gets "$(ip4 free)" 80)" "page of free"
	in_net ip link del lan2
	vps stop --force free
	vps destroy free
	daemon_stop
	vps create later
	assert_equal "$(ip4 later)" "${second%.*}.2"
	vps destroy later
}

@test "neither an address of no pool nor a given pool in the way keeps the other from being chosen" {
	local six
	pools
	rm -f "$VPS_ROOT/lib/pools"
	vps create probe
	six=$(ip6 probe)
	vps destroy probe
	vps create static net=name=eth0,ip=192.0.2.7/24,ip=none
	pools 'net.pool4 = 10.79.8.0/24'
	in_net ip link add lan4 type veth peer name lan5
	in_net ip addr add 10.79.3.4/16 dev lan4
	in_net ip addr add "${six%::*}::99/64" dev lan4 nodad
	in_net ip link set lan4 up
	vps create free
	assert_equal "$(ip4 free)" 10.79.8.2
	[ "$(ip6 free)" != "$six" ] || fail "the host has a network there"
	in_net ip link del lan4
	for name in free static; do vps destroy "$name"; done
}
