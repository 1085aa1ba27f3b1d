# SPDX-License-Identifier: GPL-2.0-or-later
# Completion of vps(1) for bash. The program itself knows what may stand where.

_vps() {
	local cur=${COMP_WORDS[COMP_CWORD]} cword=$COMP_CWORD candidate about
	local -a words=("${COMP_WORDS[@]}")

	# With bash-completion, words are not cut at `=` and `:`.
	if declare -F _get_comp_words_by_ref >/dev/null; then
		_get_comp_words_by_ref -n =: cur words cword
	fi
	COMPREPLY=()
	while IFS=$'\t' read -r candidate about; do
		case $candidate in
		FILES)
			compopt -o filenames
			while IFS= read -r candidate; do
				COMPREPLY+=("$candidate")
			done < <(compgen -f -- "$cur")
			;;
		DIRS)
			compopt -o filenames
			while IFS= read -r candidate; do
				COMPREPLY+=("$candidate")
			done < <(compgen -d -- "$cur")
			;;
		*)
			[[ $candidate != *= ]] || compopt -o nospace
			COMPREPLY+=("$candidate")
			;;
		esac
	done < <("${words[0]}" __complete "${words[@]:1:cword}" 2>/dev/null)
	if declare -F __ltrim_colon_completions >/dev/null; then
		__ltrim_colon_completions "$cur"
	fi
}

complete -F _vps vps
