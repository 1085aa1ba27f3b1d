# SPDX-License-Identifier: GPL-2.0-or-later
#
# Tenants move under load, and somebody knows every operation that was acknowledged. How much of it:
#
#	VPS_PROOF_MIB       redis' keys and the file that is fetched, in MiB (64)
#	VPS_PROOF_MOVES     moves during each load (2)
#
# Small by default, for every day; `make proof` has what is to be shown. Each move and each load says in
# the TAP what it saw (tests/run -v). A file here begins with
#
#	load ../lib
#	load ../migrate/hosts
#	load ../migrate/wire
#	load proof
#
# and its tenants are named `web1`, have the address $TENANT, and are made of the tree `services`.

: "${VPS_PROOF_MIB:=64}" "${VPS_PROOF_MOVES:=2}"
VPS_TEST_TIMEOUT=600
TENANT=192.0.2.10
ON_WIRE=net=name=eth0,mode=bridge,parent=br0,ip=$TENANT/24
LOADS=$VPS_TOP/tests/proof

setup_file() { proof_new; }
teardown_file() { proof_done; }
setup() { proof_begin; }
teardown() { proof_end; }

services_tree() {
	debian_tree services nginx-light redis-server openssh-server cron postgresql php-fpm python3 \
		wrk iperf3 iputils-ping
}

proof_new() {
	local tar host
	hosts_new
	wire_new
	[ "$(id -u)" -eq 0 ] && tar=$(services_tree) || return 0
	for host in a b; do
		on $host vps template import services "$tar" >/dev/null
	done
	tree_new
}

proof_done() {
	local left=0
	[ ! -e "$A_ROOT.tree" ] || rm -rf "$A_ROOT.tree" "$TREE"
	hosts_done || left=1
	wire_done
	return "$left"
}

proof_begin() {
	requires root kernel 6.7
	[ -x "${TREE-}" ] || skip "no Debian tree with services can be made here"
	AT=a
	declare -gA load_pid=()
}

proof_end() {
	local pid host
	for pid in "${load_pid[@]}"; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	for host in a b; do
		on $host vps_clean
	done
}

# The client's programs are those of the tree: $TREE CMD... runs one in the client's network, in a copy of
# the tree that lasts as long as it does.
tree_new() {
	TREE=$A_ROOT.run
	mkdir "$A_ROOT.tree"
	cat >"$TREE" <<-TREE
		#!/bin/sh
		exec nsenter --net="$CLIENT" -- unshare --mount sh -ec '
		mount -t tmpfs none "$A_ROOT.tree"
		cd "$A_ROOT.tree"
		mkdir upper work root
		mount -t overlay -o lowerdir="\$1",upperdir=upper,workdir=work none root
		shift
		mount --rbind /dev root/dev
		mount -t proc none root/proc
		mount --bind "$BATS_FILE_TMPDIR" root/mnt
		exec chroot root "\$@"' sh $A_ROOT/lib/templates/services/*/rootfs "\$@"
	TREE
	chmod 755 "$TREE"
	export TREE
}

# say WORD...: a line of the TAP's that is always shown
say() { echo "# $*" >&3; }

# --- moves ----------------------------------------------------------------------------------------

# move: web1 goes to the host where it is not ($AT); anything but success is a failure.
move() {
	local to=b
	[ "$AT" = a ] || to=a
	succeeds on "$AT" vps migrate --json -e "$RSH" web1 "host-$to"
	assert_only_on "$to" web1
	AT=$to
	say "to $to: $(tail -n 1 <<<"$output" |
		jq -r '"\(.bytes / 1048576 | floor) MiB in \(.total_ms) ms, \(.rounds) rounds, a pause of \(.pause_ms) ms"')"
}

moves() {
	local n
	for ((n = 0; n < ${1:-$VPS_PROOF_MOVES}; n++)); do
		move
	done
}

# inside CMD...: in web1, wherever it is
inside() { on "$AT" vps exec web1 -- "$@"; }

# --- loads ----------------------------------------------------------------------------------------

# start PORT: web1, until it answers there. Another VPS may have had the address a moment ago.
start() {
	vps start web1
	nsenter --net="$CLIENT" ip neigh flush dev up0
	wait_until 60 answers "$1"
}

answers() {
	nsenter --net="$CLIENT" timeout 2 bash -c "exec 9<>/dev/tcp/$TENANT/$1"
}

