# SPDX-License-Identifier: MIT
"""Files that end inside a block. The kernel shares such a tail block only with the tail of a file
that ends at the same byte of its block, and claims success where it did not share."""
import functools

import harness
from harness import BLOCK, FilesystemTest, content, round_up

TAILS = (0, 1, 511, 512, 2047, 2048, 2049, 4095)  # bytes past the last whole block
HEAD = 16 * BLOCK
SHORT_HEAD = 2 * BLOCK  # so short that copying it costs more than a shared tail gains


def for_each_tail(check):
    """Runs the test once for each tail, each time on an empty filesystem."""
    @functools.wraps(check)
    def test(self):
        for tail in TAILS:
            with self.subTest(tail=tail):
                self.fresh_filesystem()
                check(self, tail)
    return test


class Tails(FilesystemTest):

    @for_each_tail
    def test_equal_files_are_shared_whole_whatever_their_length(self, tail):
        for head in (HEAD, SHORT_HEAD):
            self.fs.write(f"first{head}", content(head, head + tail))
            self.fs.write(f"second{head}", content(head, head + tail))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"],
                         round_up(HEAD + tail) + round_up(SHORT_HEAD + tail))
        self.assertEqual(report["bytes_copied"], 0)
        self.assert_shared(f"first{HEAD}", f"second{HEAD}")

    @for_each_tail
    def test_files_equal_but_for_the_tail_share_all_blocks_before_it(self, tail):
        head = content(1, HEAD)
        self.fs.write("first", head + content("one tail", tail))
        self.fs.write("second", head + content("another tail", tail))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], HEAD)
        self.assertEqual(report["bytes_copied"], BLOCK if tail else 0)
        self.assert_shared("first", "second", range(HEAD // BLOCK))

    @for_each_tail
    def test_files_whose_tails_differ_in_length_share_all_blocks_before(self, tail):
        data = content(1, HEAD + BLOCK)
        self.fs.write("first", data[:HEAD + tail])
        self.fs.write("second", data[:HEAD + 3000])
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], HEAD)
        self.assertLessEqual(report["bytes_copied"], BLOCK)
        self.assert_shared("first", "second", range(HEAD // BLOCK))

    @for_each_tail
    def test_a_tail_equal_to_a_whole_block_inside_another_file_is_not_taken_for_shared(self, tail):
        data = content(1, HEAD + tail)
        self.fs.write("tailed", data)
        self.fs.write("longer", data.ljust(round_up(len(data)), b"\0")
                      + content(2, 64 * BLOCK))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], HEAD)
        self.assertEqual(report["bytes_copied"], BLOCK if tail else 0)

    @for_each_tail
    def test_equal_tails_after_different_heads_do_not_pay_for_copying_the_heads(self, tail):
        for i in range(8):
            self.fs.write(f"file{i}", content(i, SHORT_HEAD) + content("tail", tail))
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (0, 0))

    @for_each_tail
    def test_equal_ends_of_files_of_different_length_are_shared_with_their_tails(self, tail):
        end = content(1, HEAD + tail)
        self.fs.write("short", end)
        self.fs.write("long", content(2, 3 * BLOCK) + end)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], round_up(len(end)))
        self.assertEqual(report["bytes_copied"], 0)

    @for_each_tail
    def test_many_files_of_one_block_with_equal_tails_are_shared(self, tail):
        if tail <= 2048:  # stored inline, or empty
            return
        for i in range(40):
            self.fs.write(f"file{i}", content(1, tail))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 39 * BLOCK)
        self.assertEqual(report["bytes_copied"], 0)


class WithoutTheNoHolesFeature(FilesystemTest):
    """Between tails that are copied together lie holes, which are then stored as items."""

    mkfs_options = ("-O", "^no-holes")

    def test_many_tails_are_copied_together(self):
        for i in range(8):
            data = content(i, HEAD + 100 + i)
            self.fs.write(f"tailed{i}", data)
            self.fs.write(f"padded{i}", data.ljust(round_up(len(data)), b"\0"))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 8 * HEAD)
        self.assertEqual(report["bytes_copied"], 8 * BLOCK)


if __name__ == "__main__":
    harness.main()
