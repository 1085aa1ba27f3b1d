#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib

setup_file() {
	root_new
	vps create web1
	vps start --wait web1
}

@test "the command's own status, output and error" {
	run --separate-stderr vps exec web1 -- sh -c 'echo out; echo err >&2; exit 7'
	assert_status 7
	assert_output out
	assert_equal "$stderr" err
}

@test "without --, options after the command are its own" {
	succeeds vps exec web1 sh -c 'echo $0 $1' -u x
	assert_output "-u x"
}

@test "standard input comes through, and its end" {
	assert_equal "$(printf 'a\nb\n' | vps exec web1 -- cat | paste -sd,)" a,b
	succeeds vps exec web1 -- cat </dev/null
	assert_output ""
}

@test "a megabyte each way is whole" {
	want=$(head -c 1000000 /dev/zero | tr '\0' x | sha256sum)
	assert_equal "$(head -c 1000000 /dev/zero | tr '\0' x | vps exec web1 -- cat | sha256sum)" "$want"
}

@test "words of all kinds arrive as they are" {
	# The plain ones are sent before main() (cli/ahead.c), the others by it.
	for word in 'a "b" \c' "it's \$HOME" $'two\nlines\ttab' "naïve" "" - -- --json "$(head -c 9000 /dev/zero | tr '\0' x)"; do
		succeeds vps exec web1 -- sh -c 'printf "%s|" "$@"' sh "$word" end
		assert_output "$word|end|"
	done
	fails 125 "vps: exec: word 3 after the verb is not UTF-8" vps exec web1 -- $'\xff'
}

@test "as many and as long arguments and variables as the kernel takes, and what is more harms nothing" {
	run xargs -s 2000000 -n 100000 "$VPS_BUILD/vps" exec web1 -- sh -c 'echo $#' sh < <(seq 100000)
	assert_output 100000
	succeeds vps exec -e "LONG=$(head -c 130000 /dev/zero | tr '\0' x)" web1 -- sh -c 'echo ${#LONG}'
	assert_output 130000
	word=$(head -c 120000 /dev/zero | tr '\0' '\001')
	fails 125 "vps: exec web1: what is to be sent is larger than 8 MiB" \
		vps exec web1 -- true $(for n in $(seq 14); do echo "$word"; done)
	succeeds vps exec web1 -- echo still there
	assert_output "still there"
}

@test "a monitor that has no room for the files of a request says so" {
	monitor=$(jq .monitor_pid "$VPS_ROOT/run/vps/web1/state")
	was=$(prlimit --nofile --noheadings --raw -o SOFT -p "$monitor")
	prlimit --nofile=16: -p "$monitor" # poll(2) takes no more than that
	run timeout 20 "$VPS_BUILD/vps" exec web1 -- true
	prlimit --nofile="$was": -p "$monitor"
	assert_status 125
	assert_match 'the monitor has no room for the files of the request'
	succeeds vps exec web1 -- echo again
	assert_output again
}

@test "a directory or user that is too long is no other one" {
	fails 125 "vps: exec web1: cwd: too long (5004 bytes, at most 4095)" \
		vps exec -w "$(printf '/%.0s' $(seq 5001))srv" web1 -- true
	fails 125 "vps: exec web1: user: too long (64 bytes, at most 63)" vps exec -u "root$(head -c 60 /dev/zero | tr '\0' x)" web1 true
	succeeds vps exec -w "$(printf '/%.0s' $(seq 4000))tmp" web1 -- pwd
	assert_output /tmp
}

@test "a standard descriptor that is closed gives its number to nothing else" {
	succeeds sh -c '"$0" exec web1 -- readlink /proc/self/fd/0 <&-' "$VPS_BUILD/vps"
	assert_output /dev/null
	succeeds sh -c '"$0" exec web1 -- sh -c "f=\$(readlink /proc/\$\$/fd/1); echo \$f >&2" 2>&1 >&-' "$VPS_BUILD/vps"
	assert_output /dev/null
	succeeds sh -c '"$0" exec -w / web1 -- sh -c "f=\$(readlink /proc/\$\$/fd/1); echo \$f >&2" 2>&1 <&- >&-' "$VPS_BUILD/vps"
	assert_output /dev/null
	fails 1 "vps: list: write to standard output: Bad file descriptor" sh -c '"$0" list >&-' "$VPS_BUILD/vps"
}

@test "user, directory and variables" {
	succeeds vps exec -u 1000:2000 -w /tmp -e A=b -e C=d web1 -- sh -c 'echo $(id -u) $(id -g) $PWD $A $C'
	assert_output "1000 2000 /tmp b d"
	SECRET=x succeeds vps exec web1 -- env
	refute_match SECRET
	SECRET=x succeeds vps exec -e SECRET web1 -- sh -c 'echo $SECRET'
	assert_output x
}

@test "126, 127 and 125" {
	fails 127 "vps: exec web1: run nowhere: No such file or directory" vps exec web1 nowhere
	fails 126 "vps: exec web1: run /etc/passwd: Permission denied" vps exec web1 /etc/passwd
	fails 125 "vps: exec web1: user nobodyknows: no such user in the VPS" vps exec -u nobodyknows web1 true
	fails 125 "vps: exec web1: enter directory /nowhere: No such file or directory" \
		vps exec -w /nowhere web1 true
	fails 125 "vps: exec web9: there is no VPS named web9 (hint: vps list shows those there are)" \
		vps exec web9 true
	fails 125 "vps: exec: a command is missing (hint: usage: vps exec [OPTIONS] NAME -- COMMAND [ARGUMENT...])" \
		vps exec web1
	run --separate-stderr vps exec --json web1 nowhere
	assert_status 127
	assert_equal "$(jq -r .status <<<"$output")" 127
}

