#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Who has which address, and what is said when it cannot be had.
load lib

setup_file() {
	root_new
	net_new
	vps create a
	vps create b
	vps start a
	vps start b
}

@test "each VPS has an address of each family, there before init, and kept" {
	[ -n "$(ip4 a)" ] && [ -n "$(ip6 a)" ] || fail "$(vps config a)"
	[ "$(ip4 a)" != "$(ip4 b)" ] && [ "$(ip6 a)" != "$(ip6 b)" ]
	succeeds vps exec a -- ip -o addr show dev eth0
	assert_match "inet $(ip4 a)/22"
	assert_match "inet6 $(ip6 a)/64"
	before="$(ip4 a) $(ip6 a) $(vps exec a -- cat /sys/class/net/eth0/address)"
	vps restart --force a
	assert_equal "$(ip4 a) $(ip6 a) $(vps exec a -- cat /sys/class/net/eth0/address)" "$before"
	vps rename a other 2>/dev/null && { vps rename other a; }
	assert_equal "$(ip4 a) $(ip6 a)" "${before% *}"
}

@test "init finds its address" {
	vps create early
	vps start early
	vps exec early -- sh -c 'printf "#!/bin/sh\nip -o addr show dev eth0 >/seen\nexec sleep 1000\n" >/early
		chmod 755 /early'
	vps set early init=/early
	vps restart --force early
	seen() { vps exec early -- grep -q "inet $(ip4 early)/" /seen; }
	wait_until 20 seen
	vps destroy --force early
}

@test "the host reaches it, and it reaches its gateway, by both families" {
	serve a
	assert_equal "$(host_gets "$(ip4 a)" 80)" "page of a"
	assert_equal "$(host_gets "$(ip6 a)" 80)" "page of a"
	vps exec a -- ping -c 1 -W 20 "$(gateway4)"
	vps exec a -- ping -6 -c 1 -W 20 "$(gateway6)" || vps exec a -- ping6 -c 1 -W 20 "$(gateway6)"
}

@test "given addresses, MAC and several interfaces" {
	pool=$(gateway4)
	vps create given --net "ip=${pool%.*}.77/22,mac=02:12:34:56:78:9a" \
		--net "name=lan,ip=${pool%.*}.78/22,ip=${pool%.*}.79/22"
	vps start given
	succeeds vps exec given -- ip -o addr
	assert_match "eth0 +inet ${pool%.*}\.77/22"
	assert_match "lan +inet ${pool%.*}\.78/22"
	assert_match "lan +inet ${pool%.*}\.79/22"
	assert_equal "$(vps exec given -- cat /sys/class/net/eth0/address)" 02:12:34:56:78:9a
	serve given
	for i in 77 78 79; do
		assert_equal "$(host_gets "${pool%.*}.$i" 80)" "page of given"
	done
	vps destroy --force given
}

@test "an address that is taken is refused, with the owner's name" {
	fails 4 "vps: create c: net: address $(ip4 a) is that of a" vps create c --net "ip=$(ip4 a)/22"
	fails 4 "vps: create c: net: address $(ip6 b) is that of b" vps create c --net "ip=$(ip6 b)/64"
	before=$(vps config b)
	fails 4 "vps: set b: net: address $(ip4 a) is that of a" vps set b "net=name=eth1,ip=$(ip4 a)/22"
	assert_equal "$(vps config b)" "$before"
	fails 2 "vps: create c: eth0: ip=$(gateway4) is the gateway's address" \
		vps create c --net "ip=$(gateway4)/22"
	[ -z "$(vps list --json | jq -r '.[] | select(.name == "c").name')" ]
}

@test "what is malformed is refused in a line" {
	fails 2 "vps: create c: net: 300.1.1.1 is not an address" vps create c --net ip=300.1.1.1
	fails 2 "vps: create c: net: foo is no key of a network interface (hint: name, mode, ip, gw, mac, rate, rate-in, rate-out, parent, mtu)" \
		vps create c --net foo=bar
	fails_like 2 "mac=ff:ff:ff:ff:ff:ff: not the address of an interface" \
		vps create c --net mac=ff:ff:ff:ff:ff:ff
	fails_like 2 "^vps: create c: " vps create c --net name=eth0 --net name=eth0,mtu=1400
	fails_like 2 "^vps: create c: " vps create c --net mode=wormhole
	fails_like 2 "^vps: create c: " vps create c --net host --net name=eth1
}

@test "addresses of a destroyed VPS are given again" {
	vps create gone
	old=$(ip4 gone)
	vps destroy --force gone
	vps create next
	assert_equal "$(ip4 next)" "$old"
	vps destroy --force next
}
