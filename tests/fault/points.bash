# SPDX-License-Identifier: GPL-2.0-or-later
#
# Faults in a vpsd that has one VPS, "web", and where they can be. Load it after inside.bash.

teardown() {
	unset VPS_FAULT
	vps_clean
	daemon_stop
}

# trace CMD...: what it does to "web", which counts, goes past the points that are in $TRACE afterwards.
trace() {
	export TRACE=$BATS_FILE_TMPDIR/trace
	vps create web
	give_counter web
	daemon_stop
	VPS_FAULT_TRACE=$TRACE vps start web
	"$@"
	vps destroy --force web
	daemon_stop
	sort -u "$TRACE" -o "$TRACE"
}

points() {
	grep "^$1\." "$TRACE" | grep -v '\.after$'
}

lib() {
	echo "$VPS_ROOT/lib/vps/web"
}

# under POINT:ACTION: the vpsd that comes next, and all that it starts, has this fault.
under() {
	daemon_stop
	export VPS_FAULT=$1
	vps list >/dev/null
	unset VPS_FAULT
}