@test "a signal ends it as a shell says" {
	run vps exec web1 -- sh -c 'kill -KILL $$'
	assert_status 137
}

@test "signals are passed on" {
	mkfifo "$BATS_TEST_TMPDIR/out"
	"$VPS_BUILD/vps" exec web1 -- sh -c 'trap "exit 42" USR1; echo ready; while :; do sleep 0.05; done' \
		>"$BATS_TEST_TMPDIR/out" 3>&- &
	pid=$!
	read -r line <"$BATS_TEST_TMPDIR/out"
	assert_equal "$line" ready
	kill -USR1 "$pid"
	status=0
	wait "$pid" || status=$?
	assert_equal "$status" 42
}

@test "-t: a terminal of the VPS, with the size of ours, that follows it" {
	run "$VPS_TOP/tests/cli/on_tty" expect:"30 100" size:40x120 send:'\n' expect:"40 120" \
		-- "$VPS_BUILD/vps" exec -t web1 -- sh -c 'stty size; read x; stty size; exit 5'
	assert_status 5
}

@test "-t: Ctrl-C goes to the command, and the terminal is as it was" {
	run "$VPS_TOP/tests/cli/on_tty" expect:ready send:'\x03' -- sh -c '
		before=$(stty -a)
		"$1" exec -t web1 -- sh -c "trap \"exit 6\" INT; echo ready; while :; do sleep 0.05; done"
		echo "status $?"
		[ "$(stty -a)" = "$before" ] && echo "as before"' - "$VPS_BUILD/vps"
	assert_status 0
	assert_match 'status 6'
	assert_match 'as before'
}

@test "-t: what was written just before the end is shown" {
	for i in 1 2 3 4 5; do
		run "$VPS_TOP/tests/cli/on_tty" -- "$VPS_BUILD/vps" exec -t web1 -- sh -c 'seq 1 500; echo end'
		assert_status 0
		assert_match 'end'
		assert_equal "$(grep -c . <<<"$output")" 501
	done
}

@test "-t without a terminal on our side" {
	assert_equal "$(echo hello | vps exec -t web1 -- sh -c 'read x; test -t 0 && echo "got $x"' | tr -d '\r' | tail -n 1)" \
		"got hello"
	run vps exec -t web1 -- cat </dev/null
	assert_status 0
}

@test "without -t the tenant never holds our terminal" {
	run "$VPS_TOP/tests/cli/on_tty" expect:no-terminal send:'typed\n' expect:"got typed" \
		-- "$VPS_BUILD/vps" exec web1 -- sh -c \
		'for i in 0 1 2; do test -t $i && echo "fd $i is one"; done; echo no-terminal; read x; echo got $x'
	assert_status 0
	refute_match 'is one'
}

@test "the tenant never holds a file or socket of ours" {
	local dir=$BATS_TEST_TMPDIR
	echo line >"$dir/in"
	vps exec web1 -- sh -c 'ls -l /proc/self/fd; (sleep 100 & echo $! >/tmp/left)' <"$dir/in" >"$dir/out" 2>&1
	run cat "$dir/out"
	assert_equal "$(grep -c 'pipe:' "$dir/out")" 3
	refute_match "$dir"
	run vps exec web1 -- sh -c 'ls -l /proc/$(cat /tmp/left)/fd; kill $(cat /tmp/left)'
	assert_status 0
	refute_match "$dir"
}

@test "output and errors that go to one file keep their order" {
	vps exec web1 -- sh -c 'for i in 1 2 3; do echo out $i; echo err $i >&2; done' >"$BATS_TEST_TMPDIR/out" 2>&1
	assert_equal "$(tr '\n' ' ' <"$BATS_TEST_TMPDIR/out")" "out 1 err 1 out 2 err 2 out 3 err 3 "
}

@test "what a command does not read of a file is there for the next" {
	local dir=$BATS_TEST_TMPDIR
	printf '%s\n' 1 2 3 4 >"$dir/in"
	while read -r line; do
		echo "we $line"
		vps exec web1 -- sh -c 'test '"$line"' = 3 || { read x; echo "it $x"; }'
	done <"$dir/in" >"$dir/out"
	assert_equal "$(tr '\n' ' ' <"$dir/out")" "we 1 it 2 we 3 we 4 it  "
}

@test "enter what does not run" {
	vps create web2
	fails 125 "vps: enter web2: it is not running (hint: vps start web2)" vps enter web2
}

@test "enter: a login shell" {
	run "$VPS_TOP/tests/cli/on_tty" send:'echo "$0 $((6*7))"; exit 4\n' expect:'-[a-z]*sh 42|sh 42' \
		-- "$VPS_BUILD/vps" enter web1
	assert_status 4
	assert_equal "$(echo 'echo $HOME' | vps enter web1)" /root
}

@test "an output that does not block loses nothing" {
	run python3 - "$VPS_BUILD/vps" <<-'X'
		import socket, subprocess, sys, time
		ours, theirs = socket.socketpair()
		theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
		theirs.setblocking(False)
		vps = [sys.argv[1], "exec", "web1", "--"]
		p = subprocess.Popen(vps + ["sh", "-c", "head -c 60000 /dev/zero; touch /over"], stdout=theirs)
		theirs.close()
		while subprocess.run(vps + ["test", "-e", "/over"]).returncode:
		    time.sleep(0.02)
		got = 0
		while piece := ours.recv(65536):
		    got += len(piece)
		print(got, p.wait())
	X
	assert_output "60000 0"
}
