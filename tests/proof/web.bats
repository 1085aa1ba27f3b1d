#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A web server moves, and nobody who asks it sees more than a wait.
load ../lib
load ../migrate/hosts
load ../migrate/wire
load proof

make_web() {
	vps create web1 --template services "$ON_WIRE" \
		init='/usr/sbin/nginx -g "daemon off;"'
	start 80
}

@test "nginx: no request of fifty connections fails" {
	make_web
	program_begin wrk wrk -t 1 -c 50 -d 10h --timeout 60s --latency "http://$TENANT/"
	moves
	program_end wrk INT
	say "$(requests)"
	grep -q ' requests in ' <<<"$load_out"
	! grep -E 'Socket errors|Non-2xx' <<<"$load_out"
}

@test "nginx: a download through the switch-over has the right checksum" {
	make_web
	inside dd if=/dev/urandom of=/var/www/html/large bs=1M count="$VPS_PROOF_MIB" status=none
	load_begin download download.py "$TENANT" /large "$(inside sha256sum /var/www/html/large | cut -d' ' -f1)"
	moves
	load_end download
	say "$load_out"
}
