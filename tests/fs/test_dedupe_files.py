# SPDX-License-Identifier: MIT
"""skep dedupe-files on btrfs: which files it shares, what it says of them, and what it leaves."""
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import time

import files_harness
import harness
from files_harness import (DONE, FAILED, STOPPED, UNSUPPORTED, dedupe_files, fates)
from harness import BLOCK, KIB, MIB, FilesystemTest, content

NOBODY = 65534
SIZE = 256 * KIB + 123  # with a tail
LARGE = 384 * KIB


class FolderFilesystem(harness.LoopFilesystem):
    """One filesystem for many tests: each has a folder of its own, in which its names begin."""

    test = "."

    def path(self, name):
        return os.path.join(self.mnt, self.test, name)


class FilesTest(FilesystemTest):
    """The tests of a class share a filesystem."""

    @classmethod
    def setUpClass(cls):
        harness.require_filesystem()
        cls.fs = FolderFilesystem(size=512 * MIB)
        cls.addClassCleanup(cls.fs.destroy)
        cls.fs.create()

    @classmethod
    def tearDownClass(cls):
        cls.fs.finish()

    def setUp(self):
        self.fs.test = self._testMethodName
        os.mkdir(self.fs.path(""), 0o755)

    def tearDown(self):
        pass

    def share(self, *arguments, **options):
        """One call, with what must hold for each on a filesystem at rest."""
        used = self.fs.settled_used()
        before = harness.snapshot(self.fs.path(""))
        report = dedupe_files(*arguments, cwd=self.fs.path(""), **options)
        expected = used - (0 if report["dry_run"] else report["bytes_freed"])
        self.assertEqual(self.fs.settled_used(expect=expected), expected, report)
        self.assert_same_contents(before, harness.snapshot(self.fs.path("")))
        return report

    def assert_stored_once(self, *names):
        first = harness.extents(self.fs.path(names[0]))
        for name in names[1:]:
            self.assertEqual(harness.placement(self.fs.path(name)), [
                extent._replace(flags=extent.flags & ~harness.FIEMAP_EXTENT_SHARED & ~1)
                for extent in first], name)


