# SPDX-License-Identifier: GPL-2.0-or-later
# vps firewall: the rules for what comes to a VPS, changed while it runs.

load ../lib

setup_file() {
	[ "$(id -u)" -eq 0 ] || return 0
	root_new
	vps create web net.isolate=no
	vps create peer net.isolate=no
	vps start web peer
	vps exec web -- sh -c 'echo served >/tmp/index.html;
		httpd -p 80 -h /tmp; httpd -p 8080 -h /tmp'
}

teardown_file() { root_done; }

setup() { requires root; }

teardown() {
	[ -n "${VPS_ROOT-}" ] || return 0
	vps set web firewall= firewall.default=
}

address() {
	vps config web net | grep -o 'ip=[0-9.]*' | head -n 1 | cut -d= -f2
}

# Whether another VPS is served at this port; what the host itself sends meets no rule.
answers() {
	vps exec peer -- sh -c "printf 'GET /index.html HTTP/1.0\r\n\r\n' | nc -w 2 $(address) $1" |
		grep -qx served
}

refuses() { ! answers "$1"; }

@test "no rule: the default alone" {
	succeeds vps firewall web
	assert_output "-  allow"
	succeeds vps firewall web list --json
	assert_equal "$(jq -c . <<<"$output")" '{"rules":[],"default":"allow"}'
}

@test "a rule bites at once and goes at once" {
	wait_until 20 answers 80
	succeeds vps firewall web deny 80/tcp
	assert_output ""
	refuses 80
	wait_until 20 answers 8080
	succeeds vps firewall web remove 1
	wait_until 20 answers 80
}

@test "allow with a closed default" {
	vps set web firewall.default=deny
	refuses 80
	vps firewall web allow tcp 80
	wait_until 20 answers 80
	refuses 8080
	succeeds vps firewall web
	assert_output $'1  allow tcp 80\n-  deny'
}

@test "by address" {
	local from
	from=$(vps config peer net | grep -o 'ip=[0-9.]*' | head -n 1 | cut -d= -f2)
	wait_until 20 answers 80
	vps firewall web deny from "$from"
	refuses 80
	vps firewall web remove 1
	vps firewall web deny from 192.0.2.0/24
	wait_until 20 answers 80
}

@test "the first that matches wins, and --at puts one in front" {
	vps firewall web deny tcp 80
	vps firewall web allow tcp 80
	refuses 80
	vps firewall web --at 1 allow tcp 80-81
	wait_until 20 answers 80
	succeeds vps firewall web list
	assert_output $'1  allow tcp 80-81\n2  deny tcp 80\n3  allow tcp 80\n-  allow'
	fails 3 "vps: firewall web: there is no rule 5 (hint: vps firewall web list shows those there are)" \
		vps firewall web deny icmp --at 5
	vps firewall web deny icmp --at 4
	succeeds vps firewall web list --json
	assert_equal "$(jq -r '.rules[3]' <<<"$output")" "deny icmp"
}

@test "several entries of one setting take hold together" {
	vps set web "firewall=deny tcp 80" "firewall=deny tcp 8080"
	refuses 80
	refuses 8080
	vps set web "firewall=-deny tcp 80"
	wait_until 20 answers 80
	refuses 8080
}

@test "the same rule twice is one" {
	vps firewall web deny icmp
	vps firewall web deny icmp
	succeeds vps firewall web
	assert_output $'1  deny icmp\n-  allow'
}

@test "rules are in the config and outlive a restart" {
	vps firewall web deny tcp 8080
	assert_equal "$(vps config web firewall)" "deny tcp 8080"
	vps restart web
	vps exec web -- sh -c 'httpd -p 80 -h /tmp; httpd -p 8080 -h /tmp'
	wait_until 20 answers 80
	refuses 8080
}

@test "what an isolated VPS may reach changes while it runs, by name too" {
	assert_equal "$(vps create --json alone net.allow=nix:80 | jq -r .note)" \
		"net.allow: there is no VPS named nix; it opens nothing before there is"
	vps set alone net.allow=
	vps start alone
	reaches() {
		vps exec alone -- sh -c "printf 'GET /index.html HTTP/1.0\r\n\r\n' | nc -w 2 $(address) 80" |
			grep -qx served
	}
	! reaches || fail "it is not isolated"
	succeeds vps set alone net.allow=nix:80
	assert_output "net.allow: there is no VPS named nix; it opens nothing before there is"
	vps set alone net.allow=-nix:80
	vps set alone net.allow=web
	wait_until 20 reaches
	vps set alone net.allow=-web
	! reaches || fail "it still reaches web"
	vps destroy --force alone
}

@test "errors" {
	fails 3 "vps: firewall nix: there is no VPS named nix (hint: vps list shows those there are)" \
		vps firewall nix
	fails 2 "vps: firewall web: drop is none of list, allow, deny, remove (hint: usage: vps firewall [OPTIONS] NAME [list|allow|deny|remove] [RULE|NUMBER])" \
		vps firewall web drop 80
	fails_like 2 '^vps: firewall web: allow 80/icmp is not a firewall rule \(hint: as in: ' \
		vps firewall web allow 80/icmp
	fails_like 2 '^vps: firewall web: .*99999' vps firewall web deny tcp 99999
	fails 2 "vps: firewall web: the number of a rule is missing (hint: usage: vps firewall NAME remove NUMBER)" \
		vps firewall web remove
	fails 2 "vps: firewall web: one is not the number of a rule" vps firewall web remove one
	fails 3 "vps: firewall web: there is no rule 1 (hint: vps firewall web list shows those there are)" \
		vps firewall web remove 1
	fails 2 "vps: firewall web: --at: 0 is not the number of a rule" \
		vps firewall web --at 0 allow icmp
	fails 2 "vps: firewall web: --at goes with allow and deny only" vps firewall web --at 1 remove 1
	fails 2 "vps: firewall web: x is one argument too many" vps firewall web list x
	succeeds vps firewall web
	assert_output "-  allow"
}

@test "completion" {
	run vps __complete firewall web ""
	assert_equal "$(paste -sd, <<<"$output")" list,allow,deny,remove
	run vps __complete top --sort m
	assert_output memory
	run vps __complete stats w
	assert_match '^web'
}
