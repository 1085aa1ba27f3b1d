# SPDX-License-Identifier: GPL-2.0-or-later

# give_init NAME TEXT: a shell script as the init of a stopped VPS.
give_init() {
	printf '#!/bin/sh\n%s\n' "$2" >"$BATS_TEST_TMPDIR/my-init"
	chmod 755 "$BATS_TEST_TMPDIR/my-init"
	vps push "$1" "$BATS_TEST_TMPDIR/my-init" /root
	vps set "$1" init=/root/my-init
}
