#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Names on the bridge. vpsd and all that it makes live in a network namespace of the test's own,
# where the host's resolver is tests/network/dns.py.
load ../lib

setup_file() {
	requires root command python3
	[ -e /etc/resolv.conf ] || skip "there is no /etc/resolv.conf to put another in the place of"
	root_new
	resolv=$(realpath /etc/resolv.conf)
	# Of the first nothing listens on port 53: what is asked of it is refused.
	printf 'nameserver 198.51.100.1\nnameserver 198.51.100.2\n' >"$BATS_FILE_TMPDIR/resolv.conf"
	hold LAB -m sh -c 'mount --bind "$1" "$2" && echo && exec sleep infinity' \
		sh "$BATS_FILE_TMPDIR/resolv.conf" "$resolv"
	hold OUTSIDE sh -c 'echo && exec sleep infinity'
	in_lab ip link set lo up
	in_lab ip link add uplink type veth peer name uplink netns "$OUTSIDE"
	in_lab ip addr add 198.51.100.1/24 dev uplink
	in_lab ip link set uplink up
	nsenter -t "$OUTSIDE" -n sh -c 'ip addr add 198.51.100.2/24 dev uplink && ip link set uplink up &&
		ip route add 10.0.0.0/8 via 198.51.100.1'
	export UPSTREAM_LOG=$BATS_FILE_TMPDIR/upstream
	nsenter -t "$OUTSIDE" -n -- "$VPS_TOP/tests/network/dns.py" serve 198.51.100.2 "$UPSTREAM_LOG" \
		</dev/null >/dev/null 2>&1 3>&- 4>&- &
	export UPSTREAM=$!
	wait_until 20 test -e "$UPSTREAM_LOG"
	for name in web1 web2 web3; do
		vps create "$name"
		[ $name = web3 ] || vps start "$name"
	done
	GW=$(name_server 1) GW6=$(name_server 2)
	export GW GW6
}

teardown_file() {
	local left=0
	[ -n "${LAB-}" ] || return 0
	root_done || left=1
	kill "$UPSTREAM" "$OUTSIDE" "$LAB"
	return "$left"
}

# hold NAME [OPTION...] CMD...: a process in a network namespace of its own; NAME becomes its pid once
# CMD has written a line.
hold() {
	local name=$1 fifo=$BATS_FILE_TMPDIR/$1
	shift
	mkfifo "$fifo"
	unshare -n "$@" </dev/null >"$fifo" 2>/dev/null 3>&- 4>&- &
	declare -gx "$name=$!"
	read -r _ <"$fifo"
}

in_lab() {
	nsenter -t "$LAB" -n -m -- "$@"
}

# A vpsd that this starts is in the namespace, too.
vps() {
	timeout --foreground -k 5 "$((VPS_TEST_TIMEOUT * VPS_TEST_SLOW))" \
		nsenter -t "$LAB" -n -m -- "$VPS_BUILD/vps" "$@"
}

name_server() {
	vps exec web1 -- cat /etc/resolv.conf | awk -v n="$1" '$1 == "nameserver" && ++i == n { print $2 }'
}

# from NAME CMD [ARG...]: tests/network/dns.py in the VPS's network
from() {
	nsenter -t "$(vps_pid "$1")" -n -- "$VPS_TOP/tests/network/dns.py" "${@:2}"
}

ask() {
	from web1 ask "$GW" "$@"
}

address_of() { # NAME FAMILY
	vps exec "$1" -- ip -o "-$2" addr show dev eth0 scope global | sed -E 's|.* inet6? ([^/ ]*).*|\1|'
}

reverse_of() {
	python3 -c 'import ipaddress, sys; print(ipaddress.ip_address(sys.argv[1]).reverse_pointer)' "$1"
}

vpsd_answers() {
	vps list >/dev/null
}

@test "resolv.conf names the gateways and the zone" {
	succeeds vps exec web1 -- cat /etc/resolv.conf
	assert_line "nameserver $GW"
	assert_line "nameserver $GW6"
	assert_line "search vps"
	in_lab ip -o addr show dev "$VPS_TAG-br" | grep -F " $GW/"
	in_lab ip -o addr show dev "$VPS_TAG-br" | grep -F " $GW6/"
}

@test "a VPS finds another by name, short and long, over UDP and TCP, IPv4 and IPv6" {
	a4=$(address_of web2 4) a6=$(address_of web2 6)
	[ -n "$a4" ] && [ -n "$a6" ]
	for name in web2 web2.vps WEB2.Vps; do
		assert_equal "$(ask "$name" A)" "NOERROR aa $a4"
		assert_equal "$(ask "$name" AAAA)" "NOERROR aa $a6"
	done
	assert_equal "$(ask web2 A tcp)" "NOERROR aa $a4"
	assert_equal "$(ask web2.vps ANY edns=1232)" "NOERROR aa $a4 $a6"
	assert_equal "$(from web1 ask "$GW6" web2 A)" "NOERROR aa $a4"
	assert_equal "$(from web1 ask "$GW6" web2 A tcp)" "NOERROR aa $a4"
	succeeds vps exec web1 -- nslookup web2 "$GW"
	assert_line "Address: $a4"
}

