# SPDX-License-Identifier: GPL-2.0-or-later
#
# Faults in a vpsd that has one VPS, "web".

teardown() {
	unset VPS_FAULT
	vps_clean
	daemon_stop
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
