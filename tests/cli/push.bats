#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib

setup_file() {
	root_new
	vps create web1
	vps start --wait web1
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	mkdir -p site/sub
	echo a >site/a
	echo b >site/sub/b
	ln -s a site/link
	vps exec web1 -- sh -c 'rm -rf /srv; mkdir -p /srv'
}

inside() {
	vps exec web1 -- sh -c "cd /srv && find . | sort | paste -sd' '"
}

@test "into a directory, or under another name" {
	succeeds vps push web1 site /srv
	assert_output ""
	assert_equal "$(inside)" ". ./site ./site/a ./site/link ./site/sub ./site/sub/b"
	vps push web1 site/a /srv/renamed
	assert_equal "$(vps exec web1 -- cat /srv/renamed)" a
	vps push web1 site /srv/other
	assert_equal "$(vps exec web1 -- cat /srv/other/sub/b)" b
	assert_equal "$(vps exec web1 -- readlink /srv/site/link)" a
	assert_equal "$(vps exec web1 -- stat -c %u:%g /srv/site/a)" 0:0
}

@test "several, the contents of a directory, a tar archive" {
	vps push web1 site/a site/sub /srv
	assert_equal "$(inside)" ". ./a ./sub ./sub/b"
	(cd site && vps push web1 . /srv/sub)
	assert_equal "$(vps exec web1 -- cat /srv/sub/sub/b)" b
	vps exec web1 -- mkdir /srv/tar
	tar c -C site . | vps push web1 - /srv/tar
	assert_equal "$(vps exec web1 -- cat /srv/tar/a)" a
}

@test "odd files: what can be there is whole, what cannot is left out" {
	mkfifo site/pipe
	mknod site/null c 1 3
	truncate -s 64M site/sparse
	echo end >>site/sparse
	ln site/a site/again
	python3 -c 'import os; os.setxattr("site/a", "user.colour", b"red")'
	touch "site/$(head -c 255 /dev/zero | tr '\0' n)" site/$'new\nline' site/-dash
	succeeds vps push web1 site /srv
	assert_output "vps: push web1: 1 socket or device node was left out"
	assert_equal "$(vps exec web1 -- sh -c 'cd /srv/site; ls -A | wc -l; stat -c "%h %F" a pipe; tail -n 1 sparse' | paste -sd,)" \
		"9,2 regular file,1 fifo,end"
	assert_equal "$(vps exec web1 -- stat -c %s /srv/site/sparse)" $((64 * 1024 * 1024 + 4))
	[ "$(vps exec web1 -- du -k /srv/site/sparse | cut -f1)" -lt 1000 ]
	assert_equal "$(python3 -c 'import os, sys; print(os.getxattr(sys.argv[1], "user.colour").decode())' \
		"$VPS_ROOT/lib/vps/web1/root/upper/srv/site/a")" red
	vps pull web1 /srv/site/sparse back
	cmp site/sparse back
	[ "$(du -k back | cut -f1)" -lt 1000 ]
}

@test "what is not there" {
	fails 3 "vps: push web1: nowhere: No such file or directory" vps push web1 nowhere /srv
	fails 3 "vps: push web1: /nowhere: No such file or directory" vps push web1 site /nowhere/x
	fails 2 "vps: push web1: srv is not an absolute path (hint: the destination is a path inside the VPS: /root)" \
		vps push web1 site srv
	fails_like 3 '^vps: push web9: there is no VPS named web9' vps push web9 site /srv
	assert_equal "$(inside)" .
}

@test "a link inside does not lead out" {
	mark=$BATS_TEST_TMPDIR/outside
	mkdir "$mark"
	vps exec web1 -- ln -s "../../../../../../../..$mark" /srv/out
	run vps push web1 site/a /srv/out
	[ -z "$(ls -A "$mark")" ]
	vps exec web1 -- ln -s / /srv/top
	vps push web1 site/a /srv/top
	assert_equal "$(vps exec web1 -- cat /a)" a
	[ ! -e /a ]
	vps exec web1 -- rm /a
}

@test "pull: into a directory, under another name, as an archive" {
	vps push web1 site /srv
	mkdir got
	succeeds vps pull web1 /srv/site got
	assert_output ""
	diff -r --no-dereference site got/site
	vps pull web1 /srv/site/a got/new
	assert_equal "$(cat got/new)" a
	assert_equal "$(vps pull web1 /srv/site - | tar t | sort | paste -sd' ')" \
		"site/ site/a site/link site/sub/ site/sub/b"
	(cd got && vps pull web1 /srv/site/sub)
	assert_equal "$(cat got/sub/b)" b
	fails 3 "vps: pull web1: nowhere/: No such file or directory" vps pull web1 /srv/site nowhere/x
	fails_like 3 '^vps: pull web1: .*nowhere: No such file or directory' vps pull web1 /nowhere got
}

@test "pull: a directory does not replace a file" {
	vps push web1 site /srv
	echo mine >kept
	fails 4 "vps: pull web1: kept: it is there and no directory, but one in the VPS" vps pull web1 /srv/site kept
	assert_equal "$(cat kept)" mine
}

@test "pull: what the kernel tells no size of is whole" {
	vps pull web1 /proc/version . && cmp version /proc/version
	vps pull web1 /sys/class/net/lo/mtu . && assert_equal "$(cat mtu)" 65536
}

@test "pull: no set-id programs, devices or foreign owners" {
	vps exec web1 -- sh -c 'cd /srv && mkdir d && cp /bin/true d/suid && chmod 6755 d/suid && chown 7:7 d/suid && mkfifo d/fifo'
	run --separate-stderr vps pull web1 /srv/d .
	assert_status 0
	assert_equal "$(stat -c '%a %u' d/suid)" "755 $(id -u)"
	[ ! -e d/fifo ]
	assert_equal "$stderr" "vps: pull web1: 1 device node, socket or FIFO was left out"
}

@test "both work on a stopped VPS" {
	vps create other
	vps push other site /root
	vps pull other /root/site/a got
	assert_equal "$(cat got)" a
	vps destroy other
}

copies_run() { # COUNT
	[ "$("$VPS_TOP/tests/pids" "$VPS_ROOT" vps-packer | wc -w)" -eq "$1" ]
}

@test "who does not read what he copies is in nobody's way" {
	local i pids=()
	vps exec web1 -- dd if=/dev/zero of=/srv/big bs=1M count=4
	mkfifo unread
	exec 8<>unread
	for i in 1 2 3 4 5 6 7 8; do
		"$VPS_BUILD/vps" pull web1 /srv/big - >&8 2>/dev/null 3>&- &
		pids+=($!)
	done
	wait_until 20 copies_run 8
	vps create web2
	vps destroy web2
	kill "${pids[@]}"
	for i in "${pids[@]}"; do
		wait "$i" || true
	done
	exec 8>&-
	wait_until 20 copies_run 0
}
