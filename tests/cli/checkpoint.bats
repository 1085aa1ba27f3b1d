#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load inside

setup() {
	requires root kernel 6.7
	new_counter web1
}
teardown() { vps_clean; }

lib() {
	echo "$VPS_ROOT/lib/vps/web1"
}

@test "back to a checkpoint, processes and files, more than once" {
	vps exec web1 -- sh -c 'echo then >/mark; mkdir /kept; ln /mark /kept/link; ln -s /mark /kept/symlink
		rm /etc/fstab'
	before=$(count web1)
	succeeds vps checkpoint --leave-running web1
	vps_is web1 running
	for _ in 1 2; do
		change_word web1
		vps exec web1 -- sh -c 'echo now >/mark; rm -r /kept; touch /new; echo x >/etc/fstab'
		fails 5 "vps: restore web1: it is running (hint: vps stop web1)" vps restore web1
		vps stop web1
		succeeds vps restore web1
		word_is web1 first
		[ "$(count web1)" -ge "$before" ]
		succeeds vps exec web1 -- sh -c 'cat /mark /kept/link /kept/symlink; test ! -e /new -a ! -e /etc/fstab'
		assert_output "then
then
then"
		counts web1
	done
	[ ! -e "$(lib)/root.new" ]
}

@test "a suspended one goes back too, and what it was suspended in is gone" {
	vps checkpoint --leave-running web1
	wait_until 20 counts_past web1 10
	vps suspend web1
	succeeds vps restore web1
	vps_is web1 running
	[ ! -e "$(lib)/image" ] && [ ! -e "$(lib)/suspended" ]
	counts web1
}

@test "to a file, and from it" {
	file=$BATS_TEST_TMPDIR/web1.image
	succeeds vps checkpoint --leave-running --to "$file" web1
	[ ! -e "$(lib)/checkpoint" ]
	vps exec web1 -- sh -c 'echo now >/mark'
	vps stop web1
	succeeds vps restore --from "$file" web1
	fails_like 1 'No such file' vps exec web1 -- cat /mark
	counts web1
	fails 3 "vps: restore web1: $BATS_TEST_TMPDIR/none: No such file or directory" \
		vps restore --from "$BATS_TEST_TMPDIR/none" web1
}

@test "suspended in a file: only that one resumes it, and only once" {
	file=$BATS_TEST_TMPDIR/web1.image
	before=$(count web1)
	succeeds vps checkpoint --to "$file" web1
	vps_is web1 suspended
	fails 5 "vps: resume web1: its image is in $file (hint: vps restore web1 --from $file)" vps resume web1
	succeeds vps restore --from "$file" web1
	[ "$(count web1)" -ge "$before" ]
	counts web1
	vps stop web1
	fails 5 "vps: restore web1: its files have changed since, and the image does not hold those of then (hint: vps checkpoint --leave-running keeps them, unless --no-disk is given)" \
		vps restore --from "$file" web1
	vps_is web1 stopped
}

@test "without the files there is no way back" {
	fails 2 "vps: checkpoint web1: --no-disk needs --leave-running" vps checkpoint --no-disk web1
	succeeds vps checkpoint --leave-running --no-disk web1
	vps stop web1
	fails_like 5 '^vps: restore web1: its files have changed since, ' vps restore web1
	vps start web1
}

@test "the image of another VPS" {
	vps create web2
	vps checkpoint --leave-running --to "$BATS_TEST_TMPDIR/image" web1
	fails 5 "vps: restore web2: the image is of another VPS, web1" \
		vps restore --from "$BATS_TEST_TMPDIR/image" web2
	fails 3 "vps: restore web2: there is no checkpoint of it (hint: vps checkpoint --leave-running makes one, --from names another file)" \
		vps restore web2
	vps_is web2 stopped
}

@test "show and verify" {
	vps checkpoint --leave-running web1
	succeeds vps checkpoint show "$(lib)/checkpoint"
	assert_match 'header 0: vps="web1"'
	assert_match 'process 1: pid=1 '
	succeeds vps checkpoint show --json "$(lib)/checkpoint"
	assert_equal "$(jq -r '[.records[] | select(.type == "process").fields.pid] | first' <<<"$output")" 1
	[ "$(jq -r '.totals[] | select(.type == "pages").bytes' <<<"$output")" -gt 1000 ]
	succeeds vps checkpoint verify "$(lib)/checkpoint"
	assert_match '^web1, 20..-.*: [0-9]+ process(es)?, .*, with its files$'
	succeeds vps checkpoint verify --json "$(lib)/checkpoint"
	assert_equal "$(jq -r .uuid <<<"$output")" "$(vps status --json web1 | jq -r .uuid)"
}

