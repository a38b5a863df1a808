# SPDX-License-Identifier: MIT
"""Files that share a part of their content, at every alignment."""
import harness
from harness import BLOCK, KIB, MIB, FilesystemTest, content


class Alignments(FilesystemTest):

    LENGTH = 64  # blocks of the file that is there first

    def check(self, cases):
        """Each case: how many blocks of the first file are skipped, how many unique blocks the
        second begins with, how many blocks they have in common, how many unique ones follow."""
        for i, (skipped, head, common, rest) in enumerate(cases):
            first = content(("first", i), self.LENGTH * BLOCK)
            self.fs.write(f"first{i}", first)
            self.fs.write(f"second{i}", content(("head", i), head * BLOCK)
                          + first[skipped * BLOCK:(skipped + common) * BLOCK]
                          + content(("rest", i), rest * BLOCK))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], sum(case[2] for case in cases) * BLOCK, report)
        most = sum(max(self.LENGTH - common, head + rest) for _, head, common, rest in cases)
        self.assertLessEqual(report["bytes_copied"], most * BLOCK)
        for i, (skipped, head, common, _) in enumerate(cases):
            first = harness.block_addresses(self.fs.path(f"first{i}"))
            second = harness.block_addresses(self.fs.path(f"second{i}"))
            for block in range(common):
                self.assertEqual(first[skipped + block], second[head + block],
                                 f"case {i}, {cases[i]}: block {block} of what is common")

    def test_the_source_may_begin_at_any_block(self):
        self.check([(skipped, 0, 48, 0) for skipped in range(17)])

    def test_the_copy_may_begin_at_any_block(self):
        self.check([(0, head, 48, 0) for head in range(17)])

    def test_the_copy_may_end_at_any_block(self):
        self.check([(0, 0, 48, rest) for rest in range(17)])

    def test_both_may_begin_and_end_anywhere(self):
        self.check([(skipped, head, 40, rest) for skipped in (0, 1, 5, 24)
                    for head in (0, 1, 3, 7) for rest in (0, 1, 4)])

    def test_a_copy_shifted_by_less_than_a_block_is_not_touched(self):
        data = content(1, MIB)
        shifts = (1, 100, 512, 2048, 4095)
        self.fs.write("original", data)
        for shift in shifts:
            self.fs.write(f"shifted{shift}", content(shift, shift) + data[:MIB - shift])
        names = ["original"] + [f"shifted{shift}" for shift in shifts]
        before = [harness.placement(self.fs.path(name)) for name in names]
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 0)
        self.assertEqual(report["bytes_copied"], 0)
        self.assertEqual(before, [harness.placement(self.fs.path(name)) for name in names])


class Interleaving(FilesystemTest):

    def test_every_other_stretch_is_shared_and_the_rest_copied_once(self):
        data = content(1, 2 * MIB)
        mixed = bytearray(data)
        for at in range(0, len(mixed), 256 * KIB):  # a quarter of it is the copy's own
            mixed[at:at + 64 * KIB] = content(("own", at), 64 * KIB)
        self.fs.write("original", data)
        self.fs.write("mixed", bytes(mixed))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 3 * MIB // 2)
        self.assertEqual(report["bytes_copied"], MIB // 2)

    def test_one_file_may_be_put_together_from_many(self):
        parts = [content(("part", i), 128 * KIB) for i in range(16)]
        for i, part in enumerate(parts):
            self.fs.write(f"part{i}", content(("own", i), 16 * KIB) + part)
        self.fs.write("whole", b"".join(reversed(parts)))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 16 * 128 * KIB)

    def test_a_file_that_repeats_itself_shares_with_itself(self):
        piece = content(1, 512 * KIB)
        for at in range(8):
            self.fs.write("file", piece, offset=at * len(piece))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 7 * 512 * KIB)
        self.assertEqual(len(set(harness.block_addresses(self.fs.path("file")).values())), 128)

    def test_a_repetition_inside_one_extent_changes_no_content(self):
        self.fs.write("file", content(1, 64 * KIB) * 16)
        self.dedupe()  # one extent repeats itself: whether that pays is the planner's business
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (0, 0))

    def test_min_run_leaves_shorter_runs_alone(self):
        data = content(1, MIB)
        patchwork = bytearray(content(2, MIB))
        for at in range(0, MIB, 64 * KIB):
            patchwork[at:at + 32 * KIB] = data[at:at + 32 * KIB]
        self.fs.write("first", data)
        self.fs.write("second", bytes(patchwork))
        before = harness.placement(self.fs.path("first")), harness.placement(
            self.fs.path("second"))
        report = self.dedupe("--min-run", "64K")
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (0, 0))
        self.assert_left(report, "short_runs")
        self.assertEqual(before, (harness.placement(self.fs.path("first")),
                                  harness.placement(self.fs.path("second"))))

    def test_max_copy_ratio_leaves_alone_what_needs_too_much_copying(self):
        data = content(1, MIB)
        self.fs.write("first", data)
        self.fs.write("second", data[:512 * KIB] + content(2, 512 * KIB))
        report = self.dedupe("--max-copy-ratio", "0.25")
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (0, 0))
        self.assert_left(report, "copy_ratio")


class LargeAndSmall(FilesystemTest):

    def small_files(self, size):
        return [content(("small", i), size) for i in range(64)]

    def test_a_large_file_written_first_holds_many_small_ones(self):
        files = self.small_files(32 * KIB)
        self.fs.write("large", b"".join(files))
        for i, data in enumerate(files):
            self.fs.write(f"small{i}", data)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 2 * MIB)
        self.assertEqual(report["bytes_copied"], 0)

    def test_a_large_file_written_last_holds_many_small_ones(self):
        files = self.small_files(32 * KIB)
        for i, data in enumerate(files):
            self.fs.write(f"small{i}", data)
        self.fs.write("large", b"".join(files))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 2 * MIB)
        self.assertEqual(report["bytes_copied"], 0)

    def test_small_files_with_tails_share_all_but_the_tails_with_an_archive(self):
        size = 7 * BLOCK + 1000
        files = self.small_files(size)
        self.fs.write("archive", b"".join(data.ljust(8 * BLOCK, b"\0") for data in files))
        for i, data in enumerate(files):
            self.fs.write(f"small{i}", data)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 64 * 7 * BLOCK)
        self.assertEqual(report["bytes_copied"], 64 * BLOCK)

    def test_an_image_holds_files_between_other_data(self):
        files = self.small_files(64 * KIB)
        image = b"".join(content(("gap", i), 8 * KIB) + data for i, data in enumerate(files))
        self.fs.write("image", image)
        for i, data in enumerate(files):
            self.fs.write(f"small{i}", data)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 4 * MIB)
        for i in range(64):
            one = harness.block_addresses(self.fs.path("image"))
            other = harness.block_addresses(self.fs.path(f"small{i}"))
            self.assertEqual([one[18 * i + 2 + block] for block in range(16)],
                             [other[block] for block in range(16)])


if __name__ == "__main__":
    harness.main()
