#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Containers in a container: podman with crun, conmon, netavark and its rules goes to disk and comes back, and moves to
# another state root, with what runs in it; podman manages it as before.
load ../lib

image() {
	debian_tree podman podman crun netavark iptables busybox-static
}

setup_file() {
	root_new
	net_new
	image >/dev/null || return 0
	VPS_TEST_TIMEOUT=200
	vps template import pod "$(image)" >/dev/null
	vps create pod1 --template pod
	vps start --wait pod1
	# Overlays do not stand on overlays.
	inside 'printf "[storage]\ndriver = \"vfs\"\nrunroot = \"/run/containers/storage\"\n" >/etc/containers/storage.conf
		echo "graphroot = \"/var/lib/containers/storage\"" >>/etc/containers/storage.conf
		mkdir -p /srv/root/bin && cp /bin/busybox /srv/root/bin/ && ln -s busybox /srv/root/bin/sh
		tar -C /srv/root -c . | podman import -q - bb'
}

setup() {
	requires root kernel 6.7
	image >/dev/null || skip "needs a Debian with podman, which mmdebstrap makes"
	VPS_TEST_TIMEOUT=200
}

inside() {
	vps exec pod1 -- sh -c "$1"
}

# By the container's address, and by the port that it is published on.
get() {
	inside "busybox wget -q -O - http://\$(podman inspect -f '{{.NetworkSettings.IPAddress}}' c1)/$1"
}

published() {
	in_net timeout 20 python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())' \
		"http://$(vps config pod1 net | grep -o 'ip=[0-9.]*' | cut -c4-):8080/index.html" | grep -qx hello
}

# A count that goes on in the container.
count() {
	get count
}

state() {
	inside 'podman inspect -f "{{.State.Status}}" c1'
}

counts() {
	local from
	from=$(count) && [ -n "$from" ] && [ "$(count)" -gt "$from" ]
}

# What podman has made: a container on its bridge, that answers on a published port. There are no groups of processes on
# a hybrid host.
begin() {
	inside 'podman run -d --pids-limit=0 --name c1 -p 8080:80 bb /bin/busybox sh -c "
		echo hello >/index.html; /bin/busybox httpd -h / -p 80
		n=0; while :; do n=\$((n + 1)); echo \$n >/count.new; /bin/busybox mv /count.new /count; /bin/busybox sleep 0.1; done"'
	wait_until 30 counts
}

rules() {
	inside 'iptables-save | grep -v "^#" | sed "s/\[.*//"'
}

all_is_well() {
	assert_equal "$(state)" running
	wait_until 30 counts
	wait_until 30 published
	assert_equal "$(rules)" "$rules"
}

@test "containers go on after a suspend, and podman knows them" {
	begin
	wait_until 30 published
	rules=$(rules)
	[[ $rules == *NETAVARK* ]]
	assert_equal "$(vps check pod1)" ""
	for round in 1 2; do
		before=$(count)
		succeeds vps suspend pod1
		succeeds vps resume pod1
		all_is_well
		[ "$(count)" -gt "$before" ]
	done
}
