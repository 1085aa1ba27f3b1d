# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the network's tests share. All of it happens in network namespaces of the file's own (net_new).
load ../lib

# ip4 NAME, ip6 NAME: the address of its first interface
ip4() { vps config "$1" net | head -n 1 | grep -oE 'ip=[0-9.]+/' | head -n 1 | tr -d 'ip=/'; }
ip6() { vps config "$1" net | head -n 1 | grep -oE 'ip=[0-9a-f:]*:[0-9a-f:]*/' | head -n 1 | sed 's/^ip=//; s,/$,,'; }
gateway4() { in_net ip -4 -o addr show dev "$VPS_TAG-br" | awk '{ sub("/.*", "", $4); print $4 }'; }
gateway6() { in_net ip -6 -o addr show dev "$VPS_TAG-br" scope global | awk '{ sub("/.*", "", $4); print $4 }'; }

# serve NAME [PORT]: a page that says its name
serve() {
	vps exec "$1" -- sh -c "mkdir -p /www && echo page of $1 >/www/index.html &&
		httpd -p [::]:${2:-80} -h /www"
}

# get PREFIX... ADDRESS PORT: the page, by a client that CMD runs; fails when there is none
GET='import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
s.sendall(b"GET / HTTP/1.0\r\n\r\n")
data = b""
while True:
    part = s.recv(65536)
    if not part: break
    data += part
print(data.decode().splitlines()[-1])'
host_gets() { in_net python3 -c "$GET" "$@"; }
vps_gets() { # NAME ADDRESS PORT
	vps exec "$1" -- sh -c "printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 20 $2 $3 | tail -n 1 | grep page"
}

# An outside: a namespace of its own on a veth pair, 192.0.2.2 and 2001:db8::2; the host is .1 there.
outside_new() {
	OUTSIDE=$VPS_ROOT.net.out
	touch "$OUTSIDE"
	unshare --net="$OUTSIDE" ip link set lo up
	export OUTSIDE
	in_net ip link add up0 type veth peer name up1
	in_net ip link set up1 netns "$OUTSIDE"
	in_net ip addr add 192.0.2.1/24 dev up0
	in_net ip addr add 2001:db8::1/64 dev up0 nodad
	in_net ip link set up0 up
	outside ip addr add 192.0.2.2/24 dev up1
	outside ip addr add 2001:db8::2/64 dev up1 nodad
	outside ip link set up1 up
}
outside() { nsenter --net="$OUTSIDE" -- "$@"; }
outside_gets() { outside python3 -c "$GET" "$@"; }
outside_done() {
	[ -z "${OUTSIDE-}" ] || { umount -l "$OUTSIDE" && rm -f "$OUTSIDE"; }
}

# drops SET NAME|ADDRESS: packets counted in a set of ours
spoofed() { # NAME: frames of it that were dropped
	local link
	link=$(in_net ip -o link | awk -v n="$VPS_TAG $1 " 'index($0, n) { sub("@.*", "", $2); print $2 }')
	in_net nft -j list set bridge "$VPS_TAG" spoofed | jq --arg l "$link" \
		'[.nftables[] | select(.set).set.elem[]?.elem | select(.val == $l).counter.packets] | add // 0'
}