class Lists(FilesTest):
    """Lists as the programs make them that find duplicate files."""

    names = ("one", "two three", 'quo"te \\ back', "\u00fcml\u00e4ut", "folder/four")

    def make(self, folder):
        """Two groups of equal files, and one file that equals none."""
        for name in self.names:
            self.fs.write(f"{folder}/a/{name}", content((folder, "a"), SIZE))
            self.fs.write(f"{folder}/b/{name}", content((folder, "b"), LARGE))
        self.fs.write(f"{folder}/alone", content((folder, "alone"), SIZE))

    def check(self, folder, listed, *options):
        """The list is recognised by itself, and by its name."""
        report = self.share("--from", "-", *options, text=listed)
        more = len(self.names) - 1
        self.assertEqual(report["bytes_freed"], more * (harness.round_up(SIZE) + LARGE), report)
        self.assertEqual([group["file_size"] for group in report["groups"]].count(LARGE), 1)
        self.assertEqual(len(report["groups"]), 2)
        self.assertEqual((report["files_shared"], report["files_different"]), (2 * more, 0))
        for group in "ab":
            self.assert_stored_once(*(f"{folder}/{group}/{name}" for name in self.names))

    def run_tool(self, *arguments):
        if not shutil.which(arguments[0]):
            harness.skip(f"{arguments[0]} is not installed")
        return subprocess.run(arguments, cwd=self.fs.path(""), stdin=subprocess.DEVNULL, check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60).stdout

    def check_tool(self, name, *arguments):
        for options in ((), ("--format", name)):
            folder = f"{'-'.join(arguments)} {len(options)}".replace("/", "_")
            self.make(folder)
            self.check(folder, self.run_tool(*arguments, folder), *options)

    def test_lists_of_fdupes(self):
        self.check_tool("fdupes", "fdupes", "-rq")
        self.check_tool("fdupes", "fdupes", "-rqS")

    def test_lists_of_jdupes(self):
        self.check_tool("fdupes", "jdupes", "-rq")
        self.check_tool("jdupes", "jdupes", "-rqS")
        self.check_tool("jdupes", "jdupes", "-rqj")
        self.check_tool("nul", "jdupes", "-rq0")

    def test_lists_of_rmlint(self):
        self.check_tool("rmlint", "rmlint", "-o", "json:stdout")
        self.check_tool("fdupes", "rmlint", "-o", "fdupes:stdout")

    def test_lists_of_find(self):
        for options, end in (((), "\n"), (("--format", "lines"), "\n"), ((), "\0"),
                             (("--format", "nul"), "\0")):
            folder = f"find {len(options)} {ord(end)}"
            self.make(folder)
            listed = self.run_tool("find", folder, "-type", "f", "-printf",
                                   "%p\\n" if end == "\n" else "%p\\0")
            self.check(folder, listed, *options)

    def test_lists_of_fclones(self):
        """It is no package of Debian: its two formats, as it describes them."""
        for options in ((), ("--format", "fclones")):
            folder = f"fclones {len(options)}"
            self.make(folder)
            self.check(folder, self.fclones(folder), *options)
            folder += " json"
            self.make(folder)
            self.check(folder, self.fclones_json(folder), *options)

    def fclones(self, folder):
        lines = ["# Report by fclones 0.34.0", "# Timestamp: 2024-03-18 08:22:00.844 +0100",
                 "# Command: fclones group .", f"# Base dir: {self.fs.path('')}",
                 "# Total: 10 B (10 B) in 10 files in 2 groups",
                 "# Redundant: 8 B (8 B) in 8 files", "# Missing: 0 B (0 B) in 0 files"]
        for group, size in (("a", SIZE), ("b", LARGE)):
            lines.append(f"49165422e775f631cca3b09124f8ee8{group}, {size} B (1 KB) * 5:")
            lines += ["    " + self.fs.path(f"{folder}/{group}/{name}").replace("\\", "\\\\")
                      for name in self.names]
        return "\n".join(lines + [""]).encode()

    def fclones_json(self, folder):
        groups = [{"file_len": size, "file_hash": "49165422e775f631cca3b09124f8ee89",
                   "files": [f"{folder}/{group}/{name}".replace("\\", "\\\\")
                             for name in self.names]}
                  for group, size in (("a", SIZE), ("b", LARGE))]
        return json.dumps({
            "header": {"version": "0.34.0", "command": ["fclones", "group"],
                       "base_dir": self.fs.path("")}, "groups": groups}, indent=2).encode()

    def test_names_of_any_bytes(self):
        names = [b"new\nline", b"no utf-8 \xff\xc3", b"plain"]
        for name in names:
            self.fs.write(os.fsdecode(name), content(1, SIZE))
        report = self.share("--from", "-", text=b"\0".join(names))
        self.assertEqual(report["files_shared"], 2)
        kept, *others = report["groups"][0]["files"]
        self.assertEqual(kept["path"], "new\nline")
        self.assertEqual([bytes.fromhex(file["path_hex"]) for file in others
                          if "path_hex" in file], [b"no utf-8 \xff\xc3"])
        self.assertEqual(self.share(*names, "--dry-run")["files_already_shared"], 2)

    def test_rmlint_lists_names_that_are_no_utf8(self):
        for name in (b"no utf-8 \xff\xc3", b"plain"):
            self.fs.write("folder/" + os.fsdecode(name), content(1, SIZE))
        listed = self.run_tool("rmlint", "-o", "json:stdout", "folder")
        self.assertIn(b"\xff\xc3", listed)
        self.assertEqual(self.share("--from", "-", text=listed)["files_shared"], 1)

    def test_a_list_in_a_file(self):
        for name in ("one", "two"):
            self.fs.write(name, content(1, SIZE))
        listed = self.fs.path("list")
        self.fs.write("list", b"one\ntwo\n")
        self.assertEqual(self.share("--from", listed)["files_shared"], 1)


