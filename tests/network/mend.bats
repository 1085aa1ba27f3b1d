#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What others do to the host's network, and what is left of ours.
load lib

setup_file() {
	root_new
	net_new
	in_net nft -f - <<-'X'
		table inet mine {
			chain input {
				type filter hook input priority 0;
				tcp dport 9 counter drop
			}
		}
		table ip vps-other {
			set s {
				type ipv4_addr
				elements = { 192.0.2.9 }
			}
		}
	X
	for n in a b; do
		vps create "$n"
		vps start "$n"
	done
	serve a
	vps set a publish=8080:80
	foreign >"$BATS_FILE_TMPDIR/foreign"
}

foreign() {
	in_net nft list table inet mine
	in_net nft list table ip vps-other
}

works() {
	[ "$(host_gets "$(ip4 a)" 80)" = "page of a" ] && [ "$(host_gets "$(ip6 a)" 80)" = "page of a" ] &&
		[ "$(host_gets 127.0.0.1 8080)" = "page of a" ]
}

isolated() {
	! vps_gets b "$(ip4 a)" 80
}

@test "foreign rules are left alone" {
	wait_until 20 works
	vps set a publish=8081:80
	vps restart --force b
	assert_equal "$(foreign)" "$(cat "$BATS_FILE_TMPDIR/foreign")"
	vps set a publish=-8081:80
}

@test "doctor names a chain of the host's that cuts VPSs off" {
	succeeds vps doctor
	assert_match 'ok +host firewall +lets '
	in_net nft "add chain inet mine through { type filter hook forward priority 0; policy drop; }"
	succeeds vps doctor
	assert_match "missing +host firewall +inet mine through drops what no rule accepts, and none names $VPS_TAG-br"
	in_net nft "add rule inet mine through iifname $VPS_TAG-br accept"
	succeeds vps doctor
	assert_match 'ok +host firewall +lets '
	in_net nft delete chain inet mine through
}

@test "nft flush ruleset is noticed and mended" {
	in_net nft flush ruleset
	wait_until 20 works
	wait_until 20 isolated
	in_net nft list tables | grep -q "bridge $VPS_TAG"
	in_net nft -f "$BATS_FILE_TMPDIR/foreign"
}

@test "rules made many times over, and many stops: connections are still tracked" {
	for _ in 1 2 3 4 5 6; do
		in_net nft flush ruleset
		wait_until 20 works
		vps restart --force b
		vps restart --force b
	done
	wait_until 20 works
	wait_until 20 isolated
	in_net nft -f "$BATS_FILE_TMPDIR/foreign"
}

@test "one table deleted, one set emptied" {
	in_net nft delete table inet "$VPS_TAG"
	wait_until 20 works
	wait_until 20 isolated
	in_net nft delete table bridge "$VPS_TAG"
	present() { in_net nft list table bridge "$VPS_TAG"; }
	wait_until 20 present >/dev/null
}

@test "a deleted bridge is made again, with all in it" {
	in_net ip link del "$VPS_TAG-br"
	wait_until 20 works
	wait_until 20 isolated
	vps exec b -- ping -c 1 -W 20 "$(gateway4)"
}

# All that goes with the bridge's addresses is there again; then one try is enough.
mended() {
	[ -n "$(gateway4)" ] && [ -n "$(gateway6)" ] && [ -n "$(in_net ip route show 198.51.100.9)" ] &&
		[ "$(in_net ip neigh show dev "$VPS_TAG-br" nud permanent | wc -l)" -eq "$1" ]
}

@test "addresses of the bridge taken off, the bridge set down: mended, with neighbours and routes" {
	local bridge=$VPS_TAG-br gateway count
	vps create far --net ip=198.51.100.9
	vps start far
	serve far
	gateway=$(gateway4)
	count=$(in_net ip neigh show dev "$bridge" nud permanent | wc -l)
	for what in "addr flush dev $bridge" "-6 addr flush dev $bridge" "addr del $gateway/22 dev $bridge" \
		"link set $bridge down"; do
		in_net ip $what
		wait_until 20 mended "$count"
		wait_until 20 works
		assert_equal "$(host_gets 198.51.100.9 80)" "page of far"
		vps exec b -- nslookup a.vps "$gateway" >/dev/null
	done
	# What it has beside them may come and go.
	in_net ip addr add 192.0.2.77/32 dev "$bridge"
	in_net ip addr del 192.0.2.77/32 dev "$bridge"
	works
	vps destroy --force far
}

