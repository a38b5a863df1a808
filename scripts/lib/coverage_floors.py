# SPDX-License-Identifier: MIT
"""usage: coverage_floors.py COVERAGE.json

Holds what was run of src/, as `llvm-cov export` tells it, against the floors; prints the figures, and what is below.

A region is what is run or left as a whole: of `if (!status.ok()) return status;` the return is one, so that the branch
for the error counts by itself. Its line counts as run without it."""
import collections
import json
import os
import sys

LEAST_PERCENT = 90.0
# What decides what goes, and what is done to a filesystem: every region.
WHOLE = ("src/dedupe/apply_stage.cc", "src/dedupe/plan_builder.cc", "src/dedupe/plan_stage.cc",
         "src/dedupe/range_sharer.cc", "src/dedupe/remnants.cc", "src/dedupe/share_tasks.cc",
         "src/dedupe/sharer.cc")
CODE = 0  # the kind of a region that is no macro, and no gap between two statements


def lines(files):
    """{file: (lines, lines that were run)}"""
    named = {os.path.relpath(file["filename"]): file["summary"]["lines"] for file in files}
    return {path: (of["count"], of["covered"]) for path, of in named.items() if path.startswith("src/")}


def regions(functions):
    """{file: {(first line, column, last line, column): times}}"""
    found = collections.defaultdict(collections.Counter)
    for function in functions:
        names = [os.path.relpath(name) for name in function["filenames"]]
        for *place, times, name, _, kind in function["regions"]:
            if kind == CODE:
                # Each use of a template is a function of its own.
                found[names[name]][tuple(place)] += times
    return found


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        exported = json.load(file)["data"][0]
    of_files, of_functions = lines(exported["files"]), regions(exported["functions"])
    below = []
    for path in WHOLE:
        missed = [f"{first}:{column}" for (first, column, _, _), times in sorted(of_functions[path].items()) if not times]
        if missed or not of_functions[path]:
            below.append(f"{path}: every branch is asked for, not run: {', '.join(missed) or 'any'}")
    count, run = (sum(column) for column in zip(*of_files.values()))
    percent = 100 * run / count
    print(f"{run} of {count} lines of src were run, {percent:.1f} %")
    least = sorted((100 * run / max(1, count), path) for path, (count, run) in of_files.items())[:8]
    print("least: " + ", ".join(f"{path} {share:.0f} %" for share, path in least))
    if percent < LEAST_PERCENT:
        below.append(f"src: below {LEAST_PERCENT} %")
    if below:
        sys.exit("coverage_floors.py: " + "\n  ".join(below))


if __name__ == "__main__":
    main()
