# SPDX-License-Identifier: MIT
"""usage: junit_counts.py FILE...

Prints 'PASSED FAILED SKIPPED' of the JUnit files that ctest wrote, summed, and on stderr the names of
those that failed or were skipped. A test that could not be run failed; a file that is missing or
cannot be read counts as one failure.
"""
import sys
import xml.etree.ElementTree as ElementTree


def outcome(case):
    status = case.get("status")
    if status == "run":
        return "passed"
    if status == "disabled":
        return "skipped"
    skipped = case.find("skipped")
    # ctest writes <skipped> also for a test whose executable is missing.
    if status == "notrun" and skipped is not None and skipped.get("message", "").startswith("SKIP_"):
        return "skipped"
    return "failed"


def main():
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for path in sys.argv[1:]:
        try:
            cases = list(ElementTree.parse(path).iter("testcase"))
        except (OSError, ElementTree.ParseError) as error:
            print(f"  failed: {path}: {error}", file=sys.stderr)
            counts["failed"] += 1
            continue
        for case in cases:
            result = outcome(case)
            counts[result] += 1
            if result != "passed":
                print(f"  {result}: {case.get('name')} ({path})", file=sys.stderr)
    print(*counts.values())


if __name__ == "__main__":
    main()
