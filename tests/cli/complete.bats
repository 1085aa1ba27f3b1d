#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load fake

words() {
	run vps __complete "$@"
	assert_status 0
	output=$(cut -f1 <<<"$output" | paste -sd' ')
}

@test "verbs and sub-verbs, without vpsd" {
	words st
	assert_output "start stop status stats"
	words template ""
	assert_output "list build import remove"
	words template i
	assert_output "import"
	words --root /x da
	assert_output "daemon"
	[ ! -e "$VPS_ROOT/run" ]
}

@test "names, templates, settings and columns from vpsd" {
	fake_start serve
	words start ""
	assert_output "db web1"
	words start w
	assert_output "web1"
	words start web1 d
	assert_output "db"
	words rename web1 ""
	assert_output ""
	words create new --template ""
	assert_output "busybox"
	words create new -T b
	assert_output "busybox"
	words set web1 m
	assert_output "memory.max= mount="
	words set web1 --r
	assert_output "--runtime --root --ram"
	words config web1 cpu
	assert_output "cpu.max"
	words list -o name,upt
	assert_output "name,uptime"
	words wait --state p
	assert_output "paused"
	words push web1 ""
	assert_output "FILES"
	words exec web1 -- ls ""
	assert_output "FILES"
	words --root ""
	assert_output "DIRS"
}

@test "a vpsd that is not there or misbehaves is silence" {
	words start ""
	assert_output ""
	fake_start raw garbage
	words start ""
	assert_output ""
}

@test "bash puts it on the line" {
	fake_start serve
	run bash -c 'PATH=$1:$PATH; source "$2"; COMP_WORDS=(vps start w); COMP_CWORD=2; _vps 2>/dev/null; echo "${COMPREPLY[*]}"' \
		- "$VPS_BUILD" "$VPS_TOP/completion/vps.bash"
	assert_output "web1"
}