@test "addresses lead back to names, and what the pool does not hold is nobody's" {
	assert_equal "$(ask "$(reverse_of "$(address_of web2 4)")" PTR)" "NOERROR aa web2.vps"
	assert_equal "$(ask "$(reverse_of "$(address_of web2 6)")" PTR)" "NOERROR aa web2.vps"
	assert_equal "$(ask "$(reverse_of "${GW%.*}.250")" PTR)" "NXDOMAIN aa"
	assert_equal "$(ask "$(reverse_of 192.0.2.1)" PTR)" "NXDOMAIN"
}

@test "the zone says no by itself" {
	: >"$UPSTREAM_LOG"
	assert_equal "$(ask web3.vps A)" "NXDOMAIN aa" # it does not run
	assert_equal "$(ask a.web2.vps A)" "NXDOMAIN aa"
	assert_equal "$(ask web2.vps TXT)" "NOERROR aa"
	assert_equal "$(ask vps A)" "NOERROR aa"
	assert_equal "$(ask vps SOA)" "NOERROR aa type6"
	assert_equal "$(cat "$UPSTREAM_LOG")" ""
	vps start web3
	assert_equal "$(ask web3.vps A)" "NOERROR aa $(address_of web3 4)"
	vps stop --force web3
	assert_equal "$(ask web3.vps A)" "NXDOMAIN aa"
}

@test "all else goes to the host's resolvers, past one that does not answer" {
	assert_equal "$(ask hello.example A)" "NOERROR 192.0.2.7"
	assert_equal "$(ask hello.example A edns=1232)" "NOERROR 192.0.2.7"
	assert_equal "$(ask hello.example A tcp)" "NOERROR 192.0.2.7"
	assert_equal "$(ask no.example A)" "NXDOMAIN"
	assert_equal "$(ask web2.vps.example A)" "NXDOMAIN"
	: >"$UPSTREAM_LOG"
	assert_equal "$(ask web2 NS)" "NXDOMAIN" # top-level domains are not ours
	grep -q '^web2 ' "$UPSTREAM_LOG"
	assert_equal "$(ask silent.example A)" "SERVFAIL"
}

@test "each query has an id and a port of its own" {
	: >"$UPSTREAM_LOG"
	for i in 1 2 3 4 5 6 7 8; do
		assert_equal "$(ask "$i.hello.example" A)" "NOERROR 192.0.2.7"
	done
	[ "$(wc -l <"$UPSTREAM_LOG")" -ge 8 ] # one that was late was asked again
	# Eight of 28,000 ports and 65,536 ids: that two fall together happens, that three do does not.
	[ "$(cut -d' ' -f2 "$UPSTREAM_LOG" | sort -u | wc -l)" -ge 6 ]
	[ "$(cut -d' ' -f3 "$UPSTREAM_LOG" | sort -u | wc -l)" -ge 6 ]
	[ "$(cut -d' ' -f3 "$UPSTREAM_LOG" | sort -n | uniq | awk 'NR > 1 && $1 != p + 1 { n++ } { p = $1 } END { print n + 0 }')" -ge 3 ]
}

@test "replies that are not to the question are not believed" {
	assert_equal "$(ask spoof.example A)" "NOERROR 192.0.2.7"
}

@test "what is too long for UDP is cut, and whole over TCP" {
	assert_equal "$(ask big.example TXT)" "NOERROR tc"
	assert_equal "$(ask big.example TXT edns=1232)" "NOERROR long type16 type16 type16 type16 type16"
	run ask big.example TXT tcp
	assert_equal "$(wc -w <<<"$output")" 17
}

@test "an isolated VPS reaches port 53 of the gateway and nothing else there" {
	listen_at_gateway
	run nsenter -t "$(vps_pid web1)" -n -- timeout 5 bash -c "exec 9<>/dev/tcp/$GW/8053"
	kill "$web"
	[ "$status" -ne 0 ] || fail "another service of the host's is open"
	assert_equal "$(ask web2 A tcp)" "NOERROR aa $(address_of web2 4)"
}

# A service on the gateway's address beside ours; sets web.
listen_at_gateway() {
	nsenter -t "$LAB" -n -- python3 -m http.server --bind "$GW" 8053 </dev/null >/dev/null 2>&1 3>&- 4>&- &
	web=$!
	wait_until 20 in_lab bash -c "exec 9<>/dev/tcp/$GW/8053"
}