# load_begin NAME CMD [ARG...]: runs CMD READY-FILE STOP-FILE ARG... and returns when it has made the first.
# It ends when the second is there, prints what it saw, and fails when anything was not as it should be.
load_begin() {
	local name=$1 program=$2 dir=$BATS_TEST_TMPDIR
	shift 2
	nsenter --net="$CLIENT" python3 "$LOADS/$program" "$dir/$name.ready" "$dir/$name.stop" "$@" \
		>"$dir/$name.out" 2>&1 3>&- &
	load_pid[$name]=$!
	wait_until 300 load_has_begun "$name"
	load_is_on "$name"
}

load_has_begun() {
	[ -e "$BATS_TEST_TMPDIR/$1.ready" ] || ! kill -0 "${load_pid[$1]}"
}

load_is_on() {
	kill -0 "${load_pid[$1]}" || { cat "$BATS_TEST_TMPDIR/$1.out" >&2; return 1; }
}

load_end() { # NAME
	touch "$BATS_TEST_TMPDIR/$1.stop"
	load_wait "$1"
}

# program_begin NAME CMD...: one of the tree's own; $BATS_FILE_TMPDIR is /mnt in it.
program_begin() {
	local name=$1
	shift
	"$TREE" "$@" >"$BATS_TEST_TMPDIR/$name.out" 2>&1 3>&- &
	load_pid[$name]=$!
	wait_until 60 load_is_connected "$name"
	load_is_on "$name"
}

load_is_connected() {
	nsenter --net="$CLIENT" ss -Htn state established dst "$TENANT" | grep -q . || ! kill -0 "${load_pid[$1]}"
}

# program_end NAME SIGNAL [STATUS]: the signal at which it stops as if its time were up, and how it then ends.
program_end() {
	load_is_on "$1"
	kill -s "$2" "${load_pid[$1]}"
	load_wait "$1" "${3-0}"
}

# What wrk saw.
requests() {
	awk '$1 == "Latency" && NF > 4 { longest = $4 }
		/requests in/ { print $1, "requests, the longest wait", longest }' <<<"$load_out"
}

# Its output is in $load_out.
load_wait() { # NAME [STATUS]
	local status=0
	wait "${load_pid[$1]}" || status=$?
	unset "load_pid[$1]"
	load_out=$(cat "$BATS_TEST_TMPDIR/$1.out")
	[ "$status" -eq "${2-0}" ] || { echo "$1: status $status"; tail -n 30 <<<"$load_out"; return 1; } >&2
}

# --- PostgreSQL -----------------------------------------------------------------------------------

# Its settings: it listens to all, and believes them.
push_postgres() { # NAME
	echo "listen_addresses = '*'" >"$BATS_TEST_TMPDIR/proof.conf"
	printf '%s\n' 'local all all trust' 'host all all all trust' >"$BATS_TEST_TMPDIR/pg_hba.conf"
	vps push "$1" "$BATS_TEST_TMPDIR/proof.conf" /etc/postgresql/15/main/conf.d
	vps push "$1" "$BATS_TEST_TMPDIR/pg_hba.conf" /etc/postgresql/15/main
}

# psql ARG...: as its superuser, on the client's side
psql() { "$TREE" psql -h "$TENANT" -U postgres -qAt "$@"; }

# begin_pgbench CLIENTS ACCOUNTS: each of its transactions says who made it, and its number.
begin_pgbench() {
	psql -c 'CREATE TABLE done (client int, number int)' postgres
	cat >"$BATS_FILE_TMPDIR/script" <<-SQL
		\\set n :n + 1
		\\set account random(1, $2)
		BEGIN;
		UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :account;
		INSERT INTO done VALUES (:client_id, :n);
		COMMIT;
	SQL
	program_begin pgbench pgbench -h "$TENANT" -U postgres -n -c "$1" -T 36000 -D n=0 -f /mnt/script \
		-l --log-prefix=/mnt/pgbench.log postgres
}

# What pgbench says was committed, a line "CLIENT NUMBER" each: its log has one for each transaction.
logged() { cat "$BATS_FILE_TMPDIR"/pgbench.log.* | awk '{ print $1, ++n[$1] }' | sort; }

# Every transaction that pgbench saw committed is there, and no other.
end_pgbench() {
	program_end pgbench ALRM
	say "$(sed -n 's/^number of transactions actually processed/committed/p; s/^latency average/&/p' <<<"$load_out" |
		paste -sd,)"
	[ "$(logged | wc -l)" -gt 0 ]
	diff <(logged) <(psql -F ' ' -c 'SELECT client, number FROM done' postgres | sort)
	assert_equal "$(psql -c 'SELECT sum(abalance) FROM pgbench_accounts' postgres)" "$(logged | wc -l)"
}
