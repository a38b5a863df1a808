# SPDX-License-Identifier: MIT
"""Files that are equal as a whole."""
import os

import harness
from harness import BLOCK, KIB, MIB, FilesystemTest, content, round_up


class PlainCopies(FilesystemTest):

    def test_two_equal_files_take_the_space_of_one(self):
        self.fs.write("first", content(1, 8 * MIB))
        self.fs.write("second", content(1, 8 * MIB))
        used = self.fs.settled_used()
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 8 * MIB)
        self.assertEqual(report["bytes_copied"], 0)
        self.assertEqual(self.fs.settled_used(), used - 8 * MIB)
        self.assert_shared("first", "second")

    def test_of_many_equal_files_one_copy_stays(self):
        for i in range(200):
            self.fs.write(f"folder{i % 7}/file{i}", content(1, 256 * KIB))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 199 * 256 * KIB)
        self.assertEqual(report["bytes_copied"], 0)
        self.assertEqual(self.fs.settled_used(), 256 * KIB)

    def test_many_pairs_of_small_files_are_shared(self):
        sizes = [2049 + 977 * i for i in range(150)]
        for i, size in enumerate(sizes):
            self.fs.write(f"a/{i}", content(i, size))
        for i, size in enumerate(sizes):
            self.fs.write(f"b/{i}", content(i, size))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], sum(map(round_up, sizes)))
        self.assertEqual(report["bytes_copied"], 0)

    def test_copies_are_found_although_their_extents_are_cut_otherwise(self):
        data = content(1, 4 * MIB)
        self.fs.write("whole", data)
        for at in range(0, len(data), 256 * KIB):
            self.fs.write("pieces", data[at:at + 256 * KIB], offset=at)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 4 * MIB)
        self.assertEqual(report["bytes_copied"], 0)
        self.assert_shared("whole", "pieces")

    def test_different_files_are_left_alone(self):
        for i in range(20):
            self.fs.write(f"file{i}", content(i, MIB))
        before = [harness.placement(self.fs.path(f"file{i}")) for i in range(20)]
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 0)
        self.assertEqual(report["bytes_copied"], 0)
        self.assertEqual(report["bytes_duplicate"], 0)
        self.assertEqual(report["bytes_read"], 0)
        self.assertEqual(report["bytes_scanned"], 20 * MIB)
        self.assert_left(report, "unique", report["extents_scanned"], 20 * MIB)
        self.assertEqual(before,
                         [harness.placement(self.fs.path(f"file{i}")) for i in range(20)])

    def test_modes_owners_and_odd_names_do_not_matter(self):
        data = content(1, MIB)
        names = ["plain", "sp ace", "new\nline", "-rf", "ü" * 100, "\udcff\udcfe", "x" * 255]
        for i, name in enumerate(names):
            path = self.fs.write(name, data)
            os.chown(path, 1000 + i, 2000 + i)
            os.chmod(path, (0o000, 0o400, 0o444, 0o644, 0o4755, 0o2755, 0o777)[i])
            os.utime(path, ns=(10**18 + i, 10**18 + 7 * i))
        os.symlink("plain", self.fs.path("link"))
        os.mkfifo(self.fs.path("fifo"))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], (len(names) - 1) * MIB)

    def test_deep_folders_do_not_matter(self):
        deep = "/".join(["d" * 50] * 60)
        self.fs.write(deep + "/file", content(1, MIB))
        self.fs.write("file", content(1, MIB))
        self.assertEqual(self.dedupe()["bytes_freed"], MIB)

    def test_data_written_a_moment_ago_counts(self):
        with open(self.fs.path("first"), "wb") as first, open(self.fs.path("second"),
                                                             "wb") as second:
            first.write(content(1, MIB))
            second.write(content(1, MIB))
        report = self.fs.run_skep()
        self.assertEqual(report["bytes_freed"], MIB)
        self.assert_shared("first", "second")

    def test_each_scanned_extent_is_either_freed_or_named_as_left(self):
        for i in range(12):
            self.fs.write(f"file{i}", content(i % 8, 256 * KIB))
        self.fs.write_nocow("nocow", content(0, 256 * KIB))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 4 * 256 * KIB)
        left = sum(reason["extents"] for reason in report["left"].values())
        self.assertEqual(report["extents_freed"] + left, report["extents_scanned"], report)

    def test_a_lone_block_is_shared_too(self):
        for i in range(50):
            self.fs.write(f"a{i}", content(i, BLOCK))
            self.fs.write(f"b{i}", content(i, BLOCK))
        self.assertEqual(self.dedupe()["bytes_freed"], 50 * BLOCK)

    def test_a_run_over_little_data_is_over_at_once(self):
        self.fs.write("first", content(1, MIB))
        self.fs.write("second", content(1, MIB))
        self.assertLess(self.dedupe()["seconds"], 5 * harness.SLOWDOWN)


if __name__ == "__main__":
    harness.main()
