#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Ports of the host that lead to a VPS, from outside and from the host itself.
load lib

setup_file() {
	root_new
	net_new
	outside_new
	vps create a publish=8080:80
	vps start a
	serve a
	vps create b
	vps start b
	serve b
}

teardown_file() {
	outside_done
	root_done
}

@test "a published port answers on the host's addresses and its loopback" {
	assert_equal "$(host_gets 127.0.0.1 8080)" "page of a"
	assert_equal "$(host_gets 192.0.2.1 8080)" "page of a"
	assert_equal "$(outside_gets 192.0.2.1 8080)" "page of a"
	assert_equal "$(outside_gets 2001:db8::1 8080)" "page of a"
	assert_equal "$(host_gets 2001:db8::1 8080)" "page of a"
	assert_equal "$(host_gets ::1 8080)" "page of a"
	# What nobody has published there is the host's own.
	run host_gets ::1 8079
	assert_match 'Connection refused'
}

@test "so does one of a routed VPS" {
	vps create r --net mode=routed,ip=192.0.2.50,ip=2001:db8::50 publish=7000:80
	vps start r
	serve r
	for address in 127.0.0.1 ::1 192.0.2.1 2001:db8::1; do
		assert_equal "$(host_gets $address 7000)" "page of r"
	done
	vps destroy --force r
}

# what VPSs publish: entries in the maps
published() { in_net nft -j list map inet "$VPS_TAG" "$1" | jq '[.nftables[] | select(.map).map.elem[]?] | length'; }

@test "ranges, each port to its own; by protocols; and as many entries as ports" {
	rules=$(in_net nft -a list table inet "$VPS_TAG" | grep -c '# handle')
	serve b 9000
	serve b 9010
	vps set b publish=8100-8110:9000-9010 publish=5300-5301:5300-5301/tcp+udp
	assert_equal "$(outside_gets 192.0.2.1 8100)" "page of b"
	assert_equal "$(outside_gets 2001:db8::1 8110)" "page of b"
	run outside_gets 192.0.2.1 8105
	[ "$status" -ne 0 ]
	assert_equal "$(published publish4)" 16 # one is that of a
	assert_equal "$(in_net nft -a list table inet "$VPS_TAG" | grep -c '# handle')" "$rules"
	succeeds vps config b publish
	assert_line "8100-8110:9000-9010"
	assert_equal "$(vps status --json b | jq -c .publish)" '["8100-8110:9000-9010","5300-5301:5300-5301/tcp+udp"]'
	assert_equal "$(vps list --json | jq -c '[.[].publish[0]]')" '["8080:80","8100-8110:9000-9010"]'
	succeeds vps list -o name,addresses,publish
	assert_match "b +$(ip4 b),$(ip6 b) +8100-8110:9000-9010,5300-5301:5300-5301/tcp\+udp"
	fails 4 "vps: set a: publish: port 8105 of the host is that of b" vps set a publish=8105:80
	fails 4 "vps: set a: publish: port 8110 of the host is that of b" vps set a publish=8110-8119:1-10
	fails 4 "vps: set a: publish: port 5300 of the host is that of b" vps set a publish=5000-6000:5000-6000/udp
	vps set a publish=8111-8112:80-81
	assert_equal "$(outside_gets 192.0.2.1 8111)" "page of a"
	vps set a publish=-8111-8112:80-81
	vps set b publish=
	assert_equal "$(published publish4)" 1
}

@test "ten thousand ports" {
	vps set b publish=20000-29999:20000-29999/udp
	assert_equal "$(published publish6)" 10001
	fails_like 2 '^vps: set b: publish: 20000 ports, at most 16384' vps set b publish=30000-39999:30000-39999
	vps restart --force b
	assert_equal "$(published publish6)" 10001
	vps stop --force b
	assert_equal "$(published publish6)" 1
	vps set b publish=
	vps start b
	serve b
}

@test "a port that a VPS of another state root has" {
	second=$(root_dir)
	chmod 755 "$second"
	[ -z "${VPS_TEST_ROOTS-}" ] || echo "$second" >>"$VPS_TEST_ROOTS"
	other() { vps --root "$second" "$@"; }
	other create o publish=8080:81
	fails_like 4 '^vps: start o: publish 8080:81/tcp: a VPS of another state root has port 8080 \(hint: nft list' other start o
	other set o publish= publish=8080:81/udp
	other start o
	fails_like 4 '^vps: set o: publish 127.0.0.1:8080:1/tcp: a VPS of another state root has' \
		other set o publish=127.0.0.1:8080:1
	fails_like 4 '^vps: set a: publish 8070-8090:1-21/udp: a VPS of another state root has port 8080' \
		vps set a publish=8070-8090:1-21/udp
	other destroy --force o
	other daemon stop
	in_net "$VPS_TOP/tests/left" --remove "$second"
}

