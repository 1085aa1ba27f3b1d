# What the harness itself must catch.
load ../lib

setup_file() { :; }
teardown_file() { :; }

setup() {
	mkdir -p "$BATS_TEST_TMPDIR/base" "$BATS_TEST_TMPDIR/cgroup" "$BATS_TEST_TMPDIR/cli"
	cd "$BATS_TEST_TMPDIR" || return
	licence='/* SPDX-License-Identifier: GPL-2.0-or-later */'
	printf '%s\n#include <stdio.h>\n' "$licence" >base/a.c
}

@test "layers: a tree in order passes" {
	printf '%s\n#include "base/err.h"\n' "$licence" >cgroup/a.c
	succeeds "$VPS_TOP/tests/layers" .
}

@test "layers: an include upwards is named" {
	printf '%s\n  #  include "cgroup/cgroup.h"\n' "$licence" >base/b.c
	run "$VPS_TOP/tests/layers" .
	assert_status 1
	assert_line '#   base/b.c:2: base may not include "cgroup/cgroup.h"'
}

@test "layers: an include without a path is named" {
	printf '%s\n#include "err.h"\n' "$licence" >cgroup/b.c
	run "$VPS_TOP/tests/layers" .
	assert_status 1
	assert_line '#   cgroup/b.c:2: "err.h" is not included by its path'
}

@test "layers: base includes libc only" {
	printf '%s\n#include <jansson.h>\n' "$licence" >base/b.c
	run "$VPS_TOP/tests/layers" .
	assert_status 1
	assert_line '#   base/b.c:2: base stands on libc alone, not on <jansson.h>'
}

@test "layers: cli may use the protocol and the session, not the rest of the supervisor" {
	printf '%s\n#include "supervisor/protocol/client.h"\n#include "supervisor/session.h"\n' "$licence" >cli/a.c
	succeeds "$VPS_TOP/tests/layers" .
	printf '%s\n#include "supervisor/vpsd.h"\n' "$licence" >cli/b.c
	run "$VPS_TOP/tests/layers" .
	assert_status 1
	assert_line '#   cli/b.c:2: cli may not include "supervisor/vpsd.h"'
}

@test "layers: a folder nobody knows fails" {
	mkdir misc
	printf '%s\n' "$licence" >misc/a.c
	run "$VPS_TOP/tests/layers" .
	assert_status 1
	assert_line 'not ok 2 - misc is a layer'
}
