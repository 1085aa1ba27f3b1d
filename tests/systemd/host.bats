#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A host that systemd runs: vps installed, its units, and what survives a restart of vpsd. It is the
# machine's own state root, so this is for a machine of its own (tests/run vm boots one with systemd).
load ../lib

setup_file() {
	[ -n "${VPS_TEST_VM-}" ] && [ "$(cat /proc/1/comm)" = systemd ] || return 0
	unset VPS_ROOT
	install -D -t /usr/local/bin "$VPS_BUILD/vps"
	install -D -t /usr/local/sbin "$VPS_BUILD/vpsd"
	install -D -t /usr/local/libexec/vps "$VPS_BUILD"/vps-{monitor,worker,packer,init}
	mkdir -p /usr/local/share/vps
	cp -r "$VPS_TOP/templates" /usr/local/share/vps/
	install -m 644 -t /etc/systemd/system "$VPS_BUILD/supervisor/units/vpsd.service" \
		"$VPS_TOP/supervisor/units/vpsd.socket" "$VPS_TOP/cgroup/vps-tenants.service"
	systemctl daemon-reload
	systemctl enable --now vps-tenants.service vpsd.socket
}

teardown_file() { :; }

setup() {
	[ -n "${VPS_TEST_VM-}" ] || skip "runs in the virtual machine only"
	[ "$(cat /proc/1/comm)" = systemd ] || skip "this host's init is not systemd"
}

vps() { timeout --foreground -k 5 "$((60 * VPS_TEST_SLOW))" /usr/local/bin/vps "$@"; }
tenant_group() { sed -n 's/^0:://p' "/proc/$(vps_pid web)/cgroup"; }

@test "the socket starts vpsd, and a VPS lies below the unit of the tenants" {
	vps create web
	vps start web
	systemctl is-active vpsd.service
	[[ $(tenant_group) == /system.slice/vps-tenants.service/vps/web* ]] || fail "$(tenant_group)"
	succeeds vps exec web -- hostname
	assert_output web
	vps set web memory.max=64M
	assert_equal "$(cat "/sys/fs/cgroup/system.slice/vps-tenants.service/vps/web/memory.max")" 67108864
}

@test "it survives systemctl restart vpsd" {
	pid=$(vps_pid web)
	was=$(systemctl show -P MainPID vpsd.service)
	systemctl restart vpsd.service
	[ "$(systemctl show -P MainPID vpsd.service)" != "$was" ]
	assert_equal "$(vps_pid web)" "$pid"
	succeeds vps exec web -- echo there
	assert_output there
	assert_equal "$(cat "/sys/fs/cgroup/system.slice/vps-tenants.service/vps/web/memory.max")" 67108864
	vps set web memory.max=32M
	assert_equal "$(cat "/sys/fs/cgroup/system.slice/vps-tenants.service/vps/web/memory.max")" 33554432
	vps restart --force web
	[ "$(vps_pid web)" != "$pid" ]
}

@test "it survives a vpsd that is killed, and one that is stopped and asked again" {
	pid=$(vps_pid web)
	kill -KILL "$(systemctl show -P MainPID vpsd.service)"
	wait_until 20 systemctl is-active vpsd.service
	assert_equal "$(vps_pid web)" "$pid"
	systemctl stop vpsd.service
	assert_equal "$(vps_pid web)" "$pid"
	systemctl is-active vpsd.service || true
	succeeds vps exec web -- echo again
	assert_output again
}

@test "daemon-reload and a re-executed systemd leave the groups alone" {
	systemctl daemon-reload
	systemctl daemon-reexec
	succeeds vps exec web -- echo there
	[[ $(tenant_group) == /system.slice/vps-tenants.service/vps/web* ]]
	vps create second
	vps start second
	vps stop --force second
	vps destroy second
}

@test "stopping the tenants' unit ends every VPS, and vpsd takes note" {
	systemctl stop vps-tenants.service
	wait_until 30 vps_is web stopped
	systemctl start vps-tenants.service
	vps start web
	vps destroy --force web
	systemctl stop vpsd.socket vpsd.service vps-tenants.service
}
