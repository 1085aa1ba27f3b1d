# SPDX-License-Identifier: GPL-2.0-or-later
# What VPSs use: vps stats, the beancounters of vps status, and the events that tell of refusals.

load ../lib

setup_file() {
	[ "$(id -u)" -eq 0 ] || return 0
	root_new
	vps create one --ram 64M pids.max=40 cpu.max=0.5 io.read=100M
	vps create two
	vps create off
	vps start one two
	wait_until 20 init_is_up one
	wait_until 20 init_is_up two
}

teardown_file() { root_done; }

setup() { requires root; }

# stat NAME PATH: a number of vps stats
stat_of() {
	vps stats --json "$1" | jq -e ".$2"
}

counter() {
	vps status "$1" --counters --json | jq -e ".counters[] | select(.name == \"$2\").$3"
}

# The events of the state root go to a file from now on.
events_begin() {
	"$VPS_BUILD/vps" events --json >"$BATS_TEST_TMPDIR/events" 3>&- &
	EVENTS=$!
	# It is there when it has seen one.
	wait_until 20 events_flow
}

events_flow() {
	vps set two description="$RANDOM"
	[ -s "$BATS_TEST_TMPDIR/events" ]
}

events_end() {
	kill "$EVENTS"
	wait "$EVENTS" || true
}

has_event() {
	jq -e --arg e "$1" --arg n "$2" 'select(.event == $e and .name == $n).detail' \
		"$BATS_TEST_TMPDIR/events"
}

@test "one object, nested by the dots, with the limits" {
	succeeds vps stats --json one
	jq -e '.name == "one" and .state == "running" and .uptime_s > 0' <<<"$output"
	jq -e '.cpu.usage_usec > 0 and .cpu.user_usec >= 0 and .cpu.max == 0.5' <<<"$output"
	jq -e '.memory.current > 0 and .memory.cache >= 0 and .memory.max == 67108864' <<<"$output"
	jq -e '.memory.cache <= .memory.current' <<<"$output"
	jq -e '.pids.current >= 1 and .pids.max == 40 and .pids.refused == 0' <<<"$output"
	jq -e '.io.read_bytes >= 0 and .io.write_bytes >= 0 and .io.read == 104857600' <<<"$output"
	jq -e '.net.rx_bytes >= 0 and .net.tx_bytes >= 0' <<<"$output"
}

@test "no limit is null" {
	succeeds vps stats --json two
	jq -e '.cpu | has("max") and .max == null' <<<"$output"
	jq -e '.memory | has("max") and .max == null' <<<"$output"
}

@test "CPU time grows by what is burnt" {
	local before after
	before=$(stat_of two cpu.usage_usec)
	vps exec two -- sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'
	after=$(stat_of two cpu.usage_usec)
	((after > before + 10000)) || fail "from $before to $after us"
}

@test "memory and its cache are told apart" {
	local cache current
	vps exec two -- sh -c 'dd if=/dev/zero of=/dev/shm/x bs=1M count=32 2>/dev/null'
	current=$(stat_of two memory.current)
	((current >= 32 * 1048576)) || fail "memory.current $current"
	vps exec two -- rm /dev/shm/x
	cache=$(stat_of two memory.cache)
	((cache < 32 * 1048576)) || fail "memory.cache $cache"
}

@test "what runs inside is counted" {
	local before
	before=$(stat_of two pids.current)
	"$VPS_BUILD/vps" exec two -- sleep 60 3>&- &
	local client=$!
	more_pids() { (($(stat_of two pids.current) > before)); }
	wait_until 20 more_pids
	kill "$client"
	fewer_pids() { (($(stat_of two pids.current) == before)); }
	wait_until 20 fewer_pids
}

@test "traffic to a VPS is counted as received" {
	local ip before
	ip=$(vps config two net | grep -o 'ip=[0-9.]*' | head -n 1)
	before=$(stat_of two net.rx_packets)
	! timeout 5 bash -c "</dev/tcp/${ip#ip=}/9" 2>/dev/null # nobody listens there
	more_packets() { (($(stat_of two net.rx_packets) > before)); }
	wait_until 20 more_packets
}

@test "a changed limit shows" {
	vps set two pids.max=77 --runtime
	assert_equal "$(stat_of two pids.max)" 77
	vps set two memory.max=256M memory.low=8M cpu.weight=50%
	assert_equal "$(stat_of two memory.max)" 268435456
	assert_equal "$(stat_of two memory.low)" 8388608
	assert_equal "$(stat_of two cpu.weight)" 50
}

@test "without a name: all that run, by name" {
	succeeds vps stats --json
	assert_equal "$(jq -r '.[].name' <<<"$output" | paste -sd,)" one,two
	succeeds vps stats
	assert_equal "$(awk '{ print $1 }' <<<"$output" | paste -sd,)" NAME,one,two
	assert_match 'one .* 64\.0 MiB '
}

