# SPDX-License-Identifier: MIT
"""Extents without checksums, of NOCOW files and of mounts with nodatasum. With --nodatasum they are
read, and shared among themselves; the kernel shares them with no others."""
import os

import harness
from harness import BLOCK, KIB, MIB, FilesystemTest, content, round_up


class Base(FilesystemTest):

    def assert_nothing_done(self, report):
        self.assertEqual((report["bytes_freed"], report["bytes_copied"], report["extents_freed"]),
                         (0, 0, 0), report)

    def share(self, *options, **how):
        return self.dedupe("--nodatasum", *options, **how)


class NotAskedFor(Base):

    def test_they_are_skipped_unread_and_counted(self):
        names = [f"file{i}" for i in range(3)]
        for name in names:
            self.fs.write_nocow(name, content(1, MIB))
        before = [harness.placement(self.fs.path(name)) for name in names]
        report = self.dedupe()
        self.assert_nothing_done(report)
        self.assertEqual(report["bytes_read"], 0)
        self.assert_left(report, "no_checksum", byte_count=3 * MIB)
        self.assertEqual(before, [harness.placement(self.fs.path(name)) for name in names])

    def test_they_are_found_when_they_are_asked_for_later(self):
        for name in ("first", "second"):
            self.fs.write_nocow(name, content(1, MIB))
        self.assert_nothing_done(self.dedupe())
        report = self.share()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (MIB, 0), report)
        self.assert_shared("first", "second")

    def test_those_written_while_they_were_not_asked_for_are_found_later(self):
        self.fs.write_nocow("first", content(1, MIB))
        self.assert_nothing_done(self.share())
        self.fs.write_nocow("second", content(1, MIB))
        self.assert_nothing_done(self.dedupe())
        self.fs.write_nocow("third", content(1, MIB))
        self.assertEqual(self.share()["bytes_freed"], 2 * MIB)


class NocowFiles(Base):

    def test_two_equal_files_take_the_space_of_one(self):
        for name in ("first", "second"):
            self.fs.write_nocow(name, content(1, 8 * MIB))
        report = self.share()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (8 * MIB, 0), report)
        self.assert_shared("first", "second")

    def test_different_files_are_left_alone(self):
        names = [f"file{i}" for i in range(6)]
        for i, name in enumerate(names):
            self.fs.write_nocow(name, content(i, MIB))
        before = [harness.placement(self.fs.path(name)) for name in names]
        report = self.share()
        self.assert_nothing_done(report)
        self.assert_left(report, "unique", byte_count=6 * MIB)
        self.assertEqual(before, [harness.placement(self.fs.path(name)) for name in names])

    def test_they_never_share_with_checksummed_copies(self):
        self.fs.write_nocow("nocow", content(1, MIB))
        self.fs.write("plain", content(1, MIB))
        report = self.share()
        self.assert_nothing_done(report)
        self.assertEqual(report["counters"]["share_calls"], 0, report)
        self.assert_not_shared("nocow")
        self.assert_not_shared("plain")

    def test_beside_checksummed_copies_each_kind_keeps_one(self):
        for i in range(3):
            self.fs.write_nocow(f"nocow{i}", content(1, MIB))
            self.fs.write(f"plain{i}", content(1, MIB))
        report = self.share()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (4 * MIB, 0), report)
        self.assertEqual(self.fs.settled_used(), 2 * MIB)
        self.assert_shared("nocow0", "nocow2")
        self.assert_shared("plain0", "plain2")

    def test_parts_are_shared_at_any_block_offset_and_the_rest_copied(self):
        for shift in range(17):
            data = content(("data", shift), 64 * BLOCK)
            self.fs.write_nocow(f"first{shift}", data)
            self.fs.write_nocow(f"second{shift}", content(("own", shift), shift * BLOCK)
                                + data[:48 * BLOCK])
        report = self.share()
        self.assertEqual(report["bytes_freed"], 17 * 48 * BLOCK, report)
        self.assertGreater(report["bytes_copied"], 0, report)

    def test_copies_of_them_have_no_checksums_either(self):
        data = content(1, MIB)
        self.fs.write_nocow("first", data)
        self.fs.write_nocow("second", data[:768 * KIB] + content(2, 256 * KIB))
        self.assertEqual(self.share()["bytes_freed"], 768 * KIB)
        self.fs.unmount()
        csums = harness.command("btrfs", "inspect-internal", "dump-tree", "-t", "csum",
                                self.fs.image)
        self.fs.mount()
        self.assertNotIn("EXTENT_CSUM EXTENT_CSUM", csums)

    def test_zeros_become_holes(self):
        path = self.fs.write_nocow("zeros", bytes(4 * MIB))
        data = content(1, 256 * KIB)
        mixed = self.fs.write_nocow("mixed", data[:128 * KIB] + bytes(768 * KIB)
                                    + data[128 * KIB:])
        report = self.share()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]),
                         (4 * MIB + 768 * KIB, 256 * KIB), report)
        self.assertEqual(harness.extents(path), [])
        self.assertEqual(sorted(harness.block_places(mixed)), [*range(32), *range(224, 256)])

    def test_equal_tails_are_shared(self):
        for tail in (1, 512, 2049, 4095):
            data = content(tail, 16 * BLOCK + tail)
            for name in ("first", "second"):
                self.fs.write_nocow(f"{name}{tail}", data)
        report = self.share()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (4 * 17 * BLOCK, 0),
                         report)

    def test_tails_that_differ_are_copied(self):
        data = content(1, 16 * BLOCK)
        self.fs.write_nocow("first", data + content("one tail", 1000))
        self.fs.write_nocow("second", data + content("another tail", 1000))
        report = self.share()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (16 * BLOCK, BLOCK),
                         report)

    def test_writing_in_place_afterwards_changes_one_file_only(self):
        data = content(1, MIB)
        for name in ("first", "second", "third"):
            self.fs.write_nocow(name, data)
        self.assertEqual(self.share()["bytes_freed"], 2 * MIB)
        new = content(2, 64 * KIB)
        self.fs.write("second", new, offset=512 * KIB)
        self.fs.remount()
        self.assertEqual(harness.read_whole(self.fs.path("second")),
                         data[:512 * KIB] + new + data[576 * KIB:])
        for name in ("first", "third"):
            self.assertEqual(harness.read_whole(self.fs.path(name)), data)
        self.share()

    def test_data_that_was_written_in_place_since_is_not_taken_for_what_it_was(self):
        data = content(1, MIB)
        path = self.fs.write_nocow("first", data)
        self.assert_nothing_done(self.share())
        place = harness.placement(path)
        self.fs.write("first", content(2, MIB))
        self.assertEqual(harness.placement(path), place)
        self.fs.write_nocow("old content", data)
        self.assert_nothing_done(self.share())
        self.fs.write_nocow("new content", content(2, MIB))
        self.share()
        self.assertEqual(harness.read_whole(path), content(2, MIB))

    def test_snapshots_of_them_are_shared_too(self):
        self.fs.subvolume("data")
        for name in ("first", "second"):
            self.fs.write_nocow(f"data/{name}", content(1, 4 * MIB))
        self.fs.snapshot_subvolume("data", "frozen")
        report = self.share()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (4 * MIB, 0), report)
        self.assert_shared("data/first", "frozen/second")

    def test_a_second_run_finds_nothing_more(self):
        parts = [content(i, 48 * KIB) for i in range(6)]
        for i in range(12):
            self.fs.write_nocow(f"file{i}", b"".join(parts[(i + j) % 6] for j in range(4))
                                + content(("own", i), 900 * i))
        self.assertGreater(self.share()["bytes_freed"], 0)
        self.assert_nothing_done(self.share())
        self.assert_nothing_done(self.share(state=self.fs.state + ".new"))

    def test_a_new_copy_of_an_old_one_is_found(self):
        self.fs.write_nocow("first", content(1, MIB))
        self.assert_nothing_done(self.share())
        self.fs.write_nocow("second", content(1, MIB))
        self.assertEqual(self.share()["bytes_freed"], MIB)

    def test_immutable_ones_keep_their_place(self):
        for name in ("first", "second"):
            harness.set_flags(self.fs.write_nocow(name, content(1, MIB)),
                              harness.FS_IMMUTABLE_FL)
        report = self.share()
        self.assert_nothing_done(report)
        self.assert_left(report, "immutable")


