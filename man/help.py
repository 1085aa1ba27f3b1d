#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the table of help texts (cli/help.h) from the man pages.

usage: help.py OUTPUT PAGE.scd...

Only what --help shows is taken: NAME, SYNOPSIS and OPTIONS. A page of which one of them cannot be
found stops the build.
"""

import re
import sys
import textwrap

WIDTH = 80


def fail(path, what):
    sys.exit(f"{path}: {what}")


def sections(path):
    """The page's sections by heading, each a list of lines."""
    found, current = {}, None
    with open(path, encoding="utf-8") as page:
        for line in page.read().splitlines()[1:]:
            if line.startswith("# "):
                current = found.setdefault(line[2:], [])
            elif current is not None:
                current.append(line)
    for name in ("NAME", "SYNOPSIS", "OPTIONS"):
        if name not in found:
            fail(path, f"no section {name}")
    return found


def plain(text):
    """Bold as it is, underlined in capitals, escapes resolved; underscores in words stay."""
    text = re.sub(r"(?<![\w\\])_([^_]+?)_(?!\w)", lambda m: m.group(1).upper(), text)
    text = re.sub(r"(?<!\\)\*([^*]+?)\*", r"\1", text)
    return re.sub(r"\\(.)", r"\1", text)


def paragraphs(lines):
    block = []
    for line in lines + [""]:
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []


def options(path, lines):
    """Each option's line, and below it its description; the paragraphs before them are left out."""
    out = []
    for block in paragraphs(lines):
        head, body = block[0], block[1:]
        if head.startswith("\t"):
            body, head = block, None
        elif not head.startswith("*-"):
            continue
        if head:
            out.append("  " + plain(head))
        if not body or not all(line.startswith("\t") for line in body):
            fail(path, f"no description below: {head}")
        text = plain(" ".join(line.strip() for line in body))
        out += textwrap.wrap(text, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8,
                             break_long_words=False, break_on_hyphens=False)
    return "".join(line + "\n" for line in out)


def entry(path):
    found = sections(path)
    name = " ".join(found["NAME"]).strip()
    if " - " not in name:
        fail(path, "NAME is not `name - summary`")
    name, summary = name.split(" - ", 1)
    usage = "".join(plain(" ".join(b)) + "\n" for b in paragraphs(found["SYNOPSIS"]))
    if not usage:
        fail(path, "SYNOPSIS is empty")
    verb = name.removeprefix("vps").removeprefix("-")
    return verb, summary, usage, options(path, found["OPTIONS"])


def order(path, entries):
    """In the order of the section VERBS of vps(1), which lists every verb with its summary."""
    verbs = sections(path)["VERBS"]
    listed = [m.groups() for m in (re.match(r"([a-z]+)  +(.*)$", line) for line in verbs) if m]
    found = [(verb, summary) for verb, summary, *_ in entries if verb]
    for verb, summary in sorted(set(listed) ^ set(found)):
        fail(path, f"VERBS and the page of {verb} differ: {summary}")
    place = [""] + [verb for verb, _ in listed]
    return sorted(entries, key=lambda e: place.index(e[0]))


def quote(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    lines = ['"' + part.replace("\n", "\\n") + '"' for part in escaped.splitlines(keepends=True)]
    return "\n\t  ".join(lines) or '""'


def main():
    output, pages = sys.argv[1], sys.argv[2:]
    entries = order(next(p for p in pages if p.endswith("/vps.1.scd")), [entry(p) for p in pages])
    rows = "".join("\t{ " + ",\n\t  ".join(quote(field) for field in e) + " },\n" for e in entries)
    with open(output, "w", encoding="utf-8") as out:
        out.write(f"""/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Made from the man pages by man/help.py. */
#include "cli/help.h"

#include <string.h>

const struct cli_help cli_help[] = {{
{rows}}};
const size_t cli_help_count = sizeof(cli_help) / sizeof(*cli_help);

const struct cli_help *cli_help_find(const char *verb)
{{
	for (size_t i = 0; i < cli_help_count; i++)
		if (strcmp(cli_help[i].verb, verb) == 0)
			return &cli_help[i];
	return NULL;
}}
""")


if __name__ == "__main__":
    main()
