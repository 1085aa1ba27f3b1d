#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Whom a tenant may reach, and as whom.
load lib

setup_file() {
	root_new
	net_new
	for n in a b; do
		vps create "$n"
		vps start "$n"
		serve "$n"
		serve "$n" 81
	done
	# A service of the host, on all its addresses.
	mkdir "$VPS_ROOT/www"
	echo page of host >"$VPS_ROOT/www/index.html"
	(cd "$VPS_ROOT/www" && exec nsenter --net="$VPS_NET" -- python3 -m http.server --bind :: 8000) \
		>/dev/null 2>&1 3>&- &
	echo $! >"$VPS_ROOT/httpd.pid"
	listens() { in_net sh -c 'grep -q ":1F40 " /proc/net/tcp6'; }
	wait_until 20 listens
}

teardown_file() {
	kill "$(cat "$VPS_ROOT/httpd.pid")"
	root_done
}

refused() { # NAME ADDRESS PORT
	run vps_gets "$@"
	[ "$status" -ne 0 ] || fail "$1 reached $2 port $3"
}

@test "tenants reach neither each other nor the host's services" {
	for to in "$(ip4 b)" "$(ip6 b)"; do
		refused a "$to" 80
		run vps exec a -- ping -c 1 -W 1 "$to"
		[ "$status" -ne 0 ] || fail "ping to $to went through"
	done
	refused a "$(gateway4)" 8000
	refused a "$(gateway6)" 8000
	assert_equal "$(host_gets "$(gateway4)" 8000)" "page of host"
}

@test "what was refused is counted" {
	count() { in_net nft -j list set inet "$VPS_TAG" refused4 | jq --arg a "$(ip4 a)" \
		'[.nftables[] | select(.set).set.elem[]?.elem | select(.val == $a).counter.packets] | add'; }
	before=$(count)
	refused a "$(ip4 b)" 80
	counted() { [ "$(count)" -gt "$before" ]; }
	wait_until 20 counted
}

@test "net.allow opens what it names, live, and closes it again" {
	vps set a net.allow=b:81
	assert_equal "$(vps_gets a "$(ip4 b)" 81)" "page of b"
	assert_equal "$(vps_gets a "$(ip6 b)" 81)" "page of b"
	refused a "$(ip4 b)" 80
	refused b "$(ip4 a)" 81
	vps set a net.allow=host:8000
	assert_equal "$(vps_gets a "$(gateway4)" 8000)" "page of host"
	assert_equal "$(vps_gets a "$(ip4 b)" 81)" "page of b"
	vps set a net.allow=-b:81
	refused a "$(ip4 b)" 81
	assert_equal "$(vps_gets a "$(gateway6)" 8000)" "page of host"
	vps set a net.allow=
	refused a "$(gateway4)" 8000
	vps set a "net.allow=$(ip4 b):80" "net.allow=host"
	assert_equal "$(vps_gets a "$(ip4 b)" 80)" "page of b"
	assert_equal "$(vps_gets a "$(gateway4)" 8000)" "page of host"
	vps restart --force a
	assert_equal "$(vps_gets a "$(ip4 b)" 80)" "page of b"
	vps set a net.allow=
	refused a "$(ip4 b)" 80
	serve a
	serve a 81
}

@test "a name in net.allow is that of whoever has it now" {
	vps create c
	was=$(ip4 c)
	vps set a net.allow=c net.allow=late
	vps create late
	for n in c late; do
		vps start "$n"
		serve "$n"
		reaches() { vps_gets a "$(ip4 "$1")" 80; }
		wait_until 20 reaches "$n"
	done
	vps set c "net=name=eth0,ip=10.200.0.9/24"
	wait_until 20 reaches c
	barred() { ! in_net nft list set inet "$VPS_TAG" reach4 | grep -qF "$1"; }
	wait_until 20 barred "$was"
	vps stop --force late
	vps rename late later
	wait_until 20 barred "$(ip4 later)"
	was=$(ip4 c)
	vps destroy --force c
	wait_until 20 barred "$was"
	vps set a net.allow=
	vps destroy later
}

@test "net.isolate=no lets it reach all, not be reached" {
	vps set a net.isolate=no
	assert_equal "$(vps_gets a "$(ip4 b)" 80)" "page of b"
	assert_equal "$(vps_gets a "$(ip6 b)" 80)" "page of b"
	assert_equal "$(vps_gets a "$(gateway4)" 8000)" "page of host"
	refused b "$(ip4 a)" 80
	vps set a net.isolate=yes
	refused a "$(ip4 b)" 80
}

@test "addresses of the pool that nobody has are not looked for, whoever asks" {
	vps create free net.isolate=no
	vps start free
	nsenter --net="/proc/$(vps_pid free)/ns/net" -- python3 - "$(ip4 free)" "$(ip6 free)" <<-'X'
		import ipaddress, socket, sys
		for family, own in ((socket.AF_INET, sys.argv[1]), (socket.AF_INET6, sys.argv[2])):
		    s = socket.socket(family, socket.SOCK_DGRAM)
		    first = int(ipaddress.ip_address(own)) + 100
		    for i in range(100):
		        try: s.sendto(b"x", (str(ipaddress.ip_address(first + i)), 9))
		        except OSError: pass # the one before was refused
	X
	assert_equal "$(in_net ip neigh show dev "$VPS_TAG-br" nud incomplete nud failed nud delay)" ""
	assert_equal "$(vps_gets free "$(ip4 b)" 80)" "page of b"
	vps destroy --force free
}

