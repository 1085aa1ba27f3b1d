#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib

setup_file() {
	root_new
	vps create web1 --onboot yes
	vps create db
	vps start --wait web1
}

@test "a table, sorted by name" {
	succeeds vps list
	assert_equal "${lines[0]}" "NAME  STATE     PID  TEMPLATE  UPTIME  AUTOSTART" ||
		[[ ${lines[0]} =~ ^NAME\ +STATE\ +PID\ +TEMPLATE\ +UPTIME\ +AUTOSTART$ ]]
	[[ ${lines[1]} =~ ^db\ +stopped\ +-\ +busybox\ +-\ +no$ ]]
	[[ ${lines[2]} =~ ^web1\ +running\ +[0-9]+\ +busybox\ +[0-9a-z\ ]+\ yes$ ]]
	[ "${#lines[@]}" -eq 3 ]
}

@test "--json has what is documented" {
	succeeds vps list --json
	assert_equal "$(jq -c 'map([.name, .state, .template, (.pid > 0), (.uptime_s > 0)])' <<<"$output")" \
		'[["db","stopped","busybox",false,false],["web1","running","busybox",true,true]]'
}

@test "-o chooses columns, of the object too" {
	succeeds vps list -o name,state
	assert_output $'NAME  STATE\ndb    stopped\nweb1  running'
	assert_equal "$(vps list --json -o state,name | jq -c '.[0]')" '{"state":"stopped","name":"db"}'
	succeeds vps list --columns uptime_s
	assert_match '^UPTIME'
	fails_like 2 '^vps: list: unknown column foo \(hint: one of name, state, pid,' vps list -o name,foo
}

@test "a list that is longer than there is room for ends with what says so" {
	# shellcheck disable=SC2046
	vps create many $(printf 'publish=%d:80 ' {20001..20200})
	succeeds vps list -o name,publish
	assert_match '20001:80,20002:80,.*,\.\.\.'
	refute_match 20200
	vps destroy many
}

@test "colours only on a terminal, and not when unwanted" {
	TERM=xterm run "$VPS_TOP/tests/cli/on_tty" -- "$VPS_BUILD/vps" list
	assert_match $'\033\[32mrunning'
	TERM=xterm NO_COLOR=1 run "$VPS_TOP/tests/cli/on_tty" -- "$VPS_BUILD/vps" list
	refute_match $'\033'
	TERM=xterm succeeds vps list
	refute_match $'\033'
}

@test "status" {
	succeeds vps status web1
	assert_line "name        web1"
	assert_line "state       running"
	assert_equal "$(vps status web1 --json | jq -r .name)" web1
	vps set web1 memory.max=96M
	succeeds vps status web1
	assert_line "memory.max = 96M"
	assert_match 'net = name=eth0,mode=bridge,ip=10\.'
	assert_equal "$(vps status web1 --json | jq -r '.settings[] | select(.key == "memory.max").value')" 96M
	assert_equal "$(vps status web1 db --json | jq -c 'map(.name)')" '["web1","db"]'
	fails 3 "vps: status web9: there is no VPS named web9 (hint: vps list shows those there are)" vps status web9
}

@test "doctor" {
	succeeds vps doctor
	assert_match 'namespaces'
	assert_equal "$(vps doctor --json | jq -r 'map(.result) | unique - ["ok", "missing"] | length')" 0
}

@test "a state root of its own is empty" {
	other=$(mktemp -d "$BATS_TEST_TMPDIR/XXXXXX")
	succeeds vps --root "$other" list --json
	assert_output "[]"
	vps list --json --root "$other"
	VPS_ROOT=/nowhere succeeds vps list --root="$other" -o name
	assert_output NAME
	vps --root "$other" daemon stop
}
