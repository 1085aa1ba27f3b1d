#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A whole Debian with the services that people run moves there and back, all of them at work, and none of them
# has anything to say about it.
load ../lib
load ../migrate/hosts
load ../migrate/wire
load proof

is_running() { [ "$(inside systemctl is-system-running)" = running ]; }

# What its own configuration needs to be asked from outside.
prepare() {
	local file
	push_postgres web1
	printf '%s\n' 'bind *' 'protected-mode no' >"$BATS_TEST_TMPDIR/redis.tail"
	cat >"$BATS_TEST_TMPDIR/default" <<-'NGINX'
		server {
			listen 80 default_server;
			root /var/www/html;
			location ~ \.php$ {
				include snippets/fastcgi-php.conf;
				fastcgi_pass unix:/run/php/php-fpm.sock;
			}
		}
	NGINX
	echo '<?php echo array_sum(range(1, 100)), "\n";' >"$BATS_TEST_TMPDIR/sum.php"
	echo '* * * * * root date >>/var/log/minutes' >"$BATS_TEST_TMPDIR/minutes"
	for file in "default /etc/nginx/sites-available" "sum.php /var/www/html" "minutes /etc/cron.d" "redis.tail /root"; do
		vps push web1 "$BATS_TEST_TMPDIR/${file% *}" "${file#* }"
	done
	ssh-keygen -q -t ed25519 -N '' -f "$BATS_FILE_TMPDIR/key"
	ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/ssh_host_ed25519_key"
	vps push web1 "$BATS_FILE_TMPDIR/key.pub" /root
	vps push web1 "$BATS_TEST_TMPDIR/ssh_host_ed25519_key" /etc/ssh
}

# Services that run, one a line, and the processes that they run in.
services() { inside sh -c 'systemctl show -p Id,MainPID,NRestarts nginx redis-server postgresql@15-main php8.2-fpm cron ssh dbus systemd-journald systemd-logind'; }

# What the journal has of errors, without times and numbers of processes.
errors() { inside journalctl -q -b -p err -o cat | sort | uniq -c; }

@test "Debian: there and back with nginx, redis, PostgreSQL, php-fpm, cron and sshd at work" {
	vps create web1 --template services "$ON_WIRE"
	prepare
	start 80
	wait_until 120 is_running
	inside sh -c 'cat /root/redis.tail >>/etc/redis/redis.conf && systemctl restart redis-server &&
		install -D -m 600 /root/key.pub /root/.ssh/authorized_keys'
	wait_until 30 answers 6379
	wait_until 30 answers 22
	"$TREE" pgbench -h "$TENANT" -U postgres -q -i postgres
	before=$(services) journal=$(errors)
	load_begin redis redis.py "$TENANT" 6379 16 2000
	load_begin ssh ssh.py "$TREE" ssh -tt -i /mnt/key -o StrictHostKeyChecking=no -o LogLevel=ERROR "root@$TENANT"
	begin_pgbench 2 100000
	program_begin wrk wrk -t 1 -c 10 -d 10h --timeout 60s --latency "http://$TENANT/sum.php"
	moves
	program_end wrk INT
	say "$(requests)"
	! grep -E 'Socket errors|Non-2xx' <<<"$load_out"
	end_pgbench
	for load in ssh redis; do
		load_end $load
		say "$load_out"
	done
	assert_equal "$(inside systemctl is-system-running)" running
	assert_equal "$(inside systemctl list-units --failed -q)" ""
	assert_equal "$(services)" "$before"
	assert_equal "$(errors)" "$journal"
	assert_minutes
	# New logins and services work as before.
	succeeds inside sh -c 'systemctl restart systemd-logind && systemd-run -q --wait true'
}

# cron's minutes are there, each of them once.
assert_minutes() {
	inside cat /var/log/minutes >"$BATS_TEST_TMPDIR/seen" || return 0 # it took less than one
	[ "$(sed 's/:[0-9][0-9] .*//' "$BATS_TEST_TMPDIR/seen" | sort | uniq -d)" = "" ]
	say "cron: $(wc -l <"$BATS_TEST_TMPDIR/seen") minutes"
}