class Preallocated(Base):

    def preallocate(self, name, length):
        path = self.fs.write_nocow(name, b"")
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, length)
        return path

    def test_space_that_is_only_reserved_is_untouched(self):
        paths = [self.preallocate(f"reserved{i}", MIB) for i in range(3)]
        before = [harness.placement(path) for path in paths]
        self.assertTrue(before[0][0].flags & harness.FIEMAP_EXTENT_UNWRITTEN)
        report = self.share()
        self.assert_nothing_done(report)
        self.assertEqual([harness.placement(path) for path in paths], before)
        left = sum(report["left"].get(reason, {"extents": 0})["extents"]
                   for reason in ("no_checksum", "preallocated"))
        self.assertEqual(left, report["extents_scanned"], report)

    def test_a_reservation_that_is_partly_written_keeps_its_place(self):
        data = content(1, 512 * KIB)
        path = self.preallocate("reserved", MIB)
        self.fs.write("reserved", data, offset=256 * KIB)
        self.fs.write_nocow("copy", data)
        before = harness.placement(path)
        self.assertEqual([bool(extent.flags & harness.FIEMAP_EXTENT_UNWRITTEN)
                          for extent in before], [True, False, True])
        self.share()
        self.assertEqual(harness.placement(path), before)

    def test_a_reservation_that_is_all_written_is_shared_like_others(self):
        data = content(1, MIB)
        self.preallocate("reserved", MIB)
        self.fs.write("reserved", data)
        self.fs.write_nocow("copy", data)
        self.assertEqual(self.share()["bytes_freed"], MIB)
        self.assert_shared("reserved", "copy")


class MountedWithNodatasum(Base):

    mount_options = "noatime,nodatasum"

    def test_by_default_its_files_are_skipped(self):
        for name in ("first", "second"):
            self.fs.write(name, content(1, MIB))
        report = self.dedupe()
        self.assert_nothing_done(report)
        self.assert_left(report, "no_checksum", byte_count=2 * MIB)

    def test_its_files_are_shared_among_themselves(self):
        sizes = [3000 + 7777 * i for i in range(20)]
        for i, size in enumerate(sizes):
            self.fs.write(f"a/{i}", content(i, size))
            self.fs.write(f"b/{i}", content(i, size))
        report = self.share()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]),
                         (sum(map(round_up, sizes)), 0), report)
        self.assert_nothing_done(self.share())

    def test_files_from_before_the_option_and_after_it_stay_apart(self):
        self.fs.remount("noatime,datasum")
        for name in ("old", "same old"):
            self.fs.write(name, content(1, MIB))
        self.fs.remount()
        for name in ("new", "same new"):
            self.fs.write(name, content(1, MIB))
        report = self.share()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (2 * MIB, 0), report)
        self.assert_shared("old", "same old")
        self.assert_shared("new", "same new")


if __name__ == "__main__":
    harness.main()
