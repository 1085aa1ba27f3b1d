#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# nets.sh set|check DIR: what joins the network namespaces of a VPS is there again after a restore. Runs in the VPS's
# network namespace, with the host's programs; VPS_INIT is the host's number of its process 1 (nets.c).
set -eu
dir=$2
for pid in $(cat "/proc/$VPS_INIT/task/$VPS_INIT/children"); do
	case $(cat "/proc/$pid/comm") in
	container) container=$pid ;;
	rootless) rootless=$pid ;;
	esac
done
kept=/proc/$VPS_INIT/root/run/kept
here=$(dirname "$0")

in_container() { nsenter --net="/proc/$container/ns/net" "$@"; }
in_rootless() { nsenter --net="/proc/$rootless/ns/net" "$@"; }
in_kept() { nsenter --net="$kept" "$@"; }

# The number of the other end of the VPS's own interface is the host's; counters and times move on.
show() {
	"$@" python3 "$here/nsids.py" show "/proc/$VPS_INIT/ns/net" "/proc/$container/ns/net" "/proc/$rootless/ns/net" "$kept"
	"$@" ip -d link | sed -E 's/(eth0)@if[0-9]+/\1/; s/qlen [0-9]+//; s/promiscuity [0-9]+//; s/ (hello|tcn|topology_change|gc|hold|message_age|forward_delay)_timer +[0-9.]+//g'
	"$@" ip -d addr | grep -E 'inet|valid_lft' | sed 's/ nodad//'
	for t in main local; do
		"$@" ip -4 route show table $t | sort
		"$@" ip -4 nexthop 2>/dev/null | sort
		"$@" ip -6 route show table $t | sort
	done
	"$@" ip rule
	"$@" tc -d qdisc show | grep -v ' 0: ' || :
	"$@" ip neigh show nud permanent | sort
	"$@" nft -s list ruleset
	"$@" grep -rs . /proc/sys/net/ipv4/conf /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_unprivileged_port_start |
		grep -v mc_forwarding | sort
}

show_all() {
	for where in env in_container in_rootless in_kept; do
		echo "== $where"
		show $where
	done
}

# As docker has it: a bridge, with an end of a pair for the container.
join_container() {
	ip link add docker0 address 02:42:0a:58:00:01 type bridge
	ip addr add 10.88.0.1/16 dev docker0
	ip link set docker0 up
	ip link add veth1 type veth peer name eth0 address 02:42:0a:58:00:02 netns "$container"
	ip link set veth1 master docker0 up
	ip link set veth1 type bridge_slave hairpin on learning off priority 5 isolated on
	in_container ip link set lo up
	in_container ip addr add 10.88.0.2/16 dev eth0
	in_container ip link set eth0 mtu 1400 up
	in_container ip route add default via 10.88.0.1
	in_container sh -c 'echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start'
	echo 1 >/proc/sys/net/ipv4/ip_forward
	nft -f - <<-'END'
	table ip docker {
		chain post {
			type nat hook postrouting priority srcnat;
			ip saddr 10.88.0.0/16 oifname != "docker0" masquerade
		}
		chain forward {
			type filter hook forward priority filter; policy drop;
			oifname "docker0" ct state established,related accept
			iifname "docker0" accept
		}
	}
	END
}

# A pair between two that are not the VPS's own, with the same numbers at both ends; what stands on it; rules.
join_rootless() {
	in_rootless ip link add x0 index 40 type veth peer name x0 index 40 netns "$container"
	in_rootless ip link set lo up
	in_rootless ip link set x0 up
	in_container ip link set x0 up
	in_rootless ip addr add fd77::1/64 dev x0 nodad
	in_rootless ip addr add 10.89.0.1/24 dev x0
	in_rootless ip neigh add 10.89.0.7 lladdr 02:00:00:00:00:07 nud permanent dev x0
	in_rootless ip link add link x0 name x0.9 index 41 type vlan id 9 2>/dev/null || true
	in_rootless nft 'add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c tcp dport 22 counter packets 3 bytes 99 drop'
}

# What stands on a link of another namespace, or sends from there. Not every kernel has all kinds.
join_kept() {
	if ip link add m0 link eth0 type macvlan mode bridge 2>/dev/null; then
		ip link set m0 netns "$kept"
		in_kept ip link set m0 up
	fi
	if in_container ip link add vx0 type vxlan id 77 local 10.88.0.2 remote 10.88.0.9 dstport 4789; then
		in_container ip link set vx0 netns "$kept"
		in_kept ip link set vx0 up
	fi
	if ip link add i0 link veth1 type ipvlan mode l2 2>/dev/null; then
		ip link set i0 netns "$kept"
	fi
	in_kept ip link add b0 address 02:00:00:00:00:0b type bridge
	in_kept ip addr add 192.0.2.1/32 dev b0
}

# Objects that routes lead to, a group before what it is of, and queues.
lead() {
	in_rootless ip nexthop add id 30 via 10.89.0.7 dev x0
	in_rootless ip nexthop add id 20 via 10.89.0.8 dev x0 onlink
	in_rootless ip nexthop add id 10 group 20/30,3
	in_rootless ip nexthop add id 40 blackhole
	in_rootless ip route add 198.51.100.0/24 nhid 10
	in_rootless ip route add 198.51.101.0/24 nhid 30 metric 7
	in_rootless ip nexthop add id 50 via fd77::7 dev x0
	in_rootless ip -6 route add fd78::/32 nhid 50
	in_rootless ip route add 203.0.113.0/24 nhid 40
	in_container tc qdisc add dev eth0 root handle 9: pfifo limit 77
	# Not every kernel has it.
	if in_rootless tc qdisc add dev x0 root handle 7: tbf rate 80mbit burst 64k latency 50ms; then
		in_rootless tc qdisc add dev x0 parent 7:1 handle 8: bfifo limit 70000
		tc qdisc add dev eth0 root handle 1: tbf rate 400mbit burst 128k limit 1m
	fi
}

# Numbers that were given by hand, beside those that came with links.
name() {
	in_container python3 "$here/nsids.py" set 77 "$kept"
	in_rootless python3 "$here/nsids.py" set 5 "/proc/$rootless/ns/net"
	in_kept python3 "$here/nsids.py" set 3 "/proc/$VPS_INIT/ns/net"
	python3 "$here/nsids.py" set 4711 "/proc/$VPS_INIT/ns/net"
}

await_connection() {
	n=0
	until in_container grep -q ':1B58 .* 01 ' /proc/net/tcp; do
		n=$((n + 1))
		[ $n -lt 300 ]
		sleep 0.1
	done
}

case $1 in
set)
	name
	# Those without carrier come up and down by themselves.
	join_container
	join_rootless
	join_kept
	lead
	await_connection
	sleep 2 # until links say that they are up; the bridge's own timers run
	show_all >"$dir/nets.before"
	;;
check)
	sleep 2
	show_all >"$dir/nets.after"
	diff "$dir/nets.before" "$dir/nets.after"
	;;
esac
