# SPDX-License-Identifier: MIT
"""Compressed extents. Their checksums cover the packed bytes, so equal ones can be told by checksums
only when they were compressed alike; all others are read and unpacked. A compressed copy stays
rather than an uncompressed one, and what is copied of a compressed extent is compressed again."""
import json
import os
import signal
import time

import harness
from harness import BLOCK, KIB, MIB, FilesystemTest, compressible, content, disk_bytes, thin
from page_cache import check_stays_cached

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

    def test_a_deep_run_reads_what_is_unique_and_leaves_it_alone(self):
        paths = [self.compressed(f"file{i}", compressible(i, MIB)) for i in range(4)]
        before = [harness.file_items(path) for path in paths]
        report = self.dedupe()
        self.assert_nothing_done(report)
        self.assertEqual(report["bytes_read"], 4 * MIB)
        self.assert_left(report, "unique", byte_count=disk_bytes(*paths))
        self.assertEqual([harness.file_items(path) for path in paths], before)

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
        self.fs.unlink(original)
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
        self.fs.unlink(original)
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

    def test_each_scanned_extent_is_either_freed_or_named_as_left(self):
        for i in range(4):
            self.compressed(f"unique{i}", compressible(i, 256 * KIB))
            self.compressed(f"first{i}", compressible(("twice", i), 256 * KIB))
            self.compressed(f"second{i}", compressible(("twice", i), 256 * KIB))
            self.fs.write(f"plain{i}", compressible(("twice", i), 256 * KIB))
        used = self.fs.settled_used()
        report = self.dedupe()
        left = sum(reason["extents"] for reason in report["left"].values())
        self.assertEqual(report["extents_freed"] + left, report["extents_scanned"], report)
        self.assertGreaterEqual(report["bytes_scanned"], used, report)

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


class Subvolumes(Base):

    def test_read_only_snapshots_of_compressed_data_are_shared_too(self):
        self.fs.subvolume("data")
        for i in range(4):
            self.compressed(f"data/compressed{i}", compressible(i, 2 * MIB))
            self.fs.write(f"data/plain{i}", compressible(i, 2 * MIB))
        for name in ("one", "two", "three"):
            self.fs.snapshot_subvolume("data", name)
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (8 * MIB, 0), report)
        for name in ("data", "one", "two", "three"):
            self.assert_compressed(f"{name}/plain3")
        self.assert_shared("data/compressed2", "three/plain2")

    def test_what_only_snapshots_refer_to_is_read_and_shared(self):
        self.fs.subvolume("data")
        self.compressed("data/file", compressible(1, MIB))
        self.fs.snapshot_subvolume("data", "frozen")
        self.fs.unlink("data/file")
        self.fs.sync()
        self.fs.write("plain", compressible(1, MIB))
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (MIB, 0), report)
        self.assert_shared("frozen/file", "plain")

    def test_what_a_snapshot_has_whole_and_its_origin_in_part_is_read_whole(self):
        self.fs.subvolume("data")
        self.compressed("data/file", compressible(1, MIB))
        self.fs.snapshot_subvolume("data", "frozen")
        for at in range(0, MIB, PACKED):  # the origin goes on, the snapshot stays
            self.compressed("data/file", compressible(("new", at), 32 * KIB), offset=at)
        self.fs.write("plain", compressible(1, MIB))
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (MIB, 0), report)
        self.assert_shared("frozen/file", "plain")

    def test_copies_in_other_subvolumes_are_shared(self):
        for name in ("one", "two", "three"):
            self.fs.subvolume(name)
        self.compressed("one/file", compressible(1, MIB))
        size = disk_bytes(self.fs.path("one/file"))
        self.compressed("two/file", compressible(1, MIB))
        self.fs.write("three/file", compressible(1, MIB))
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (size + MIB, 0), report)
        self.assert_shared("one/file", "three/file")


