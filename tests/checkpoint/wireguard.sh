#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# wireguard.sh set|check DIR: tunnels of a VPS and of a container in it, to a peer outside, are there again after a
# restore, and go on without anybody inside doing anything. Runs in the VPS's network namespace, with the host's
# programs; VPS_INIT is the host's number of its process 1 (nets.c), and the parent's network is what is outside. 77:
# the kernel has no such links.
set -eu
dir=$2
wg=$(dirname "$0")/wg.py
for pid in $(cat "/proc/$VPS_INIT/task/$VPS_INIT/children"); do
	[ "$(cat "/proc/$pid/comm")" != container ] || container=$pid
done

in_container() { nsenter --net="/proc/$container/ns/net" "$@"; }
outside() { nsenter --net="/proc/$PPID/ns/net" "$@"; }
shared=$(python3 "$wg" key preshared)
none=$(printf '%064d' 0)

show() {
	"$@" ip -d link show type wireguard
	for l in $("$@" ip -br link show type wireguard | cut -d ' ' -f 1); do
		"$@" ip -br addr show dev "$l"
		"$@" python3 "$wg" show "$l"
	done
}

show_all() {
	show env
	show in_container
}

# within SECONDS COMMAND...: it succeeds by then.
within() {
	end=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -lt "$end" ] || return 1
		sleep 0.2
	done
}

reaches() { # ADDRESS PROGRAM...: from where the program runs
	to=$1
	shift
	"$@" busybox ping -c 1 -W 2 "$to" >/dev/null
}

shook() { outside python3 "$wg" shook peer0 "$1"; }
has_shaken_anew() { [ "$(shook "$1")" -gt "$2" ]; }

# What nets.c waits for.
join_container() {
	ip link add docker0 type bridge
	ip addr add 10.88.0.1/16 dev docker0
	ip link set docker0 up
	ip link add veth1 type veth peer name eth0 netns "$container"
	ip link set veth1 master docker0 up
	in_container ip link set lo up
	in_container ip addr add 10.88.0.2/16 dev eth0
	in_container ip link set eth0 up
	in_container ip route add default via 10.88.0.1
	within 90 in_container grep -q ':1B58 .* 01 ' /proc/net/tcp
}

case $1 in
set)
	ip link add wg0 type wireguard || exit 77
	join_container
	own=$(ip -4 -br addr show eth0 | sed 's|.* \([0-9.]*\)/.*|\1|')
	gateway=$(ip -4 route show default | sed 's/.*via \([0-9.]*\) .*/\1/')
	# The second tunnel ends in the container, and is carried by the VPS's network.
	ip link add wg1 type wireguard
	ip link set wg1 netns "$container"
	ip link add wg2 type wireguard # of which nothing is known yet
	ip link set wg2 up
	outside ip link add peer0 type wireguard
	python3 "$wg" set wg0 "$(python3 "$wg" key wg0)" 51900 7
	in_container python3 "$wg" set wg1 "$(python3 "$wg" key wg1)" 51901 0
	outside python3 "$wg" set peer0 "$(python3 "$wg" key peer0)" 51820 0
	theirs=$(outside python3 "$wg" public peer0)
	python3 "$wg" public wg0 >"$dir/wg0"
	in_container python3 "$wg" public wg1 >"$dir/wg1"
	python3 "$wg" peer wg0 "$theirs" "$shared" "$gateway:51820" 0 10.66.0.1/32 fd66::/64 10.68.0.0/14
	# More than one answer of the kernel's has.
	for net in 70 72 74 76; do
		python3 "$wg" peer wg0 "$(python3 "$wg" key nobody)" "$none" - 0 $(seq -f "10.$net.%g.0/24" 0 255) \
			$(seq -f "10.$((net + 1)).%g.0/24" 0 255)
	done
	in_container python3 "$wg" peer wg1 "$theirs" "$none" "$gateway:51820" 25 10.67.0.1/32
	outside python3 "$wg" peer peer0 "$(cat "$dir/wg0")" "$shared" "$own:51900" 0 10.66.0.2/32
	outside python3 "$wg" peer peer0 "$(cat "$dir/wg1")" "$none" - 0 10.67.0.2/32
	ip addr add 10.66.0.2/24 dev wg0
	in_container ip addr add 10.67.0.2/24 dev wg1
	outside ip addr add 10.66.0.1/24 dev peer0
	outside ip addr add 10.67.0.1/24 dev peer0
	outside ip link set peer0 up
	ip link set wg0 mtu 1400 up
	in_container ip link set wg1 up
	within 30 reaches 10.66.0.2 outside
	within 30 reaches 10.67.0.1 in_container
	date +%s%N >"$dir/when"
	show_all >"$dir/wireguard.before"
	;;
check)
	show_all >"$dir/wireguard.after"
	diff "$dir/wireguard.before" "$dir/wireguard.after"
	# Nobody has sent anything: the peer would find out by itself after 15 s.
	within 10 has_shaken_anew "$(cat "$dir/wg0")" "$(cat "$dir/when")"
	within 60 reaches 10.66.0.2 outside
	within 60 reaches 10.66.0.1 env
	within 60 reaches 10.67.0.2 outside
	within 60 reaches 10.67.0.1 in_container
	outside ip link del peer0
	;;
esac
