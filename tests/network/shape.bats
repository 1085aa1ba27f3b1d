#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# net.rate-in and net.rate-out. How exact they are is measured by bench/; here they are seen to act.
load lib

setup_file() {
	root_new
	net_new
	vps create a net.rate-in=1MiB/s
	vps start a
	serve a
	vps exec a -- sh -c 'head -c 3000000 /dev/zero >/www/big'
}

# Microseconds for 3 MB from the VPS to the host, and the other way.
down() {
	local t=${EPOCHREALTIME/./}
	[ "$(in_net python3 -c 'import sys, urllib.request
print(len(urllib.request.urlopen("http://%s/big" % sys.argv[1], timeout=60).read()))' "$(ip4 a)")" = 3000000 ]
	echo $((${EPOCHREALTIME/./} - t))
}
up() {
	local t=${EPOCHREALTIME/./}
	vps exec a -- sh -c 'nc -l -p 9 | wc -c >/got; echo done >>/got' &
	local job=$!
	wait_until 20 in_net python3 -c 'import socket, sys
s = socket.create_connection((sys.argv[1], 9), 60); s.sendall(b"x" * 3000000); s.shutdown(1); s.recv(1)' "$(ip4 a)"
	wait "$job"
	[ "$(vps exec a -- head -n 1 /got)" = 3000000 ]
	echo $((${EPOCHREALTIME/./} - t))
}

@test "a rate from the start, inwards" {
	t=$(up)
	[ "$t" -gt 1500000 ] || fail "3 MB in $t us at 1 MiB/s"
}

@test "outwards it is not shaped until it is asked for, live" {
	vps set a net.rate-out=1MiB/s
	t=$(down)
	[ "$t" -gt 1500000 ] || fail "3 MB in $t us at 1 MiB/s"
	vps set a net.rate-out=max net.rate-in=
	assert_equal "$(in_net tc qdisc show | grep -cE 'tbf|htb')" 0
	down >/dev/null
}

@test "a change takes hold of traffic that flows" {
	# At 4 KiB/s it would be twelve minutes.
	vps set a net.rate-out=4KiB/s
	down >"$BATS_TEST_TMPDIR/took" 3>&- &
	job=$!
	flows() { in_net tc -s qdisc show | grep -qE 'backlog [1-9]|backlog [0-9.]+Kb'; }
	wait_until 20 flows
	vps set a net.rate-out=max
	wait_until 50 process_is_gone "$job"
	[ -s "$BATS_TEST_TMPDIR/took" ]
}

@test "it survives a restart, and --runtime does not" {
	vps set a net.rate-out=1MiB/s
	vps set --runtime a net.rate-out=2MiB/s
	vps restart --force a
	serve a
	t=$(down)
	[ "$t" -gt 1500000 ] || fail "3 MB in $t us at 1 MiB/s"
	vps set a net.rate-out=
}
