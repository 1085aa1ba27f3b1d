#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Data that was acknowledged is there after moves.
load ../lib
load ../migrate/hosts
load ../migrate/wire
load proof

@test "redis: every acknowledged write is there, for those who read meanwhile, too" {
	vps create web1 --template services "$ON_WIRE" \
		init='/usr/bin/redis-server --bind * --protected-mode no --dir /tmp --save ""'
	start 6379
	load_begin redis redis.py "$TENANT" 6379 "$VPS_PROOF_MIB" 20000
	moves
	load_end redis
	say "$load_out"
}

@test "redis: also while it saves from a child that shares its memory" {
	vps create web1 --template services "$ON_WIRE" \
		init='/usr/bin/redis-server --bind * --protected-mode no --dir /tmp --save "1 1"'
	start 6379
	load_begin redis redis.py "$TENANT" 6379 32 5000
	moves
	load_end redis
	say "$load_out"
	[ -n "$(inside find /tmp -name '*.rdb' -size +0)" ]
}

@test "PostgreSQL: every transaction that pgbench saw committed is there" {
	vps create web1 --template services "$ON_WIRE" \
		init='/bin/sh -c "pg_ctlcluster 15 main start && exec tail -f /dev/null"'
	push_postgres web1
	start 5432
	"$TREE" pgbench -h "$TENANT" -U postgres -q -i -s 2 postgres
	begin_pgbench 8 200000
	moves
	end_pgbench
}
