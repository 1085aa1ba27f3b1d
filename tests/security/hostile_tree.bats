#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A tenant leaves a tree behind in which the next start would go astray.
load ../lib

setup() {
	vps create web
	upper=$VPS_ROOT/lib/vps/web/root/upper
}

teardown() {
	vps_clean
}

# What the test made in the upper is the tenant's.
give_tree() {
	local base
	base=$(vps status --json web | jq .id_base)
	chown -Rh "$base:$base" "$upper"
}

nothing_happened() {
	vps_is web stopped
	[ -z "$(find /sys/fs/cgroup -mindepth 1 -type d -path "*$VPS_TAG/web*" 2>/dev/null)" ]
	assert_nothing_left --daemon --keep web
}

@test "a mount point that is a symbolic link is refused by name" {
	for d in dev proc sys run; do
		rm -rf "${upper:?}/$d"
		ln -s / "$upper/$d"
		fails 1 "vps: start web: mount /$d: it is not a plain directory in the root file system (hint: a symbolic link there could lead out of place; remove it)" \
			vps start web
		nothing_happened
		rm "$upper/$d"
	done
	succeeds vps start web
}

@test "a mount point that is a file is refused by name" {
	: >"$upper/proc"
	fails_like 1 '^vps: start web: mount /proc: it is not a plain directory' vps start web
	nothing_happened
}

@test "links in /etc are not followed" {
	mkdir -p "$upper/etc"
	host=$(sha256sum /etc/shadow /etc/hostname /etc/hosts 2>/dev/null)
	ln -sf ../../../../../../../../etc/shadow "$upper/etc/resolv.conf"
	ln -sf /etc/shadow "$upper/etc/hosts"
	ln -sf "$BATS_TEST_TMPDIR/outside" "$upper/etc/hostname"
	give_tree
	succeeds vps start web
	succeeds vps exec web -- sh -c 'head -n 1 /etc/shadow; test ! -L /etc/resolv.conf'
	assert_match '^root:'
	assert_equal "$(vps exec web -- cat /etc/hostname)" web
	[ ! -e "$BATS_TEST_TMPDIR/outside" ]
	assert_equal "$(sha256sum /etc/shadow /etc/hostname /etc/hosts 2>/dev/null)" "$host"
}

@test "/etc itself being a link is refused" {
	mkdir -p "$upper"
	rm -rf "$upper/etc"
	ln -s /tmp "$upper/etc"
	fails_like 1 '^vps: start web: .*/etc' vps start web
	nothing_happened
}

@test "a FIFO or device in place of a file that is written does not hang the start" {
	mkdir -p "$upper/etc"
	mkfifo "$upper/etc/hostname" "$upper/etc/hosts" "$upper/etc/resolv.conf"
	give_tree
	succeeds vps start web
}

@test "a user database that is a FIFO does not hang exec" {
	succeeds vps start web
	vps exec web -- sh -c 'rm /etc/passwd; mkfifo /etc/passwd'
	succeeds vps exec web -- echo alive
	assert_output alive
}

@test "/dev/pts/ptmx replaced inside is not taken for a terminal" {
	succeeds vps start web
	vps exec web -- sh -c 'mount -t tmpfs none /dev/pts && : >/dev/pts/ptmx'
	run vps exec -t web -- true
	assert_status 125
	assert_match 'terminal'
	succeeds vps exec web -- true
}

@test "a volume whose owner swaps its mount point while others start" {
	vol=$BATS_TEST_TMPDIR/vol
	mkdir -p "$vol/real" "$BATS_TEST_TMPDIR/second"
	: >"$BATS_TEST_TMPDIR/second/mark"
	vps set web "mount=$vol:/vol" "mount=$BATS_TEST_TMPDIR/second:/vol/x"
	(
		set +e
		while [ ! -e "$vol/stop" ]; do
			rmdir "$vol/x" 2>/dev/null
			ln -s / "$vol/x" 2>/dev/null
			rm -f "$vol/x"
			mkdir "$vol/x" 2>/dev/null
		done
		true
	) &
	swapper=$!
	for i in $(seq 10); do
		if vps start web 2>/dev/null; then
			run vps exec web -- test -e /mark
			[ "$status" -ne 0 ] || fail "the volume landed on /"
			vps stop --force web >/dev/null
		fi
	done
	touch "$vol/stop"
	wait "$swapper"
	vps_is web stopped
}
