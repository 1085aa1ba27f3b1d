#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib

setup() { requires root; }
teardown() { vps_clean; }

rule="a name has 1 to 63 of a-z, 0-9 and -, and begins with a letter or a digit"

# Neither a VPS nor files of one.
nothing_there() {
	assert_equal "$(vps list --json | jq length)" 0
	[ -z "$(ls -A "$VPS_ROOT/lib/vps" 2>/dev/null)" ]
}

@test "a stopped VPS with the settings that were given" {
	succeeds vps create web1 restart=on-failure --onboot yes --hostname www
	assert_output ""
	vps_is web1 stopped
	assert_equal "$(vps config web1 --json | jq -c 'del(.net)')" \
		'{"hostname":"www","autostart":"yes","restart":"on-failure"}'
}

@test "--json gives the VPS" {
	succeeds vps create 101 --json
	assert_equal "$(jq -r '.name, .state, .template, .pid' <<<"$output" | paste -sd' ')" \
		"101 stopped busybox 0"
}

@test "bad names" {
	local name
	for name in ../x "$(printf 'a%.0s' {1..64})" Web a_b . .. a/b 'a b'; do
		fails 2 "vps: create $name: $name is not a name (hint: $rule)" vps create "$name"
	done
	fails 2 "vps: create -x: -x is not a name (hint: $rule)" vps create -- -x
	fails 2 "vps: create: \"\" is not a name (hint: $rule)" vps create ""
	nothing_there
}

@test "63 characters are a name" {
	succeeds vps create "$(printf 'a%.0s' {1..63})"
}

@test "a name that is taken" {
	vps create web1 hostname=first
	fails 4 "vps: create web1: there is a VPS of that name already" vps create web1 hostname=second
	assert_equal "$(vps config web1 hostname)" first
}

@test "templates, back ends and settings that there are not" {
	fails_like 3 '^vps: create web1: template nope: not found' vps create web1 -T nope
	fails 2 "vps: create web1: storage back end zfs: unknown (hint: the back ends are: overlay)" \
		vps create web1 --backend zfs
	fails 2 "vps: create web1: unknown setting foo (hint: vps.conf(5) lists them)" vps create web1 foo=1
	fails_like 2 '^vps: create web1: restart: maybe is not no, on-failure or always' \
		vps create web1 restart=maybe
	fails 2 "vps: create web1: nonsense is not KEY=VALUE (hint: vps.conf(5) has the keys)" \
		vps create web1 nonsense
	fails 2 "vps: create: unknown option --hostnam (hint: did you mean --hostname?)" \
		vps create web1 --hostnam x
	nothing_there
}
