#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib

setup() { requires root; }
teardown() { vps_clean; }

@test "busybox: built, listed, used, removed" {
	succeeds vps template build busybox
	succeeds vps template list
	assert_match '^NAME .*busybox '
	assert_equal "$(vps template list --json | jq -c 'map([.name, .distribution, .users])')" \
		'[["busybox","busybox",[]]]'
	vps create web1
	assert_equal "$(vps template list --json | jq -c '.[0].users')" '["web1"]'
	fails 5 "vps: template remove busybox: template busybox: in use (hint: vps list -o name,template says by whom)" \
		vps template remove busybox
	vps destroy web1
	succeeds vps template remove busybox
	assert_equal "$(vps template list --json)" "[]"
}

@test "under another name" {
	succeeds vps template build busybox --name mine --json
	assert_equal "$(jq -r .name <<<"$output")" mine
	vps create web1 -T mine
	vps start web1
	vps destroy --force web1
	vps template remove mine
}

@test "import of a directory and of a tarball" {
	mkdir -p "$BATS_TEST_TMPDIR/tree/sbin" "$BATS_TEST_TMPDIR/tree/bin"
	cp "$(command -v busybox)" "$BATS_TEST_TMPDIR/tree/bin/busybox"
	ln -s ../bin/busybox "$BATS_TEST_TMPDIR/tree/sbin/init"
	succeeds vps template import dir "$BATS_TEST_TMPDIR/tree"
	tar cz -C "$BATS_TEST_TMPDIR/tree" . >"$BATS_TEST_TMPDIR/tree.tar.gz"
	succeeds vps template import tar "$BATS_TEST_TMPDIR/tree.tar.gz" --distribution mine
	assert_equal "$(vps template list --json | jq -c 'map([.name, .distribution, .init])[1]')" '["tar","mine","/sbin/init"]'
	vps create web1 -T tar
	vps start web1
	vps destroy --force web1
	succeeds vps template remove dir tar
}

@test "what cannot be" {
	mkdir "$BATS_TEST_TMPDIR/empty"
	fails_like 2 '^vps: template import x: .*the tree has no init' vps template import x "$BATS_TEST_TMPDIR/empty"
	fails 3 "vps: template import x: /nowhere: No such file or directory" vps template import x /nowhere
	fails_like 2 '^vps: template import Bad: Bad is not a name for a template' vps template import Bad "$BATS_TEST_TMPDIR/empty"
	fails_like 3 '^vps: template build nope: template source nope: not found' vps template build nope
	fails_like 3 '^vps: template remove nope: template nope: not found' vps template remove nope
	assert_equal "$(vps template list --json)" "[]"
}

@test "Ctrl-C undoes a build and gives 10" {
	requires command mmdebstrap
	run "$VPS_TOP/tests/cli/on_tty" expect:packages send:'\x03' -- "$VPS_BUILD/vps" template build debian
	assert_status 10
	assert_equal "$(vps template list --json)" "[]"
	assert_nothing_left --daemon
}
