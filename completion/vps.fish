# SPDX-License-Identifier: GPL-2.0-or-later
# Completion of vps(1) for fish. The program itself knows what may stand where.

function __vps_complete
	set -l words (commandline -opc) (commandline -ct)
	for line in (command $words[1] __complete $words[2..-1] 2>/dev/null)
		switch $line
			case FILES
				__fish_complete_path (commandline -ct)
			case DIRS
				__fish_complete_directories (commandline -ct)
			case '*'
				echo $line
		end
	end
end

complete -c vps -f -a '(__vps_complete)'
