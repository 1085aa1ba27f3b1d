# SPDX-License-Identifier: GPL-2.0-or-later
#
# What suspend.bats and resume.bats share: a VPS "web" that counts, a vpsd with a fault, and the two
# states that may come out of anything.
load ../lib
load ../cli/inside
load points

suspend_and_resume() {
	vps suspend web
	vps resume web
}

setup_file() {
	root_new
	trace suspend_and_resume
}

setup() {
	requires root kernel 6.7
	web_new
}

web_new() {
	vps create web cpu.max=0.9 cpu.weight=90
	give_counter web
}

# What it has of the processors, as the kernel knows it.
share() {
	if is_unified; then
		cat "$(group_file web cpu cpu.max)" "$(group_file web cpu cpu.weight)"
	else
		cat "$(group_file web cpu cpu.cfs_quota_us)" "$(group_file web cpu cpu.shares)"
	fi
}

# The VPS runs with the fault in its monitor.
start_under() {
	under "$1"
	vps start web
	wait_until 20 counts_past web 2
	before=$(count web) counted_at=$SECONDS
	pid=$(vps_pid web)
	own_share=$(share)
}

files_are() {
	assert_equal "$(cd "$(lib)" && echo image* suspended* resuming*)" "$1"
}

runs_untouched() {
	wait_until 20 vps_is web running
	assert_equal "$(vps_pid web)" "$pid"
	counts web
	assert_equal "$(share)" "$own_share"
	files_are "image* suspended* resuming*"
}

# Also by a vpsd without faults; and its image is whole.
is_suspended() {
	wait_until 20 vps_is web suspended
	wait_until 20 assert_nothing_left --daemon --keep web
	files_are "image suspended resuming*"
	daemon_stop
	vps_is web suspended
	succeeds vps resume web
	after=$(count web)
	# It went on from there, ten times a second at most.
	[ "$after" -ge "$before" ] && [ "$after" -le $((before + 10 * (SECONDS - counted_at + 2))) ] ||
		fail "$before, then $after"
	counts web
	assert_equal "$(share)" "$own_share"
	files_are "image* suspended* resuming*"
}

again() {
	vps destroy --force web
	daemon_stop
	web_new
}

stopped_processes() {
	local p
	for p in $("$VPS_TOP/tests/pids" "$VPS_ROOT" "$1"); do
		[ "$(cut -d' ' -f3 "/proc/$p/stat")" != T ] || echo "$p"
	done
}

hangs() {
	[ -n "$(stopped_processes "$1")" ]
}
