# SPDX-License-Identifier: MIT
"""The harness itself: it sees what it claims to see, and leaves nothing behind."""
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
import unittest
from unittest import mock

import harness
from harness import BLOCK, MIB, FilesystemTest, compressible, content, thin


class Observation(FilesystemTest):

    def test_a_changed_byte_shows(self):
        self.fs.write("file", content(1, MIB))
        before = harness.snapshot(self.fs.mnt)
        self.fs.write("file", b"x", offset=5000)
        changed = harness.differences(before, harness.snapshot(self.fs.mnt))
        self.assertTrue(any(line.startswith("file: content was") for line in changed), changed)

    def test_a_changed_time_mode_or_length_shows(self):
        path = self.fs.write("file", content(1, MIB))
        for change, field in ((lambda: os.utime(path, ns=(0, 5)), "mtime_ns"),
                              (lambda: os.chmod(path, 0o600), "mode"),
                              (lambda: os.truncate(path, MIB - 1), "size")):
            before = harness.snapshot(self.fs.mnt)
            change()
            changed = harness.differences(before, harness.snapshot(self.fs.mnt))
            self.assertTrue(any(f"file: {field} was" in line for line in changed), changed)

    def test_new_and_lost_files_show(self):
        self.fs.write("old", b"1")
        before = harness.snapshot(self.fs.mnt)
        os.rename(self.fs.path("old"), self.fs.path("new"))
        changed = harness.differences(before, harness.snapshot(self.fs.mnt))
        self.assertIn("old: gone", changed)
        self.assertIn("new: new", changed)

    def test_turning_zeros_into_a_hole_does_not_show(self):
        path = self.fs.write("file", bytes(MIB))
        before = harness.snapshot(self.fs.mnt)
        with open(self.fs.write("hole", b""), "r+b") as hole, open(path, "rb") as file:
            hole.truncate(MIB)
            answer = harness.dedupe_range(hole, 0, MIB, [(file, 0)])
        self.assertEqual(answer, [(0, MIB)])
        os.unlink(self.fs.path("hole"))
        self.assertEqual(harness.extents(path), [])
        changed = harness.differences(before, harness.snapshot(self.fs.mnt))
        self.assertFalse([line for line in changed if line.startswith("file")], changed)

    def test_used_space_is_exact(self):
        empty = self.fs.settled_used()
        self.fs.write("file", content(1, 3 * MIB + 1))
        self.assertEqual(self.fs.settled_used() - empty, 3 * MIB + BLOCK)

    def test_extents_tell_where_blocks_are_and_who_shares_them(self):
        first = self.fs.write("first", content(1, MIB))
        second = self.fs.path("second")
        harness.clone_range(first, second)
        self.assertEqual(harness.block_addresses(first), harness.block_addresses(second))
        self.assertTrue(harness.extents(first)[0].flags & harness.FIEMAP_EXTENT_SHARED)
        self.fs.write("third", content(1, MIB))
        self.assert_not_shared("third")
        with self.assertRaises(AssertionError):
            self.assert_shared("first", "third")

    def test_items_tell_how_and_where_data_is_stored(self):
        for algorithm in ("zlib", "lzo", "zstd"):
            data = compressible(algorithm, 300000)
            path = self.fs.write_compressed(algorithm, data, algorithm)
            items = harness.file_items(path)
            self.assertEqual([(item.offset, item.length) for item in items],
                             [(0, 1 << 17), (1 << 17, 1 << 17), (1 << 18, 40960)])
            self.assertEqual(harness.compressions(path), {algorithm})
            self.assertLess(harness.disk_bytes(path), len(data) // 3)
            clone = self.fs.path(f"{algorithm} clone")
            harness.clone_range(path, clone, source_offset=5 * BLOCK, length=20 * BLOCK)
            places = harness.block_places(path)
            self.assertEqual(harness.block_places(clone), {i: places[5 + i] for i in range(20)})
        plain = self.fs.write("plain", content(1, MIB))
        self.assertEqual(harness.compressions(plain), {None})
        self.assertEqual(harness.disk_bytes(plain), MIB)

    def test_thin_data_fits_into_one_block_however_it_is_compressed(self):
        for algorithm in ("zlib", "lzo", "zstd"):
            path = self.fs.write_compressed(algorithm, thin(1, 128 << 10), algorithm)
            self.assertEqual(harness.disk_bytes(path), BLOCK)

    def test_damage_makes_exactly_one_block_unreadable(self):
        data = content(1, MIB)
        path = self.fs.write("file", data)
        self.fs.damage("file", 40 * BLOCK + 100)
        with open(path, "rb", buffering=0) as file:
            self.assertEqual(os.pread(file.fileno(), 40 * BLOCK, 0), data[:40 * BLOCK])
            with self.assertRaises(OSError):
                os.pread(file.fileno(), BLOCK, 40 * BLOCK)
            self.assertEqual(os.pread(file.fileno(), MIB, 41 * BLOCK), data[41 * BLOCK:])

    def test_damage_makes_a_compressed_extent_unreadable_and_no_other(self):
        data = compressible(1, 3 << 17)
        path = self.fs.write_compressed("file", data)
        self.fs.damage("file", 1 << 17)
        with open(path, "rb", buffering=0) as file:
            for piece in (0, 2):
                at = piece << 17
                self.assertEqual(os.pread(file.fileno(), 1 << 17, at), data[at:at + (1 << 17)])
            with self.assertRaises(OSError):
                os.pread(file.fileno(), BLOCK, (1 << 17) + 50000)

    def test_an_open_descriptor_is_named_when_it_keeps_the_mount_busy(self):
        path = self.fs.write("file", b"1")
        with open(path, "rb"):
            with self.assertRaisesRegex(harness.HarnessError, "file"):
                self.fs.unmount()


    def test_mounts_are_found_beside_one_whose_name_is_no_text(self):
        other = os.fsdecode(os.fsencode(self.fs.folder) + b"/\xff b")
        os.mkdir(other)
        harness.command("mount", "--bind", self.fs.mnt, other)
        try:
            self.assertIn(self.fs.mnt, harness.mount_points_below(self.fs.folder))
        finally:
            harness.command("umount", other)


class Cleanup(unittest.TestCase):

    SCRIPT = textwrap.dedent("""
        import sys, time
        import harness
        harness.install_cleanup()
        fs = harness.LoopFilesystem()
        fs.create()
        fs.start("sleep", "600")
        print(fs.folder, fs.loop, flush=True)
        {ending}
        """)

    def setUp(self):
        harness.require_filesystem()

    def begin(self, ending):
        child = subprocess.Popen([sys.executable, "-c", self.SCRIPT.format(ending=ending)],
                                 cwd=pathlib.Path(harness.__file__).parent,
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        folder, loop = child.stdout.readline().split()
        return child, folder, pathlib.Path("/sys/block") / os.path.basename(loop)

    def assert_gone(self, folder, device):
        self.assertFalse(os.path.exists(folder))
        self.assertEqual(harness.mount_points_below(folder), [])
        for _ in range(100):
            try:
                if folder not in (device / "loop/backing_file").read_text():
                    return
            except OSError:
                return
            time.sleep(0.05)
        self.fail(f"{device} still belongs to {folder}")

    def test_signals_leave_nothing_behind(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            with self.subTest(signal=number.name):
                child, folder, device = self.begin("time.sleep(600)")
                self.assertTrue(os.path.ismount(f"{folder}/mnt"))
                child.send_signal(number)
                self.assertEqual(child.wait(timeout=30 * harness.SLOWDOWN), -number)
                child.stdout.close()
                self.assert_gone(folder, device)

    def test_a_file_that_is_open_leaves_nothing_behind(self):
        for ending in ("time.sleep(600)", "raise ValueError"):
            child, folder, device = self.begin(f"open(fs.path('file'), 'w'); held = open(fs.path('file')); {ending}")
            if "sleep" in ending:
                time.sleep(0.2)
                child.terminate()
            self.assertIn(child.wait(timeout=30 * harness.SLOWDOWN), (1, -signal.SIGTERM))
            child.stdout.close()
            self.assert_gone(folder, device)

    def test_an_exception_leaves_nothing_behind(self):
        child, folder, device = self.begin("raise ValueError")
        self.assertEqual(child.wait(timeout=30 * harness.SLOWDOWN), 1)
        child.stdout.close()
        self.assert_gone(folder, device)

    def test_mounts_of_a_neighbour_whose_name_begins_alike_stay(self):
        with harness.LoopFilesystem() as fs:
            other = harness.LoopFilesystem()
            other.folder = fs.folder[:-1]
            other.destroy()
            self.assertTrue(os.path.ismount(fs.mnt))
            self.assertEqual(harness.mount_points_below(fs.folder), [fs.mnt])
            self.assertEqual(harness.mount_points_below(fs.mnt), [fs.mnt])


class ForgottenDevices(FilesystemTest):
    """Which kernels still know a device that was unmounted is their own affair; forgetting it takes no time."""

    def test_a_device_that_the_kernel_does_not_know_is_a_forgotten_one(self):
        self.fs.unmount()
        for _ in range(2):
            began = time.monotonic()
            self.fs.forget_loop()
            self.assertLess(time.monotonic() - began, harness.MOST_SECONDS_TO_FORGET / 4)
        self.fs.mount()

    def test_the_answer_that_there_is_no_such_device_ends_the_waiting(self):
        with mock.patch.object(harness, "command", side_effect=harness.HarnessError(
                "btrfs device scan --forget /dev/loop0: status 1: ERROR: cannot unregister device '/dev/loop0': "
                "No such file or directory")) as asked:
            self.fs.forget_loop()
        self.assertEqual(asked.call_count, 1)

    def test_a_device_in_use_is_asked_for_again_until_it_is_not(self):
        busy = harness.HarnessError("status 1: ERROR: cannot unregister device: Device or resource busy")
        with mock.patch.object(harness, "command", side_effect=[busy, busy, ""]) as asked:
            self.fs.forget_loop()
        self.assertEqual(asked.call_count, 3)


if __name__ == "__main__":
    harness.main()
