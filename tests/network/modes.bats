#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The ways to be connected, other than the bridge.
load lib

setup_file() {
	root_new
	net_new
	outside_new
}

teardown_file() {
	outside_done
	root_done
}

teardown() {
	vps_clean
}

links() { vps exec "$1" -- ls /sys/class/net | tr '\n' ' '; }

@test "none: a loopback and nothing else; no bridge is made for it" {
	vps create alone --net none
	vps start alone
	succeeds vps exec alone -- ip -o addr
	assert_match '127\.0\.0\.1'
	refute_match 'eth0'
	run in_net ip link show "$VPS_TAG-br"
	[ "$status" -ne 0 ] || fail "a bridge for nobody"
	assert_equal "$(in_net nft list tables)" ""
}

@test "host: the host's own stack" {
	vps create open --net host
	vps start open
	assert_equal "$(stat -L -c %i "/proc/$(vps_pid open)/ns/net")" "$(stat -L -c %i "$VPS_NET")"
	succeeds vps exec open -- ip -o addr
	assert_match '192\.0\.2\.1'
	run vps exec open -- ip link set up0 down
	[ "$status" -ne 0 ] || fail "the tenant may change the host's network"
}

@test "routed: a route on the host for each address, answered for outside" {
	vps create r --net mode=routed,parent=up0,ip=192.0.2.50,ip=2001:db8::50
	vps start r
	serve r
	assert_equal "$(host_gets 192.0.2.50 80)" "page of r"
	assert_equal "$(host_gets 2001:db8::50 80)" "page of r"
	# The outside takes it for a neighbour: the host answers ARP and ND for it.
	assert_equal "$(outside_gets 192.0.2.50 80)" "page of r"
	assert_equal "$(outside_gets 2001:db8::50 80)" "page of r"
	run in_net ip route get 192.0.2.50
	refute_match "$VPS_TAG-br"
	# Not as somebody else.
	nsenter --net="/proc/$(vps_pid r)/ns/net" -- python3 -c 'import socket
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
s.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
h = bytearray(28); h[0] = 0x45; h[8] = 64; h[9] = 17
h[12:16] = socket.inet_aton("192.0.2.77"); h[16:20] = socket.inet_aton("192.0.2.2")
for i in range(5): s.sendto(bytes(h), ("192.0.2.2", 0))'
	five() {
		[ "$(in_net nft -j list set inet "$VPS_TAG" spoofed |
			jq '[.nftables[] | select(.set).set.elem[]?.elem.counter.packets] | add')" = 5 ]
	}
	wait_until 20 five
	vps stop --force r
	run in_net ip -o route show 192.0.2.50
	assert_output ""
}

@test "macvlan: on the network of an interface of the host" {
	vps create m --net mode=macvlan,parent=up0,ip=192.0.2.60/24,gw=192.0.2.1,ip=2001:db8::60/64
	vps start m
	serve m
	assert_equal "$(outside_gets 192.0.2.60 80)" "page of m"
	v6() { outside_gets 2001:db8::60 80; }
	wait_until 60 v6
	vps stop --force m
	outside ip neigh flush dev up1
	run outside_gets 192.0.2.60 80
	assert_match 'No route to host'
}

@test "macvlan that is not given any more is named at the resume, and not made on what has its parent's number inside" {
	requires kernel 6.7
	vps create m --net mode=bridge
	vps start m
	number=$(vps exec m -- cat /sys/class/net/eth0/ifindex)
	parent=$(in_net ip -o link | awk -F': ' -v n="$number" '$1 == n { sub("@.*", "", $2); print $2 }')
	if [ -z "$parent" ]; then
		parent=par0
		in_net ip link add "$parent" index "$number" type veth peer name par1
	fi
	in_net ip link set "$parent" up
	first=$(vps config m net)
	vps set m "net=name=eth1,mode=macvlan,parent=$parent,ip=192.0.2.60/24"
	vps stop m
	vps start m
	vps exec m -- test -e /sys/class/net/eth1
	vps suspend m
	vps set m net=
	vps set m "net=$first"
	fails 5 "vps: resume m: it was saved with interface eth1, which leads to its host and is not given to it any more \
(hint: set \`net\` as it was then)" vps resume m
	vps set m "net=name=eth1,mode=macvlan,parent=$parent,ip=192.0.2.60/24"
	succeeds vps resume m
	vps exec m -- test -e /sys/class/net/eth1
}

