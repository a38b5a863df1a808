# SPDX-License-Identifier: MIT
"""Files that are special in some way: what is shared all the same, and what is left alone."""
import fcntl
import mmap
import os
import signal
import subprocess
import time
import unittest

import harness
from harness import KIB, MIB, FilesystemTest, content, round_up


class InlineFiles(FilesystemTest):

    def test_files_stored_inside_metadata_are_no_candidates(self):
        for i in range(40):
            self.fs.write(f"file{i}", content(1, 100 * (i // 2)))
        before = [harness.placement(self.fs.path(f"file{i}")) for i in range(40)]
        self.assertTrue(before[39][0].flags & harness.FIEMAP_EXTENT_DATA_INLINE)
        report = self.dedupe()
        self.assertEqual(report["extents_scanned"], 0)
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (0, 0))
        self.assertEqual(before, [harness.placement(self.fs.path(f"file{i}"))
                                  for i in range(40)])


class HardLinks(FilesystemTest):

    def test_a_file_with_several_names_is_shared_once(self):
        self.fs.write("first", content(1, MIB))
        self.fs.write("second", content(1, MIB))
        os.mkdir(self.fs.path("names"))
        for i in range(50):
            os.link(self.fs.path("first"), self.fs.path(f"names/first{i}"))
            os.link(self.fs.path("second"), self.fs.path(f"second{i}"))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], MIB)
        self.assert_shared("names/first7", "second9")

    def test_names_alone_are_no_duplicates(self):
        self.fs.write("file", content(1, MIB))
        os.link(self.fs.path("file"), self.fs.path("link"))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 0)
        self.assertEqual(report["bytes_duplicate"], 0)


class Nocow(FilesystemTest):

    def test_nocow_files_are_left_alone_and_counted(self):
        self.fs.write("plain", content(1, MIB))
        names = ["nocow1", "nocow2"]
        for name in names:
            self.fs.write_nocow(name, content(1, MIB))
        before = [harness.placement(self.fs.path(name)) for name in names]
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (0, 0))
        self.assert_left(report, "no_checksum", byte_count=2 * MIB)
        self.assertEqual(before, [harness.placement(self.fs.path(name)) for name in names])

    def test_files_beside_nocow_copies_are_still_shared(self):
        self.fs.write_nocow("nocow", content(1, MIB))
        self.fs.write("first", content(1, MIB))
        self.fs.write("second", content(1, MIB))
        self.assertEqual(self.dedupe()["bytes_freed"], MIB)
        self.assert_shared("first", "second")
        self.assert_not_shared("nocow")

    def test_zeros_in_nocow_files_stay_allocated(self):
        path = self.fs.write_nocow("nocow", bytes(MIB))
        before = harness.placement(path)
        self.assertEqual(self.dedupe()["bytes_freed"], 0)
        self.assertEqual(harness.placement(path), before)


class Immutable(FilesystemTest):

    def immutable(self, name, data):
        path = self.fs.write(name, data)
        harness.set_flags(path, harness.FS_IMMUTABLE_FL)
        return path

    def test_immutable_files_are_left_alone_and_counted(self):
        paths = [self.immutable(f"file{i}", content(1, MIB)) for i in range(2)]
        before = [harness.placement(path) for path in paths]
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (0, 0))
        self.assert_left(report, "immutable")
        self.assertEqual([harness.placement(path) for path in paths], before)

    def test_an_immutable_file_keeps_its_blocks_whatever_becomes_of_its_copy(self):
        path = self.immutable("immutable", content(1, MIB))
        self.fs.write("plain", content(1, MIB))
        before = harness.placement(path)
        report = self.dedupe()
        self.assertEqual(harness.placement(path), before)
        if report["bytes_freed"]:
            self.assert_shared("immutable", "plain")
        else:
            self.assert_left(report, "immutable")

    def test_an_immutable_file_with_unique_parts_costs_no_copies(self):
        data = content(1, MIB)
        path = self.immutable("immutable", data[:960 * KIB] + content(2, 64 * KIB))
        other = self.immutable("other", data[64 * KIB:] + content(3, 128 * KIB))
        before = harness.placement(path), harness.placement(other)
        report = self.dedupe()
        self.assertEqual((report["bytes_freed"], report["bytes_copied"]), (0, 0))
        self.assertEqual((harness.placement(path), harness.placement(other)), before)