@test "with a name: each number under its dotted name" {
	succeeds vps stats one
	assert_match $'\n''memory\.max  +64\.0 MiB'$'\n'
	assert_match $'\n''cpu\.max  +0\.5'$'\n'
	assert_match $'\n''pids\.max  +40'$'\n'
	assert_match $'\n''io\.read  +100 MiB/s'$'\n'
}

@test "errors" {
	fails 5 "vps: stats off: it is not running" vps stats off
	fails 3 "vps: stats nix: there is no VPS named nix (hint: vps list shows those there are)" \
		vps stats nix
	fails 3 "vps: status nix: there is no VPS named nix (hint: vps list shows those there are)" \
		vps status nix --counters
	fails 2 "vps: stats: unknown option --frob (hint: vps stats --help)" vps stats --frob
}

@test "several names: an error with one does not keep from the next" {
	run --separate-stderr vps stats nix one
	assert_status 3
	assert_equal "$stderr" \
		"vps: stats nix: there is no VPS named nix (hint: vps list shows those there are)"
	assert_match 'memory\.max'
	run vps stats off one --json
	assert_status 5
	assert_equal "$(jq -r '.[0].status, .[1].name' <<<"$output" | paste -sd,)" 5,one
}

@test "a refused fork raises the count and an event" {
	events_begin
	vps exec one -- sh -c 'i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done' || true
	wait_until 20 has_event pids-max one
	events_end
	vps exec one -- killall sleep
	(($(counter one pids failcnt) >= 1)) || fail "$(vps status one --counters)"
	assert_equal "$(counter one pids maxheld)" 40
	assert_equal "$(counter one pids limit)" 40
	[[ $(has_event pids-max one) =~ ^\"[0-9]+\ forks?\ refused ]]
}

@test "a process killed for want of memory raises the count and an event" {
	events_begin
	run vps exec one -- dd if=/dev/zero of=/dev/null bs=100M count=1
	assert_status 137
	wait_until 20 has_event oom one
	events_end
	(($(counter one memory failcnt) >= 1)) || fail "$(vps status one --counters)"
	(($(stat_of one memory.oom_kills) >= 1))
}

@test "beancounters outlive the VPS's restart and vpsd" {
	local fails max
	fails=$(counter one memory failcnt)
	max=$(counter one memory maxheld)
	((fails >= 1 && max > 32 * 1048576))
	vps restart one
	assert_equal "$(counter one memory failcnt)" "$fails"
	assert_equal "$(counter one memory maxheld)" "$max"
	assert_equal "$(stat_of one memory.oom_kills)" 0
	vps stop one
	daemon_kill
	assert_equal "$(counter one memory failcnt)" "$fails"
	assert_equal "$(counter one memory held)" 0
	vps start one
	(($(counter one memory held) > 0))
}

@test "what was counted outlives a killed monitor" {
	local pid before
	before=$(counter two memory maxheld)
	vps exec two -- sh -c 'dd if=/dev/zero of=/dev/shm/x bs=1M count=48 2>/dev/null; rm /dev/shm/x'
	pid=$(jq .monitor_pid "$VPS_ROOT/run/vps/two/state")
	kill -KILL "$pid"
	wait_until 20 vps_is two stopped
	(($(counter two memory maxheld) >= 48 * 1048576)) || fail "$before, then $(counter two memory maxheld)"
	vps start two
}

@test "a damaged file is counted from 0" {
	vps stop two
	echo "memory 1 2 x" >"$VPS_ROOT/lib/vps/two/counters"
	assert_equal "$(vps status two --counters --json | jq -c .counters)" "[]"
	vps start two
	(($(counter two memory maxheld) > 0))
}

@test "the tenant sees its bounds where lxcfs runs" {
	requires command lxcfs
	[ -c /dev/fuse ] || skip "needs /dev/fuse"
	daemon_stop
	run unshare -m --propagation private bash -c '
		lxcfs --enable-cfs -f -p "$BATS_TEST_TMPDIR/pid" /var/lib/lxcfs >/dev/null 2>&1 3>&- &
		lxcfs=$!
		load() { :; }
		. "$VPS_TOP/tests/lib.bash" 2>/dev/null
		wait_until 20 mountpoint -q /var/lib/lxcfs
		vps create sees --ram 128M
		vps start sees
		vps exec sees -- head -n 1 /proc/meminfo
		vps set sees memory.max=96M cpu.pin=0
		vps exec sees -- head -n 1 /proc/meminfo
		vps exec sees -- cat /sys/devices/system/cpu/online
		vps exec sees -- nproc
		vps destroy --force sees
		vps create nests --ram 128M feature=nesting
		vps start nests
		vps exec nests -- grep -c fuse.lxcfs /proc/mounts
		vps destroy --force nests
		daemon_stop
		kill $lxcfs
		wait $lxcfs'
	assert_equal "$(sed -n 1p <<<"$output" | tr -s ' ')" "MemTotal: 131072 kB"
	assert_equal "$(sed -n 2p <<<"$output" | tr -s ' ')" "MemTotal: 98304 kB"
	assert_equal "$(sed -n 3,5p <<<"$output" | paste -sd,)" 0,1,0
}
