#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib
load hosts

setup_file() { hosts_new; }
teardown_file() { hosts_done; }
teardown() { hosts_clean; }

# A VPS whose root has what an upper layer can hold.
make_web1() {
	vps create web1 memory.max=64M description='a tenant' 'firewall=allow 80/tcp' publish=8080:80
	vps start web1
	vps exec web1 -- sh -c '
		mkdir -p /srv/dir && echo hello >/srv/dir/file && ln /srv/dir/file /srv/link
		ln -s dir/file /srv/soft && mkfifo /srv/pipe && chown 1000:1000 /srv/dir
		chmod 4711 /srv/dir/file && rm /etc/issue 2>/dev/null; rm -r /etc/network 2>/dev/null
		mv /usr/share /usr/share2 2>/dev/null; mkdir -p /usr/share; echo new >/usr/share/new
		dd if=/dev/zero of=/srv/sparse bs=1 count=1 seek=100M 2>/dev/null
		echo on the console >/dev/console'
	vps stop web1
}

inside() {
	on "$1" vps start web1
	on "$1" vps exec web1 -- sh -c '
		find / -xdev \( -path /dev -o -path /proc -o -path /sys -o -path /run -o -path /tmp \) -prune \
			-o -exec stat -c "%n %a %u:%g %h %F %Y" {} + 2>/dev/null | sort |
			grep -v -e "^/etc [0-7]" -e "^/etc/resolv.conf" -e "^/etc/host"
		cat /srv/link /usr/share/new; stat -c "%a %u %h" /srv/dir/file; stat -c %u /srv/dir
		[ $(du -k /srv/sparse | cut -f1) -lt 100 ] && readlink /srv/soft'
	on "$1" vps stop web1
}

@test "a move" {
	make_web1
	before=$(inside a)
	diff <(echo "$before") <(inside a)
	config=$(vps config web1 | sort)
	uuid=$(vps list --json | jq -r '.[0].uuid')
	succeeds vps migrate -e "$RSH" web1 host-b
	assert_only_on b web1
	assert_equal "$(on b vps config web1 | sort)" "$config"
	assert_equal "$(on b vps list --json | jq -r '.[0].uuid')" "$uuid"
	diff <(echo "$before") <(inside b)
	on b vps logs web1 | grep 'on the console'
	wait_until 20 no_words b
	# The template came by its digest, and the second time it is there.
	succeeds on b vps migrate -e "$RSH" --json web1 root@host-a
	assert_equal "$(tail -n 1 <<<"$output" | jq -c 'keys')" '["bytes","pause_ms","rounds","total_ms"]'
	[ "$(tail -n 1 <<<"$output" | jq .bytes)" -lt 1000000 ]
	assert_only_on a web1
	assert_equal "$(inside a)" "$before"
}

@test "a copy has an identity of its own" {
	make_web1
	succeeds vps copy -e "$RSH" --name web2 web1 host-b
	assert_equal "$(names a) $(names b)" "web1 web2"
	[ "$(on a vps list --json | jq -r '.[0].uuid')" != "$(on b vps list --json | jq -r '.[0].uuid')" ]
	on b vps start web2
	assert_equal "$(on b vps exec web2 -- cat /srv/link)" hello
	vps start web1
}

