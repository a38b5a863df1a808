# SPDX-License-Identifier: MIT
"""Extents of which nobody uses a part any more. They cost their whole length until the last
reference to any part goes."""
import os

import harness
from harness import KIB, MIB, FilesystemTest, content


class DeadSpace(FilesystemTest):

    def test_an_overwritten_middle_goes_with_the_extent(self):
        data = content(1, MIB)
        self.fs.write("punctured", data)
        self.fs.sync()
        self.fs.write("punctured", content(2, 512 * KIB), offset=256 * KIB)
        self.fs.write("intact", data)
        self.assertEqual(self.fs.settled_used(), 2 * MIB + 512 * KIB)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], MIB)
        self.assertEqual(report["bytes_copied"], 0)
        self.assert_shared("punctured", "intact", [*range(64), *range(192, 256)])

    def test_an_extent_of_which_a_reflink_keeps_a_small_part_is_freed_whole(self):
        data = content(1, MIB)
        original = self.fs.write("original", data)
        harness.clone_range(original, self.fs.path("part"), source_offset=512 * KIB,
                            length=64 * KIB)
        self.fs.unlink(original)
        self.fs.write("copy", data[512 * KIB:576 * KIB])
        self.assertEqual(self.fs.settled_used(), MIB + 64 * KIB)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], MIB)
        self.assertEqual(report["bytes_copied"], 0)
        self.assertEqual(self.fs.settled_used(), 64 * KIB)
        self.assert_shared("part", "copy")

    def test_a_truncated_file_frees_what_lies_past_its_end_too(self):
        data = content(1, MIB)
        self.fs.write("cut", data)
        self.fs.sync()
        os.truncate(self.fs.path("cut"), 256 * KIB)
        self.fs.write("copy", data[:256 * KIB])
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], MIB)
        self.assertEqual(self.fs.settled_used(), 256 * KIB)

    def test_a_dead_part_is_no_source(self):
        data = content(1, MIB)
        self.fs.write("overwritten", data)
        self.fs.sync()
        self.fs.write("overwritten", content(2, 960 * KIB), offset=0)
        self.fs.write("copy of what is dead", data[:960 * KIB])
        report = self.dedupe()
        self.assertIn((report["bytes_freed"], report["bytes_copied"]),
                      ((0, 0), (960 * KIB, 64 * KIB)))  # copying the live rest frees what is dead

    def test_overlapping_references_are_all_moved(self):
        data = content(1, MIB)
        original = self.fs.write("original", data)
        pieces = [(0, 512), (256, 512), (128, 64), (500, 524)]  # KiB: offset, length
        for i, (offset, length) in enumerate(pieces):
            harness.clone_range(original, self.fs.path(f"piece{i}"), source_offset=offset * KIB,
                                length=length * KIB, destination_offset=i * 8 * KIB)
        self.fs.unlink(original)
        self.fs.write("copy", data)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], MIB)
        self.assertEqual(report["bytes_copied"], 0)
        self.assertEqual(self.fs.settled_used(), MIB)

    def test_dead_space_without_duplicates_changes_no_content(self):
        for i in range(8):
            self.fs.write(f"file{i}", content(i, 512 * KIB))
            self.fs.sync()
            self.fs.write(f"file{i}", content(("new", i), 32 * KIB * i), offset=0)
        self.dedupe()
        again = self.dedupe()
        self.assertEqual((again["bytes_freed"], again["bytes_copied"]), (0, 0))


class Preallocated(FilesystemTest):

    def preallocate(self, name, length):
        path = self.fs.write(name, b"")
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, length)
        return path

    def test_preallocated_extents_are_untouched(self):
        paths = [self.preallocate(f"reserved{i}", MIB) for i in range(3)]
        before = [harness.placement(path) for path in paths]
        self.assertTrue(before[0][0].flags & harness.FIEMAP_EXTENT_UNWRITTEN)
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (0, 0))
        self.assertEqual([harness.placement(path) for path in paths], before)
        left = sum(report["left"].get(reason, {"extents": 0})["extents"]
                   for reason in ("no_checksum", "preallocated"))
        self.assertEqual(left, report["extents_scanned"], report)

    def test_a_partly_written_reservation_keeps_its_place(self):
        data = content(1, 512 * KIB)
        path = self.preallocate("reserved", MIB)
        self.fs.write("reserved", data, offset=256 * KIB)
        self.fs.write("copy", data)
        before = harness.placement(path)
        self.assertEqual([bool(extent.flags & harness.FIEMAP_EXTENT_UNWRITTEN)
                          for extent in before], [True, False, True])
        self.dedupe()
        self.assertEqual(harness.placement(path), before)

    def test_what_is_written_into_a_reservation_later_is_found(self):
        """Its extent is as old as the reservation, which a run has seen."""
        data = content(1, MIB)
        path = self.preallocate("reserved", MIB)
        self.fs.write("copy", data)
        self.assertEqual(self.dedupe()["bytes_freed"], 0)
        self.fs.write("reserved", data[:MIB // 2])
        self.assertEqual(self.dedupe()["bytes_freed"], 0)  # the rest is reserved still
        self.fs.write("reserved", data[MIB // 2:], offset=MIB // 2)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], MIB)
        self.assertEqual(report["counters"]["extents_late"], 1)
        self.assertEqual(harness.read_whole(path), data)
        again = self.dedupe()
        self.assertEqual((again["bytes_freed"], again["counters"]["extents_late"]), (0, 0))

    def test_a_reservation_past_the_end_of_a_file_stays(self):
        path = self.fs.write("log", content(1, 256 * KIB))
        harness.command("fallocate", "-n", "-o", 256 * KIB, "-l", MIB, path)
        self.fs.write("copy", content(1, 256 * KIB))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 256 * KIB)
        last = harness.extents(path)[-1]
        self.assertEqual((last.offset + last.length,
                          bool(last.flags & harness.FIEMAP_EXTENT_UNWRITTEN)),
                         (MIB + 256 * KIB, True))


class LongReservation(FilesystemTest):

    size = 4096 * MIB  # a block group is a tenth of it

    def test_what_lies_far_in_the_longest_extent_is_found(self):
        """256 MiB, twice as long as what is written at once."""
        length = 256 * MIB
        path = self.fs.write("reserved", b"")
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, length)
            for at in range(0, length, 4 * MIB):
                file.write(content(at, 4 * MIB))
        self.fs.write("part", b"".join(content(at, 4 * MIB)
                                       for at in range(200 * MIB, 240 * MIB, 4 * MIB)))
        self.fs.sync()
        tree = harness.command("btrfs", "inspect-internal", "dump-tree", "-t", "extent", self.fs.loop)
        self.assertTrue(f"EXTENT_ITEM {length}" in tree)
        self.assertEqual(self.dedupe()["bytes_freed"], 40 * MIB)


if __name__ == "__main__":
    harness.main()
