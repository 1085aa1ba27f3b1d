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

@test "iperf3: both ways" {
	vps create web1 --template services "$ON_WIRE" init='/usr/bin/iperf3 -s'
	start 5201
	load_for iperf3 iperf3 -c "$TENANT" --bidir -J -t "$VPS_PROOF_SECONDS"
	moves_during iperf3
	load_wait iperf3
	say "$(jq -r '.end | "\(.sum_received.bytes / 1048576 | floor) MiB to it, \(.sum_received_bidir_reverse.bytes /
		1048576 | floor) MiB from it"' <<<"$load_out")"
	# To the end, in each direction.
	jq -e '(.error | not) and ([.intervals[-1] | .sum.bytes, .sum_bidir_reverse.bytes] | min > 0)' <<<"$load_out"
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
