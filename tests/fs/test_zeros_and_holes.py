# SPDX-License-Identifier: MIT
"""Blocks of zeros become holes; holes stay what they are."""
import os

import harness
from harness import BLOCK, KIB, MIB, FilesystemTest, content


class Zeros(FilesystemTest):

    def test_a_file_of_zeros_becomes_a_hole(self):
        path = self.fs.write("zeros", bytes(4 * MIB))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 4 * MIB)
        self.assertEqual(report["bytes_copied"], 0)
        self.assertGreaterEqual(report["bytes_duplicate"], 4 * MIB)
        self.assertEqual(harness.extents(path), [])

    def test_a_single_block_of_zeros_becomes_a_hole(self):
        path = self.fs.write("zero", bytes(BLOCK))
        self.assertEqual(self.dedupe()["bytes_freed"], BLOCK)
        self.assertEqual(harness.extents(path), [])

    def test_zeros_that_end_inside_a_block_are_freed_up_to_there_at_least(self):
        for tail in (1, 1696, 2048, 4095):
            with self.subTest(tail=tail):
                self.fresh_filesystem()
                self.fs.write("zeros", bytes(24 * BLOCK + tail))
                report = self.dedupe()
                self.assertGreaterEqual(report["bytes_freed"], 24 * BLOCK)

    def test_zeros_inside_data_become_holes_and_the_data_stays(self):
        data = content(1, 256 * KIB)
        path = self.fs.write("file", data[:128 * KIB] + bytes(768 * KIB) + data[128 * KIB:])
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 768 * KIB)
        self.assertEqual(report["bytes_copied"], 256 * KIB)
        self.assertEqual(sorted(harness.block_addresses(path)),
                         [*range(32), *range(224, 256)])

    def test_zeros_before_and_after_data_become_holes(self):
        self.fs.write("before", bytes(512 * KIB) + content(1, 64 * KIB))
        self.fs.write("after", content(2, 64 * KIB) + bytes(512 * KIB))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], MIB)
        self.assertEqual(report["bytes_copied"], 128 * KIB)

    def test_zeros_among_duplicates_need_no_copy(self):
        mixed = content(1, 256 * KIB) + bytes(256 * KIB) + content(2, 256 * KIB)
        self.fs.write("first", mixed)
        self.fs.write("parts/one", content(1, 256 * KIB))
        self.fs.write("parts/two", content(2, 256 * KIB))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 768 * KIB)
        self.assertEqual(report["bytes_copied"], 0)

    def test_equal_files_with_zeros_keep_only_one_copy_of_the_data(self):
        data = content(1, 128 * KIB) + bytes(768 * KIB) + content(2, 128 * KIB)
        for i in range(4):
            self.fs.write(f"file{i}", data)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 4 * MIB - 256 * KIB)
        self.assertEqual(self.fs.settled_used(), 256 * KIB)


class Holes(FilesystemTest):

    def test_sparse_files_are_left_as_they_are(self):
        path = self.fs.write("sparse", content(1, 64 * KIB), offset=MIB)
        os.truncate(path, 64 * MIB)
        before = harness.placement(path)
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (0, 0))
        self.assertEqual(harness.placement(path), before)

    def test_sparse_copies_share_their_data_and_keep_their_holes(self):
        for name in ("first", "second"):
            for at in range(8):
                self.fs.write(name, content(at, 128 * KIB), offset=at * MIB)
            os.truncate(self.fs.path(name), 9 * MIB)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], MIB)
        self.assertEqual(report["bytes_copied"], 0)
        self.assert_shared("first", "second")

    def test_a_sparse_and_a_full_copy_end_up_the_same(self):
        data = content(1, 256 * KIB) + bytes(512 * KIB) + content(2, 256 * KIB)
        self.fs.write("full", data)
        self.fs.write("sparse", data[:256 * KIB])
        self.fs.write("sparse", data[768 * KIB:], offset=768 * KIB)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], MIB)
        self.assertEqual(self.fs.settled_used(), 512 * KIB)
        self.assert_shared("full", "sparse")

    def test_copies_that_begin_in_another_files_hole_are_shared(self):
        data = content(1, 512 * KIB)
        self.fs.write("plain", data)
        self.fs.write("behind a hole", data, offset=3 * BLOCK)
        os.truncate(self.fs.path("behind a hole"), MIB)
        self.assertEqual(self.dedupe()["bytes_freed"], 512 * KIB)


class WithoutTheNoHolesFeature(Holes):
    """Holes are then stored as items that refer to address 0."""

    mkfs_options = ("-O", "^no-holes")


if __name__ == "__main__":
    harness.main()