class MixedAlgorithms(Base):

    def test_copies_compressed_in_different_ways_become_one(self):
        sizes = []
        for algorithm in ("zlib", "lzo", "zstd"):
            path = self.fs.write_compressed(algorithm, compressible(1, MIB), algorithm)
            sizes.append(disk_bytes(path))
        report = self.dedupe()
        self.assertEqual(report["bytes_copied"], 0, report)
        self.assertIn(report["bytes_freed"], [sum(sizes) - size for size in sizes])
        self.assert_shared("zlib", "lzo")
        self.assert_shared("zlib", "zstd")

    def test_copies_are_compressed_as_their_victim_was_whatever_the_mount_says(self):
        self.fs.remount("noatime,compress=zlib")
        base = compressible("base", 8 * PACKED)
        self.fs.write_compressed("base", base, "lzo")
        names = [f"file{i}" for i in range(8)]
        for i, name in enumerate(names):
            shared = base[i * PACKED:i * PACKED + 96 * KIB]
            self.fs.write_compressed(name, shared + compressible(("own", i), 32 * KIB), "lzo")
        self.mount_options = self.fs.mount_options = "noatime,compress=zlib"
        report = self.dedupe()
        self.assertGreater(report["bytes_freed"], 0, report)
        self.assertGreater(report["bytes_copied"], 0, report)
        for path in self.paths("base", *names):
            self.assertEqual(harness.compressions(path), {"lzo"}, path)


class MountOptions(Base):
    """The whole filesystem compresses, as most that do are set up."""

    mount_options = "noatime,compress=zstd"

    def populate(self):
        """Copies of what packs well and of what does not, some of them stored before the option was
        chosen. Returns what can be freed without a copy."""
        texts = {i: compressible(i, 300 * KIB) for i in range(6)}
        noise = {i: content(i, 300 * KIB) for i in range(6)}
        for i in range(6):
            self.fs.write(f"text{i}", texts[i])
            self.fs.write(f"same text{i}", texts[i])
            self.fs.write(f"noise{i}", noise[i])
        size = disk_bytes(self.fs.path("text0"))
        self.fs.remount("noatime,compress=no")
        for i in range(6):
            self.fs.write(f"old text{i}", texts[i])
            self.fs.write(f"old noise{i}", noise[i])
        self.fs.remount()
        return 6 * (size + 600 * KIB)

    def check(self):
        freed = self.populate()
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (freed, 0), report)
        for i in range(6):
            self.assert_compressed(f"text{i}", f"same text{i}", f"old text{i}")
            self.assert_shared(f"noise{i}", f"old noise{i}")
        self.assert_nothing_done(self.dedupe())

    def test_mounted_with_compress(self):
        self.check()

    def test_mounted_with_compress_force(self):
        self.fs.mount_options = "noatime,compress-force=zstd"
        self.fs.remount()
        self.check()

    def test_copies_of_uncompressed_victims_are_counted_as_they_are_stored(self):
        self.fs.remount("noatime,compress=no")
        data = compressible("common", MIB)
        self.fs.write("first", data)
        self.fs.write("second", data[:768 * KIB] + compressible("own", 256 * KIB))
        self.fs.remount()  # whatever skep writes may be compressed now; dedupe() counts the bytes
        report = self.dedupe()
        self.assertGreaterEqual(report["bytes_freed"], 768 * KIB, report)

    def check_tails(self):
        """A single tail in a temporary file must not be stored inline: sharing from it would make the
        kernel write into the victim's file, later."""
        for i in range(12):
            data = content(("head", i), 20 * BLOCK)
            for name in ("one", "other"):
                tail = compressible((name, i), 100 + 300 * i)
                self.fs.write(f"{name}{i}", data + tail)
            report = self.dedupe()
            self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (20 * BLOCK, BLOCK),
                             (i, report))
            self.assertEqual(report["counters"]["extents_not_gone"], 0, report)

    def test_copied_tails_are_on_disk_at_once_where_mounted_with_compress(self):
        self.check_tails()

    def test_copied_tails_are_on_disk_at_once_where_mounted_with_compress_force(self):
        self.fs.mount_options = "noatime,compress-force=zlib"
        self.fs.remount()
        self.check_tails()


