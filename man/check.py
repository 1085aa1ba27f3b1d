#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages against the tables they describe, as a TAP test.

usage: check.py SOURCE_ROOT
"""

import pathlib
import re
import sys

sys.dont_write_bytecode = True
import help as pages  # noqa: E402

ROOT = pathlib.Path(sys.argv[1])
MAN = ROOT / "man"


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def section(page, heading):
    return "\n".join(pages.sections(MAN / page)[heading])


def verbs():
    """{verb: options as "-t, --timeout" words} of the command line's table."""
    text = read("cli/commands.c")
    lists = {name: re.findall(r"""\{ "([a-z-]+)"(?:, (?:'(.)'|0))?""", body) for name, body in
             re.findall(r"^OPTIONS\((\w+),(.*?)\);", text, re.S | re.M)}
    found = {}
    for name, options in re.findall(r'\{ "([a-z ]+)", "[^"]*",\s.*?(\w+_options|NULL),\s',
                                    text[text.index("cmd_entries[]"):], re.S):
        row = lists.get(options, [])
        found.setdefault(name.split()[0], set()).update(
            (f"-{letter}, " if letter else "") + f"--{long}" for long, letter in row)
    return found


def documented(verb):
    """The same of its page, without what all verbs have."""
    text = section(f"vps-{verb}.1.scd", "OPTIONS")
    # What stands for settings is no row of the verb.
    settings = set(re.findall(r'option = "(\w+)"', read("runtime/settings.c")))
    found = set()
    for line in re.findall(r"^\*-.*$", text, re.M):
        names = re.findall(r"\*(--?[A-Za-z-]+)\*", line)
        if len(names) == 2 and len(names[0]) == 2:
            names = [", ".join(names)]
        found |= {name for name in names if name != "--" and name.lstrip("-") not in settings}
    return found - {"--json"}


def check_options():
    for verb, options in verbs().items():
        yield f"options of {verb}", options, documented(verb)


def check_statuses():
    enum = re.search(r"enum err_status \{(.*?)\};", read("base/err.h"), re.S).group(1)
    numbers = set(re.findall(r"= (\d+)", enum))
    table = set(re.findall(r"^(\d+) ", section("vps.1.scd", "EXIT STATUS"), re.M))
    yield "exit statuses in vps(1)", numbers, table


def check_json():
    interface = read("supervisor/io.vps.Manager.varlink")
    members = re.search(r"type Vps \((.*?)\)", interface, re.S).group(1)
    table = set(re.findall(r"^([a-z_]+)  ", section("vps.1.scd", "JSON"), re.M))
    yield "members of a VPS in vps(1)", set(re.findall(r"(\w+):", members)), table
    columns = section("vps-list.1.scd", "OPTIONS").split("--json")[0]
    shown = set(re.findall(r"\*([a-z_]+)\*", columns))
    yield "columns in vps-list(1)", set(re.findall(r"(\w+):", members)) - {"uptime_s", "arrived"} \
        | {"uptime", "movable"}, shown
    text = " ".join(line.strip("# ") for line in interface.splitlines())
    events = re.search(r"is one of (.*?);", text).group(1)
    listed = section("vps-events.1.scd", "DESCRIPTION").split("The events are")[1]
    yield "events in vps-events(1)", set(re.findall(r"[a-z-]+", events)), \
        set(re.findall(r"\*([a-z-]+)\*", listed))


def check_links():
    """Pages of ours that others point to are there."""
    there = {re.sub(r"\.(\d)\.scd(\.in)?$", r"(\1)", page.name) for page in MAN.glob("*.scd*")}
    named = set()
    for page in MAN.glob("*.scd*"):
        named |= {f"{name}({number})" for name, number in
                  re.findall(r"\*((?:vps|io\.vps)[\w.-]*)\*\((\d)\)", page.read_text("utf-8"))}
    yield "pages that are pointed to", named - there, set()


def main():
    checks = [row for check in (check_options, check_statuses, check_json, check_links)
              for row in check()]
    print(f"1..{len(checks)}")
    bad = 0
    for number, (what, table, page) in enumerate(checks, 1):
        ok = table == page
        bad += not ok
        print(f"{'ok' if ok else 'not ok'} {number} - {what}")
        if not ok:
            print(f"# only in the table: {sorted(table - page)}; only in the page: "
                  f"{sorted(page - table)}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
