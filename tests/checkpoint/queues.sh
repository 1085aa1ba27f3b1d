#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# queues.sh set|check DIR: queueing disciplines with classes and filters are there again after a restore, and send what
# they sent to where they sent it. Runs in the VPS's network namespace, with the host's programs. Not every kernel has
# all kinds: each is tried, but for those of which something else here depends.
set -eu
dir=$2
links="eth0 q0 q1 q2 q3 q4 q5 q6"

try() { "$@" 2>/dev/null || echo "none: $*"; }

# What was counted, and how long ago, moves on. Tables of u32 that come with a priority are numbered by the kernel.
show() {
	tc -d qdisc show | sort | grep -v ' 0: ' | sed -E 's/direct_packets_stat [0-9]+//; s/refcnt [0-9]+//'
	for l in $links; do
		tc -d class show dev $l
		parents="root ingress egress $(tc class show dev $l | sed -n 's/^class [a-z]* \([0-9a-f]*:[0-9a-f]*\) .*/\1/p')"
		parents="$parents $(tc qdisc show dev $l | sed -n 's/^qdisc [a-z_]* \([0-9a-f]*:\) .*/\1/p')"
		for p in $parents; do
			case $p in
			root | ingress | egress) tc -d filter show dev $l $p 2>/dev/null || : ;;
			*) tc -d filter show dev $l parent $p 2>/dev/null || : ;;
			esac
		done
	done | sed -E 's/ref [0-9]+ bind [0-9]+//'
}

# Classes of three levels, of which some have lower numbers than what is above them; disciplines in these; filters of
# several priorities, made from the last to the first, in tables that lead to tables, and at a class.
trees() {
	tc qdisc add dev q0 root handle 1: htb default 30 r2q 5
	tc class add dev q0 parent 1: classid 1:40 htb rate 100mbit ceil 200mbit burst 30k
	tc class add dev q0 parent 1:40 classid 1:10 htb rate 30mbit ceil 100mbit prio 1 quantum 3000
	tc class add dev q0 parent 1:40 classid 1:5 htb rate 20mbit
	tc class add dev q0 parent 1:5 classid 1:30 htb rate 15mbit prio 3
	tc class add dev q0 parent 1: classid 1:7 htb rate 50gbit
	tc qdisc add dev q0 parent 1:10 handle 10: pfifo limit 33
	tc qdisc add dev q0 parent 1:30 handle 2: htb
	tc class add dev q0 parent 2: classid 2:1 htb rate 5mbit
	tc qdisc add dev q0 parent 2:1 handle 3: bfifo limit 70000
	tc filter add dev q0 parent 1: protocol ip prio 9 u32 match ip src 10.77.9.0/24 flowid 1:7
	tc filter add dev q0 parent 1: protocol ip prio 2 handle 2: u32 divisor 16
	tc filter add dev q0 parent 1: protocol ip prio 2 u32 ht 800:: match ip src 10.77.8.0/24 flowid 1:7
	tc filter add dev q0 parent 1: protocol ip prio 2 u32 ht 2:5: match ip dport 5000 0xffff flowid 1:10
	tc filter add dev q0 parent 1: protocol ip prio 2 handle 2:5:77 u32 ht 2:5: match ip dport 5001 0xffff flowid 1:7
	tc filter add dev q0 parent 1: protocol ip prio 2 u32 match ip dst 10.77.0.0/16 link 2: hashkey mask 0xff at 16
	tc filter add dev q0 parent 1:40 protocol ipv6 prio 1 u32 match u16 7 0xffff at 40 indev eth0 flowid 1:10
	tc filter add dev q0 parent 2: protocol all prio 1 u32 match u32 0 0 match mark 7 0xff flowid 2:1
}

sides() {
	tc qdisc add dev q1 clsact
	tc filter add dev q1 ingress protocol ip prio 7 u32 match ip protocol 17 0xff action mirred egress redirect dev q2
	tc filter add dev q1 egress protocol all prio 3 u32 match u32 0 0 action mirred egress mirror dev q2 pipe action mirred egress mirror dev q0
	tc qdisc add dev eth0 ingress
	try tc filter add dev eth0 parent ffff: protocol ip prio 50 u32 match ip src 192.0.2.99/32 police rate 1mbit burst 10k drop flowid :1
	try tc filter add dev eth0 parent ffff: protocol ip prio 51 chain 3 matchall action police rate 8gbit burst 1m peakrate 9gbit mtu 64k conform-exceed drop/pipe
	try tc filter add dev eth0 parent ffff: protocol ip prio 52 matchall skip_hw action police pkts_rate 1000 pkts_burst 100 conform-exceed continue
}

