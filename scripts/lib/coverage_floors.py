# SPDX-License-Identifier: MIT
"""usage: coverage_floors.py COVERAGE.lcov

Holds the lines that were run against the floors; prints the figures, and what is below."""
import collections
import os
import sys

LEAST_PERCENT = 90.0
# What decides what goes, and what is done to a filesystem.
WHOLE = ("src/dedupe/apply_stage.cc", "src/dedupe/plan_builder.cc", "src/dedupe/plan_stage.cc",
         "src/dedupe/remnants.cc", "src/dedupe/sharer.cc")


def read(path):
    """{file: {line: times}}, of src/."""
    files = collections.defaultdict(dict)
    lines = {}
    with open(path, encoding="utf-8") as lcov:
        for row in lcov:
            what, _, value = row.rstrip("\n").partition(":")
            if what == "SF":
                lines = files[os.path.relpath(value)]
            elif what == "DA":
                number, times = map(int, value.split(",")[:2])
                lines[number] = max(times, lines.get(number, 0))
    return {path: lines for path, lines in files.items() if path.startswith("src/")}


def percent(lines):
    return 100 * sum(times > 0 for times in lines.values()) / max(1, len(lines))


def main():
    files = read(sys.argv[1])
    below = [f"{path}: no figures" for path in WHOLE if path not in files]
    for path in WHOLE:
        missed = [str(number) for number, times in files.get(path, {}).items() if not times]
        if missed:
            below.append(f"{path}: every line is asked for, not run: {', '.join(missed)}")
    together = {(path, number): times for path, lines in files.items() for number, times in lines.items()}
    print(f"{sum(times > 0 for times in together.values())} of {len(together)} lines of src were run, "
          f"{percent(together):.1f} %")
    least = sorted((percent(lines), path) for path, lines in files.items())[:8]
    print("least: " + ", ".join(f"{path} {share:.0f} %" for share, path in least))
    if percent(together) < LEAST_PERCENT:
        below.append(f"src: below {LEAST_PERCENT} %")
    if below:
        sys.exit("coverage_floors.py: " + "\n  ".join(below))


if __name__ == "__main__":
    main()