class LaterRuns(Base):

    def test_a_deep_run_after_a_quick_one_looks_into_the_old_data(self):
        self.compressed("compressed", compressible(1, MIB))
        self.fs.write("plain", compressible(1, MIB))
        self.assert_nothing_done(self.dedupe("--depth", "quick"))
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (MIB, 0), report)
        self.assert_shared("compressed", "plain")

    def test_quick_runs_again_and_again_leave_the_old_data_to_a_deep_one(self):
        for i in range(3):
            self.compressed(f"compressed{i}", compressible(i, MIB))
            self.fs.write(f"plain{i}", compressible(i, MIB))
            self.assert_nothing_done(self.dedupe("--depth", "quick"))
        self.compressed("compressed", compressible("new", MIB))
        self.fs.write("plain", compressible("new", MIB))
        self.assertEqual(self.dedupe()["bytes_freed"], 4 * MIB)

    def test_a_new_uncompressed_copy_of_old_compressed_data_is_found(self):
        self.compressed("compressed", compressible(1, MIB))
        self.assert_nothing_done(self.dedupe())
        self.fs.write("plain", compressible(1, MIB))
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (MIB, 0), report)
        self.assert_compressed("plain")

    def test_old_uncompressed_data_goes_to_a_new_compressed_copy(self):
        self.fs.write("plain", compressible(1, MIB))
        self.assert_nothing_done(self.dedupe())
        self.compressed("compressed", compressible(1, MIB))
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (MIB, 0), report)
        self.assert_compressed("plain")

    def test_a_new_compressed_copy_of_old_compressed_data_is_found_at_any_offset(self):
        data = compressible(1, 8 * PACKED)
        self.compressed("old", data)
        self.assert_nothing_done(self.dedupe())
        new = self.compressed("new", data[5 * BLOCK:5 * BLOCK + 4 * PACKED])
        size = disk_bytes(new)
        self.assertEqual(self.dedupe()["bytes_freed"], size)

    def test_old_compressed_data_is_found_when_the_table_is_lost(self):
        self.compressed("compressed", compressible(1, MIB))
        self.assert_nothing_done(self.dedupe())
        os.unlink(os.path.join(self.fs.state, "table"))
        self.fs.write("plain", compressible(1, MIB))
        self.assertEqual(self.dedupe()["bytes_freed"], MIB)

    def test_compressed_data_replaced_between_runs_is_not_taken_for_what_it_was(self):
        self.compressed("file", compressible(1, MIB))
        self.dedupe()
        self.fs.unlink("file")
        self.fs.sync()
        self.compressed("file", compressible(2, MIB))  # perhaps at the same place
        self.fs.write("old content", compressible(1, MIB))
        self.assert_nothing_done(self.dedupe())

    def test_unique_compressed_data_is_read_once_only(self):
        self.compressed("file", compressible(1, 4 * MIB))
        self.assertEqual(self.dedupe()["bytes_read"], 4 * MIB)
        self.compressed("new", compressible(2, MIB))
        self.assertEqual(self.dedupe()["bytes_read"], MIB)
        self.assertEqual(self.dedupe()["bytes_read"], 0)


