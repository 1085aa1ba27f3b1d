# SPDX-License-Identifier: GPL-2.0-or-later
#
# How the demo shows what it does; sourced by its scripts.
bold='' dim='' plain=''
[ ! -t 1 ] || { bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; }

ms() { # microseconds as milliseconds with one digit
	printf '%d.%d ms' $(($1 / 1000)) $(($1 % 1000 / 100))
}

say() { printf '\n%s# %s%s\n' "$dim" "$*" "$plain"; }

# show COMMAND: runs a line as a user would type it; a failure ends the demo.
show() {
	local start end status=0
	printf '%s$ %s%s\n' "$bold" "$1" "$plain"
	start=${EPOCHREALTIME/./}
	bash -c "$1" 2>&1 | sed 's/^/  /' || status=$?
	end=${EPOCHREALTIME/./}
	printf '  %s(%s)%s\n' "$dim" "$(ms $((end - start)))" "$plain"
	return "$status"
}
