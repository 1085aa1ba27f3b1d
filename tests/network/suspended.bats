#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A tenant's own rules come back with it, and into its own network namespace.
load lib

setup_file() {
	root_new
	net_new
}

teardown() {
	vps_clean
}

# inside NAME CMD...: the host's programs in a VPS's network.
inside() {
	nsenter --net="/proc/$(vps_pid "$1")/ns/net" -- "${@:2}"
}

rules() {
	"$@" nft list ruleset | sed -E 's/packets [0-9]+ bytes [0-9]+//'
}

@test "rules are restored inside, by whoever brought the host's up and by others" {
	requires root kernel 6.7
	local vps own host
	for vps in first second; do
		vps create $vps
		vps start $vps
		# As a container manager makes for each of its own.
		vps exec $vps -- sh -c 'setsid unshare -n sleep 100000 >/dev/null 2>&1 </dev/null &'
		inside $vps nft -f - <<-X
			table inet $vps {
				set ports { type inet_service; elements = { 22, 80 }; }
				chain in { type filter hook input priority 5; tcp dport @ports counter accept; }
				chain nat { type nat hook prerouting priority dstnat; tcp dport 8000 redirect to :80; }
			}
		X
		inside $vps iptables-nft -A INPUT -p tcp -m multiport --dports 22,80 -j ACCEPT
		own=$(rules inside $vps)
		host=$(rules in_net)
		[[ $own == *"table inet $vps"* && $host != *"table inet $vps"* ]]
		for _ in 1 2; do
			succeeds vps suspend $vps
			succeeds vps resume $vps
			assert_equal "$(rules inside $vps)" "$own"
			assert_equal "$(rules in_net)" "$host"
		done
	done
}
