#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A tenant's own firewall: Debian's nft, with connection tracking, inside.
load lib

setup_file() {
	root_new
	net_new
}

@test "nft with conntrack and NAT inside, without effect outside" {
	local tar
	tar=$(debian_tree nft nftables python3-minimal nginx-light iperf3) ||
		skip "no Debian tree with nftables can be made here"
	vps template import --init /sbin/init debian "$tar"
	vps create fw -T debian
	vps create other
	vps start fw
	vps start other
	vps exec fw -- nft -f - <<-'X'
		table inet own {
			chain in {
				type filter hook input priority 0; policy drop;
				ct state established,related accept
				iif lo accept
				meta l4proto { icmp, ipv6-icmp } accept
				tcp dport 80 counter accept
			}
			chain nat { type nat hook prerouting priority dstnat; tcp dport 8000 redirect to :80; }
		}
	X
	vps exec fw -- sh -c 'mkdir -p /www; echo page of fw >/www/index.html'
	vps exec fw -- sh -c 'cd /www; for p in 80 81; do setsid python3 -c "
import socket
s = socket.create_server((\"\", $p))
while True:
    c, _ = s.accept(); c.recv(1000); c.sendall(b\"HTTP/1.0 200 OK\\r\\n\\r\\npage of fw\\n\"); c.close()
" >/dev/null 2>&1 </dev/null & done'
	open80() { [ "$(host_gets "$(ip4 fw)" 80)" = "page of fw" ]; }
	wait_until 20 open80
	run host_gets "$(ip4 fw)" 81
	[ "$status" -ne 0 ] || fail "its own firewall lets in what it should not"
	vps exec fw -- ping -c 1 -W 20 "$(gateway4)"
	vps exec fw -- nft list ruleset | grep -q 'dport 80 counter packets [1-9]'
	[ -z "$(in_net nft list tables | grep own)" ]
	# It cannot lift the host's: isolation and spoofing rules are not in its sight.
	vps exec fw -- nft flush ruleset
	in_net nft list tables | grep -q "$VPS_TAG"
}
