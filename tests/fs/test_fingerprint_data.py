# SPDX-License-Identifier: MIT
"""--fingerprint data: everything is read and hashed, no checksum is relied on. It finds what the
checksums find."""
import os
import random
import shutil

import harness
from harness import BLOCK, KIB, MIB, FilesystemTest, compressible, content, disk_bytes
from page_cache import check_stays_cached


class FingerprintData(FilesystemTest):

    def by_data(self, *options, **how):
        return self.dedupe("--fingerprint", "data", *options, **how)

    def assert_nothing_done(self, report):
        self.assertEqual((report["bytes_freed"], report["bytes_copied"], report["extents_freed"]),
                         (0, 0, 0), report)

    def populate(self):
        """Whole copies, parts, tails, zeros, compressed and not, under a snapshot."""
        pick = random.Random(5)
        pool = [compressible(("pool", i), 64 * KIB) for i in range(20)]
        self.fs.subvolume("data")
        for i in range(30):
            parts = [pool[pick.randrange(20)] for _ in range(5)]
            parts.insert(2, bytes(pick.randrange(0, 9) * 8 * KIB))
            parts.append(content(("own", i), pick.randrange(0, 30000)))
            write = self.fs.write_compressed if i % 3 == 0 else self.fs.write
            write(f"data/{i}", b"".join(parts))
        for i in range(20):
            self.fs.write(f"data/whole/{i}", content(i % 10, 5000 + 9000 * (i % 10)))
        self.fs.snapshot_subvolume("data", "frozen")

    def test_two_equal_files_take_the_space_of_one(self):
        self.fs.write("first", content(1, 8 * MIB))
        self.fs.write("second", content(1, 8 * MIB))
        report = self.by_data()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (8 * MIB, 0), report)
        self.assert_shared("first", "second")

    def test_everything_is_read(self):
        for i in range(8):
            self.fs.write(f"file{i}", content(i, MIB))
        report = self.by_data()
        self.assert_nothing_done(report)
        self.assertEqual(report["bytes_read"], 8 * MIB, report)
        self.assert_left(report, "unique", byte_count=8 * MIB)

    def test_parts_are_shared_at_any_block_offset(self):
        for shift in range(17):
            data = content(("data", shift), 64 * BLOCK)
            self.fs.write(f"first{shift}", data)
            self.fs.write(f"second{shift}", content(("own", shift), shift * BLOCK)
                          + data[:48 * BLOCK])
        self.assertEqual(self.by_data()["bytes_freed"], 17 * 48 * BLOCK)

    def test_zeros_become_holes(self):
        path = self.fs.write("zeros", bytes(4 * MIB))
        self.assertEqual(self.by_data()["bytes_freed"], 4 * MIB)
        self.assertEqual(harness.extents(path), [])

    def test_tails_are_shared_or_copied(self):
        data = content(1, 16 * BLOCK)
        self.fs.write("first", data + content("one tail", 1000))
        self.fs.write("second", data + content("another tail", 1000))
        for name in ("third", "fourth"):
            self.fs.write(name, content(2, 16 * BLOCK + 1234))
        report = self.by_data()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]),
                         ((16 + 17) * BLOCK, BLOCK), report)

    def test_compressed_and_uncompressed_copies_meet(self):
        data = compressible(1, MIB)
        self.fs.write_compressed("compressed", data)
        self.fs.write("plain", data)
        other = self.fs.write_compressed("other", data, "lzo")
        size = disk_bytes(other)
        report = self.by_data()
        self.assertGreaterEqual(report["bytes_freed"], MIB, report)
        self.assertLessEqual(report["bytes_freed"], MIB + size, report)
        self.assertNotIn(None, harness.compressions(self.fs.path("plain")))
        self.assert_shared("compressed", "plain")
        self.assert_shared("compressed", "other")

    def test_a_mixed_tree_ends_up_as_by_checksums(self):
        self.populate()
        self.fs.sync()
        with harness.LoopFilesystem(self.size) as twin:
            twin.mount_options = self.fs.mount_options
            self.fs.unmount()
            twin.unmount()
            harness.command("cp", "--sparse=always", self.fs.image, twin.image)
            self.fs.mount()
            by_data = self.by_data()
            # Two mounts of one filesystem do not go together.
            self.fs.unmount()
            harness.command("btrfs", "device", "scan", "--forget")
            twin.mount()
            by_checksums = twin.run_skep()
            twin.unmount()
            harness.command("btrfs", "device", "scan", "--forget")
        self.fs.mount()
        self.assertGreater(by_checksums["bytes_freed"], 5 * MIB)
        self.assertGreaterEqual(by_data["bytes_freed"], 0.97 * by_checksums["bytes_freed"])
        self.assert_nothing_done(self.by_data())

    def test_with_nodatasum_files_without_checksums_are_shared_among_themselves(self):
        for i in range(2):
            self.fs.write_nocow(f"nocow{i}", content(1, MIB))
            self.fs.write(f"plain{i}", content(1, MIB))
        report = self.by_data()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (MIB, 0), report)
        self.assert_left(report, "no_checksum", byte_count=2 * MIB)
        report = self.by_data("--nodatasum")
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (MIB, 0), report)
        self.assertEqual(self.fs.settled_used(), 2 * MIB)

    def test_new_copies_of_old_data_are_found(self):
        self.fs.write("first", content(1, MIB))
        self.fs.write_compressed("compressed", compressible(1, MIB))
        self.assert_nothing_done(self.by_data())
        self.fs.write("second", content(1, MIB))
        self.fs.write("plain", compressible(1, MIB))
        self.assertEqual(self.by_data()["bytes_freed"], 2 * MIB)

    def test_a_second_run_finds_nothing_more_and_reads_nothing(self):
        self.populate()
        self.assertGreater(self.by_data()["bytes_freed"], 5 * MIB)
        again = self.by_data()
        self.assert_nothing_done(again)
        self.assertEqual(again["bytes_read"], 0, again)
        self.assert_nothing_done(self.by_data(state=self.fs.state + ".new"))

    def test_a_small_table_finds_what_lies_together(self):
        for copy in range(2):
            for i in range(8):
                self.fs.write(f"{copy}/{i}", content(i, 4 * MIB))
        report = self.by_data("--table-size", "64K")
        self.assertGreaterEqual(report["bytes_freed"], 30 * MIB, report)


