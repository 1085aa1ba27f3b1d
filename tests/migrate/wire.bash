# SPDX-License-Identifier: GPL-2.0-or-later
#
# A wire between the hosts of hosts.bash: the bridge br0 of each leads to it, and so does a client, in a
# network namespace of its own ($CLIENT), with 192.0.2.1 and 2001:db8:5::1.

wire_new() {
	local net
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
	wait_until 20 in_namespace "$pid" "$WIRE"
	nsenter --net="$1" ip link set w0 name "$name" netns "$pid"
	kill "$pid"
	nsenter --net="$WIRE" ip link set "$name" master br0 up
}

in_namespace() {
	[ "/proc/$1/ns/net" -ef "$2" ]
}

wire_done() {
	umount "$WIRE" "$CLIENT"
	rm -f "$WIRE" "$CLIENT"
}