@test "nobody reaches it from outside the bridge" {
	# The address itself is reached there: Linux takes packets to any address on any link.
	listen_at_gateway
	run nsenter -t "$OUTSIDE" -n -- timeout 20 bash -c "exec 9<>/dev/tcp/$GW/8053"
	kill "$web"
	assert_status 0
	run nsenter -t "$OUTSIDE" -n -- timeout 20 bash -c "exec 9<>/dev/tcp/$GW/53"
	assert_status 1
	run nsenter -t "$OUTSIDE" -n -- "$VPS_TOP/tests/network/dns.py" ask "$GW" web1 A
	assert_status 1
	assert_match "refused"
}

@test "with name servers of its own, or without the bridge, a VPS is left alone" {
	vps set web3 dns=192.0.2.53
	vps start web3
	succeeds vps exec web3 -- cat /etc/resolv.conf
	assert_line "nameserver 192.0.2.53"
	refute_match "search|$GW"
	vps stop --force web3
	vps set web3 dns=-192.0.2.53
}

@test "a VPS with IPv6 alone asks the gateway that it reaches" {
	vps create six --net name=eth0,ip=none,ip=2001:db8:5::5/64
	vps start six
	assert_equal "$(vps exec six -- grep -c ^nameserver /etc/resolv.conf)" 1
	vps exec six -- nslookup six.vps | grep -F 2001:db8:5::5
	vps destroy --force six
}

@test "port 53 can be published, and the gateway's stays vpsd's" {
	vps set web3 publish=53:53/udp publish=53:53/tcp
	vps start web3
	assert_equal "$(ask web2.vps A)" "NOERROR aa $(address_of web2 4)"
	assert_equal "$(ask web2.vps A tcp)" "NOERROR aa $(address_of web2 4)"
	vps stop --force web3
	vps set web3 publish=-53:53/udp publish=-53:53/tcp
}

@test "a flood and garbage from one VPS: vpsd serves on, the others' names too" {
	from web2 flood "$GW" 60000 &
	flood=$!
	for i in 1 2 3 4 5; do
		vpsd_answers
	done
	wait "$flood"
	wait_until 20 asked_from_web1
	fds=$(ls "/proc/$(daemon_pid)/fd" | wc -l)
	[ "$fds" -lt 600 ] || fail "$fds files are open"
	# What was forwarded runs into its time, and everything is given back.
	wait_until 20 few_fds
}

asked_from_web1() {
	[ "$(ask web2.vps A)" = "NOERROR aa $(address_of web2 4)" ]
}

few_fds() {
	[ "$(ls "/proc/$(daemon_pid)/fd" | wc -l)" -lt 40 ]
}

@test "a VPS has few connections, and they do not last" {
	assert_equal "$(from web2 hold "$GW" 12)" 4
	assert_equal "$(ask web2.vps A tcp)" "NOERROR aa $(address_of web2 4)"
	wait_until 20 few_fds
}

@test "a vpsd that comes after goes on serving" {
	daemon_kill
	vps list >/dev/null
	wait_until 20 asked_from_web1
	assert_equal "$(ask hello.example A)" "NOERROR 192.0.2.7"
}

@test "a bridge that was deleted has its name server again" {
	in_lab ip link delete "$VPS_TAG-br"
	wait_until 20 asked_from_web1
	in_lab nft flush ruleset
	wait_until 20 asked_from_web1
}

no_bridge() {
	! in_lab ip link show "$VPS_TAG-br" >/dev/null 2>&1
}

@test "beside another name server of the host's it keeps out of the way" {
	vps stop --force web1 web2
	# Bridge and name server stay for some seconds.
	wait_until 20 no_bridge
	nsenter -t "$LAB" -n -- "$VPS_TOP/tests/network/dns.py" serve 0.0.0.0 "$BATS_TEST_TMPDIR/other" \
		</dev/null >/dev/null 2>&1 3>&- 4>&- &
	other=$!
	wait_until 20 test -e "$BATS_TEST_TMPDIR/other"
	printf 'nameserver 192.0.2.77\n' >"$BATS_FILE_TMPDIR/resolv.conf"
	vps start web1
	run vps exec web1 -- cat /etc/resolv.conf
	run2=$output
	# Isolated, it does not reach the other one either.
	from web1 ask "$GW" hello.example A >"$BATS_TEST_TMPDIR/asked" 2>&1 || true
	vps stop --force web1
	kill "$other"
	output=$run2
	assert_line "nameserver 192.0.2.77"
	refute_match "search|$GW"
	run cat "$BATS_TEST_TMPDIR/asked"
	refute_match NOERROR
	grep "no name server on $VPS_TAG-br" "$VPS_ROOT/run/vpsd.log"
}
