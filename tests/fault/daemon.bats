#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# vpsd and the command line are killed in the middle of things: running VPSs do not notice, nothing is
# lost, nothing is left behind.
load ../lib

teardown() {
	vps_clean
	daemon_stop
}

@test "a killed vpsd leaves VPSs running, and the next one finds them" {
	vps create web
	vps create other
	vps start web
	pid=$(vps_pid web)
	vps exec web -- sh -c 'echo $$ >/run/mark'
	daemon_kill
	kill -0 "$pid"
	[ "$(vps_pid web)" = "$pid" ]
	vps_is web running
	vps_is other stopped
	succeeds vps exec web -- test -e /run/mark
	succeeds vps stop web
	[ "$(vps status --json web | jq -r .last_exit)" = poweroff ]
}

@test "what a VPS did while no vpsd was there is known to the next one" {
	vps create web
	vps start web
	wait_until 20 init_is_up web
	pid=$(vps_pid web)
	vps exec web -- sh -c 'echo last words >/dev/console'
	daemon_kill
	nsenter -t "$pid" -a -- /bin/busybox poweroff 2>/dev/null ||
		nsenter -t "$pid" -U -p -m -- /bin/busybox kill -INT 1
	wait_until 20 process_is_gone "$pid"
	wait_until 20 vps_is web stopped
	[ "$(vps status --json web | jq -r .last_exit)" = poweroff ]
	run vps logs web
	assert_match 'last words'
	assert_nothing_left --daemon --keep web
}

@test "vpsd is killed again and again while VPSs are created, started, stopped and destroyed" {
	for i in $(seq 8); do
		for n in a b c; do
			(
				"$VPS_BUILD/vps" create $n
				"$VPS_BUILD/vps" start $n
				"$VPS_BUILD/vps" stop --force $n
				"$VPS_BUILD/vps" destroy --force $n
			) >/dev/null 2>&1 &
		done
		# Not at the same point each time: so many more commands have been answered.
		for _ in $(seq "$i"); do vps list >/dev/null; done
		daemon_kill
		wait
		for n in a b c; do
			run vps destroy --force $n
			[ "$status" -eq 0 ] || [ "$status" -eq 3 ] || fail "destroy $n: $output"
		done
		wait_until 20 assert_nothing_left --daemon
	done
}

@test "the command line is killed in the middle of each operation" {
	vps create web
	for verb in "start web" "stop --force web" "start web" "restart web" "pause web" "resume web" \
		"stop web" "create x --template busybox" "destroy x"; do
		"$VPS_BUILD/vps" $verb >/dev/null 2>&1 &
		kill -KILL $! 2>/dev/null || true
		wait $! 2>/dev/null || true
		# Whatever it had asked for comes to an end, or never began.
		wait_until 40 settled
	done
	run vps resume web
	run vps destroy --force web
	run vps destroy --force x
	wait_until 20 assert_nothing_left --daemon
}

settled() {
	[ -z "$(vps list --json | jq -r '.[] | select(.state | test("ing$") and . != "running").name')" ]
}

@test "a client that asks and never reads hurts nobody" {
	vps create web
	python3 - "$VPS_ROOT/run/vpsd.sock" <<-'E' &
		import json, socket, sys, time
		s = []
		for i in range(40):
		    c = socket.socket(socket.AF_UNIX); c.connect(sys.argv[1]); s.append(c)
		    c.setblocking(False)
		    msg = json.dumps({"method": "io.vps.Manager.Events", "more": True}).encode() + b"\0"
		    try:
		        for _ in range(2000):
		            c.send(json.dumps({"method": "io.vps.Manager.List"}).encode() + b"\0")
		    except BlockingIOError:
		        pass
		print("full", flush=True)
		time.sleep(60)
	E
	hung=$!
	for _ in $(seq 10); do
		succeeds vps start web
		succeeds vps stop --force web
	done
	kill -KILL $hung
	wait $hung 2>/dev/null || true
}

@test "a killed monitor takes its VPS with it, and that is said" {
	vps create web
	vps start web
	pid=$(vps_pid web)
	monitor=$("$VPS_TOP/tests/pids" "$VPS_ROOT" vps-monitor)
	kill -KILL "$monitor"
	wait_until 20 vps_is web stopped
	wait_until 20 process_is_gone "$pid"
	wait_until 20 assert_nothing_left --daemon --keep web
	succeeds vps start web
	succeeds vps exec web -- true
}

@test "a sandbox whose config a crash of the host has emptied is removed" {
	vps run --rm -n box -- sleep 600 &
	client=$!
	wait_until 20 vps_is box running
	monitor=$("$VPS_TOP/tests/pids" "$VPS_ROOT" vps-monitor)
	daemon_kill
	kill -KILL "$monitor"
	wait "$client" || true
	: >"$VPS_ROOT/lib/vps/box/config"
	gone() { ! vps status box 2>/dev/null && [ ! -e "$VPS_ROOT/lib/vps/box" ]; }
	wait_until 20 gone
	wait_until 20 assert_nothing_left --daemon
}

@test "restart policy: on-failure, and a limit" {
	vps create web
	vps set web restart=on-failure restart.delay=0s restart.max=2 'init=/bin/false'
	run vps start web
	wait_until 30 restarted web 2
	wait_until 30 vps_is web stopped
	vps set web restart=no 'init=/bin/false'
}

restarted() {
	[ "$(vps status --json "$1" | jq .restarts)" -ge "$2" ]
}

@test "autostart brings the VPSs up in order once a boot" {
	vps create late
	vps create early
	vps create never
	vps set late autostart=yes autostart.order=20
	vps set early autostart=yes autostart.order=10 autostart.delay=1s
	daemon_stop
	rm -f "$VPS_ROOT/run/boot" # as after a boot
	vps list >/dev/null
	wait_until 20 vps_is late running
	wait_until 20 vps_is early running
	vps_is never stopped
	# Started one after the other, up in whatever order.
	assert_equal "$(grep -oE 'starting (early|late)$' "$VPS_ROOT/run/vpsd.log" | paste -sd,)" "starting early,starting late"
}
