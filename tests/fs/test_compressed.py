# SPDX-License-Identifier: MIT
"""Compressed extents. Their checksums cover the packed bytes, so equal ones can be told by checksums
only when they were compressed alike; all others are read and unpacked. A compressed copy stays
rather than an uncompressed one, and what is copied of a compressed extent is compressed again."""
import os

import harness
from harness import BLOCK, KIB, MIB, FilesystemTest, compressible, content, disk_bytes, thin

PACKED = 128 * KIB  # the most that one compressed extent unpacks to
IN_PACKED = PACKED // BLOCK


class Base(FilesystemTest):
    """Words that these tests share."""

    algorithm = "zstd"

    def compressed(self, name, data, offset=0):
        path = self.fs.write_compressed(name, data, self.algorithm, offset)
        self.assertEqual(harness.compressions(path) - {None}, {self.algorithm}, name)
        return path

    def paths(self, *names):
        return [self.fs.path(name) for name in names]

    def assert_compressed(self, *names):
        """All that these files refer to is stored compressed, in the way of this test."""
        for path in self.paths(*names):
            self.assertEqual(harness.compressions(path), {self.algorithm}, path)

    def assert_nothing_done(self, report):
        self.assertEqual((report["bytes_freed"], report["bytes_copied"], report["extents_freed"]),
                         (0, 0, 0), report)