# More kinds, of those that a kernel may have.
kinds() {
	try tc qdisc add dev q3 root handle 4: prio bands 4 priomap 1 2 3 3 1 2 0 0 1 1 1 1 1 1 1 1
	try tc qdisc add dev q3 parent 4:2 handle 42: sfq perturb 10 quantum 3000 limit 100 depth 20
	try tc qdisc add dev q3 parent 4:1 handle 41: codel limit 500 target 7ms interval 130ms ecn
	try tc qdisc add dev q3 parent 4:3 handle 43: fq_codel limit 5000 flows 512 target 3ms interval 70ms quantum 700 noecn ce_threshold 2ms
	try tc filter add dev q3 parent 4: protocol all prio 3 handle 6 fw classid 4:2
	try tc filter add dev q3 parent 4: protocol ip prio 4 basic match 'u32(u32 0x0a4d0000 0xffff0000 at 16)' classid 4:3
	try tc filter add dev q3 parent 4: protocol ip prio 5 flower ip_proto tcp dst_port 80 src_ip 10.1.0.0/16 skip_hw classid 4:4
	try tc filter add dev q3 parent 4: protocol 802.1q prio 6 handle 9 flower vlan_id 5 vlan_ethtype ip dst_ip 10.2.0.1 tcp_flags 0x2/0x3f action pass
	try tc filter add dev q3 parent 4: protocol 802.1ad prio 7 flower vlan_id 8 classid 4:3
	try tc qdisc add dev q4 root handle 5: drr
	try tc class add dev q4 parent 5: classid 5:1 drr quantum 2000
	try tc class add dev q4 parent 5: classid 5:2 drr
	try tc filter add dev q4 parent 5: protocol all prio 1 matchall classid 5:2
	try tc qdisc add dev q5 root handle 6: hfsc default 2
	try tc class add dev q5 parent 6: classid 6:1 hfsc sc rate 10mbit ul rate 20mbit
	try tc class add dev q5 parent 6:1 classid 6:2 hfsc rt m1 5mbit d 10ms m2 2mbit ls rate 3mbit
	try tc qdisc add dev q6 clsact
	try tc filter add dev q6 egress prio 1 protocol ip matchall action skbedit mark 7 priority 1:5 pipe action gact drop random determ ok 5 index 12
	try tc filter add dev q6 egress prio 2 protocol all matchall action gact index 12
	try tc filter add dev q6 ingress prio 1 protocol ip flower ip_proto udp action vlan push id 7 protocol 802.1q priority 3 pipe action skbedit ptype host
	try tc filter add dev q6 ingress prio 2 protocol 802.1q matchall action vlan pop cookie aa55
}

count() { tc -s class show dev q0 classid 1:10 | sed -n 's/.* \([0-9]*\) pkt .*/\1/p'; }
led() { tc -s qdisc show dev q2 root | sed -n 's/.* \([0-9]*\) pkt .*/\1/p'; }

# One that the table's fifth row has: by way of q0 into 1:10, and from q1 to q2.
send() {
	python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("10.77.0.5", 5000))'
}

case $1 in
set)
	for n in 0 2 3 4 5 6; do
		case $n in
		0) ip link add q0 type veth peer name q1 ;;
		*) ip link add q$n type ifb 2>/dev/null || ip link add q$n type veth peer name r$n ;;
		esac
	done
	# The kernel sends nothing by itself.
	for l in q0 q1 q2 q3 q4 q5 q6; do
		echo 1 >/proc/sys/net/ipv6/conf/$l/disable_ipv6
		ip link set $l up
	done
	ip addr add 10.77.0.1/24 dev q0
	ip neigh add 10.77.0.5 lladdr 02:00:00:00:00:05 nud permanent dev q0
	tc qdisc add dev q2 root handle 9: tbf rate 80mbit burst 64k latency 50ms
	trees
	sides
	kinds
	send
	[ "$(count)" -ge 1 ] && [ "$(led)" -ge 1 ]
	show >"$dir/queues.before"
	;;
check)
	show >"$dir/queues.after"
	diff "$dir/queues.before" "$dir/queues.after"
	counted=$(count) led=$(led)
	send
	[ "$(count)" -gt "$counted" ] && [ "$(led)" -gt "$led" ]
	;;
esac
