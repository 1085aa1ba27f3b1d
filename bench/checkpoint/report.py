# SPDX-License-Identifier: GPL-2.0-or-later
"""What runs have measured: results.json, and results.md made of it.

The set of one run is never mixed with another's. results.json is the set of the machine that the project quotes, with
those of other machines in "others", by the name of the processor, and what was seen beside criu in "guest".
"""
import json
import os
import textwrap

HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(HERE, "results.json")
HEAD = ["load", "frozen", "dump", "its CPU", "GiB/s", "restore", "its CPU", "GiB/s", "image"]


def ms(us):
    return "-" if us is None else "%.1f" % (us / 1e3)


def rate(load, us):
    """Of what goes by its memory: with others it is the number of objects that takes the time."""
    goes_by_memory = load["memory_mib"] and "processes" not in load
    return "%.2f" % (load["image_bytes"] / 2**30 / (us / 1e6)) if goes_by_memory else "-"


def lines(head, rows):
    return "\n".join("| %s |" % " | ".join(r) for r in [head, ["---"] * len(head), *rows])


def table(results):
    return lines(HEAD, [[r["load"], ms(r["frozen_us"]), ms(r["dump_us"]), ms(r.get("dump_cpu_us")),
                         rate(r, r["dump_us"]), ms(r["restore_us"]), ms(r.get("restore_cpu_us")),
                         rate(r, r["restore_us"]), "%.1f MiB" % (r["image_bytes"] / 2**20)] for r in results["loads"]])


def ratios(guest):
    keys = ("frozen_us", "dump_us", "restore_us", "image_bytes")
    return lines(["load", "frozen", "dump", "restore", "image"],
                 [[r["load"], *("%.2f" % (r[k] / r["criu"][k]) for k in keys)] for r in guest["loads"] if "criu" in r])


def prose(text):
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def beside_criu(guest):
    host = " on %s, load average %.1f" % (guest["host"], guest["host_load"]) if "host" in guest else ""
    return (
        "vps / criu %s of Debian 12, medians of %d in the tests' virtual machine (Linux %s, emulated%s: only ratios mean "
        "something), in turn, written by `bench/checkpoint/run --guest`; below 1 is less. criu saves the load alone, "
        "processes in the machine's own namespaces; vps a whole VPS, with its namespaces, mounts and network, which is "
        "most of what a sleeper costs. What vps writes has a checksum (XXH3), which takes an emulated processor 13 times "
        "as long as a copy, a real one less than a copy: a part of a GiB's ratios. When the host is busy, those of short "
        "times move by factors from run to run." % (guest["criu_version"], guest["rounds"], guest["kernel"], host))


def measured_on(results):
    text = "Medians of %d, in milliseconds; %s, %d processors, Linux %s, load average %.1f at the beginning." % (
        results["rounds"], results["machine"], results["processors"], results["kernel"], results["load"])
    return text + "".join(" Left out: %s (%s)." % x for x in results.get("left_out", {}).items())


def servers(results):
    """What the rows of whole servers are, which vps itself saves."""
    return "".join("\n\n" + prose(
        "%s: %d processes, %d threads. Its dump and restore are what `vps checkpoint` and `vps restore` took, "
        "with client, vpsd and worker." % (r["load"], r["processes"], r["threads"]))
        for r in results["loads"] if "processes" in r)


def load():
    if not os.path.exists(RESULTS):
        return {}
    with open(RESULTS, encoding="ascii") as f:
        return json.load(f)


def keep(old, new):
    """The set of a run takes the place of the one that was measured on such a machine, whole."""
    rest = {k: old[k] for k in ("others", "guest") if k in old}
    if old.get("machine", new["machine"]) == new["machine"]:
        return {**new, **rest}
    others = [x for x in old.get("others", []) if x["machine"] != new["machine"]]
    return {**old, "others": others + [new]}


def write(results):
    with open(RESULTS, "w", encoding="ascii") as f:
        json.dump(results, f, indent=1)
        f.write("\n")
    text = "# Saving and restoring\n\n%s\n\n%s%s\n" % (
        prose(measured_on(results) + " Written by `bench/checkpoint/run`."), table(results), servers(results))
    for other in results.get("others", []):
        text += "\n## On another machine\n\n%s\n\n%s%s\n" % (
            prose(measured_on(other) + " These rows compare with each other only."), table(other), servers(other))
    guest = results.get("guest")
    if guest:
        text += "\n## Beside criu\n\n%s\n\n%s\n" % (prose(beside_criu(guest)), ratios(guest))
    with open(os.path.join(HERE, "results.md"), "w", encoding="ascii") as f:
        f.write(text)
