# SPDX-License-Identifier: MIT
"""skep table show, resize and check: what they print, what they refuse, what they leave alone."""
import fcntl
import json
import os
import shutil
import struct
import time

from cli_harness import (DONE, FAILED, UNSUPPORTED, WRONG_CALL, Refusals, SharedFilesystem, call,
                         harness)

PAGE = 4096
FORMAT_VERSION = 2
NOBODY = 65534
UUID = "0e7d8c9a-2b41-4e0a-9f7e-3d1c5b6a7f80"  # of no filesystem


class WrongCalls(Refusals):

    def test_no_action(self):
        self.assert_refused(call("table"), WRONG_CALL, "show", "resize", "check")

    def test_an_unknown_action(self):
        self.assert_refused(call("table", "frobnicate"), WRONG_CALL, "frobnicate")

    def test_an_unknown_option(self):
        for action in ("show", "resize", "check"):
            self.assert_refused(call("table", action, "--frobnicate"), WRONG_CALL, "--frobnicate")

    def test_no_table_named(self):
        for arguments in (("show",), ("check",), ("resize", "1M")):
            self.assert_refused(call("table", *arguments), WRONG_CALL, "--state-dir", "MOUNT")

    def test_no_size_named(self):
        self.assert_refused(call("table", "resize"), WRONG_CALL, "SIZE")

    def test_too_much_named(self):
        self.assert_refused(call("table", "show", "/", "/proc"), WRONG_CALL, "/proc")
        self.assert_refused(call("table", "resize", "/", "1M", "2M"), WRONG_CALL, "2M")

    def test_sizes_that_are_none(self):
        for size in ("abc", "4Q", "1K", "2T", "0", "1e6"):
            with self.subTest(size=size):
                self.assert_refused(call("table", "resize", UUID, size), WRONG_CALL, "SIZE", size)

    def test_a_filesystem_without_a_table(self):
        for action in (("show", UUID), ("check", UUID), ("resize", UUID, "1M")):
            self.assert_refused(call("table", *action), WRONG_CALL, UUID, "no such table")

    def test_a_missing_file_and_a_missing_folder(self):
        self.assert_refused(call("table", "show", "/no/table"), WRONG_CALL, "/no/table")
        self.assert_refused(call("table", "show", "--state-dir", "/no/folder"), WRONG_CALL,
                            "/no/folder/table")

    def test_another_kind_of_filesystem(self):
        self.assert_refused(call("table", "show", "/proc"), UNSUPPORTED, "/proc", "btrfs")

    def test_a_folder_that_is_no_mount_point(self):
        self.assert_refused(call("table", "show", "/usr/lib"), WRONG_CALL, "/usr/lib", "mount")

    def test_a_device(self):
        self.assert_refused(call("table", "show", "/dev/null"), WRONG_CALL, "/dev/null")


