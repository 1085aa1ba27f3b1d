#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# rare.sh set|check DIR: as net.sh, for what few networks have (checkpoint/netrare.c): tables of bridges and of tunnels,
# labels, second names, IPsec, addresses for multipath TCP, sets of ipset.
set -eu
dir=$2
here=$(dirname "$0")

# Learned addresses and groups come by themselves, where something is sent; a link's own, by its being made.
show() {
	bridge fdb show | grep -e permanent -e static -e extern_learn |
		grep -v -e '^33:33:' -e '^01:00:5e' -e "^$(ip -br link show left | awk '{ print $3 }')" | sort
	bridge -d vlan show 2>/dev/null || true
	bridge vni show 2>/dev/null || true
	bridge -d mdb show | grep permanent | sort
	ip addrlabel list | sort
	ip neigh show | grep extern_learn | sed 's, [A-Z]* *$,,'
	for l in br0 left right vx0; do
		ip -d link show "$l" | grep -o -e 'group [a-z0-9]*' -e 'alias .*' -e 'altname .*' -e 'gso_max_size [0-9]*' \
			-e PROMISC -e ALLMULTI -e 'numtxqueues [0-9]*' || true
	done
	ip -s xfrm policy list | grep -v ' add '
	ip xfrm policy getdefault
	ip xfrm policy count
	ip -s xfrm state list | grep -v -e ' add ' -e 'stats:' || true
	ip mptcp endpoint
	ip mptcp limits
	python3 "$here/ipsets.py" show
}

bridges() {
	ip link add br0 type bridge vlan_filtering 1 2>/dev/null || ip link add br0 type bridge
	ip link add left index 50 type veth peer name right index 60
	ip link set left master br0 up
	ip link set right up
	ip link set br0 up
	for how in static permanent extern_learn "static sticky"; do
		n=$((${n:-0} + 1))
		# shellcheck disable=SC2086
		bridge fdb add 02:00:00:00:0a:0$n dev left master $how
	done
	bridge fdb add 02:00:00:00:0b:01 dev left self permanent
	bridge fdb add 02:00:00:00:0b:02 dev br0 self permanent
	bridge mdb add dev br0 port left grp 239.1.1.1 permanent
	bridge mdb add dev br0 port left grp ff05::99 permanent
	# Not every kernel has them.
	if bridge vlan add vid 10-20 dev left 2>/dev/null; then
		bridge vlan add vid 30 pvid untagged dev left
		bridge vlan del vid 1 dev left
		bridge vlan add vid 10 dev br0 self
		bridge fdb add 02:00:00:00:0c:01 dev left vlan 12 master static
	fi
	ip neigh add 10.99.0.9 lladdr 02:00:00:00:00:99 extern_learn nud reachable dev right
}

tunnels() {
	# Where it leads by itself was taken away again.
	ip link add vx0 type vxlan id 7 dstport 4789 remote 10.99.0.200 dev right
	bridge fdb del 00:00:00:00:00:00 dev vx0 dst 10.99.0.200 via right
	for to in 10.99.0.1 10.99.0.2; do
		bridge fdb append 00:00:00:00:00:00 dev vx0 dst $to
	done
	bridge fdb append 00:00:00:00:00:00 dev vx0 dst 10.99.0.3 port 4444 vni 99 via right
	bridge fdb add 02:00:00:00:0d:01 dev vx0 dst 10.99.0.1
	bridge fdb add 02:00:00:00:0d:02 dev vx0 dst 10.99.0.2 extern_learn
	ip link set vx0 up
	ip link add vx1 type vxlan external vnifilter dstport 4790 2>/dev/null || return 0
	bridge vni add vni 500-510 dev vx1
}

names() {
	ip link property add dev left altname a-name-that-is-longer-than-others altname another
	ip link set left alias "on the left" group 5
	ip link set right promisc on allmulticast on gso_max_size 32000
	ip addr add 10.99.0.8/24 dev right
	ip addr add fd99::8/64 dev right nodad
	ip addrlabel add prefix fd99::/48 label 77
	ip addrlabel del prefix 2002::/16 label 2
}

ipsec() {
	for dir_ in in fwd out; do
		ip xfrm policy add dir $dir_ src 10.98.0.0/16 dst 10.97.0.0/16 proto udp sport 500 priority 100 mark 5 mask 0xff \
			tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 7 mode tunnel level required
	done
	# Of equals the first one counts.
	ip xfrm policy add dir out src 10.98.0.0/24 dst 10.96.0.0/16 action block
	ip xfrm policy add dir out src 10.98.0.0/16 dst 10.96.0.0/24 action allow
	ip xfrm policy set hthresh4 24 20 hthresh6 64 56
	ip xfrm policy setdefault fwd block
	# Not every kernel has ESP.
	ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1234 reqid 7 mode tunnel replay-window 32 \
		replay-oseq 4711 replay-seq 815 replay-bitmap 0xf limit byte-hard 1000000 \
		aead 'rfc4106(gcm(aes))' 0x00112233445566778899aabbccddeeff00010203 128 2>/dev/null || true
	ip xfrm state add src 192.0.2.2 dst 192.0.2.1 proto esp spi 0x1235 reqid 7 mode transport flag esn \
		replay-window 128 replay-seq 9 replay-seq-hi 1 replay-oseq 3 replay-oseq-hi 2 encap espinudp 4500 4500 0.0.0.0 \
		auth-trunc 'hmac(sha256)' 0x000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f 128 \
		enc 'cbc(aes)' 0x00112233445566778899aabbccddeeff 2>/dev/null || true
}

paths() {
	ip mptcp limits set subflows 4 add_addr_accepted 3 2>/dev/null || return 0
	ip mptcp endpoint add 10.99.0.8 id 9 dev right subflow fullmesh
	ip mptcp endpoint add fd99::8 signal port 4321
}

same() {
	show >"$dir/rare.after"
	cmp -s "$dir/rare.before" "$dir/rare.after"
}

case $1 in
set)
	bridges
	names
	tunnels
	ipsec
	paths
	python3 "$here/ipsets.py" make || [ $? = 77 ]
	show >"$dir/rare.before"
	;;
check)
	same || diff "$dir/rare.before" "$dir/rare.after"
	;;
esac