class Sharing(FilesTest):

    def equal(self, *names, size=SIZE, seed=1):
        return [self.fs.write(name, content(seed, size)) for name in names]

    def calls(self, *arguments):
        """How often the kernel is asked to share."""
        traced = subprocess.run([*harness.STRACE, "-f", "-e", "trace=ioctl", harness.skep_binary(),
                                 "dedupe-files", "-q", *arguments], capture_output=True, text=True)
        self.assertEqual(traced.returncode, DONE, traced.stderr)
        return traced.stderr.count("FIDEDUPERANGE")

    def test_equal_files_are_shared_whole_in_one_call(self):
        files = self.equal(*"abcdef", size=20 * MIB + 1)
        self.assertEqual(self.calls(*files), 1)
        self.assert_stored_once(*"abcdef")
        self.assertEqual(self.calls(*files), 0)  # once is enough

    def test_more_files_than_one_call_takes(self):
        files = self.equal(*(f"{i:03}" for i in range(300)), size=8 * KIB + 1)
        self.assertEqual(self.calls(*files), 3)
        self.assert_stored_once(*(f"{i:03}" for i in range(300)))

    def test_the_name_that_bedup_gave_it(self):
        self.equal("one", "two")
        self.assertEqual(self.share("one", "two", name="dedup-files")["files_shared"], 1)

    def test_files_of_several_subvolumes_and_of_read_only_snapshots(self):
        for name in ("first", "second"):
            self.fs.subvolume(name)
        self.equal("first/file", "second/file")
        self.fs.snapshot_subvolume("second", "frozen")
        report = self.share("first/file", "second/file", "frozen/file")
        self.assertEqual(report["files_failed"], 0)
        self.assert_stored_once("first/file", "second/file", "frozen/file")

    def test_the_file_that_snapshots_hold_is_kept(self):
        self.fs.subvolume("first")
        self.equal("first/file")
        self.fs.snapshot_subvolume("first", "frozen")
        self.equal("copy")
        report = self.share("copy", "first/file")
        self.assertEqual(fates(report), {"first/file": "kept", "copy": "shared"})
        self.assertEqual(report["bytes_freed"], harness.round_up(SIZE))

    def test_hard_links_are_one_file(self):
        self.equal("one", "two")
        os.link(self.fs.path("one"), self.fs.path("link"))
        report = self.share("one", "link", "two")
        self.assertEqual((report["files"], report["files_shared"]), (2, 1))

    def test_a_list_that_is_wrong_costs_nothing_but_time(self):
        self.equal("one", "two", "three")
        self.fs.write("two", b"!", offset=100_000)
        self.fs.write("longer", content(1, SIZE) + b"!")
        report = self.share("--from", "-", text=b"one\ntwo\nlonger\nthree\n\n")
        self.assertEqual(fates(report), {"one": "kept", "two": "differs", "longer": "differs",
                                         "three": "shared"})
        self.assertEqual(report["files_different"], 2)

    def test_files_that_differ_from_the_first_may_equal_each_other(self):
        self.equal("one", "two")
        self.equal("other", "another", seed=2)
        report = self.share("--from", "-", text=b"one\nother\ntwo\nanother\n\n")
        self.assertEqual(report["files_shared"], 2)
        self.assert_stored_once("other", "another")
        self.assert_stored_once("one", "two")

    def test_files_of_equal_size_that_differ_are_left(self):
        self.equal("one")
        self.equal("two", seed=2)
        report = self.share("one", "two")
        self.assertEqual((report["groups"], report["bytes_shared"]), ([], 0))

    def test_small_files_in_metadata_are_left(self):
        self.equal("one", "two", size=100)
        self.fs.write("empty", b"")
        report = self.share("one", "two", "empty")
        self.assertEqual((report["files_small"], report["groups"]), (3, []))

    def test_a_file_of_zeros_becomes_like_the_hole_that_it_equals(self):
        self.fs.write("zeros", bytes(MIB))
        hole = self.fs.write("hole", b"")
        os.truncate(hole, MIB)
        self.assertEqual(self.share("hole", "zeros")["bytes_freed"], MIB)
        self.assertEqual(harness.extents(self.fs.path("zeros")), [])

    def test_compressed_files(self):
        data = harness.compressible(1, MIB)
        for name in ("one", "two"):
            self.fs.write_compressed(name, data)
        used = self.fs.settled_used()
        report = dedupe_files("one", "two", cwd=self.fs.path(""))
        # What they take on the disk can not be told without privilege: it is told unpacked.
        self.assertEqual((report["bytes_freed"], report["freed_unpacked"]), (MIB, True))
        self.assertLess(self.fs.settled_used(), used)
        self.assertEqual(harness.disk_bytes(self.fs.path("one"), self.fs.path("two")),
                         harness.disk_bytes(self.fs.path("one")))
        again = dedupe_files("one", "two", cwd=self.fs.path(""))
        self.assertEqual((again["files_already_shared"], again["bytes_shared"]), (1, 0))

    def test_dry_run_tells_what_the_run_then_does(self):
        self.equal("one", "two", "three")
        planned = self.share("--dry-run", "one", "two", "three")
        self.assertTrue(planned["dry_run"])
        self.assert_not_shared("two")
        done = self.share("one", "two", "three")
        self.assertEqual(planned["groups"], done["groups"])

    def test_dry_run_tests_what_a_list_claims(self):
        self.equal("one", "three")
        self.equal("two", seed=2)
        report = self.share("-n", "--from", "-", text=b"one\ntwo\nthree\n\n")
        self.assertEqual(fates(report), {"one": "kept", "two": "differs", "three": "shared"})
        report = self.share("-n", "--from", "-", text=b"two\none\n\n")
        self.assertEqual(fates(report), {"two": "kept", "one": "differs"})


