# SPDX-License-Identifier: MIT
"""The four checksums that btrfs knows. Fingerprints are made of whichever the filesystem has; the
same function is applied to what compressed data unpacks to, and to blocks of zeros."""
import harness
from harness import BLOCK, KIB, MIB, FilesystemTest, compressible, content, disk_bytes, thin


class EveryChecksum:
    """One set of tests for each of the four, below."""

    checksum = None

    def setUp(self):
        self.mkfs_options = ("--csum", self.checksum)
        super().setUp()

    def test_two_equal_files_take_the_space_of_one(self):
        self.fs.write("first", content(1, 8 * MIB))
        self.fs.write("second", content(1, 8 * MIB))
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (8 * MIB, 0), report)
        self.assert_shared("first", "second")

    def test_different_files_are_not_read(self):
        for i in range(8):
            self.fs.write(f"file{i}", content(i, MIB))
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_read"]), (0, 0), report)
        self.assert_left(report, "unique", byte_count=8 * MIB)

    def test_parts_are_shared_at_any_block_offset(self):
        for shift in range(17):
            data = content(("data", shift), 64 * BLOCK)
            self.fs.write(f"first{shift}", data)
            self.fs.write(f"second{shift}", content(("own", shift), shift * BLOCK)
                          + data[:48 * BLOCK])
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 17 * 48 * BLOCK, report)
        for shift in range(17):
            first = harness.block_places(self.fs.path(f"first{shift}"))
            second = harness.block_places(self.fs.path(f"second{shift}"))
            self.assertEqual([first[i] for i in range(48)],
                             [second[shift + i] for i in range(48)], shift)

    def test_lone_blocks_are_shared(self):
        for i in range(50):
            self.fs.write(f"a{i}", content(i, BLOCK))
            self.fs.write(f"b{i}", content(i, BLOCK))
        self.assertEqual(self.dedupe()["bytes_freed"], 50 * BLOCK)

    def test_zeros_become_holes(self):
        path = self.fs.write("zeros", bytes(4 * MIB))
        block = self.fs.write("block", bytes(BLOCK))
        data = content(1, 256 * KIB)
        mixed = self.fs.write("mixed", data[:128 * KIB] + bytes(768 * KIB) + data[128 * KIB:])
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 4 * MIB + BLOCK + 768 * KIB, report)
        self.assertEqual(report["bytes_copied"], 256 * KIB, report)
        self.assertEqual(report["counters"]["bytes_zero"], 4 * MIB + BLOCK + 768 * KIB, report)
        self.assertEqual((harness.extents(path), harness.extents(block)), ([], []))
        self.assertEqual(sorted(harness.block_places(mixed)), [*range(32), *range(224, 256)])

    def test_compressed_zeros_become_holes(self):
        path = self.fs.write_compressed("zeros", bytes(MIB))
        size = disk_bytes(path)
        self.assertEqual(self.dedupe()["bytes_freed"], size)
        self.assertEqual(harness.file_items(path), [])

    def test_equal_tails_are_shared(self):
        for tail in (1, 512, 2049, 4095):
            data = content(tail, 16 * BLOCK + tail)
            self.fs.write(f"first{tail}", data)
            self.fs.write(f"second{tail}", data)
            self.fs.write(f"longer{tail}", content(("own", tail), 3 * BLOCK) + data)
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]),
                         (4 * 2 * 17 * BLOCK, 0), report)

    def test_tails_that_differ_are_copied(self):
        data = content(1, 16 * BLOCK)
        self.fs.write("first", data + content("one tail", 1000))
        self.fs.write("second", data + content("another tail", 1000))
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (16 * BLOCK, BLOCK),
                         report)
        self.assert_shared("first", "second", range(16))

    def test_what_is_compressed_alike_is_shared_by_a_quick_run(self):
        for name in ("first", "second"):
            self.fs.write_compressed(name, compressible(1, MIB))
        size = disk_bytes(self.fs.path("first"))
        report = self.dedupe("--depth", "quick")
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (size, 0), report)
        self.assert_shared("first", "second")

    def test_compressed_extents_of_one_block_are_shared(self):
        for name in ("first", "second"):
            self.fs.write_compressed(name, thin(1, MIB))
        size = disk_bytes(self.fs.path("first"))
        self.assertEqual(size, 8 * BLOCK)
        self.assertEqual(self.dedupe()["bytes_freed"], size)
        self.assert_shared("first", "second")

    def test_compressed_and_uncompressed_copies_meet(self):
        data = compressible(1, MIB)
        self.fs.write_compressed("compressed", data)
        self.fs.write("plain", data)
        self.fs.write("inside", data[7 * BLOCK:200 * BLOCK])
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]),
                         (MIB + 193 * BLOCK, 0), report)
        self.assert_shared("compressed", "plain")
        for name in ("plain", "inside"):
            self.assertEqual(harness.compressions(self.fs.path(name)), {"zstd"})

    def test_the_table_is_good_for_another_run(self):
        self.fs.write("first", content(1, MIB))
        self.fs.write_compressed("compressed", compressible(1, MIB))
        self.assertEqual(self.dedupe()["bytes_freed"], 0)
        self.fs.write("second", content(1, MIB))
        self.fs.write("plain", compressible(1, MIB))
        self.assertEqual(self.dedupe()["bytes_freed"], 2 * MIB)
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (0, 0), report)


class Crc32c(EveryChecksum, FilesystemTest):

    checksum = "crc32c"


class Xxhash(EveryChecksum, FilesystemTest):

    checksum = "xxhash"


class Sha256(EveryChecksum, FilesystemTest):

    checksum = "sha256"


class Blake2(EveryChecksum, FilesystemTest):

    checksum = "blake2"


if __name__ == "__main__":
    harness.main()
