#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A pull whose stream is as bad as can be: none of it gets out of the destination.
load ../lib
load fake

# tar_of PYTHON: an archive made by statements that call add(name, type, link, data, mode).
tar_of() {
	python3 - "$FAKE_ROOT/hostile.tar" "$1" <<-'END'
		import io, sys, tarfile
		F, D, L, H, C, P = b"0", b"5", b"2", b"1", b"3", b"6"
		with tarfile.open(sys.argv[1], "w") as tar:
		    def add(name, kind=F, link="", data=b"x", mode=0o644):
		        info = tarfile.TarInfo(name)
		        info.type, info.linkname, info.mode = kind, link, mode
		        info.size = len(data) if kind == F else 0
		        tar.addfile(info, io.BytesIO(data))
		    exec(sys.argv[2])
	END
}

setup() {
	fake_start serve
	cd "$BATS_TEST_TMPDIR"
	mkdir got outside
	echo mine >outside/file
}

# After each: only hostile is in the destination, and nothing was touched elsewhere.
unharmed() {
	assert_equal "$(ls -A outside) $(cat outside/file)" "file mine"
	[ -z "$(find got -mindepth 1 -maxdepth 1 ! -name hostile)" ]
	[ ! -e evil ]
}

@test "paths that climb out" {
	tar_of 'add("hostile", D, mode=0o755); add("hostile/../../evil")'
	fails_like 1 "Path contains '\.\.'" vps pull web1 /hostile got
	unharmed
	tar_of 'add("../evil")'
	fails_like 9 'a path that was not asked for: \.\./evil' vps pull web1 /hostile got
	unharmed
	tar_of "add('$PWD/evil')"
	fails_like 9 'a path that was not asked for' vps pull web1 /hostile got
	unharmed
}

@test "files beside what was asked for" {
	tar_of 'add("hostile", D, mode=0o755); add(".bashrc")'
	fails_like 9 'a path that was not asked for: \.bashrc' vps pull web1 /hostile got
	unharmed
}

@test "through symbolic links, its own and those that were there" {
	tar_of "add('hostile', D, mode=0o755); add('hostile/l', L, '$PWD/outside'); add('hostile/l/evil')"
	run vps pull web1 /hostile got
	unharmed
	rm -rf got/hostile
	tar_of "add('hostile', L, '$PWD/outside'); add('hostile/evil')"
	run vps pull web1 /hostile got
	unharmed
	rm -rf got/hostile
	ln -s "$PWD/outside/file" got/hostile
	tar_of 'add("hostile", data=b"theirs")'
	run vps pull web1 /hostile got
	unharmed
}

@test "hard links to files of the host" {
	tar_of "add('hostile', D, mode=0o755); add('hostile/h', H, '$PWD/outside/file')"
	fails_like 9 'a path that was not asked for' vps pull web1 /hostile got
	unharmed
	tar_of "add('hostile', D, mode=0o755); add('hostile/l', L, '$PWD/outside/file'); add('hostile/h', H, 'hostile/l'); add('hostile/h', data=b'theirs')"
	run vps pull web1 /hostile got
	unharmed
}

@test "set-id bits, devices and FIFOs" {
	tar_of 'add("hostile", D, mode=0o6777); add("hostile/p", mode=0o6755); add("hostile/c", C); add("hostile/f", P)'
	run vps pull web1 /hostile got
	assert_status 0
	assert_output "vps: pull web1: 2 device nodes, sockets or FIFOs were left out"
	assert_equal "$(cd got/hostile && find . -mindepth 1 -printf '%P %m')" "p 755"
	unharmed
}

@test "what is no archive, and one that is cut short" {
	head -c 3000 /dev/urandom >"$FAKE_ROOT/hostile.tar"
	fails_like 1 'read the stream' vps pull web1 /hostile got
	tar_of 'add("hostile", data=b"x" * 100000)'
	truncate -s 50000 "$FAKE_ROOT/hostile.tar"
	fails_like 1 'hostile: ' vps pull web1 /hostile got
	unharmed
}
