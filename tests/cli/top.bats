# SPDX-License-Identifier: GPL-2.0-or-later
# vps top: one table elsewhere, a view of its own on a terminal.

load ../lib

setup_file() {
	[ "$(id -u)" -eq 0 ] || return 0
	root_new
	vps create busy cpu.max=0.5 --ram 64M
	vps create idle
	vps create full
	vps start busy idle full
	# Burns CPU until its VPS goes.
	vps exec busy -- sh -c '(while :; do :; done) >/dev/null 2>&1 &'
	vps exec full -- sh -c 'dd if=/dev/zero of=/dev/shm/x bs=1M count=32 2>/dev/null'
}

teardown_file() { root_done; }

setup() { requires root; }

names() { awk 'NR > 1 { print $1 }' <<<"$output" | paste -sd,; }

# on_tty ROWS COLUMNS INPUT CMD...: on a terminal of its own, with INPUT typed once it has drawn; what
# it wrote is printed. For a ! in INPUT vpsd is killed. Fails when the terminal's settings are not as they were.
on_tty() {
	python3 - "$@" <<'END'
import fcntl, os, pty, select, struct, sys, termios, time
rows, cols, text, argv = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
master, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
before = termios.tcgetattr(slave)
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(slave, fd)
    os.closerange(3, 64)
    os.environ["TERM"] = "xterm"
    os.execvp(argv[0], argv)
out, end = b"", time.monotonic() + 60 * int(os.environ["VPS_TEST_SLOW"])
while time.monotonic() < end:
    if select.select([master], [], [], 0.05)[0]:
        out += os.read(master, 65536)
        # One key at a time, each after a new picture.
        if text and out.count(b"\033[H") > len(sys.argv[3]) - len(text):
            if text[0] == "!":
                os.kill(int(os.environ["DAEMON"]), 9)
            else:
                os.write(master, text[0].encode())
            text = text[1:]
    elif os.waitpid(child, os.WNOHANG)[0]:
        break
else:
    os.kill(child, 9)
    sys.exit("it does not end")
os.write(1, out)
sys.exit("the terminal is not restored" if termios.tcgetattr(slave) != before else 0)
END
}

# The last whole picture, without escapes.
last_picture() {
	tr -d '\r' <<<"$output" | awk 'BEGIN { RS = "\033\\[H" } { p = $0 } END { print p }' |
		sed $'s/\033\\[[0-9;?]*[A-Za-z]//g'
}

@test "elsewhere one table, the busiest first" {
	succeeds vps top
	assert_match '^NAME +CPU% +MEMORY +CACHE +SWAP +PIDS +READ/s +WRITE/s +RX/s +TX/s'
	assert_equal "${#lines[@]}" 4
	wait_until 20 busy_is_first
}

# In a short moment it may not have got the processor.
busy_is_first() {
	vps top -d 200ms | sed -n 2p | grep '^busy'
}

burns() {
	vps top --json -d 200ms | jq -e '.[0].name == "busy" and .[0].rate.cpu > 0.1'
}

@test "sorted by other keys" {
	run vps top -d 100ms --sort memory
	assert_status 0
	[[ ${lines[1]} == full* ]] || fail "$output"
	run vps top -d 100ms --sort name
	assert_equal "$(names)" busy,full,idle
}

@test "as often as asked" {
	run vps top -d 100ms -n 3 --json
	assert_status 0
	assert_equal "$(jq -s length <<<"$output")" 3
}

@test "JSON has the rates" {
	succeeds vps top --json -d 200ms
	assert_equal "$(jq length <<<"$output")" 3
	jq -e 'all(.[]; .memory.current > 0 and (.rate | has("read_bytes") and has("tx_bytes")))' \
		<<<"$output"
	jq -e '.[] | select(.name == "idle").rate.cpu < 0.3' <<<"$output"
	wait_until 20 burns
}

@test "errors" {
	fails 2 "vps: top: --sort: foo is not a key (hint: one of name, cpu, memory, cache, swap, pids, io, net)" \
		vps top --sort foo
	fails 2 "vps: top: --delay: soon is not a duration (hint: for example 500ms, 2s or 1m)" \
		vps top -d soon
	fails 2 "vps: top: --delay: 1ms is not between 100ms and 24h" vps top -d 1ms
	fails 2 "vps: top: --count: 0 is not a number from 1" vps top -n 0
	fails 2 "vps: top: busy is one argument too many (hint: usage: vps top [OPTIONS])" vps top busy
}

@test "on a terminal: a screen of its own, with bars, until q" {
	run on_tty 24 130 q "$VPS_BUILD/vps" top -d 200ms
	assert_status 0
	[[ $output == *$'\033[?1049h'*$'\033[?25l'* ]] || fail "no screen of its own"
	[[ $output == *$'\033[?25h\033[?1049l' ]] || fail "the screen is not left"
	run last_picture
	assert_match '3 running'
	assert_match 'NAME .* CPU% .*MEMORY .*PIDS READ/s  WRI/s   RX/s   TX/s  CACHE   SWAP    PSI'
	assert_match 'full .*\[.{8}\]'
}

@test "keys sort and turn round" {
	run on_tty 24 130 nq "$VPS_BUILD/vps" top -d 500ms
	assert_status 0
	run last_picture
	assert_match 'by name'
	assert_equal "$(grep -oE '^(busy|full|idle)' <<<"$output" | paste -sd,)" busy,full,idle
	run on_tty 24 130 nrq "$VPS_BUILD/vps" top -d 500ms
	run last_picture
	assert_match 'by name, reversed'
	assert_equal "$(grep -oE '^(busy|full|idle)' <<<"$output" | paste -sd,)" idle,full,busy
}

@test "Ctrl-C and a count end it, and the terminal is restored" {
	run on_tty 24 80 $'\003' "$VPS_BUILD/vps" top -d 200ms
	assert_status 0
	run on_tty 24 80 '' "$VPS_BUILD/vps" top -d 100ms -n 2
	assert_status 0
	[[ $output == *$'\033[?1049l' ]]
}

@test "Ctrl-Z gives the terminal to the shell, and fg back" {
	run on_tty 24 80 $'\032q' bash -c 'set -m; "$VPS_BUILD/vps" top -d 200ms; fg'
	assert_status 0
	[[ $output == *$'\033[?1049h'*$'\033[?1049l'*$'\033[?1049h'*$'\033[?1049l'* ]] || fail "$output"
}

@test "what has no room is left out" {
	run on_tty 6 40 q "$VPS_BUILD/vps" top -d 200ms --sort name
	assert_status 0
	run last_picture
	refute_match 'READ/s'
	assert_match '1 more'
	refute_match $'\n''idle'
	while read -r line; do
		((${#line} <= 40)) || fail "a line of ${#line}: $line"
	done <<<"$output"
}

@test "a vpsd that goes away does not end it: the next one is asked" {
	DAEMON=$(daemon_pid) run on_tty 24 80 '!nq' "$VPS_BUILD/vps" top -d 100ms
	assert_status 0
	run last_picture
	assert_match '3 running'
}