class Stopped(Base):

    size = 512 * MIB
    algorithm = "zlib"  # the slowest to unpack
    FILES = 32

    def state_of_the_run(self):
        with open(os.path.join(self.fs.state, "state.json"), encoding="utf-8") as file:
            return json.load(file)

    def stopped_in_the_content_scan(self, number):
        """Signals a run as soon as its quick pass is over."""
        process = self.fs.start_skep("--verbose")
        for line in process.stderr:
            if "quick pass" in line:
                break
        process.send_signal(number)
        signalled = time.monotonic()
        report = self.fs.finish_skep(process, status=4)
        self.assertLess(time.monotonic() - signalled, 6 * harness.SLOWDOWN)
        return report

    def check(self, number):
        for i in range(self.FILES):
            self.compressed(f"file{i}", compressible(i, 4 * MIB))
        for i in range(4):
            self.fs.write(f"plain{i}", compressible(self.FILES - 1 - i, 4 * MIB))
        self.fs.remount()
        before = harness.snapshot(self.fs.mnt)
        self.fs.remount()
        self.stopped_in_the_content_scan(number)
        state = self.state_of_the_run()
        self.assertEqual(state["pass"]["kind"], "content_scan", state)
        self.assertEqual(state["deep_generation"], 0, state)
        report = self.dedupe()
        self.assertTrue(report["resumed"])
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (16 * MIB, 0), report)
        self.assert_same_contents(before, harness.snapshot(self.fs.mnt))
        self.assertNotIn("pass", self.state_of_the_run())
        self.assert_nothing_done(self.dedupe())

    def test_a_run_interrupted_while_it_reads_contents_goes_on_there(self):
        self.check(signal.SIGINT)

    def test_a_run_terminated_while_it_reads_contents_goes_on_there(self):
        self.check(signal.SIGTERM)


class Damaged(Base):

    def readable(self, name):
        """Which pieces of 128 KiB of the file can be read."""
        good = []
        with open(self.fs.path(name), "rb", buffering=0) as file:
            for at in range(0, os.fstat(file.fileno()).st_size, PACKED):
                try:
                    good.append((at, os.pread(file.fileno(), PACKED, at)))
                except OSError:
                    continue
        return good

    def check(self, damaged, *options):
        data = compressible(1, 4 * PACKED)
        self.compressed("compressed", data)
        if "quick" in options:
            self.compressed("other", data)
        else:
            self.fs.write("other", data)
        for name in ("sound", "sound as well"):
            self.compressed(name, compressible(2, MIB))
        size = disk_bytes(self.fs.path("sound"))
        self.fs.damage(damaged, PACKED)
        readable = {name: self.readable(name) for name in ("compressed", "other")}
        self.assertLess(len(readable[damaged]), 4)
        self.fs.remount()
        report = self.dedupe(*options)
        self.assertGreaterEqual(report["bytes_freed"], size, report)
        for name in ("compressed", "other"):
            self.assertEqual(self.readable(name), readable[name])
        self.assert_shared("sound", "sound as well")
        return report

    def test_a_damaged_compressed_extent_is_counted_and_the_rest_goes_on(self):
        report = self.check("compressed")
        self.assertGreater(report["counters"]["contents_unreadable"], 0, report)

    def test_a_damaged_uncompressed_copy_of_a_compressed_extent_stays(self):
        self.check("other")

    def test_damage_in_what_is_compressed_alike_does_not_spread(self):
        self.assert_left(self.check("compressed", "--depth", "quick"), "failed")


class PageCache(Base):

    def test_unique_compressed_data_does_not_stay_in_the_page_cache(self):
        paths = [self.compressed(f"file{i}", compressible(i, 8 * MIB)) for i in range(4)]
        self.fs.remount()
        report = self.fs.run_skep()
        self.assertEqual(report["bytes_read"], 32 * MIB, report)
        self.assertEqual([len(harness.resident_pages(path)) for path in paths], [0] * 4)

    def test_what_another_program_has_read_stays_in_the_page_cache(self):
        path = self.compressed("file", compressible(1, 8 * MIB))
        self.compressed("other", compressible(2, 8 * MIB))
        check_stays_cached(self, path, harness.read_whole, self.fs.run_skep)

    def test_a_part_that_another_program_has_read_stays_in_the_page_cache(self):
        path = self.compressed("file", compressible(1, 8 * MIB))

        def read_a_part(path):
            with open(path, "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                for at in range(2 * MIB, 3 * MIB, PACKED):
                    os.pread(file.fileno(), PACKED, at)
            self.assertLess(len(harness.resident_pages(path)), 8 * MIB // BLOCK)

        check_stays_cached(self, path, read_a_part, self.fs.run_skep, brought_in=MIB // BLOCK)


if __name__ == "__main__":
    harness.main()
