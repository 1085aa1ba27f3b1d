#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts text that has its source elsewhere into a page.

usage: fill.py PAGE.scd.in OUTPUT KEY=FILE... [KEY=!PROGRAM]...

A line @KEY@ becomes the file's lines, or what the program prints.
"""

import subprocess
import sys


def text_of(source):
    if source.startswith("!"):
        return subprocess.run([source[1:]], check=True, capture_output=True, text=True).stdout
    with open(source, encoding="utf-8") as file:
        return file.read()


def main():
    page, output, *pairs = sys.argv[1:]
    with open(page, encoding="utf-8") as file:
        lines = file.read().splitlines()
    for pair in pairs:
        key, source = pair.split("=", 1)
        if f"@{key}@" not in lines:
            sys.exit(f"{page}: no line @{key}@")
        at = lines.index(f"@{key}@")
        lines[at:at + 1] = text_of(source).strip("\n").split("\n")
    with open(output, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
