# SPDX-License-Identifier: MIT
"""What a run does to the page cache, on a machine that is short of memory too."""
import shutil

import harness

TRIES = 5


def check_stays_cached(test, path, read, run, brought_in=0):
    """`read(path)` brings pages of the file in, and `run()`, which must read something, has to leave
    there what was, and bring in at most so many pages that stay. The kernel takes pages back by itself when memory
    is short. A control tells: a file on another filesystem, read alike just before. While it loses
    pages the whole is done again; after the last time, `path` may have lost no larger share."""
    with harness.LoopFilesystem() as beside:
        control = beside.write("control", harness.read_whole(path))
        for _ in range(TRIES):
            shutil.rmtree(test.fs.state, ignore_errors=True)  # everything is new to it
            test.fs.remount()
            beside.remount()
            read(control)
            read(path)
            before, control_before = harness.resident_pages(path), harness.resident_pages(control)
            report = run()
            after, control_after = harness.resident_pages(path), harness.resident_pages(control)
            test.assertGreater(report["bytes_read"], 0, report)
            test.assertLessEqual(len(after - before), brought_in)
            if control_after == control_before and before:
                test.assertEqual(before - after, set())
                return
        test.assertLessEqual(share(before - after, before),
                             share(control_before - control_after, control_before) + 0.25)


def share(part, whole):
    return len(part) / max(len(whole), 1)