@test "macvlan with larger frames than its parent's" {
	vps create m --net mode=macvlan,parent=up0,ip=192.0.2.60/24,mtu=1501
	fails_like 2 '^vps: start m: mtu=1501: up0 takes 1500 at most' vps start m
	vps set m net=mode=macvlan,parent=up0,ip=192.0.2.60/24,mtu=1500
	vps start m
	fails_like 2 '^vps: set m: mtu=9000: up0 takes 1500 at most' \
		vps set m net=mode=macvlan,parent=up0,ip=192.0.2.60/24,mtu=9000
}

@test "a host without IPv6 addresses of its own" {
	in_net sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
	vps create o publish=8080:80
	vps start o
	serve o
	assert_equal "$(outside_gets 192.0.2.1 8080)" "page of o"
	vps create r --net mode=routed,ip=198.51.100.9
	vps start r
	serve r
	assert_equal "$(host_gets 198.51.100.9 80)" "page of r"
	in_net sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0
	in_net ip addr add 2001:db8::1/64 dev up0 nodad
}

@test "macvlan on what is not there is said, and nothing is left" {
	succeeds vps create m --net mode=macvlan,parent=nosuch,ip=192.0.2.60/24 --device /dev/nosuch:rw
	assert_output "net: the host has no interface nosuch; it does not start before there is; device: this host has no device /dev/nosuch; it does not start before there is"
	succeeds vps set m device=
	assert_output ""
	assert_equal "$(vps set --json m net=name=eth1,mode=routed,parent=other,ip=192.0.2.61/32 | jq -r .note)" \
		"net: the host has no interface other; it does not start before there is"
	vps set m net=-eth1
	fails_like 1 '^vps: start m: parent=nosuch: the host has no such interface' vps start m || {
		status=$?
		fails_like 3 '^vps: start m: parent=nosuch: the host has no such interface' vps start m
	}
	vps_is m stopped
	vps destroy m
	assert_nothing_left --daemon
}

@test "a bridge of the host's" {
	in_net ip link add br7 type bridge
	in_net ip link add port7 address fc:00:00:00:00:07 type veth peer name end7
	in_net ip link set port7 master br7 up
	in_net ip link set br7 up
	in_net ip addr add 198.51.100.1/24 dev br7
	vps create o --net mode=bridge,parent=br7,ip=198.51.100.5/24,gw=198.51.100.1
	vps start o
	serve o
	assert_equal "$(host_gets 198.51.100.5 80)" "page of o"
	# It has the lowest address of its ports, which are the host's own.
	assert_equal "$(in_net ip -j link show br7 | jq -r '.[0].address')" fc:00:00:00:00:07
	vps destroy --force o
	succeeds in_net ip link show br7
	in_net ip link del br7
	in_net ip link del port7
}

# stale ADDRESS: the outside believes it somewhere else
stale() { outside ip neigh replace "$1" lladdr 02:00:00:00:00:99 dev up1 nud stale; }
# known ADDRESS MAC: it knows it there
known() { [ "$(outside ip -j neigh show "$1" | jq -r '.[0].lladdr')" = "$2" ]; }

@test "who knew its addresses elsewhere learns where they are" {
	local mac address
	vps create m --net name=eth0,mode=macvlan,parent=up0,ip=192.0.2.61/24,ip=2001:db8::61/64 \
		--net name=eth1,mode=routed,parent=up0,ip=192.0.2.62,ip=2001:db8::62
	for address in 192.0.2.61 2001:db8::61 192.0.2.62 2001:db8::62 192.0.2.63; do
		stale "$address"
	done
	vps start m
	mac=$(vps exec m -- cat /sys/class/net/eth0/address)
	wait_until 20 known 192.0.2.61 "$mac"
	wait_until 20 known 2001:db8::61 "$mac"
	mac=$(in_net ip -j link show up0 | jq -r '.[0].address')
	wait_until 20 known 192.0.2.62 "$mac"
	wait_until 20 known 2001:db8::62 "$mac"
	# And another one that it gets while it runs; and when it goes on after it was suspended.
	vps set m net=name=eth0,mode=macvlan,parent=up0,ip=192.0.2.63/24
	wait_until 20 known 192.0.2.63 "$(vps exec m -- cat /sys/class/net/eth0/address)"
	vps suspend m
	stale 192.0.2.63
	vps resume m
	wait_until 20 known 192.0.2.63 "$(vps exec m -- cat /sys/class/net/eth0/address)"
}

@test "mixed: a bridge with addresses and a routed one" {
	vps create mix --net name=eth0 --net name=pub,mode=routed,parent=up0,ip=192.0.2.51
	vps start mix
	serve mix
	assert_equal "$(host_gets "$(ip4 mix)" 80)" "page of mix"
	assert_equal "$(outside_gets 192.0.2.51 80)" "page of mix"
}