class CommonBlocks(FilesTest):

    def test_common_blocks_are_shared_at_any_block_offset(self):
        data = content(1, 2 * MIB)
        self.fs.write("one", data)
        self.fs.write("two", content(2, 5 * BLOCK) + data[3 * BLOCK:])
        self.fs.write("three", data[BLOCK:MIB])
        plain = self.share("one", "two", "three")
        self.assertEqual((plain["bytes_shared"], plain["bytes_freed"]), (0, 0))
        report = self.share("--blocks", "one", "two", "three")
        self.assertEqual(report["bytes_shared"], 2 * MIB - 3 * BLOCK + MIB - BLOCK)
        # The extent of `two` goes only when nothing of it is used.
        self.assertEqual(report["bytes_freed"], MIB - BLOCK)
        again = self.share("--blocks", "one", "two", "three")
        self.assertEqual(again["bytes_shared"], 0)

    def test_ends_of_files_that_end_alike_are_shared(self):
        end = content(1, 300_001)
        self.fs.write("one", content(2, 3 * BLOCK) + end)
        self.fs.write("two", end)
        report = self.share("--blocks", "one", "two")
        self.assertEqual(report["bytes_freed"], harness.round_up(len(end)))

    def test_a_file_shares_with_itself(self):
        self.fs.write("one", content(1, MIB))
        # What lies side by side looks like one extent.
        self.fs.write("between", content(2, MIB))
        self.fs.write("one", content(1, MIB), offset=MIB)
        report = self.share("--blocks", "one")
        self.assertEqual(report["bytes_freed"], MIB)

    def test_runs_that_are_too_short_are_left(self):
        data = content(1, 8 * BLOCK)
        self.fs.write("one", data)
        self.fs.write("two", content(2, BLOCK) + data)
        self.assertEqual(self.share("--blocks", "--min-run", "64K", "one", "two")["bytes_shared"], 0)
        self.assertEqual(self.share("--blocks", "--min-run", "32K", "one", "two")["bytes_shared"],
                         8 * BLOCK)

    def test_equal_files_are_shared_first_and_take_part_once(self):
        data = content(1, MIB)
        for name in ("one", "two"):
            self.fs.write(name, data)
        self.fs.write("three", data[4 * BLOCK:])
        report = self.share("--blocks", "--from", "-", text=b"one\ntwo\n\nthree\n\n")
        self.assertEqual([group["kind"] for group in report["groups"]], ["files", "blocks"])
        self.assertEqual(report["bytes_freed"], 2 * MIB - 4 * BLOCK)

    def test_dry_run_changes_nothing(self):
        self.fs.write("one", content(1, MIB))
        self.fs.write("two", content(1, MIB)[BLOCK:])
        report = self.share("--blocks", "--dry-run", "one", "two")
        self.assertEqual(report["bytes_shared"], MIB - BLOCK)
        self.assert_not_shared("two")


