# SPDX-License-Identifier: GPL-2.0-or-later
#
# For tests of the client against tests/cli/fake_vpsd.py in place of vpsd.

# fake_start MODE [ARGUMENT]: returns when it listens.
fake_start() {
	FAKE_ROOT=$BATS_TEST_TMPDIR/inside
	mkdir -p "$FAKE_ROOT"
	export FAKE_ROOT
	mkfifo "$BATS_TEST_TMPDIR/ready"
	"$VPS_TOP/tests/cli/fake_vpsd.py" "$VPS_ROOT" "$@" >"$BATS_TEST_TMPDIR/ready" \
		2>"$BATS_TEST_TMPDIR/fake.err" 3>&- &
	FAKE_PID=$!
	read -r _ <"$BATS_TEST_TMPDIR/ready"
}

# What vps called with, one JSON array [method, parameters] a line.
fake_calls() {
	cat "$VPS_ROOT/calls"
}

fake_stop() {
	if [ -n "${FAKE_PID-}" ]; then
		kill "$FAKE_PID" 2>/dev/null || true
		wait "$FAKE_PID" 2>/dev/null || true
		FAKE_PID=
	fi
	rm -rf "${VPS_ROOT:?}/run" "$VPS_ROOT/calls"
}

teardown() { fake_stop; }
