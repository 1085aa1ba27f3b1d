#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# net.sh set|check DIR: what a tenant makes of its network is there again after a restore. Runs in the VPS's
# network namespace, with the host's programs.
set -eu
dir=$2

# Counters and times move on; what is left must be the same.
show() {
	ip -d link | sed -E 's/@if[0-9]+//; s/qlen [0-9]+//; s/promiscuity [0-9]+//; s/ (hello|tcn|topology_change|gc|hold|message_age|forward_delay)_timer +[0-9.]+//g'
	ip -d addr | grep -E 'inet|valid_lft' | sed 's/ nodad//'
	for t in main 100 local; do
		ip -4 route show table $t 2>/dev/null | sort
		ip -6 route show table $t 2>/dev/null | sort
	done
	ip rule
	ip -6 rule
	ip neigh show nud permanent | sort
	ip neigh show proxy
	nft -s list ruleset
	# Others may come by themselves.
	grep 'dport=9999' /proc/net/nf_conntrack | sed -E 's/udp +17 [0-9]+/udp/; s/ use=[0-9]+//' | sort
	grep -rs . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf /proc/sys/net/ipv4/ip_forward \
		/proc/sys/net/ipv4/ping_group_range /proc/sys/net/ipv4/tcp_keepalive_time /proc/sys/net/core/somaxconn |
		grep -v -e stable_secret -e mc_forwarding | sort
}

links() {
	# Not every kernel has all kinds.
	if ! ip link add dummy7 type dummy 2>/dev/null; then
		ip link add dummy7 type veth peer name other7
		ip link set other7 up
	fi
	ip link set dummy7 address 02:00:00:00:00:07 mtu 1400 alias "seventh" up
	ip link add br0 type bridge forward_delay 400 ageing_time 5000
	ip link add left index 50 type veth peer name right index 60
	ip link set left master br0 up
	ip link set right up
	if ip link add link dummy7 name dummy7.5 type vlan id 5 2>/dev/null; then
		ip link set dummy7.5 up
	fi
	ip link set br0 up
	ip link set eth0 mtu 1450
	ip link add down0 type ifb 2>/dev/null || true
}

routes() {
	ip addr add 10.99.0.1/24 dev dummy7 label dummy7:x
	ip addr add 10.99.0.2/24 dev dummy7
	ip addr add 192.0.2.9/32 dev eth0
	ip -6 addr add fd99::1/64 dev br0
	ip -6 addr add fd99::5/64 dev dummy7 preferred_lft 0
	ip route add 10.100.0.0/16 via 10.99.0.77 metric 5
	ip route add blackhole 10.101.0.0/16
	ip route add default via 10.99.0.78 table 100
	ip route add 10.102.0.0/16 nexthop via 10.99.0.77 weight 2 nexthop via 10.99.0.78
	ip -6 route add fd98::/48 via fd99::77 dev br0
	ip -6 route add unreachable fd97::/48
	ip rule add from 10.99.0.0/24 lookup 100 priority 500
	ip -6 rule add fwmark 7 lookup 100 priority 600
	ip neigh add 10.99.0.77 lladdr 02:00:00:00:00:77 nud permanent dev dummy7
	ip neigh add proxy 10.99.0.5 dev dummy7
	ip route add 192.0.2.200 dev eth0
	ip route del default
	ip route add default via 10.99.0.78
}

rules() {
	nft -f - <<-'EOF'
	table inet fw {
		counter hits { packets 17 bytes 1700; }
		set v4 { type ipv4_addr; flags interval; elements = { 10.1.0.0/16, 10.3.0.1, 10.5.0.0-10.5.0.9 } }
		set timed { type ipv4_addr . inet_service; flags timeout; elements = { 10.0.0.1 . 80 timeout 1h } }
		map ports { type inet_service : verdict; elements = { 22 : accept, 23 : drop } }
		chain other {
			ip saddr @v4 counter packets 5 bytes 500 drop
		}
		chain input {
			type filter hook input priority filter; policy accept;
			iif lo accept
			ct state established,related accept
			tcp dport { 80, 443, 8000-8100 } counter name "hits" accept comment "web"
			tcp dport vmap @ports
			ip protocol icmp limit rate 5/second burst 10 packets accept
			jump other
			meta l4proto tcp log prefix "odd " reject with tcp reset
		}
	}
	table ip nat {
		chain post {
			type nat hook postrouting priority srcnat;
			ip protocol udp ip saddr 10.99.0.1 udp dport 9999 snat to 10.99.0.2:6666
			oifname "eth0" masquerade
		}
		chain pre {
			type nat hook prerouting priority dstnat;
			tcp dport 8080 dnat to 10.99.0.77:80
		}
	}
	EOF
}

# One that is answered, and one that is translated.
connections() {
	python3 - <<-'EOF'
	import socket
	a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	b.bind(("127.0.0.1", 9999))
	a.sendto(b"question", ("127.0.0.1", 9999))
	b.sendto(b"answer", b.recvfrom(99)[1])
	c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	c.bind(("10.99.0.1", 5555))
	c.sendto(b"to outside", ("192.0.2.200", 9999))
	EOF
}

# settled: links say that they are up, and no address is in doubt.
settled() {
	! ip addr | grep -q tentative && ! ip link | grep -q 'state LOWERLAYERDOWN' &&
		ip -6 route show table local | grep -q 'dev br0'
}

# within SECONDS COMMAND...: it succeeds by then.
within() {
	end=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -lt "$end" ] || return 1
		sleep 0.1
	done
}

same() {
	show >"$dir/net.after"
	cmp -s "$dir/net.before" "$dir/net.after"
}

case $1 in
set)
	links
	routes
	echo 1 >/proc/sys/net/ipv4/ip_forward
	echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
	echo 123 >/proc/sys/net/ipv4/tcp_keepalive_time
	echo "700000 700100" >/proc/sys/net/ipv4/ping_group_range # the host's ids of 0 to 100
	echo 77 >/proc/sys/net/core/somaxconn
	echo 0 >/proc/sys/net/ipv4/conf/dummy7/accept_redirects
	rules
	connections
	within 30 settled
	sleep 2 # the bridge's own timers run
	show >"$dir/net.before"
	;;
check)
	# What was in use is in use at once.
	ip addr | grep tentative && exit 1
	within 20 same || diff "$dir/net.before" "$dir/net.after"
	;;
esac
