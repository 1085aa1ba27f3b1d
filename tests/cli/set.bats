#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
load ../lib

setup() {
	requires root
	vps create web1
}
teardown() { vps_clean; }

@test "set, and back to the default" {
	succeeds vps set web1 restart=always stop.timeout=5s --onboot yes
	assert_output ""
	assert_equal "$(vps config web1 --json | jq -c 'del(.net)')" '{"autostart":"yes","restart":"always","stop.timeout":"5s"}'
	vps set web1 restart=
	assert_equal "$(vps config web1 restart)" no
	assert_equal "$(vps config web1 onboot)" yes
}

@test "lists take more than one" {
	vps set web1 env=A=1 env=B=2
	assert_equal "$(vps config web1 env | paste -sd,)" A=1,B=2
	vps set web1 env=-A=1
	assert_equal "$(vps config web1 env)" B=2
	vps set web1 env=
	assert_equal "$(vps config web1 env)" ""
}

@test "what waits for the next start is said" {
	vps start web1
	succeeds vps set web1 hostname=www restart=always
	assert_output "hostname takes effect at the next start of web1"
	assert_equal "$(vps set web1 hostname=web --json | jq -c .)" '{"pending":["hostname"]}'
}

@test "one bad value, and nothing is changed" {
	before=$(vps config web1)
	fails_like 2 '^vps: set web1: restart: maybe is not no, on-failure or always' \
		vps set web1 hostname=www restart=maybe
	fails 2 "vps: set web1: unknown setting hostnam (hint: did you mean hostname?)" \
		vps set web1 hostname=www hostnam=x
	fails 2 "vps: set: unknown option --hostnam (hint: did you mean --hostname?)" vps set web1 --hostnam x
	fails 2 "vps: set web1: a setting is missing (hint: usage: vps set [OPTIONS] NAME KEY=VALUE...)" vps set web1
	assert_equal "$(vps config web1)" "$before"
	fails_like 3 '^vps: set web9: there is no VPS named web9' vps set web9 hostname=x
}

@test "config: all, one, and what there is not" {
	vps set web1 hostname=www
	succeeds vps config web1
	assert_line "hostname = www"
	refute_match 'restart'
	succeeds vps config -a web1
	assert_line "restart = no"
	fails 2 "vps: config web1: unknown setting hostnam (hint: did you mean hostname?)" vps config web1 hostnam
	fails_like 3 '^vps: config web9: there is no VPS named web9' vps config web9
}

@test "a damaged config is not taken for an empty one, and can be edited" {
	config=$VPS_ROOT/lib/vps/web1/config
	echo garbage >>"$config"
	for verb in config firewall; do
		fails_like 2 "^vps: $verb web1: $config:[0-9]+: garbage is not KEY = VALUE .hint: vps edit web1.\$" \
			vps $verb web1
	done
	EDITOR="sed -i /garbage/d" succeeds vps edit web1
	succeeds vps config web1
}

@test "edit: the text, checked" {
	EDITOR="sed -i '\$a restart = always'" succeeds vps edit web1
	assert_equal "$(vps config web1 restart)" always
	EDITOR=true succeeds vps edit web1
	assert_output "Nothing was changed."
	EDITOR=false fails 1 "vps: edit web1: the editor (false) failed; nothing is changed" vps edit web1
	EDITOR="sed -i s/always/maybe/" fails_like 2 \
		'^vps: edit web1: config:[0-9]+: restart: maybe is not .*your text is kept in .*/web1\.conf\)$' vps edit web1
	kept=$(grep -o '/[^ ]*/web1.conf' <<<"$stderr")
	grep -q 'restart = maybe' "$kept"
	rm -r "$(dirname "$kept")"
	assert_equal "$(vps config web1 restart)" always
}

@test "edit: comments stay, and a second try on a terminal" {
	EDITOR="sed -i '1i # mine'" vps edit web1
	grep -qx '# mine' "$VPS_ROOT/lib/vps/web1/config"
	cat >"$BATS_TEST_TMPDIR/editor" <<-'END'
		#!/bin/sh
		if grep -q 'restart = maybe' "$1"; then sed -i s/maybe/always/ "$1"; else echo 'restart = maybe' >>"$1"; fi
	END
	chmod +x "$BATS_TEST_TMPDIR/editor"
	EDITOR=$BATS_TEST_TMPDIR/editor run "$VPS_TOP/tests/cli/on_tty" expect:'Edit it again' send:'y\n' \
		-- "$VPS_BUILD/vps" edit web1
	assert_status 0
	assert_equal "$(vps config web1 restart)" always
}

@test "edit: somebody else was faster" {
	EDITOR="$VPS_BUILD/vps set web1 hostname=other; sed -i '\$a restart = always'" \
		fails_like 5 '^vps: edit web1: ' vps edit web1
	assert_equal "$(vps config web1 hostname)" other
	assert_equal "$(vps config web1 restart)" no
	rm -rf "$(dirname "$(grep -o '/[^ ]*/web1.conf' <<<"$stderr")")"
}