class EveryAlgorithm:
    """One set of tests for each of the three, below."""

    def test_a_quick_run_shares_what_is_compressed_alike(self):
        for name in ("first", "second"):
            self.compressed(name, compressible(1, MIB))
        size = disk_bytes(self.fs.path("first"))
        report = self.dedupe("--depth", "quick")
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (size, 0), report)
        self.assert_shared("first", "second")
        self.assert_compressed("first", "second")

    def test_a_quick_run_reads_nothing_of_what_is_unique(self):
        for i in range(4):
            self.compressed(f"file{i}", compressible(i, MIB))
        size = disk_bytes(*self.paths(*(f"file{i}" for i in range(4))))
        report = self.dedupe("--depth", "quick")
        self.assert_nothing_done(report)
        self.assertEqual(report["bytes_read"], 0)
        self.assert_left(report, "compressed", byte_count=size)

    def test_copies_are_found_at_any_block_offset(self):
        shifts = range(IN_PACKED)
        for shift in shifts:
            data = compressible(("base", shift), 3 * PACKED)
            self.compressed(f"base{shift}", data)
            at = shift * BLOCK
            self.compressed(f"copy{shift}", data[at:at + 2 * PACKED])
        bases = disk_bytes(*self.paths(*(f"base{shift}" for shift in shifts)))
        copies = disk_bytes(*self.paths(*(f"copy{shift}" for shift in shifts)))
        self.assertEqual(self.fs.settled_used(), bases + copies)
        report = self.dedupe()
        # Where extents of one size overlap in part, some go the wrong way and are copied in part.
        self.assertGreaterEqual(report["bytes_freed"], 0.8 * copies, report)
        self.assertLessEqual(report["bytes_freed"], copies, report)
        for shift in shifts:
            base = harness.block_places(self.fs.path(f"base{shift}"))
            copy = harness.block_places(self.fs.path(f"copy{shift}"))
            shared = sum(base[shift + i] == copy[i] for i in range(2 * IN_PACKED))
            self.assertGreaterEqual(shared, IN_PACKED, f"shift {shift}")

    def test_uncompressed_copies_are_found_at_any_block_offset(self):
        copies = 0
        for shift in range(IN_PACKED):
            data = compressible(("base", shift), 3 * PACKED)
            self.compressed(f"base{shift}", data)
            at = shift * BLOCK
            self.fs.write(f"copy{shift}", data[at:at + 2 * PACKED])
            copies += 2 * PACKED
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (copies, 0), report)
        self.assert_compressed(*(f"copy{shift}" for shift in range(IN_PACKED)))

    def test_the_compressed_copy_stays_when_it_was_there_first(self):
        self.compressed("compressed", compressible(1, MIB))
        self.fs.write("plain", compressible(1, MIB))
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (MIB, 0), report)
        self.assert_shared("compressed", "plain")
        self.assert_compressed("compressed", "plain")
        for path in self.paths("compressed", "plain"):
            for extent in harness.extents(path):
                self.assertTrue(extent.flags & harness.FIEMAP_EXTENT_ENCODED)

    def test_the_compressed_copy_stays_when_it_came_later(self):
        self.fs.write("plain", compressible(1, MIB))
        self.compressed("compressed", compressible(1, MIB))
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (MIB, 0), report)
        self.assert_shared("compressed", "plain")
        self.assert_compressed("compressed", "plain")

    def test_a_large_file_goes_to_its_many_compressed_copies(self):
        pieces = [compressible(("piece", i), PACKED) for i in range(64)]
        path = self.fs.write("large", b"".join(pieces))
        self.assertEqual(len(harness.file_items(path)), 1)
        for i, piece in enumerate(pieces):
            self.compressed(f"piece{i}", piece)
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (8 * MIB, 0), report)
        self.assert_compressed("large")

    def test_a_tree_of_which_half_is_compressed_ends_up_compressed(self):
        sizes = [5000 + 3777 * i * i % 300000 for i in range(60)]
        kept = 0
        for i, size in enumerate(sizes):
            self.fs.write(f"plain/{i}", compressible(i, size))
            path = self.fs.write_compressed(f"compressed/{i}", compressible(i, size),
                                            self.algorithm)
            kept += disk_bytes(path)
        used = self.fs.settled_used()
        self.assertEqual(self.dedupe()["bytes_freed"], used - kept)

    def test_what_is_copied_of_a_compressed_extent_is_compressed_again(self):
        base = compressible("base", 16 * PACKED)
        self.compressed("base", base)
        for i in range(16):  # a quarter of each is its own
            shared = base[i * PACKED:i * PACKED + 96 * KIB]
            self.compressed(f"file{i}", shared + compressible(("own", i), 32 * KIB))
        names = [f"file{i}" for i in range(16)]
        size = disk_bytes(*self.paths("base", *names))
        report = self.dedupe()
        self.assertGreater(report["bytes_copied"], 0, report)
        self.assertLess(report["bytes_copied"], 16 * 32 * KIB // 2, report)
        self.assert_compressed("base", *names)
        self.assertEqual(disk_bytes(*self.paths("base", *names)), size - report["bytes_freed"])
        for i, name in enumerate(names):
            base_places = harness.block_places(self.fs.path("base"))
            own = harness.block_places(self.fs.path(name))
            for block in range(24):
                self.assertEqual(base_places[i * IN_PACKED + block], own[block], (name, block))

    def test_equal_tails_are_shared_too(self):
        data = compressible(1, 25 * BLOCK + 1000)
        for name in ("first", "second", "third"):
            self.compressed(name, data)
        self.fs.write("plain", data)
        size = disk_bytes(self.fs.path("first"))
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]),
                         (2 * size + 26 * BLOCK, 0), report)
        self.assert_compressed("plain", "third")

    def test_equal_tails_at_another_offset_are_shared_too(self):
        end = compressible(1, 20 * BLOCK + 3000)
        short = self.compressed("short", end)
        self.compressed("long", compressible(2, 3 * BLOCK) + end)
        size = disk_bytes(short)
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (size, 0), report)

    def test_files_equal_but_for_the_tail_share_all_blocks_before_it(self):
        data = compressible(1, 30 * BLOCK)
        first = self.compressed("first", data + compressible("one tail", 1000))
        self.compressed("second", data + compressible("another tail", 1000))
        size = disk_bytes(first)
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]),
                         (size - BLOCK, BLOCK), report)
        self.assert_shared("first", "second", range(30))

    def test_an_extent_of_which_a_part_was_overwritten_goes_whole(self):
        data = compressible(1, PACKED)
        path = self.compressed("overwritten", data)
        size = disk_bytes(path)
        self.fs.sync()
        self.compressed("overwritten", compressible(2, 64 * KIB), offset=32 * KIB)
        self.compressed("intact", data)
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (size, 0), report)
        self.assert_shared("overwritten", "intact", [*range(8), *range(24, 32)])

    def test_an_extent_in_which_a_hole_was_punched_goes_whole(self):
        data = compressible(1, PACKED)
        path = self.compressed("punched", data)
        size = disk_bytes(path)
        self.fs.sync()
        harness.command("fallocate", "-p", "-o", 32 * KIB, "-l", 64 * KIB, path)
        self.fs.write("intact", data)
        self.compressed("compressed", data)
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]),
                         (size + PACKED, 0), report)
        self.assert_shared("punched", "compressed", [*range(8), *range(24, 32)])
        self.assertEqual(sorted(harness.block_places(path)), [*range(8), *range(24, 32)])

    def test_a_part_that_only_an_inner_reflink_keeps_is_shared_and_the_rest_freed(self):
        data = compressible(1, PACKED)
        original = self.compressed("original", data)
        size = disk_bytes(original)
        harness.clone_range(original, self.fs.path("part"), source_offset=64 * KIB,
                            length=32 * KIB)
        os.unlink(original)
        copy = self.compressed("copy", data[64 * KIB:96 * KIB])
        kept = disk_bytes(copy)
        self.assertEqual(self.fs.settled_used(), size + kept)
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (size, 0), report)
        self.assert_shared("part", "copy")

    def test_an_uncompressed_copy_goes_to_what_an_inner_reflink_keeps(self):
        data = compressible(1, PACKED)
        original = self.compressed("original", data)
        harness.clone_range(original, self.fs.path("part"), source_offset=64 * KIB,
                            length=64 * KIB)
        os.unlink(original)
        self.fs.write("copy", data[64 * KIB:])
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (64 * KIB, 0), report)
        self.assert_shared("part", "copy")
        self.assert_compressed("part", "copy")

    def test_an_extent_of_zeros_becomes_a_hole(self):
        data = compressible(1, PACKED)
        path = self.compressed("file", data + bytes(2 * PACKED) + data[::-1])
        zeros = self.compressed("zeros", bytes(MIB))
        used = self.fs.settled_used()
        report = self.dedupe()
        self.assertEqual(report["bytes_copied"], 0, report)
        self.assertEqual(harness.file_items(zeros), [])
        self.assertEqual(sorted(harness.block_places(path)),
                         [*range(IN_PACKED), *range(3 * IN_PACKED, 4 * IN_PACKED)])
        self.assertEqual(report["bytes_freed"], used - disk_bytes(path))

    def test_zeros_are_no_reason_to_copy_what_is_small_already(self):
        path = self.compressed("file", thin(1, 64 * KIB) + bytes(64 * KIB))
        self.assertEqual(disk_bytes(path), BLOCK)
        before = harness.file_items(path)
        self.assert_nothing_done(self.dedupe())
        self.assertEqual(harness.file_items(path), before)

    def test_an_extent_of_one_block_is_not_replaced_by_copies_that_take_more(self):
        data = thin("common", 64 * KIB)
        paths = [self.compressed(f"file{i}", data + thin(("own", i), 64 * KIB)) for i in range(8)]
        self.assertEqual(disk_bytes(*paths), 8 * BLOCK)
        before = [harness.file_items(path) for path in paths]
        report = self.dedupe()
        self.assert_nothing_done(report)
        self.assert_left(report, "copy_ratio")
        self.assertEqual([harness.file_items(path) for path in paths], before)

    def test_a_second_run_finds_nothing_more(self):
        for i in range(12):
            parts = [compressible(("part", (i + j) % 5), 40 * KIB) for j in range(4)]
            write = self.compressed if i % 2 else self.fs.write
            write(f"file{i}", b"".join(parts) + compressible(("own", i), 700 * i))
        self.assertGreater(self.dedupe()["bytes_freed"], MIB)
        self.assert_nothing_done(self.dedupe())
        self.assert_nothing_done(self.dedupe(state=self.fs.state + ".new"))


class Zlib(EveryAlgorithm, Base):

    algorithm = "zlib"


class Lzo(EveryAlgorithm, Base):

    algorithm = "lzo"


class Zstd(EveryAlgorithm, Base):

    algorithm = "zstd"


if __name__ == "__main__":
    harness.main()
