# SPDX-License-Identifier: GPL-2.0-or-later

# give_init NAME TEXT: a shell script as the init of a stopped VPS.
give_init() {
	printf '#!/bin/sh\n%s\n' "$2" >"$BATS_TEST_TMPDIR/my-init"
	chmod 755 "$BATS_TEST_TMPDIR/my-init"
	vps push "$1" "$BATS_TEST_TMPDIR/my-init" /root
	vps set "$1" init=/root/my-init
}

# A VPS whose init counts in its memory, ten times a second, and writes the number to /count; `counts`
# says that it goes on, `count` where it is. `word` is another thing in its memory: "first", or "later" once
# SIGUSR1 has come.
give_counter() {
	give_init "$1" 'trap "exit 0" TERM INT; trap "word=later" USR1
i=0; word=first; echo 0 first >/count
while :; do i=$((i+1)); echo $i $word >/count.new; mv /count.new /count; sleep 0.1; done'
}

# new_counter NAME [PAST]: one that runs, and has counted so far.
new_counter() {
	vps create "$1"
	give_counter "$1"
	vps start "$1"
	wait_until 20 counts_past "$1" "${2-3}"
}

count() {
	local text
	text=$(vps exec "$1" -- cat /count) && echo "${text% *}"
}

word_is() { # NAME WORD
	local text
	text=$(vps exec "$1" -- cat /count) && [ "${text#* }" = "$2" ]
}

change_word() {
	vps exec "$1" -- kill -USR1 1
	wait_until 20 word_is "$1" later
}

counts_past() {
	[ "$(count "$1")" -gt "$2" ]
}

counts() {
	local from
	from=$(count "$1")
	wait_until 20 counts_past "$1" "$from"
}
