#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What was saved under one address and goes on under another lets go of the first one.
load ../lib

setup_file() {
	root_new
	net_new
}
teardown_file() { root_done; }
teardown() {
	[ -z "${client-}" ] || { echo >&"$to"; wait "$client" || :; }
	vps_clean
}

address() { vps config "$1" net | grep -oE "ip=$2" | head -n 1 | cut -d= -f2; }
ip4() { address "$1" '[0-9.]+'; }
ip6() { address "$1" '[0-9a-f]+:[0-9a-f:]+'; }
inside() { vps exec "$1" -- sh -c "$2"; }
echoes() { # ADDRESS
	[ "$(in_net python3 -c 'import socket, sys
s = socket.create_connection((sys.argv[1], 7000), 3)
s.sendall(b"ping")
print(s.recv(9).decode())' "$1")" = ping ]
}
connections() { inside "$1" "cat /proc/net/tcp /proc/net/tcp6 | awk '\$4 == \"01\"' | wc -l"; }
has_connections() { [ "$(connections "$1")" -eq "$2" ]; }

# It echoes; a client on the host is connected, and says "pong" for each line that it is told.
make_echo() {
	vps create web1 init='/bin/busybox nc -ll -p 7000 -e /bin/cat'
	vps start web1
	wait_until 20 echoes "$(ip4 web1)"
	inside web1 'ip addr add 203.0.113.7/32 dev eth0; ip route add 198.51.100.0/24 via $(ip route | sed -n "s/default via \([^ ]*\).*/\1/p")'
	coproc in_net python3 -c 'import socket, sys
s = socket.create_connection((sys.argv[1], 7000))
for line in sys.stdin:
    if not line.strip(): break
    s.sendall(line.encode())
    print("pong" if s.recv(99) == line.encode() else "lost", flush=True)' "$(ip4 web1)"
	client=$COPROC_PID from=${COPROC[0]} to=${COPROC[1]}
	says_pong
	wait_until 20 has_connections web1 1
}
says_pong() {
	local word
	echo hello >&"$to"
	read -r -t 20 word <&"$from"
	assert_equal "$word" pong
}

# has_its_own NAME OTHER4 OTHER6: and the tenant's own address and route
has_its_own() {
	local addrs
	addrs=$(inside "$1" 'ip addr show dev eth0')
	grep -qF "inet $(ip4 "$1")/" <<<"$addrs"
	grep -qF "inet6 $(ip6 "$1")/" <<<"$addrs"
	grep -qF "inet 203.0.113.7/32" <<<"$addrs"
	! grep -qF "inet $2/" <<<"$addrs" || fail "the other's: $addrs"
	! grep -qF "inet6 $3/" <<<"$addrs" || fail "the other's: $addrs"
	assert_equal "$(grep -c 'inet6 fe80' <<<"$addrs")" 1
	assert_equal "$(inside "$1" 'ip route' | grep -c -e ^default -e ^198.51.100.0/24)" 2
}

@test "a copy of a suspended VPS has addresses of its own, and goes on beside the first" {
	make_echo
	vps suspend web1
	vps send web1 2>/dev/null | vps receive --name web2
	[ "$(ip4 web1)" != "$(ip4 web2)" ]
	vps resume web2
	vps resume web1
	has_its_own web2 "$(ip4 web1)" "$(ip6 web1)"
	has_its_own web1 "$(ip4 web2)" "$(ip6 web2)"
	wait_until 20 has_connections web2 0
	assert_equal "$(inside web2 'pidof cat | wc -w')" 0
	for address in "$(ip4 web2)" "$(ip6 web2)" "$(ip4 web1)" "$(ip6 web1)"; do
		echoes "$address"
	done
	says_pong
}

@test "other addresses are set while it is suspended" {
	make_echo
	old4=$(ip4 web1) old6=$(ip6 web1)
	vps suspend web1
	new4=${old4%.*}.77
	vps set web1 "net=name=eth0,ip=$new4/24,ip=$(sed 's/:[0-9a-f]*$/:77/' <<<"$old6")/64"
	vps resume web1
	assert_equal "$(ip4 web1)" "$new4"
	has_its_own web1 "$old4" "$old6"
	wait_until 20 has_connections web1 0
	echoes "$new4"
	# Saved again it has nothing to let go of.
	vps suspend web1
	vps resume web1
	has_its_own web1 "$old4" "$old6"
	echoes "$new4"
}