# The bridge has a route to ::1, for the answers to what the host asks of published ports there.
@test "what a tenant sends to the host's ::1 does not come there" {
	vps set a net.isolate=no
	discarded() { in_net cat /proc/net/snmp6 | awk '$1 == "Ip6InHdrErrors" { print $2 }'; }
	before=$(discarded)
	nsenter --net="/proc/$(vps_pid a)/ns/net" -- python3 - "$(ip6 a)" "$(gateway6)" <<-'X'
		import socket, struct, sys
		own, gateway = sys.argv[1:]
		s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
		s.sendto(struct.pack(">IHBB", 6 << 28, 8, 17, 64) + socket.inet_pton(socket.AF_INET6, own) +
		         socket.inet_pton(socket.AF_INET6, "::1") + struct.pack(">HHHH", 9, 9, 8, 0), (gateway, 0))
	X
	is_discarded() { [ "$(discarded)" -gt "$before" ]; }
	wait_until 20 is_discarded
	vps set a net.isolate=yes
}

# dropped NAME COUNT: as many frames of it more than `before`, the last of which may still be on their way
dropped() {
	is_dropped() { [ "$(spoofed "$1")" -ge $((before + $2)) ]; }
	wait_until 20 is_dropped "$@" || fail "before $before, after $(spoofed "$1")"
}

@test "another tenant's address is of no use" {
	before=$(spoofed a)
	vps exec a -- sh -c "ip addr add $(ip4 b)/32 dev eth0; ip -6 addr add $(ip6 b)/128 dev eth0
		for i in \$(seq 200); do # the kernel makes sure that it is nobody else's
			ip -6 addr show dev eth0 | grep -q tentative || break
			sleep 0.1
		done
		ping -c 1 -W 1 -I $(ip4 b) $(gateway4); ping6 -c 1 -W 1 -I $(ip6 b) $(gateway6)
		arping -c 1 -w 1 -U -I eth0 -s $(ip4 b) $(ip4 b)" || true
	dropped a 3
	assert_equal "$(host_gets "$(ip4 b)" 80)" "page of b"
	assert_equal "$(host_gets "$(ip6 b)" 80)" "page of b"
	vps exec a -- sh -c "ip addr del $(ip4 b)/32 dev eth0; ip -6 addr del $(ip6 b)/128 dev eth0"
	# Whom the host takes for the owner did not change.
	assert_equal "$(host_gets "$(ip4 a)" 80)" "page of a"
}

@test "another MAC is of no use" {
	mac=$(vps exec b -- cat /sys/class/net/eth0/address)
	own=$(vps exec a -- cat /sys/class/net/eth0/address)
	before=$(spoofed a)
	vps exec a -- sh -c "ip link set eth0 address $mac; ping -c 1 -W 1 $(gateway4)" && fail "it went through"
	dropped a 1
	assert_equal "$(host_gets "$(ip4 b)" 80)" "page of b"
	vps exec a -- ip link set eth0 address "$own"
	wait_until 20 host_gets "$(ip4 a)" 80
}

@test "raw frames under false names are dropped and counted" {
	vps create forger
	vps start forger
	# What the kernel would not send: written to a packet socket of the tenant's namespace.
	before=$(spoofed forger)
	forge() {
		nsenter --net="/proc/$(vps_pid forger)/ns/net" -- python3 - "$@" <<-'X'
			import socket, struct, sys
			mac, victim4, gw4, own4 = sys.argv[1:5]
			own = bytes.fromhex(mac.replace(":", ""))
			s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
			s.bind(("eth0", 0))
			ip = socket.inet_aton
			def arp(src, op, sha, sip, tip):
			    return (b"\xff" * 6 + src + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, op)
			            + sha + ip(sip) + b"\0" * 6 + ip(tip)).ljust(60, b"\0")
			false = b"\x02\x00\x00\x00\x00\x01"
			s.send(arp(own, 2, own, victim4, gw4))      # answers for another
			s.send(arp(false, 1, false, victim4, gw4))  # false MAC
			s.send(arp(own, 1, false, victim4, gw4))    # false MAC in ARP only
			s.send(b"\xff" * 6 + own + b"\x88\xb5" + b"x" * 60)  # no protocol of a tenant
			s.send(b"\xff" * 6 + own + b"\x81\x00\x00\x05\x08\x00" + b"x" * 60)  # VLAN tag
			s.send(b"\x01\x80\xc2\x00\x00\x00" + own + b"\x00\x26\x42\x42\x03" + b"\0" * 60)  # STP
			s.send(b"\x01\x80\xc2\x00\x00\x0e" + own + b"\x88\xcc\x02\x07" + b"\0" * 60)  # LLDP
			s.send(b"\x01\x80\xc2\x00\x00\x03" + own + b"\x08\x00" + struct.pack(
			    "!BBHHHBBH", 69, 0, 40, 0, 0, 64, 6, 0) + ip(own4) + ip(gw4) + b"\0" * 20)  # TCP to a group
		X
	}
	forge "$(vps exec forger -- cat /sys/class/net/eth0/address)" "$(ip4 b)" "$(gateway4)" \
		"$(ip4 forger)"
	dropped forger 8
	assert_equal "$(host_gets "$(ip4 b)" 80)" "page of b"
	vps destroy --force forger
}

@test "the firewall from outside, live" {
	vps set a net.isolate=no
	vps set b firewall="deny tcp 80"
	refused a "$(ip4 b)" 80
	refused a "$(ip6 b)" 80
	assert_equal "$(vps_gets a "$(ip4 b)" 81)" "page of b"
	vps set b firewall= firewall.default=deny
	refused a "$(ip4 b)" 81
	vps set b firewall="allow 81/tcp from $(ip4 a)"
	assert_equal "$(vps_gets a "$(ip4 b)" 81)" "page of b"
	refused a "$(ip4 b)" 80
	vps set b firewall= firewall.default=
	assert_equal "$(vps_gets a "$(ip4 b)" 80)" "page of b"
	vps set a net.isolate=yes
}