@test "damage is found, wherever it is" {
	vps exec web1 -- sh -c 'dd if=/dev/urandom of=/big bs=64k count=3 2>/dev/null'
	vps checkpoint --leave-running --to "$BATS_TEST_TMPDIR/good" web1
	vps stop web1
	size=$(stat -c %s "$BATS_TEST_TMPDIR/good")
	for at in 3 60 $((size / 10)) $((size / 2)) $((size - 100)) $((size - 3)); do
		cp "$BATS_TEST_TMPDIR/good" "$BATS_TEST_TMPDIR/bad"
		flip "$BATS_TEST_TMPDIR/bad" "$at"
		run vps checkpoint verify "$BATS_TEST_TMPDIR/bad"
		[ "$status" -ne 0 ] || fail "byte $at of $size was not missed"
		run vps restore --from "$BATS_TEST_TMPDIR/bad" web1
		[ "$status" -ne 0 ] || fail "restored with byte $at of $size changed"
		vps_is web1 stopped
	done
	head -c $((size - 1)) "$BATS_TEST_TMPDIR/good" >"$BATS_TEST_TMPDIR/bad"
	fails_like 1 'the image is damaged: its files' vps checkpoint verify "$BATS_TEST_TMPDIR/bad"
	succeeds vps checkpoint verify "$BATS_TEST_TMPDIR/good"
	succeeds vps restore --from "$BATS_TEST_TMPDIR/good" web1
	counts web1
}

@test "a file that could not be written is not left behind" {
	fails_like 1 'No such file|Is a directory' vps checkpoint --to "$BATS_TEST_TMPDIR" web1
	fails 3 "vps: checkpoint web9: there is no VPS named web9 (hint: vps list shows those there are)" \
		vps checkpoint --to "$BATS_TEST_TMPDIR/new" web9
	[ ! -e "$BATS_TEST_TMPDIR/new" ]
}

@test "a file that is there stays until the new image is complete" {
	file=$BATS_TEST_TMPDIR/image
	vps checkpoint --leave-running --to "$file" web1
	chmod 640 "$file"
	ln -s image "$BATS_TEST_TMPDIR/link"
	before=$(md5sum <"$file")
	fails 3 "vps: checkpoint web9: there is no VPS named web9 (hint: vps list shows those there are)" \
		vps checkpoint --leave-running --to "$file" web9
	fails 2 "vps: checkpoint web1: x is no compression (hint: there are lz4, zstd and none)" \
		vps checkpoint --leave-running --compress x --to "$file" web1
	assert_equal "$(md5sum <"$file")" "$before"
	succeeds vps checkpoint --leave-running --to "$BATS_TEST_TMPDIR/link" web1
	[ "$(md5sum <"$file")" != "$before" ]
	[ -L "$BATS_TEST_TMPDIR/link" ]
	assert_equal "$(stat -c %a "$file")" 640
	assert_equal "$(cd "$BATS_TEST_TMPDIR" && echo image* link*)" "image link"
	succeeds vps checkpoint verify "$file"
}

@test "what is no file is not written to, nor read" {
	mkfifo "$BATS_TEST_TMPDIR/fifo"
	exec 7<>"$BATS_TEST_TMPDIR/fifo"
	for what in "$BATS_TEST_TMPDIR/fifo" /dev/null; do
		fails 2 "vps: checkpoint web1: $what is no file" vps checkpoint --leave-running --to "$what" web1
		fails 2 "vps: restore web1: $what is no file" vps restore --from "$what" web1
	done
	exec 7>&-
	mkdir "$BATS_TEST_TMPDIR/ro"
	mount -t tmpfs -o ro none "$BATS_TEST_TMPDIR/ro"
	run --separate-stderr vps checkpoint --leave-running --to "$BATS_TEST_TMPDIR/ro/new" web1
	umount "$BATS_TEST_TMPDIR/ro"
	assert_status 8
	assert_equal "$stderr" "vps: checkpoint web1: $BATS_TEST_TMPDIR/ro/new: Read-only file system"
}

@test "a paused one stays paused" {
	vps pause web1
	succeeds vps checkpoint --leave-running web1
	vps_is web1 paused
	vps resume web1
	counts web1
}
