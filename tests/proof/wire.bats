#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Connections of all sorts go on.
load ../lib
load ../migrate/hosts
load ../migrate/wire
load proof

PORT=7000

make_server() { # PROGRAM [ARG...]: of this folder, as process 1
	vps create web1 --template services "$ON_WIRE" init="/usr/bin/python3 -B /root/$*"
	vps push web1 "$LOADS/load.py" /root
	vps push web1 "$LOADS/$1" /root
	start "$PORT"
}

@test "ssh: a session types on" {
	ssh-keygen -q -t ed25519 -N '' -f "$BATS_FILE_TMPDIR/key"
	vps create web1 --template services "$ON_WIRE" \
		init='/bin/sh -c "ssh-keygen -A && mkdir -p /run/sshd && exec /usr/sbin/sshd -D"'
	start 22
	inside mkdir -p -m 700 /root/.ssh
	vps push web1 "$BATS_FILE_TMPDIR/key.pub" /root/.ssh
	inside mv /root/.ssh/key.pub /root/.ssh/authorized_keys
	load_begin ssh ssh.py "$TREE" ssh -tt -i /mnt/key -o StrictHostKeyChecking=no -o LogLevel=ERROR "root@$TENANT"
	moves
	load_end ssh
	say "$load_out"
}

@test "ping: all are answered" {
	vps create web1 "$ON_WIRE" init='/bin/busybox tail -f /dev/null'
	vps start web1
	nsenter --net="$CLIENT" ip neigh flush dev up0
	load_begin ping ping.py "$TREE" ping "$TENANT"
	moves
	load_end ping
	say "$load_out"
}

# passed DIRECTION: bytes that have gone over the client's link
passed() {
	nsenter --net="$CLIENT" ip -s -j link show up0 | jq ".[0].stats64.$1.bytes"
}

has_passed() { [ "$(passed "$1")" -gt "$2" ]; }

goes_on() { # DIRECTION
	wait_until 60 has_passed "$1" $(($(passed "$1") + 5000000))
}

@test "iperf3: both ways" {
	vps create web1 --template services "$ON_WIRE" init='/usr/bin/iperf3 -s'
	start 5201
	program_begin iperf3 iperf3 -c "$TENANT" --bidir -J -t 36000
	for _ in $(seq "$VPS_PROOF_MOVES"); do
		move
		goes_on tx
		goes_on rx
	done
	# It calls its own end by a signal an error.
	program_end iperf3 INT 1
	assert_equal "$(jq -r .error <<<"$load_out")" "interrupt - the client has terminated"
	say "$(jq -r '.end | "\(.sum_sent.bytes / 1048576 | floor) MiB to it, \(.sum_received_bidir_reverse.bytes /
		1048576 | floor) MiB from it"' <<<"$load_out")"
}

@test "a thousand connections" {
	make_server crowd.py serve $PORT
	load_begin crowd crowd.py "$TENANT" $PORT 1000
	moves
	load_end crowd
	say "$load_out"
}

@test "queues that are full in both directions" {
	make_server queues.py serve $PORT
	load_begin queues queues.py "$TENANT" $PORT
	moves
	load_end queues
	say "$load_out"
}
