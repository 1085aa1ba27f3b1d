# assert_nothing_left finds what it says it finds.
load ../lib

setup_file() { :; }
teardown_file() { :; }

setup() {
	requires root
	root_new
	pids=()
}

teardown() {
	local pid
	for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
	[ -z "${VPS_ROOT-}" ] || "$VPS_TOP/tests/left" --remove "$VPS_ROOT"
}

@test "left: an empty state root passes" {
	assert_nothing_left
	mkdir -p "$VPS_ROOT/lib/templates/busybox" "$VPS_ROOT/run"
	assert_nothing_left
}

@test "left: a cgroup in any hierarchy" {
	mkdir -p "$(cgroup_v2_point)/$VPS_TAG/web"
	run assert_nothing_left
	assert_status 1
	assert_line "cgroup $(cgroup_v2_point)/$VPS_TAG/web"
	succeeds assert_nothing_left --keep web
	"$VPS_TOP/tests/left" --remove "$VPS_ROOT"
	[ ! -e "$(cgroup_v2_point)/$VPS_TAG" ]
}

@test "left: a cgroup in a v1 hierarchy" {
	requires hybrid
	mkdir -p "/sys/fs/cgroup/pids/$VPS_TAG/web"
	run assert_nothing_left
	assert_status 1
	assert_line "cgroup /sys/fs/cgroup/pids/$VPS_TAG"
}

@test "left: a process in its cgroup" {
	mkdir -p "$(cgroup_v2_point)/$VPS_TAG/web"
	sleep 1000 3>&- &
	pids+=($!)
	echo $! >"$(cgroup_v2_point)/$VPS_TAG/web/cgroup.procs"
	run assert_nothing_left
	assert_status 1
	assert_line "process $! sleep 1000"
	"$VPS_TOP/tests/left" --remove "$VPS_ROOT"
	wait_until 20 process_is_gone "$!"
}

@test "left: a monitor by its arguments" {
	(exec -a vps-monitor sleep 1000) 3>&- &
	pids+=($!)
	wait_until 20 grep -q vps-monitor "/proc/$!/cmdline"
	run assert_nothing_left
	assert_status 1
	assert_line "process $! vps-monitor 1000"
}

@test "left: a mount, also in another mount namespace" {
	mkdir -p "$VPS_ROOT/run/here"
	unshare -m sh -c "mount -t tmpfs none $VPS_ROOT/run/here && exec sleep 1000" 3>&- &
	pids+=($!)
	wait_until 20 grep -q "$VPS_ROOT/run/here" "/proc/$!/mountinfo"
	run assert_nothing_left
	assert_status 1
	assert_match "mount \(namespace of process $!\) .*$VPS_ROOT/run/here"
}

@test "left: a file of a VPS and a half-made template" {
	mkdir -p "$VPS_ROOT/lib/vps/web" "$VPS_ROOT/lib/templates/.staging-1"
	run assert_nothing_left
	assert_status 1
	assert_line "file $VPS_ROOT/lib/vps/web"
	assert_line "file $VPS_ROOT/lib/templates/.staging-1"
}

@test "left: the tag is the one that vps makes" {
	assert_equal "$(root_tag /a)" vps-70d2182d
}
