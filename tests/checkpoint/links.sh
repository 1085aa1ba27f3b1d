#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# links.sh set|check DIR: as rare.sh, for what links and neighbours were told: features and queues (ethtool(8)), states,
# tokens of IPv6, ports of bonds, groups. Not every kernel has all kinds.
set -eu
dir=$2
here=$(dirname "$0")

tool() { python3 "$here/ethtool.py" "$@"; }

show() {
	links=$(ip -br link | awk '{ print $1 }' | sed 's/@.*//' | sort)
	# shellcheck disable=SC2086
	tool show $links
	ip -d -o link | grep -o -e '^[0-9]*: [^:@]*' -e ' state [A-Z]*' -e ' mode [A-Z]*' -e NO-CARRIER -e 'protodown o[nf]*' \
		-e 'protodown_reason.*>' -e 'brd [0-9a-f:]*' -e 'queue_id [0-9]*' -e 'prio [0-9]*' -e 'active_slave [a-z0-9]*' \
		-e 'primary [a-z0-9]*'
	ip token | sort
	ip maddr | grep -e : -e static | grep -e ^[0-9] -e static | sed 's/^[0-9]*://'
	ip neigh show nud noarp | grep -v -e ^ff -e ^22 -e 'dev lo' | sort
	sed 's/^[0-9]* //' /proc/net/nf_conntrack_expect 2>/dev/null || :
}

features() {
	ip link add left type veth peer name right
	ip link add wide type veth peer name narrow
	tool features left tx-tcp-segmentation=off tx-tcp6-segmentation=off tx-generic-segmentation=off rx-gro=on
	tool features right tx-checksum-ip-generic=off rx-gro-list=on
	tool features lo tx-generic-segmentation=off
	tool features eth0 tx-tcp-segmentation=off tx-checksum-ip-generic=off
	tool channels wide 1 2 || :
	tool sizes right 30000 40000
	ip link add br0 type bridge
	ip link set left master br0
	tool features br0 tx-scatter-gather=off
	for l in left right br0 wide narrow; do
		ip link set $l up
	done
}

states() {
	ip link set wide mode dormant
	ip link set wide state dormant
	ip link set narrow brd 02:ff:ff:ff:ff:ff
	ip link add vx0 type vxlan id 7 dstport 4789
	ip link set vx0 up
	ip link set vx0 protodown on protodown_reason 3 on
	ip link add vx1 type vxlan id 8 dstport 4789
	ip link set vx1 up mode dormant
	ip link set vx1 state up
	for l in 0 1 2; do
		ip link add dummy$l type dummy 2>/dev/null || return 0
		ip link set dummy$l up
	done
	ip link set dummy0 carrier off
	ip link set dummy1 state up
	ip link set dummy2 mode dormant
	ip link set dummy2 state dormant
}

bonds() {
	ip link add bond0 type bond mode active-backup miimon 100 2>/dev/null || return 0
	for l in 1 2; do
		ip link add port$l type dummy
		ip link set port$l master bond0
	done
	ip link set bond0 up
	ip link set port1 type bond_slave queue_id 3
	ip link set port2 type bond_slave prio 7 2>/dev/null || :
	ip link set bond0 type bond active_slave port2
	ip link add bond1 type bond mode active-backup miimon 100
	for l in 3 4; do
		ip link add port$l type dummy
		ip link set port$l master bond1
	done
	ip link set bond1 type bond primary port4
	ip link set bond1 up
}

addresses() {
	# A token is taken only from who listens to routers, and is kept by who does not any more.
	ip token set ::5:6 dev left
	echo 1 >/proc/sys/net/ipv6/conf/right/accept_ra
	ip token set ::7 dev right
	echo 0 >/proc/sys/net/ipv6/conf/right/accept_ra
	echo 0 >/proc/sys/net/ipv6/conf/right/router_solicitations
	ip maddr add 33:33:00:00:00:99 dev left
	ip maddr add 01:00:5e:00:00:42 dev eth0
	ip addr add 10.98.0.1/24 dev right
	ip neigh add 10.98.0.9 lladdr 02:00:00:00:00:09 nud noarp dev right
	ip neigh add fd99::9 lladdr 02:00:00:00:00:19 nud noarp dev right
}

# What a client of FTP told its server where to connect to.
expectations() {
	ip link set lo up
	nft -f - <<-'EOF' 2>/dev/null || return 0
	table ip f {
		ct helper x { type "ftp" protocol tcp; }
		chain out {
			type filter hook output priority filter;
			tcp dport 21 ct helper set "x"
		}
	}
	EOF
	python3 - <<-'EOF'
	import socket
	server = socket.create_server(("127.0.0.1", 21))
	client = socket.create_connection(("127.0.0.1", 21))
	session = server.accept()[0]
	for line in b"USER x\r\n", b"PORT 127,0,0,1,4,1\r\n":
	    client.sendall(line)
	    session.recv(99)
	EOF
}

same() {
	show >"$dir/links.after"
	cmp -s "$dir/links.before" "$dir/links.after"
}

case $1 in
set)
	features
	states
	bonds
	addresses
	expectations
	sleep 2 # until links say that they are up
	show >"$dir/links.before"
	;;
check)
	n=0
	until same || [ $n = 5 ]; do
		n=$((n + 1))
		sleep 0.5
	done
	diff "$dir/links.before" "$dir/links.after"
	grep -q '^0$' /proc/sys/net/ipv6/conf/right/accept_ra
	;;
esac
