#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# xtables.sh set|check DIR: rules that iptables(8) has made of nftables, as container managers, ufw and fail2ban do, are
# there again, and can be changed and taken away by it. Runs in the VPS's network namespace, with the host's programs.
# Not every kernel has all of their matches and targets.
set -eu
dir=$2
v4=iptables-nft v6=ip6tables-nft

try() { "$@" 2>/dev/null || echo "none: $*"; }

# Those who ask which protocol the rule is for; who asks nothing; one that is not for a protocol.
rules() {
	try $1 -A INPUT -p tcp -m multiport --dports 22,80,8000:8100 -j VPS
	try $1 -A INPUT -p udp -m multiport ! --ports 53 -m comment --comment "names, and more" -j VPS
	try $1 -A INPUT -p tcp -m tcp --dport 90 --tcp-flags SYN,ACK SYN -j REJECT --reject-with tcp-reset
	try $1 -A INPUT -p tcp -m tcp --tcp-option 5 -j DROP
	try $1 -A INPUT -p udp -m udp --sport 1000:2000 -j ACCEPT
	try $1 -A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
	try $1 -A FORWARD ! -p udp -m mark --mark 0x2000/0x2000 -j VPS
	try $1 -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
	try $1 -A FORWARD -m limit --limit 5/min -j LOG --log-prefix "dropped: "
	try $1 -A OUTPUT -m owner --uid-owner 1000 -j VPS
	try $1 -A OUTPUT -m statistic --mode nth --every 3 --packet 0 -j VPS
	try $1 -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j VPS
	try $1 -t nat -A PREROUTING -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 80
	try $1 -t nat -A VPS -j MARK --set-xmark 0x2000/0x2000
	try $1 -t nat -A POSTROUTING -m mark --mark 0x2000/0x2000 -j MASQUERADE
	try $1 -t mangle -A PREROUTING -p tcp -j CONNMARK --save-mark
	try $1 -t mangle -A POSTROUTING -m dscp --dscp 0x20 -j DSCP --set-dscp 0x10
	try $1 -t raw -A PREROUTING -p udp -m length --length 100:200 -j CT --notrack
}

show() {
	for each in $v4 $v6; do
		$each-save
	done | grep -v '^#'
}

command -v $v4 >/dev/null && $v4 -nL >/dev/null 2>&1 || exit 77
case $1 in
set)
	for each in $v4 $v6; do
		$each -N VPS
		$each -t nat -N VPS
		rules $each
	done
	$v4 -t nat -A PREROUTING -p tcp -m tcp --dport 90 -j DNAT --to-destination 10.9.9.9:80
	show >"$dir/xtables.before"
	grep -q multiport "$dir/xtables.before"
	;;
check)
	show >"$dir/xtables.after"
	diff "$dir/xtables.before" "$dir/xtables.after"
	$v4 -D INPUT -p tcp -m multiport --dports 22,80,8000:8100 -j VPS
	$v4 -I INPUT -p tcp -m multiport --dports 23 -j VPS
	$v4 -F
	;;
esac
