#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# embed.sh FILE NAME: C source with the text of FILE as the string NAME.
printf '/* Made from %s. */\nextern const char %s[];\nconst char %s[] =\n' "${1##*/}" "$2" "$2"
sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/.*/"&\\n"/' "$1"
echo ';'