class Users(FilesTest):

    def setUp(self):
        super().setUp()
        # The program may be built where only its owner may look.
        done = subprocess.run([harness.skep_binary(), "--version"], user=NOBODY, group=NOBODY,
                              capture_output=True)
        if done.returncode:
            harness.skip("an ordinary user can not run this skep")

    def own(self, *names, owner=NOBODY, mode=0o600, seed=1):
        for name in names:
            path = self.fs.write(name, content(seed, SIZE))
            os.chown(path, owner, owner)
            os.chmod(path, mode)

    def test_an_ordinary_user_shares_files_of_their_own(self):
        self.fs.subvolume("sub")
        self.own("one", "sub/two")
        self.own("three", mode=0o400)
        report = self.share("one", "sub/two", "three", user=NOBODY)
        self.assertEqual(report["bytes_freed"], 2 * harness.round_up(SIZE))
        self.assert_stored_once("one", "sub/two", "three")

    def test_an_ordinary_user_shares_own_files_of_read_only_snapshots(self):
        self.fs.subvolume("sub")
        self.own("sub/one")
        self.fs.snapshot_subvolume("sub", "frozen")
        self.own("copy", "copy too")
        self.fs.snapshot_subvolume("sub", "frozen too")
        report = self.share("copy", "sub/one", "copy too", "frozen/one", user=NOBODY)
        self.assertEqual(report["files_failed"], 0)
        self.assert_stored_once("sub/one", "copy", "copy too", "frozen/one")

    def test_files_that_others_let_one_write_are_shared_too(self):
        self.own("one")
        self.own("two", owner=0, mode=0o666)
        self.own("three", owner=0, mode=0o666)
        self.assertEqual(self.share("one", "two", "three", user=NOBODY)["files_shared"], 2)

    def test_a_file_of_somebody_else_is_kept_and_own_files_share_it(self):
        self.own("one", "two")
        self.own("theirs", owner=0, mode=0o644)
        report = self.share("one", "two", "theirs", user=NOBODY)
        self.assertEqual(fates(report), {"theirs": "kept", "one": "shared", "two": "shared"})

    def test_more_files_of_somebody_else_are_told_and_left(self):
        self.own("one")
        self.own("theirs", "theirs too", owner=0, mode=0o644)
        report = self.share("one", "theirs", "theirs too", user=NOBODY, status=FAILED)
        self.assertEqual(fates(report), {"theirs": "kept", "one": "shared",
                                         "theirs too": "failed"})
        self.assertRegex(report["errors"][0], r"\Askep: theirs too: no permission: ")
        planned = self.share("-n", "one", "theirs", "theirs too", user=NOBODY, status=FAILED)
        self.assertEqual(fates(planned)["theirs too"], "failed")

    def test_what_may_not_be_read_is_told(self):
        self.own("one", "two")
        self.own("secret", owner=0)
        report = self.share("one", "secret", "two", user=NOBODY, status=FAILED)
        self.assertEqual(report["errors"], ["skep: secret: open: Permission denied"])
        self.assertEqual(report["files_shared"], 1)


