# SPDX-License-Identifier: MIT
"""skep dedupe-files on XFS: what works on btrfs works on any filesystem that shares ranges. What it
says was freed is what XFS then has free."""
import os
import unittest

import files_harness
import harness
from files_harness import FAILED, XfsFilesystem, dedupe_files, fates
from harness import BLOCK, MIB, content

NOBODY = 65534
SIZE = MIB + 123


class Xfs(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        harness.require_filesystem()
        if reason := files_harness.missing_xfs():
            harness.skip(reason)
        cls.fs = XfsFilesystem(size=files_harness.XFS_BYTES)
        cls.addClassCleanup(cls.fs.destroy)
        cls.fs.create()

    @classmethod
    def tearDownClass(cls):
        cls.fs.finish()

    def setUp(self):
        self.folder = self.fs.path(self._testMethodName)

    def write(self, name, data):
        return self.fs.write(f"{self._testMethodName}/{name}", data)

    def share(self, *arguments, **options):
        self.fs.sync()
        used = self.fs.used()
        before = harness.snapshot(self.folder)
        report = dedupe_files(*arguments, cwd=self.folder, **options)
        self.fs.sync()
        # The trees of references and of what is free may take a block more, or less.
        self.assertAlmostEqual(self.fs.used(), used - report["bytes_freed"], delta=8 * BLOCK)
        self.fs.remount()
        self.assertEqual(harness.differences(before, harness.snapshot(self.folder)), [])
        return report

    def assert_stored_once(self, *names):
        places = [harness.block_addresses(os.path.join(self.folder, name)) for name in names]
        for place in places[1:]:
            self.assertEqual(place, places[0])

    def test_equal_files(self):
        for name in ("one", "two", "three"):
            self.write(name, content(1, SIZE))
        report = self.share("one", "two", "three")
        self.assertEqual(report["bytes_freed"], 2 * harness.round_up(SIZE))
        self.assert_stored_once("one", "two", "three")
        again = self.share("one", "two", "three")
        self.assertEqual((again["files_already_shared"], again["bytes_shared"]), (2, 0))

    def test_tiny_files(self):
        for name in ("one", "two"):
            self.write(name, content(1, 100))
        self.assertEqual(self.share("one", "two")["bytes_freed"], BLOCK)

    def test_a_list_of_groups_one_of_which_is_wrong(self):
        for name in ("one", "two", "three"):
            self.write(name, content(1, SIZE))
        self.write("wrong", content(2, SIZE))
        report = self.share("--from", "-", text=b"one\nwrong\ntwo\n\nthree\nmissing\n\n",
                            status=FAILED)
        self.assertEqual(fates(report), {"one": "kept", "wrong": "differs", "two": "shared"})
        self.assertEqual(report["errors"], ["skep: missing: lstat: No such file or directory"])

    def test_common_blocks(self):
        data = content(1, SIZE)
        self.write("one", data)
        self.write("two", content(2, 3 * BLOCK) + data)
        report = self.share("--blocks", "one", "two")
        # Unlike btrfs, XFS gives back each block that nothing uses.
        self.assertEqual(report["bytes_freed"], harness.round_up(SIZE))

    def test_an_ordinary_user(self):
        for name, owner in (("one", NOBODY), ("two", NOBODY), ("theirs", 0)):
            os.chown(self.write(name, content(1, SIZE)), owner, owner)
        report = self.share("one", "two", "theirs", user=NOBODY)
        self.assertEqual(fates(report), {"theirs": "kept", "one": "shared", "two": "shared"})

    def test_many_files(self):
        names = [f"{i:03}" for i in range(130)]
        for name in names:
            self.write(name, content(1, 5000))
        self.assertEqual(self.share(*names)["bytes_freed"], 129 * 2 * BLOCK)
        self.assert_stored_once(*names)


if __name__ == "__main__":
    harness.main()
