#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Says in what two upper layers differ, each of a VPS of its own range of ids: nothing when they are the same.

usage: same.py UPPER UPPER
"""

import os
import stat
import sys

KEPT = ("user.", "security.capability", "system.posix_acl_", "trusted.overlay.opaque", "trusted.overlay.redirect")


def inside(uid, base):
    """As the tenant has it, to whom the host's root is nobody."""
    return uid - base if base <= uid < base + 65536 else 65534


def describe(top):
    """What lies at each path; files with several names are told by the first."""
    base, first, found = os.lstat(top), {}, {}
    todo = [""]
    while todo:
        name = todo.pop()
        path = os.path.join(top, name)
        st = os.lstat(path)
        is_dir, is_file = stat.S_ISDIR(st.st_mode), stat.S_ISREG(st.st_mode)
        if stat.S_ISCHR(st.st_mode):  # a whiteout, which the destination may have made anew
            found[name] = {"rdev": st.st_rdev}
            continue
        what = {"mode": oct(st.st_mode), "uid": inside(st.st_uid, base.st_uid), "gid": inside(st.st_gid, base.st_gid),
                "mtime": st.st_mtime_ns}
        if is_dir:
            todo += sorted(os.path.join(name, n) for n in os.listdir(path))
        else:
            what["size"] = st.st_size
        if is_file:
            with open(path, "rb") as f:
                what["data"] = f.read()
        if stat.S_ISLNK(st.st_mode):
            what["link"] = os.readlink(path)
        if is_dir or is_file:
            what["xattrs"] = {n: os.getxattr(path, n) for n in os.listxattr(path) if n.startswith(KEPT)}
        if not is_dir:
            first.setdefault(st.st_ino, []).append(name)
        found[name] = what
    for names in first.values():
        for name in names:
            found[name]["names"] = sorted(names)
    return found


def main():
    a, b = describe(sys.argv[1]), describe(sys.argv[2])
    for name in sorted(set(a) | set(b)):
        if name not in a or name not in b:
            print(f"{name}: only in {sys.argv[1] if name in a else sys.argv[2]}")
        elif a[name] != b[name]:
            for key in sorted(set(a[name]) | set(b[name])):
                x, y = a[name].get(key), b[name].get(key)
                if x != y:
                    at = next((i for i, (p, q) in enumerate(zip(x, y)) if p != q), -1) if key == "data" else ""
                    print(f"{name}: {key} {str(x)[:60]} {str(y)[:60]} {at}")


main()
