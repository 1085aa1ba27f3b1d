#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load hosts

# Both hosts are this machine, and have one pool of huge pages.
POOL=/proc/sys/vm/nr_hugepages

setup_file() {
	[ -e "$POOL" ] || skip "this kernel has no huge pages"
	exec 9<"$POOL"
	flock 9 # who else wants a pool waits
	HAD=$(cat "$POOL")
	export HAD
	hosts_new
}

teardown_file() {
	local left=0
	[ -z "$HAD" ] || echo "$HAD" >"$POOL"
	hosts_done || left=1
	exec 9<&-
	return "$left"
}

teardown() {
	hosts_clean
	! mountpoint -q "$BATS_TEST_TMPDIR/huge" || umount "$BATS_TEST_TMPDIR/huge"
}

# pool PAGES: so many are free.
pool() {
	local used
	used=$(($(cat "$POOL") - $(awk '/^HugePages_Free/ { print $2 }' /proc/meminfo)))
	echo $((used + $1)) 2>/dev/null >"$POOL"
	[ "$(cat "$POOL")" -eq $((used + $1)) ] || skip "the kernel gives no $1 huge pages"
}

counted() {
	[ "$(on "$1" vps exec web1 -- cat /srv/n)" -ge "$2" ]
}

# held a|b: bytes of huge pages that the VPS is charged for; nothing where there is no such controller.
held() {
	on "$1" vps status --counters web1 --json | jq '.counters[]? | select(.name == "hugetlb") | .held'
}

@test "huge pages go along, where the other host has as many" {
	pool 8
	vps create web1
	vps start web1
	vps exec web1 -- sh -c 'mkdir -p /srv && cat >/srv/holder && chmod 755 /srv/holder' <"$VPS_TOP/build/tests/checkpoint/checkpoint_holder"
	vps exec web1 -- sh -c '/srv/holder 8 /srv/n </dev/null >/dev/null 2>&1 &'
	wait_until 20 counted a 2
	charged=$(held a)
	echo "charged: $charged"
	run vps migrate --dry-run -e "$RSH" web1 host-b
	assert_status 5
	assert_match 'there are not enough huge pages of 2.0 MiB: 16.0 MiB are needed, 0 B are free'
	fails_like 5 'there are not enough huge pages' vps migrate -e "$RSH" web1 host-b
	assert_only_on a web1
	pool 8
	succeeds vps migrate -e "$RSH" web1 host-b
	assert_only_on b web1
	n=$(on b vps exec web1 -- cat /srv/n)
	wait_until 20 counted b $((n + 3))
	assert_equal "$(held b)" "$charged"
	pool 0
	succeeds on b vps suspend web1
	# Without its pages it stays where it is.
	pool 4
	run on b vps resume web1
	[ "$status" -ne 0 ]
	assert_match 'there are not enough huge pages of 2.0 MiB: 16.0 MiB are needed, 8.0 MiB are free'
	fails_like 5 'there are not enough huge pages' on b vps migrate -e "$RSH" web1 host-a
	assert_equal "$(on b vps list --json | jq -r '.[0].state')" suspended
	[ "$(awk '/^HugePages_Rsvd|^HugePages_Total|^HugePages_Free/ { n = n " " $2 } END { print n }' /proc/meminfo)" = " $(cat "$POOL") 4 0" ]
	pool 8
	succeeds on b vps resume web1
	wait_until 20 counted b $((n + 6))
	assert_equal "$(held b)" "$charged"
}

@test "a file of a hugetlbfs that the host shows inside" {
	pool 6
	mkdir "$BATS_TEST_TMPDIR/huge"
	mount -t hugetlbfs -o mode=1777 none "$BATS_TEST_TMPDIR/huge"
	vps create web1 "mount=$BATS_TEST_TMPDIR/huge:/mnt"
	vps start web1
	vps exec web1 -- sh -c 'mkdir -p /srv && cat >/srv/holder && chmod 755 /srv/holder' <"$VPS_TOP/build/tests/checkpoint/checkpoint_holder"
	vps exec web1 -- sh -c '/srv/holder 4 /srv/n /mnt/file </dev/null >/dev/null 2>&1 &'
	wait_until 20 counted a 2
	succeeds vps suspend web1
	succeeds vps resume web1
	n=$(vps exec web1 -- cat /srv/n)
	wait_until 20 counted a $((n + 3))
}