class WrongFiles(FilesTest):
    """What cannot be shared is told in a line of its own; the rest goes on."""

    def setUp(self):
        super().setUp()
        for name in ("one", "two"):
            self.fs.write(name, content(1, SIZE))

    def check(self, name, line, *more):
        report = self.share("one", name, *more, "two", status=FAILED)
        self.assertEqual(report["errors"], [line])
        self.assertEqual(report["files_shared"], 1)
        self.assert_stored_once("one", "two")

    def test_a_missing_file(self):
        self.check("missing", "skep: missing: lstat: No such file or directory")

    def test_a_missing_file_whose_name_has_a_newline(self):
        self.check("new\nline\t\\", r"skep: $'new\nline\x09\\': lstat: No such file or directory")

    def test_a_missing_file_whose_name_is_no_utf8(self):
        self.check(b"\xffname", r"skep: $'\xffname': lstat: No such file or directory")

    def test_a_folder(self):
        os.mkdir(self.fs.path("folder"))
        self.check("folder", "skep: folder: is a directory; name the files in it")

    def test_a_fifo_keeps_nobody_waiting(self):
        os.mkfifo(self.fs.path("fifo"))
        self.check("fifo", "skep: fifo: is a fifo")

    def test_a_device(self):
        os.mknod(self.fs.path("device"), 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        self.check("device", "skep: device: is a device")

    def test_a_socket(self):
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.fs.path("socket"))
        self.check("socket", "skep: socket: is a socket")

    def test_a_symbolic_link(self):
        os.symlink("one", self.fs.path("link"))
        self.check("link", "skep: link: is a symbolic link; name the file itself")

    def test_a_file_of_another_filesystem(self):
        other = os.path.join(self.fs.folder, "elsewhere")
        with open(other, "wb") as file:
            file.write(content(1, SIZE))
        self.check(other, f"skep: {other}: is on another filesystem than one")
        report = dedupe_files("--from", "-", text=f"one\n{other}\ntwo\n\n".encode(),
                              cwd=self.fs.path(""), status=FAILED)
        self.assertEqual(report["errors"], [f"skep: {other}: is on another filesystem than one"])

    def test_an_immutable_file_is_kept_and_a_second_one_left(self):
        for name in ("fixed", "fixed too"):
            harness.set_flags(self.fs.write(name, content(1, SIZE)), harness.FS_IMMUTABLE_FL)
        report = self.share("one", "fixed", "fixed too", "two", status=FAILED)
        self.assertEqual(fates(report), {"fixed": "kept", "one": "shared", "fixed too": "failed",
                                         "two": "shared"})
        self.assertRegex(report["errors"][0], r"\Askep: fixed too: no permission: .*immutable")

    def test_nocow_files_share_among_themselves_only(self):
        for name in ("nocow", "nocow too"):
            self.fs.write_nocow(name, content(1, SIZE))
        report = self.share("one", "nocow", "nocow too", "two")
        self.assertEqual(report["files_shared"], 2)
        self.assert_stored_once("nocow", "nocow too")
        self.fs.unlink("nocow too")
        report = self.share("--from", "-", text=b"one\nnocow\ntwo\n\n", status=FAILED)
        self.assertEqual(report["errors"],
                         ["skep: nocow: can not share with one: one of them is NOCOW"])

    def test_a_filesystem_that_cannot_share(self):
        for name in ("three", "four"):
            with open(os.path.join(self.fs.folder, name), "wb") as file:
                file.write(content(1, SIZE))
        report = dedupe_files("three", "four", cwd=self.fs.folder, status=UNSUPPORTED)
        self.assertIn("its filesystem can not share", report["errors"][0])

    def test_a_read_only_mount(self):
        self.fs.remount("ro")
        self.addCleanup(self.fs.remount)
        report = dedupe_files("one", "two", cwd=self.fs.path(""), status=FAILED)
        self.assertEqual(report["errors"], ["skep: two: is on a read-only mount"])