@test "ranges that are none" {
	fails_like 2 'publish: 8000-8010:80: 11 ports of the host cannot lead to 1 of the VPS' vps set b publish=8000-8010:80
	fails_like 2 'publish: 8010-8000:8010-8000 is not a port to publish' vps set b publish=8010-8000:8010-8000
	fails_like 2 'publish: 1-65535:1-65535: more than 16384 ports' vps set b publish=1-65535:1-65535
}

@test "the VPS itself and its neighbours reach it by the host's address" {
	assert_equal "$(vps_gets a 192.0.2.1 8080)" "page of a"
	assert_equal "$(vps_gets b 192.0.2.1 8080)" "page of a"
}

@test "what is not published is not to be had from outside" {
	outside ip route add "$(ip4 a)/32" via 192.0.2.1
	run outside_gets "$(ip4 a)" 80
	[ "$status" -ne 0 ] || fail "$output"
	outside ip route del "$(ip4 a)/32"
}

@test "ports come and go while it runs, several at a time" {
	vps set a publish=8081:80 publish=8082:80
	for p in 8080 8081 8082; do
		assert_equal "$(outside_gets 192.0.2.1 $p)" "page of a"
	done
	vps set a publish=-8081:80
	run outside_gets 192.0.2.1 8081
	[ "$status" -ne 0 ]
	assert_equal "$(outside_gets 192.0.2.1 8082)" "page of a"
	vps restart --force a
	serve a
	assert_equal "$(outside_gets 192.0.2.1 8082)" "page of a"
	vps set a publish=-8082:80
}

@test "on one address of the host only" {
	vps set b publish=192.0.2.1:9000:80
	assert_equal "$(outside_gets 192.0.2.1 9000)" "page of b"
	fails 3 "vps: set b: publish 198.18.0.1:9000:80/tcp: the host has no such address" \
		vps set b publish=198.18.0.1:9000:80
	succeeds vps create c publish=198.18.0.1:9000:80
	assert_output "publish 198.18.0.1:9000:80/tcp: the host has no such address; it does not start before there is"
	vps destroy c
	run host_gets 127.0.0.1 9000
	[ "$status" -ne 0 ]
	vps set b publish= publish=127.0.0.1:9000:80 publish=[::1]:9001:80 publish=0.0.0.0:9002:80
	assert_equal "$(host_gets 127.0.0.1 9000)" "page of b"
	assert_equal "$(host_gets ::1 9001)" "page of b"
	assert_equal "$(outside_gets 192.0.2.1 9002)" "page of b"
	for ask in "outside_gets 192.0.2.1 9000" "outside_gets 2001:db8::1 9001" "outside_gets 2001:db8::1 9002"; do
		run $ask
		[ "$status" -ne 0 ] || fail "$ask"
	done
	vps set b publish=
}

@test "UDP" {
	nsenter --net="/proc/$(vps_pid a)/ns/net" -- python3 -c 'import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 5353)); print(flush=True)
data, peer = s.recvfrom(100); s.sendto(b"heard " + data, peer)' >"$BATS_TEST_TMPDIR/up" 3>&- &
	wait_until 20 test -s "$BATS_TEST_TMPDIR/up"
	vps set a publish=5300:5353/udp
	run outside python3 -c 'import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20)
s.sendto(b"you\n", ("192.0.2.1", 5300)); print(s.recvfrom(100)[0].decode().strip())'
	assert_output "heard you"
}

@test "a port is one VPS's, or a program's of the host: said, and nothing changed" {
	before=$(vps config b)
	fails 4 "vps: set b: publish: port 8080 of the host is that of a" vps set b publish=8080:80
	fails 4 "vps: create c: publish: port 8080 of the host is that of a" vps create c publish=8080:1
	assert_equal "$(vps config b)" "$before"
	mkfifo "$BATS_TEST_TMPDIR/in"
	in_net python3 -c 'import socket, sys
s = socket.socket(); s.bind(("0.0.0.0", 7070)); s.listen(); print(flush=True); sys.stdin.read()' \
		<"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/up" 3>&- &
	exec 9>"$BATS_TEST_TMPDIR/in"
	wait_until 20 test -s "$BATS_TEST_TMPDIR/up"
	fails 4 "vps: set b: publish 7070:80/tcp: a program on the host has this port" vps set b publish=7070:80
	vps create c publish=7070:80
	fails 4 "vps: start c: publish 7070:80/tcp: a program on the host has this port" vps start c
	vps_is c stopped
	exec 9>&-
	wait
	vps start c
	vps destroy --force c
	assert_equal "$(vps config b)" "$before"
}

@test "tenants reach the world, under the host's address" {
	outside python3 -c 'import socket, sys
s = socket.create_server(("192.0.2.2", 7000)); print(flush=True)
c, peer = s.accept(); c.sendall(("page for " + peer[0] + "\n").encode())' \
		>"$BATS_TEST_TMPDIR/up" 3>&- &
	wait_until 20 test -s "$BATS_TEST_TMPDIR/up"
	assert_equal "$(vps_gets a 192.0.2.2 7000)" "page for 192.0.2.1"
	wait
}