class PageCache(FilesystemTest):

    def test_unique_data_does_not_stay_in_the_page_cache(self):
        paths = [self.fs.write(f"file{i}", content(i, 8 * MIB)) for i in range(4)]
        self.fs.remount()
        report = self.fs.run_skep("--fingerprint", "data")
        self.assertEqual(report["bytes_read"], 32 * MIB, report)
        self.assertEqual([len(harness.resident_pages(path)) for path in paths], [0] * 4)

    def test_the_middle_of_a_stretch_that_another_program_has_read_stays_in_the_page_cache(self):
        def read_a_quarter(path):
            with open(path, "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                for at in range(0, 4 * MIB, MIB):
                    os.pread(file.fileno(), 256 * KIB, at + 256 * KIB)

        path = self.fs.write("file", content(1, 4 * MIB))
        check_stays_cached(self, path, read_a_quarter, lambda: self.fs.run_skep("--fingerprint", "data"))


class TableOfAnotherKind(FilesystemTest):

    def table(self, name="table"):
        return os.path.join(self.fs.state, name)

    def kind(self, name="table"):
        return harness.read_whole(self.table(name))[36]

    def test_it_is_set_aside_and_a_new_one_is_filled(self):
        self.fs.write("first", content(1, MIB))
        self.dedupe()
        self.assertEqual(self.kind(), 1)
        self.fs.write("second", content(1, MIB))
        report = self.dedupe("--fingerprint", "data")
        self.assertEqual(report["bytes_freed"], MIB, report)
        self.assertEqual((self.kind(), self.kind("table.old")), (2, 1))
        self.fs.write("third", content(1, MIB))
        self.assertEqual(self.dedupe()["bytes_freed"], MIB)
        self.assertEqual((self.kind(), self.kind("table.old")), (1, 2))

    def test_a_line_on_stderr_says_so(self):
        self.fs.write("first", content(1, MIB))
        self.dedupe()
        process = self.fs.start_skep("--fingerprint", "data")
        _, stderr = process.communicate(timeout=harness.RUN_TIMEOUT_SECONDS)
        self.assertEqual(process.returncode, 0)
        self.assertIn("table", stderr)
        self.assertIn("set aside", stderr)

    def test_old_compressed_data_is_found_with_the_new_table(self):
        self.fs.write_compressed("compressed", compressible(1, MIB))
        self.dedupe()
        self.fs.write("plain", compressible(1, MIB))
        self.assertEqual(self.dedupe("--fingerprint", "data")["bytes_freed"], MIB)
        shutil.rmtree(self.fs.state)


if __name__ == "__main__":
    harness.main()