@test "forwarding switched off is switched on again" {
	on() { [ "$(in_net sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding | tr '\n' ' ')" = "1 1 " ]; }
	in_net sysctl -qw net.ipv4.ip_forward=0
	wait_until 20 on
	in_net sysctl -qw net.ipv6.conf.all.forwarding=0
	wait_until 20 on
	works
}

@test "ports that an older monitor made are told by the next vpsd what new ones are" {
	link=$(in_net ip -o link | awk -v n="$VPS_TAG a " 'index($0, n) { sub("@.*", "", $2); print $2 }')
	mask() { in_net ip -d link show "$link" | grep -o 'group_fwd_mask [^ ]*'; }
	before=$(mask)
	in_net ip link set dev "$link" type bridge_slave group_fwd_mask 0 isolated off learning on
	vps daemon stop
	wait_until 20 daemon_is_down
	vps list >/dev/null
	assert_equal "$(mask)" "$before"
	in_net ip -d link show "$link" | grep -q 'learning off .*isolated on' || fail "$(in_net ip -d link show "$link")"
	works
}

@test "vpsd stopped and started, and killed: links and connections stay" {
	link=$(in_net ip -o link | grep -c "$VPS_TAG [ab] eth0")
	[ "$link" -eq 2 ] || fail "$(in_net ip link)"
	before=$(in_net ip -o link show type veth | sort)
	vps daemon stop
	wait_until 20 daemon_is_down
	works
	vps list >/dev/null
	works
	daemon_kill
	works
	# What happened meanwhile is mended, too.
	in_net nft flush ruleset
	vps list >/dev/null
	wait_until 20 works
	wait_until 20 isolated
	assert_equal "$(in_net ip -o link show type veth | sort)" "$before"
	in_net nft -f "$BATS_FILE_TMPDIR/foreign"
}

# Each stop once cost the namespace a use of connection tracking (netns/nftrule.c).
@test "VPSs that come and go leave the others' and the host's connections tracked" {
	in_net nft -f - <<-'X'
		table inet watch {
			chain output {
				type filter hook output priority 10;
				ct state new counter
			}
		}
	X
	vps create guest
	for _ in {1..15}; do
		vps start guest
		vps stop --force guest
	done
	vps destroy guest
	works
	before=$(in_net nft list table inet watch | grep -o 'packets [0-9]*')
	works
	[ "$(in_net nft list table inet watch | grep -o 'packets [0-9]*')" != "$before" ]
	in_net nft delete table inet watch
}

@test "a VPS that died while vpsd was away leaves no link" {
	vps create short
	vps start short
	pid=$(vps_pid short)
	daemon_kill
	kill -KILL "$pid"
	wait_until 20 process_is_gone "$pid"
	vps list >/dev/null
	wait_until 20 vps_is short stopped
	no_link() { ! in_net ip -o link | grep "$VPS_TAG short "; }
	wait_until 20 no_link
	vps destroy short
	works
}

@test "after the last stop bridge and tables are gone, foreign rules are not" {
	vps stop --force a
	vps stop --force b
	gone() { ! in_net ip link show "$VPS_TAG-br" && ! in_net nft list tables | grep "$VPS_TAG"; }
	wait_until 20 gone
	assert_equal "$(in_net ip -o link | wc -l)" 1
	assert_equal "$(foreign)" "$(cat "$BATS_FILE_TMPDIR/foreign")"
	vps start a
	serve a
	wait_until 20 works
	vps stop --force a
}

@test "a link with the bridge's name that is none of ours is not touched" {
	gone() { ! in_net ip link show "$VPS_TAG-br"; }
	wait_until 20 gone
	in_net ip link add "$VPS_TAG-br" type veth peer name other7
	fails_like 4 "^vps: start a: .*$VPS_TAG-br" vps start a
	vps_is a stopped
	in_net ip -d link show "$VPS_TAG-br" | grep -q veth
	in_net ip link del "$VPS_TAG-br"
	vps start a
	vps stop --force a
}

@test "a pool that overlaps the host's network is refused" {
	vps start a
	net=$(gateway4)
	vps stop --force a
	gone() { ! in_net ip link show "$VPS_TAG-br"; }
	wait_until 20 gone
	in_net ip link add lan7 type veth peer name lan8
	in_net ip addr add "${net%.*}.200/24" dev lan7
	in_net ip link set lan7 up
	in_net ip link set lan8 up
	run --separate-stderr vps start a
	[ "$status" -ne 0 ] || fail "two networks with the same addresses"
	[[ $stderr =~ "${net%.*}"|lan7 ]] || fail "$stderr"
	vps_is a stopped
	in_net ip link del lan7
	vps start a
}