class SwapFiles(FilesystemTest):

    def test_an_active_swap_file_is_left_alone_and_counted(self):
        length = 8 * MIB
        path = self.fs.write_nocow("swap", bytes(length))
        self.fs.write("zeros", bytes(length))
        os.chmod(path, 0o600)
        harness.command("mkswap", path)
        self.fs.sync()
        before = harness.placement(path)
        try:
            harness.command("swapon", "-p", "0", path)
        except harness.HarnessError as error:
            raise unittest.SkipTest(f"no swap files here: {error}")
        self.fs.swap_files.append(path)
        try:
            report = self.fs.run_skep()
            self.assertIn(path, open("/proc/swaps", encoding="utf-8").read())
        finally:
            harness.command("swapoff", path)
        self.assertEqual(report["bytes_freed"], length)  # the other file's
        left = sum(report["left"].get(reason, {"bytes": 0})["bytes"]
                   for reason in ("no_checksum", "busy"))
        self.assertEqual(left, length)
        self.assertEqual(harness.placement(path), before)


class Leases(FilesystemTest):

    def test_a_lease_holds_nothing_up_and_is_left_until_it_is_given_back(self):
        """As Samba takes them. Whoever opens the file without O_NONBLOCK waits for 45 seconds."""
        self.addCleanup(signal.signal, signal.SIGIO, signal.signal(signal.SIGIO, signal.SIG_IGN))
        for name in ("first", "second"):
            self.fs.write(name, content(1, MIB))
        fds = [os.open(self.fs.path(name), os.O_RDWR) for name in ("first", "second")]
        try:
            for fd in fds:
                fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            report = self.fs.run_skep()
            self.assertEqual(report["bytes_freed"], 0)
            self.assert_left(report, "changed", byte_count=2 * MIB)
        finally:
            for fd in fds:
                os.close(fd)
        self.assertEqual(self.dedupe()["bytes_freed"], MIB)


class FilesInUse(FilesystemTest):

    def test_a_running_executable_is_shared_and_goes_on_running(self):
        program = harness.read_whole("/bin/sleep")
        for name in ("first", "second"):
            os.chmod(self.fs.write(name, program), 0o755)
        before = harness.snapshot(self.fs.mnt)
        self.fs.remount()
        running = [self.fs.start(self.fs.path(name), "600", stderr=subprocess.DEVNULL)
                   for name in ("first", "second")]
        time.sleep(0.1)
        report = self.fs.run_skep()
        self.assertEqual(report["bytes_freed"], round_up(len(program)))
        self.assertEqual([process.poll() for process in running], [None, None])
        again = subprocess.run([self.fs.path("second"), "0"], check=False)
        self.assertEqual(again.returncode, 0)
        for process in running:
            process.kill()
            process.wait()
        self.fs.remount()
        self.assert_same_contents(before, harness.snapshot(self.fs.mnt))
        self.assert_shared("first", "second")

    def test_open_and_mapped_files_read_as_before(self):
        data = content(1, MIB)
        for name in ("first", "second"):
            self.fs.write(name, data)
        with open(self.fs.path("first"), "r+b") as first, open(self.fs.path("second"),
                                                              "r+b") as second:
            with mmap.mmap(second.fileno(), MIB) as mapped:
                self.assertEqual(mapped[:], data)
                self.assertEqual(self.fs.run_skep()["bytes_freed"], MIB)
                self.assertEqual(mapped[:], data)
                mapped[5000:5004] = b"skep"
                mapped.flush()
            self.assertEqual(first.read(), data)
            self.assertEqual(second.read(), data[:5000] + b"skep" + data[5004:])

    def test_a_deleted_file_that_is_still_open_reads_as_before(self):
        data = content(1, MIB)
        path = self.fs.write("deleted", data)
        self.fs.write("copy", data)
        with open(path, "rb") as file:
            os.unlink(path)
            self.fs.sync()
            self.fs.run_skep()
            self.assertEqual(file.read(), data)
        self.assertEqual(harness.read_whole(self.fs.path("copy")), data)
        self.assertEqual(self.fs.settled_used(expect=MIB), MIB)


if __name__ == "__main__":
    harness.main()
