# SPDX-License-Identifier: MIT
"""Filesystems with nothing in them, and filesystems with no room left."""
import errno
import os

import harness
from harness import BLOCK, KIB, MIB, FilesystemTest, content


class EmptyFilesystem(FilesystemTest):

    def test_nothing_is_found_in_nothing(self):
        report = self.dedupe()
        self.assertEqual([report[name] for name in sorted(harness.COUNTS - {"passes"})],
                         [0] * (len(harness.COUNTS) - 1))
        self.assertEqual({reason for reason, left in report["left"].items() if left["extents"]},
                         set())

    def test_folders_and_empty_files_hold_no_data(self):
        for i in range(20):
            self.fs.write(f"folder{i}/empty", b"")
        self.assertEqual(self.dedupe()["extents_scanned"], 0)


class FullFilesystem(FilesystemTest):

    size = 192 * MIB

    def fill(self):
        """Pairs of equal files until no byte fits."""
        for length in (4 * MIB, 256 * KIB, BLOCK):
            for i in range(100000):
                try:
                    self.fs.write(f"{length}/{i}", content(i // 2, length))
                except OSError as error:
                    self.assertEqual(error.errno, errno.ENOSPC)
                    break
        self.fs.remount()  # forgets what the failed writes changed in memory only

    def assert_all_went_well(self, report, before):
        self.fs.remount()
        self.assert_same_contents(before, harness.snapshot(self.fs.mnt))
        self.assertIn(report["result"], ("done", "stopped"))

    def test_a_full_one_gets_room(self):
        self.fill()
        self.assertLess(os.statvfs(self.fs.mnt).f_bavail * BLOCK, 8 * MIB)
        used, before = self.fs.settled_used(), harness.snapshot(self.fs.mnt)
        self.fs.remount()
        report = self.fs.run_skep(status=(0, 4))
        self.assertGreater(report["bytes_freed"], 0)
        expected = used - report["bytes_freed"]
        self.assertEqual(self.fs.settled_used(expect=expected), expected)
        self.assert_all_went_well(report, before)

    def test_a_full_one_with_nothing_to_copy_to_changes_no_content(self):
        half = content("half", 2 * MIB)
        for i in range(1000):  # half of each file is unique, and there is no room for copies
            try:
                self.fs.write(f"file{i}", half + content(i, MIB))
            except OSError as error:
                self.assertEqual(error.errno, errno.ENOSPC)
                break
        self.fs.remount()  # forgets what the failed write changed in memory only
        used, before = self.fs.settled_used(), harness.snapshot(self.fs.mnt)
        self.fs.remount()
        report = self.fs.run_skep(status=(0, 4))
        expected = used - report["bytes_freed"]
        self.assertEqual(self.fs.settled_used(expect=expected), expected)
        self.assert_all_went_well(report, before)


class MixedBlockGroups(FilesystemTest):
    """Data and metadata in the same block groups, as on very small devices."""

    size = 64 * MIB
    mkfs_options = ("--mixed",)

    def test_mixed_block_groups_are_no_obstacle(self):
        self.fs.write("first", content(1, 4 * MIB))
        self.fs.write("second", content(1, 4 * MIB))
        before = harness.snapshot(self.fs.mnt)
        report = self.fs.run_skep()
        self.assertEqual(report["bytes_freed"], 4 * MIB)
        self.fs.remount()
        self.assert_same_contents(before, harness.snapshot(self.fs.mnt))
        self.assert_shared("first", "second")


if __name__ == "__main__":
    harness.main()
