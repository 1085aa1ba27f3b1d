# SPDX-License-Identifier: GPL-2.0-or-later

# give_init NAME TEXT: a shell script as the init of a stopped VPS.
give_init() {
	printf '#!/bin/sh\n%s\n' "$2" >"$BATS_TEST_TMPDIR/my-init"
	chmod 755 "$BATS_TEST_TMPDIR/my-init"
	vps push "$1" "$BATS_TEST_TMPDIR/my-init" /root
	vps set "$1" init=/root/my-init
}

# A VPS whose init counts in its memory, ten times a second, and writes the number to /count; `counts`
# says that it goes on, `count` where it is.
give_counter() {
	give_init "$1" 'trap "exit 0" TERM INT
i=0; echo 0 >/count
while :; do i=$((i+1)); echo $i >/count.new; mv /count.new /count; sleep 0.1; done'
}

count() {
	vps exec "$1" -- cat /count
}

counts_past() {
	[ "$(count "$1")" -gt "$2" ]
}

counts() {
	local from
	from=$(count "$1")
	wait_until 20 counts_past "$1" "$from"
}