class Faults(FilesTest):

    def traced(self, options, *arguments):
        return subprocess.run([*harness.STRACE, "-f", *options, harness.skep_binary(), "dedupe-files",
                               *arguments], capture_output=True, text=True, cwd=self.fs.path(""),
                              timeout=harness.RUN_TIMEOUT_SECONDS)

    def write_groups(self):
        for group in "ab":
            for name in ("one", "two"):
                os.path.exists(self.fs.path(group + name)) and os.unlink(self.fs.path(group + name))
                self.fs.write(group + name, content(group, SIZE))
        return ["aone", "atwo", "bone", "btwo"]

    def test_a_call_that_fails_is_told_and_the_next_group_is_shared(self):
        names = self.write_groups()
        log = os.path.join(self.fs.folder, "trace")
        self.assertEqual(self.traced(["-e", "trace=ioctl", "-o", log], *names).returncode, DONE)
        with open(log, encoding="utf-8") as trace:
            asked = [number for number, line in enumerate(trace, 1) if "FIDEDUPERANGE" in line]
        self.assertEqual(len(asked), 2)
        self.write_groups()
        done = self.traced(["-o", log, "-e", f"inject=ioctl:error=EIO:when={asked[0]}"], *names)
        self.assertEqual(done.returncode, FAILED)
        self.assertEqual(done.stderr, "skep: atwo: FIDEDUPERANGE: Input/output error\n")
        self.assert_not_shared("atwo")
        self.assert_stored_once("bone", "btwo")


class Stopping(FilesTest):

    def start(self, *arguments, **options):
        return self.fs.start(harness.skep_binary(), "dedupe-files", *arguments, cwd=self.fs.path(""),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def test_a_signal_while_it_waits_for_the_list(self):
        process = self.start("--json", "--from", "-", stdin=subprocess.PIPE)
        harness.wait_until_caught(process, signal.SIGINT)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=10), STOPPED)
        files_harness.check({**json.loads(process.stdout.read()), "errors": []}, STOPPED)
        process.communicate()

    def test_a_signal_between_two_groups(self):
        """The answer does not fit the pipe, so the work can not be done when the signal comes."""
        names = [f"{'n' * 200}{i:04}" for i in range(1000)]
        for name in names:
            self.fs.write(name, content(name[-4:-1], 8 * KIB), flush=False)
        process = self.start("--json", *names)
        first = b""
        while b'"fate"' not in first:
            first += os.read(process.stdout.fileno(), 4096)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
        self.assertEqual(process.returncode, STOPPED)
        report = json.loads(first + out)
        files_harness.check({**report, "errors": []}, STOPPED)
        self.assertTrue(0 < len(report["groups"]) < 100)


class Text(FilesTest):
    """What a person reads."""

    def call(self, *arguments):
        done = subprocess.run([harness.skep_binary(), "dedupe-files", *arguments], cwd=self.fs.path(""),
                              capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def test_the_groups_and_a_line_of_totals(self):
        for name in ("one", "two", "t\nree"):
            self.fs.write(name, content(1, MIB))
        self.fs.write("four", content(2, MIB))
        self.fs.write("list", b"one\0two\0t\nree\0four\0\0")
        planned = self.call("--dry-run", "one", "two")
        self.assertEqual(planned, (DONE, "2 files of 1.0 MiB: would share 1.0 MiB, free 1.0 MiB\n"
                                   "  kept     one\n"
                                   "  shared   two\n"
                                   "1 group, 2 files: would share 1.0 MiB, free 1.0 MiB\n", ""))
        done = self.call("--from", "list")
        self.assertEqual(done, (DONE, "4 files of 1.0 MiB: shared 2.0 MiB, freed 2.0 MiB\n"
                                "  kept     one\n"
                                "  shared   two\n"
                                "  shared   $'t\\nree'\n"
                                "  differs  four: is not equal to one\n"
                                "1 group, 4 files: shared 2.0 MiB, freed 2.0 MiB; 1 not equal\n",
                                ""))

    def test_a_result_that_cannot_be_written_is_told(self):
        self.fs.write("one", content(1, MIB))
        for options in ((), ("--json",)):
            with open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([harness.skep_binary(), "dedupe-files", *options, "one"],
                                      cwd=self.fs.path(""), stdout=full, stderr=subprocess.PIPE)
            self.assertEqual((done.returncode, done.stderr.count(b"\n")), (FAILED, 1), done)

    def test_quiet_prints_errors_alone(self):
        self.fs.write("one", content(1, MIB))
        self.assertEqual(self.call("-q", "one", "missing"),
                         (FAILED, "", "skep: missing: lstat: No such file or directory\n"))


if __name__ == "__main__":
    harness.main()