@test "through a file" {
	make_web1
	vps set web1 publish=-8080:80
	vps send --compress zstd web1 >"$BATS_TEST_TMPDIR/web1.vps" 2>/dev/null
	on b vps receive <"$BATS_TEST_TMPDIR/web1.vps"
	assert_equal "$(names a) $(names b)" "web1 web1"
	succeeds on b vps receive --name web3 <"$BATS_TEST_TMPDIR/web1.vps"
	assert_equal "$(names b)" "web1 web3"
	on b vps start web3
	assert_equal "$(on b vps exec web3 -- cat /srv/link)" hello
	fails 5 "vps: receive: there is a VPS named web1 already" on b vps receive <"$BATS_TEST_TMPDIR/web1.vps"
	fails_like 2 "Web5 is not a name .hint: a name has" on b vps receive --name Web5 <"$BATS_TEST_TMPDIR/web1.vps"
	succeeds on b vps receive --json --name web5 <"$BATS_TEST_TMPDIR/web1.vps"
	assert_equal "$(tail -n 1 <<<"$output" | jq -r .name)" web5
	on b vps destroy web5
	head -c -1 "$BATS_TEST_TMPDIR/web1.vps" >"$BATS_TEST_TMPDIR/cut"
	fails_like 1 "the connection ended too early" on b vps receive --name web4 <"$BATS_TEST_TMPDIR/cut"
	fails_like 2 "what comes is no stream of a VPS" on b vps receive --name web4 <"$BATS_TEST_DIRNAME/hosts.bash"
	assert_equal "$(names b)" "web1 web3"
}

@test "all that stands in the way is said at once, and nothing is touched" {
	make_web1
	vps set web1 mount=/srv:/mnt
	on b vps create web1
	on b vps create other publish=8080:80
	run vps migrate -e "$RSH" --dry-run web1 host-b
	assert_status 5
	assert_output "there is a VPS named web1 already
mount = /srv:/mnt is not taken from another host
publish: port 8080 of the host is that of other"
	fails 5 "vps: migrate web1: there is a VPS named web1 already; mount = /srv:/mnt is not taken from another host; publish: port 8080 of the host is that of other" \
		vps migrate -e "$RSH" web1 host-b
	assert_equal "$(names a) $(names b)" "web1 other web1"
	vps set web1 mount=-/srv:/mnt publish=-8080:80
	succeeds vps migrate -e "$RSH" --dry-run --name web2 web1 host-b
	assert_output "nothing stands in the way"
	assert_equal "$(names b)" "other web1"
	vps start web1
}

@test "what is not possible here" {
	vps create web1
	fails_like 1 "the connection ended too early .hint: .*ended with status 255" \
		vps migrate -e "$RSH" web1 nowhere
	vps start web1
	fails 5 "vps: migrate web1: it is running (hint: vps stop web1)" \
		vps migrate --offline -e "$RSH" web1 host-b
	fails 5 "vps: copy web1: it is running (hint: vps stop web1)" vps copy -e "$RSH" web1 host-b
	fails 3 "vps: migrate web9: there is no VPS named web9 (hint: vps list shows those there are)" \
		vps migrate -e "$RSH" web9 host-b
	fails 2 "vps: migrate web1: -x is no host" vps migrate -e "$RSH" web1 -- -x
}

@test "to itself, to no name, by a shell that says something" {
	vps create web1
	vps start web1
	for options in "" --dry-run "--name web2"; do
		run vps migrate -e "$RSH" $options web1 host-a
		assert_status 5
		[[ $output == *"a VPS with its UUID is here already"* ]]
	done
	vps_is web1 running
	for name in Web1 ""; do
		fails 2 "vps: migrate web1: ${name:-\"\"} is not a name (hint: a name has 1 to 63 of a-z, 0-9 and -, and begins with a letter or a digit)" \
			vps migrate -e "$RSH" --name "$name" web1 host-b
	done
	fails_like 2 "what comes is no stream of a VPS, or it is damaged .hint: the remote shell must not print" \
		vps migrate -e "sh -c 'echo Welcome; exec \"$RSH\" \"\$@\"' x" web1 host-b
	succeeds vps migrate -e "$RSH" --max-pause 100 web1 host-b
	assert_only_on b web1
}

@test "kept files do not start" {
	vps create web1
	vps migrate -e "$RSH" --keep web1 host-b 2>/dev/null
	assert_equal "$(names a) $(names b)" "web1 web1"
	fails 5 "vps: start web1: it has moved to host-b (hint: if it does not run there: vps migrate --resolve web1 source)" \
		vps start web1
	daemon_stop
	fails_like 5 "it has moved to host-b" vps start web1
	on b vps destroy web1
	vps migrate --resolve web1 source
	vps start web1
}