class Tables(SharedFilesystem):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.made = os.path.join(cls.fs.folder, "made")
        answer = call("run", "--once", "--table-size", "64K", "--state-dir", cls.made, cls.fs.mnt)
        assert answer.status == DONE, answer

    def setUp(self):
        self.folder = self.state()
        shutil.copytree(self.made, self.folder)
        self.table = os.path.join(self.folder, "table")

    def shown(self, *names):
        answer = call("table", "show", "--json", *(names or (self.table,)))
        self.assertEqual((answer.status, answer.stderr), (DONE, ""), answer)
        return json.loads(answer.stdout)

    def overwrite(self, offset, data):
        with open(self.table, "r+b") as file:
            file.seek(offset)
            file.write(data)

    # Names.

    def test_a_table_is_named_by_its_file_its_folder_and_its_filesystem(self):
        for names in ((self.table,), ("--state-dir", self.folder),
                      ("--state-dir", self.folder, self.fs.mnt),
                      ("--state-dir", self.folder, self.fs.uuid()),
                      ("--state-dir", self.folder, self.fs.uuid().upper())):
            with self.subTest(names=names):
                shown = self.shown(*names)
                self.assertEqual(shown["filesystem"], self.fs.uuid())
                self.assertEqual(shown["file"], self.table)

    def test_the_filesystem_need_not_be_mounted(self):
        self.fs.unmount()
        try:
            self.assertEqual(self.shown("--state-dir", self.folder, self.fs.uuid())["cells"], 256)
        finally:
            self.fs.mount()

    def test_a_mount_point_alone_means_the_folder_of_its_uuid(self):
        for action in (("show", self.fs.mnt), ("check", self.fs.mnt),
                       ("resize", self.fs.mnt, "1M")):
            self.assert_refused(call("table", *action), WRONG_CALL,
                                f"/var/lib/skep/{self.fs.uuid()}/table", "no such table")

    def test_the_table_of_another_filesystem_is_refused(self):
        before = harness.read_whole(self.table)
        for action in (("show", UUID), ("check", UUID), ("resize", UUID, "1M")):
            self.assert_refused(call("table", *action, "--state-dir", self.folder), WRONG_CALL,
                                self.table, "belongs to filesystem", self.fs.uuid())
        self.assertEqual(harness.read_whole(self.table), before)

    def test_a_file_and_a_folder_are_too_much(self):
        self.assert_refused(call("table", "show", "--state-dir", self.folder, self.table),
                            WRONG_CALL, "--state-dir")

    # show

    def test_show_tells_people_what_the_table_is(self):
        answer = call("table", "show", self.table)
        self.assertEqual((answer.status, answer.stderr), (DONE, ""))
        lines = answer.stdout.splitlines()
        self.assertEqual(lines[0], self.table)
        self.assertEqual(lines[1:5], [
            f"  filesystem    {self.fs.uuid()}",
            "  size          64 KiB",
            "  format        version 2",
            "  fingerprints  csum, from the crc32c of blocks of 4.0 KiB"])
        self.assertRegex(lines[5], r"^  created       \d+ (second|minute)s? ago$")
        self.assertRegex(lines[6], r"^  written       \d+ (second|minute)s? ago$")
        self.assertEqual(lines[7:9], ["  cells         256 of 7,680 in use, 3.3 %",
                                      "  sampling      level 0: every block"])
        self.assertRegex(lines[9], r"^  buckets       15; cells in use: least \d+, median \d+, "
                                   r"most \d+$")
        self.assertEqual(len(lines), 10)

    def test_show_json(self):
        shown = self.shown()
        self.assertAlmostEqual(shown["created"], time.time(), delta=600)
        self.assertAlmostEqual(shown["written"], time.time(), delta=600)
        least, median, most = (shown["bucket_cells"][name] for name in ("least", "median", "most"))
        self.assertTrue(0 < least <= median <= most < 256)
        for name, value in dict(version=1, size_bytes=64 << 10, format_version=FORMAT_VERSION,
                                block_size=4096, fingerprints="csum", checksum="crc32c", cells=256,
                                capacity=15 * 512, sampling_level=0, buckets=15,
                                former_sizes=[]).items():
            self.assertEqual(shown[name], value, name)

    # resize

    def test_resize_keeps_what_fits_and_says_so(self):
        answer = call("table", "resize", self.table, "1M")
        self.assertEqual(answer, (DONE, f"{self.table}: resized from 64 KiB to 1.0 MiB; 256 of 256 "
                                  "cells kept, sampling level 0\n", ""))
        self.assertEqual(os.path.getsize(self.table), 1 << 20)
        self.assertEqual(sorted(os.listdir(self.folder)),
                         ["history.json", "state.json", "table"])
        shown = self.shown()
        self.assertEqual((shown["cells"], shown["former_sizes"]), (256, [64 << 10]))
        answer = call("table", "show", self.table)
        self.assertIn("  former sizes  64 KiB\n", answer.stdout)
        self.assertEqual(call("table", "check", self.table).status, DONE)

    def test_resize_beside_a_state_folder_needs_the_size_only(self):
        self.assertEqual(call("table", "resize", "--state-dir", self.folder, "8K").status, DONE)
        self.assertEqual(os.path.getsize(self.table), 8 << 10)
        self.assertEqual(call("table", "resize", "--state-dir", self.folder, self.fs.mnt,
                              "128K").status, DONE)
        self.assertEqual(os.path.getsize(self.table), 128 << 10)

    def test_resize_to_the_same_size_does_nothing(self):
        before = os.stat(self.table)
        answer = call("table", "resize", self.table, "65K")
        self.assertEqual(answer, (DONE, f"{self.table}: has 64 KiB already\n", ""))
        after = os.stat(self.table)
        self.assertEqual((before.st_ino, before.st_mtime_ns), (after.st_ino, after.st_mtime_ns))

    def test_resize_writes_over_what_a_crash_has_left(self):
        with open(self.table + ".new", "wb") as file:
            file.write(b"x" * 1000)
        self.assertEqual(call("table", "resize", self.table, "1M").status, DONE)
        self.assertFalse(os.path.exists(self.table + ".new"))

    def test_resize_without_room_leaves_the_table_untouched(self):
        with harness.LoopFilesystem(128 * harness.MIB) as small:
            table = shutil.copy(self.table, small.path("table"))
            before = harness.read_whole(table)
            self.assert_refused(call("table", "resize", table, "1G"), FAILED, table, "no room",
                                "smaller")
            self.assertEqual(harness.read_whole(table), before)
            self.assertEqual(os.listdir(small.mnt), ["table"])

    def test_resize_needs_no_privilege_but_that_of_the_file(self):
        os.chmod(self.fs.folder, 0o755)
        binary = shutil.copy(harness.skep_binary(), os.path.join(self.fs.folder, "skep"))
        os.chmod(binary, 0o755)
        as_nobody = dict(binary=binary, user=NOBODY, group=NOBODY, extra_groups=[])
        for action in (("show", self.table), ("check", self.table),
                       ("resize", self.table, "128K")):
            self.assert_refused(call("table", *action, **as_nobody), UNSUPPORTED, self.table,
                                "permission denied")
        for path in (self.folder, self.table):
            os.chown(path, NOBODY, NOBODY)
        for action in (("show", self.table), ("check", self.table),
                       ("resize", self.table, "128K")):
            self.assertEqual(call("table", *action, **as_nobody).status, DONE, action)

    def test_a_run_with_another_size_resizes(self):
        answer = self.run_once("--table-size", "1M", state=self.folder)
        self.assertEqual(answer.status, DONE, answer)
        self.assertIn("resized from 64 KiB to 1.0 MiB", answer.stderr)
        self.assertEqual(sorted(os.listdir(self.folder)),
                         ["history.json", "state.json", "table"])
        self.assertEqual(self.shown()["former_sizes"], [64 << 10])

    # check

    def test_check_of_a_sound_table(self):
        self.assertEqual(call("table", "check", self.table),
                         (DONE, f"{self.table}: sound, 15 buckets\n", ""))
        answer = call("table", "check", "--json", self.table)
        self.assertEqual((answer.status, answer.stderr), (DONE, ""))
        self.assertEqual(json.loads(answer.stdout), {
            "version": 1, "file": self.table, "filesystem": self.fs.uuid(), "buckets": 15,
            "damaged_buckets": 0,
            "damaged_cells": {"behind_free": 0, "out_of_reach": 0, "not_sampled": 0,
                              "without_address": 0}})

    def test_check_counts_damaged_buckets_and_says_what_to_do(self):
        self.overwrite(2 * PAGE + 8, struct.pack("<Q", 1 << 42))  # after a free cell, no address
        answer = call("table", "check", self.table)
        self.assertEqual((answer.status, answer.stderr), (FAILED, ""))
        self.assertRegex(answer.stdout, r"\A[^\n]+\n\Z")
        for word in (f"{self.table}: 1 of 15 buckets damaged", "1 without address", "delete it",
                     "next run"):
            self.assertIn(word, answer.stdout)
        answer = call("table", "check", "--json", self.table)
        self.assertEqual(answer.status, FAILED)
        found = json.loads(answer.stdout)
        self.assertEqual((found["damaged_buckets"], found["damaged_cells"]["without_address"]),
                         (1, 1))

    def test_a_damaged_header(self):
        sound = harness.read_whole(os.path.join(self.made, "table"))
        for offset in (0, 20, 47, 64, 115):
            with self.subTest(offset=offset):
                shutil.copy(os.path.join(self.made, "table"), self.table)
                # Turned round: any fixed byte is the one that is there once in 256 times.
                self.overwrite(offset, bytes([sound[offset] ^ 0xFF]))
                for action in (("check", self.table), ("show", self.table),
                               ("resize", self.table, "1M")):
                    self.assert_refused(call("table", *action), FAILED, self.table,
                                        "header is damaged", "delete it")
        # And what the remedy says is true.
        os.unlink(self.table)
        self.assertEqual(self.run_once(state=self.folder).status, DONE)
        self.assertEqual(call("table", "check", self.table).status, DONE)

    def test_a_table_that_is_cut_short(self):
        os.truncate(self.table, 5 * PAGE)
        self.assert_refused(call("table", "check", self.table), FAILED, self.table, "cut short")

    def test_a_file_that_is_no_table(self):
        state = os.path.join(self.folder, "state.json")
        before = harness.read_whole(state)
        for action in (("check", state), ("show", state), ("resize", state, "1M")):
            self.assert_refused(call("table", *action), WRONG_CALL, state, "no table")
        self.assertEqual(harness.read_whole(state), before)

    def test_a_table_of_another_version(self):
        self.overwrite(8, struct.pack("<I", 1))
        self.assert_refused(call("table", "show", self.table), WRONG_CALL, self.table,
                            "format version 1")
        answer = self.run_once(state=self.folder)
        self.assertEqual(answer.status, DONE)
        self.assertIn("it has format version 1; set aside as table.old", answer.stderr)
        self.assertEqual(self.shown()["format_version"], FORMAT_VERSION)

    # Locks.

    def test_a_table_that_is_in_use(self):
        with open(self.table, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            for action in (("show", self.table), ("check", self.table),
                           ("resize", self.table, "1M")):
                self.assert_refused(call("table", *action), FAILED, self.table, "in use", "stop it")
            self.assert_refused(self.run_once("--quiet", state=self.folder), FAILED, self.table,
                                "in use")
        self.assertEqual(self.shown()["size_bytes"], 64 << 10)

    def test_readers_do_not_keep_each_other_out(self):
        with open(self.table, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            self.shown()
            self.assert_refused(call("table", "resize", self.table, "1M"), FAILED, "in use")


if __name__ == "__main__":
    harness.main()
