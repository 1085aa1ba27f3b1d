#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A server as people run them goes to disk, and back to a checkpoint, while it is used: redis with
# 200,000 keys, PostgreSQL under pgbench, nginx, php-fpm, cron, sshd with somebody logged in. Programs
# check what they hold. The tree is large and takes minutes to make: it is not made here.
#
#	tests/debian build/cache/services.tar nginx-light redis-server openssh-server cron postgresql \
#		php-fpm python3
load ../lib

tree() {
	echo "${VPS_TEST_FILES:-$VPS_BUILD/cache}/services.tar"
}

setup_file() {
	root_new
	[ -s "$(tree)" ] && command -v ssh >/dev/null || return 0
	VPS_TEST_TIMEOUT=200
	net_new
	vps template import services "$(tree)" >/dev/null
	vps create srv --template services
	vps start --wait srv
	inside 'ssh-keygen -A >/dev/null; systemctl reset-failed; systemctl start ssh'
	wait_until 60 all_runs
	load
}

# One server for all of them: to boot and to fill it takes the most time.
setup() {
	requires root kernel 6.7 command ssh
	[ -s "$(tree)" ] || skip "needs build/cache/services.tar (see the head of this file)"
	VPS_TEST_TIMEOUT=200
}

teardown() {
	[ -z "${login-}" ] || kill "$login" 2>/dev/null || true
}

inside() {
	vps exec srv -- sh -c "$1"
}

all_runs() {
	[ "$(inside 'systemctl is-system-running')" = running ]
}

load() {
	inside 'seq 200000 | sed "s/.*/SET key:& value:&/" | redis-cli --pipe >/dev/null
	cd / && su postgres -c "pgbench -i -q -s 2 postgres" 2>/dev/null
	echo "<?php echo getmypid();" >/var/www/html/index.php'
	# A bench is going on, and somebody follows the journal.
	inside 'systemd-run -q --unit=bench -p User=postgres /usr/lib/postgresql/15/bin/pgbench -c 4 -T 1000000 postgres
	systemd-run -q --unit=follow sh -c "exec journalctl -f -n 0 >/run/follow"'
	wait_until 30 moves
}

transactions() {
	inside 'cd / && su postgres -c "psql -Atc \"select count(*) from pgbench_history\" postgres"'
}

moves() {
	local from
	from=$(transactions)
	[ "$(transactions)" -gt "$from" ]
}

redis_sum() {
	inside 'seq 200000 | sed "s/^/GET key:/" | redis-cli | sha256sum'
}

pids() {
	inside 'systemctl show -p MainPID --value nginx redis-server postgresql@15-main php8.2-fpm cron ssh dbus \
		systemd-journald systemd-logind bench follow'
}

# Each transaction adds the same to an account, a teller and a branch.
books_balance() {
	assert_equal "$(inside 'cd / && su postgres -c "psql -At postgres" <<-END
		select (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches),
		(select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history),
		(select sum(delta) from pgbench_history) = (select sum(bbalance) from pgbench_branches)
	END')" "t|t|t"
}

page() {
	in_net timeout "$((20 * VPS_TEST_SLOW))" python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())' \
		"http://$(address)/"
}

address() {
	vps config srv net | grep -o 'ip=[0-9.]*' | cut -c4-
}

serves() {
	[[ $(page) == *"Welcome to nginx"* ]]
}

all_is_well() {
	assert_equal "$(inside 'systemctl is-system-running')" running
	assert_equal "$(pids)" "$were"
	assert_equal "$(redis_sum)" "$keys"
	wait_until 30 moves
	assert_equal "$(inside 'systemctl is-active bench')" active
	books_balance
	wait_until 20 serves
	inside "logger $1"
	wait_until 20 inside "grep -q $1 /run/follow"
}

said() {
	grep -q "$1" "$BATS_TEST_TMPDIR/login"
}

@test "somebody who is logged in over the network types on" {
	ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/key"
	inside 'mkdir -p /root/.ssh && cat >/root/.ssh/authorized_keys' <"$BATS_TEST_TMPDIR/key.pub"
	mkfifo "$BATS_TEST_TMPDIR/typed"
	in_net ssh -tt -i "$BATS_TEST_TMPDIR/key" -o StrictHostKeyChecking=no -o LogLevel=ERROR \
		-o UserKnownHostsFile=/dev/null "root@$(address)" \
		<"$BATS_TEST_TMPDIR/typed" >"$BATS_TEST_TMPDIR/login" 2>&1 3>&- &
	login=$!
	exec 9>"$BATS_TEST_TMPDIR/typed"
	echo 'x=40; echo first-$((x + 2))' >&9
	wait_until 30 said first-42
	for round in 1 2; do
		succeeds vps suspend srv
		echo "echo while-\$((x + $round))" >&9
		succeeds vps resume srv
		wait_until 40 said "while-$((40 + round))"
		echo "echo after-\$((x + $round))" >&9
		wait_until 40 said "after-$((40 + round))"
	done
	echo exit >&9
	exec 9>&-
	wait "$login"
}

@test "a server in use goes back to a checkpoint" {
	were=$(pids)
	keys=$(redis_sum)
	succeeds vps checkpoint --leave-running srv
	all_is_well running-on
	inside 'redis-cli flushall; rm -rf /var/lib/postgresql /etc /var/www; systemctl kill -s KILL postgresql@15-main' \
		>/dev/null 2>&1 || true
	vps stop --force srv
	succeeds vps restore srv
	all_is_well restored
}

@test "a server in use is suspended and resumed" {
	were=$(pids)
	keys=$(redis_sum)
	for round in one two; do
		succeeds vps check srv
		succeeds vps suspend srv
		succeeds vps resume srv
		all_is_well "round-$round"
	done
	inside 'systemctl stop bench'
	succeeds vps stop srv
}
