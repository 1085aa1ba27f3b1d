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
