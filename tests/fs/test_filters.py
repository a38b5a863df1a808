# SPDX-License-Identifier: MIT
"""What is left out is neither changed nor opened; the rest is shared as ever."""
import os
import re
import shutil
import struct
import subprocess

import harness
from harness import BLOCK, KIB, MIB, FilesystemTest, compressible, content, placement


class Traced(FilesystemTest):
    """Runs skep under strace, and reads from its handles which files it has opened."""

    def setUp(self):
        if not shutil.which("strace"):
            harness.skip("strace is not installed")
        super().setUp()

    def run_traced(self, *options):
        """The inodes, as (subvolume, number), that the run opened, and its report."""
        self.fs.sync()
        trace = os.path.join(self.fs.folder, "trace")
        process = self.fs.start(
            *harness.STRACE, "-f", "-qq", "-xx", "-o", trace, "-e", "trace=open_by_handle_at",
            *self.fs.skep_arguments("--json", *options),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        report = self.fs.finish_skep(process)
        opened = set()
        # struct btrfs_fid: inode, subvolume, generation.
        for handle in re.findall(r'f_handle="((?:\\x[0-9a-f]{2}){20})"',
                                 harness.read_whole(trace).decode()):
            inode, root, _ = struct.unpack("<QQI", bytes.fromhex(handle.replace("\\x", "")))
            opened.add((root, inode))
        return opened, report

    def key(self, name):
        path = self.fs.path(name)
        folder = path if os.path.isdir(path) else os.path.dirname(path)
        root = harness.command("btrfs", "inspect-internal", "rootid", folder).strip()
        return int(root), os.stat(path).st_ino

    def check(self, options, out, shared, apart=()):
        """`out` are left alone, of `shared` each group shares one copy."""
        places = {name: placement(self.fs.path(name)) for name in (*out, *apart)}
        before = harness.snapshot(self.fs.mnt)
        opened, report = self.run_traced(*options)
        for name in out:
            self.assertNotIn(self.key(name), opened, name)
        for name, place in places.items():
            self.assertEqual(placement(self.fs.path(name)), place, name)
        for group in shared:
            for name in group:
                self.assert_shared(group[0], name)
            self.assertTrue({self.key(name) for name in group} & opened, group)
        self.assert_same_contents(before, harness.snapshot(self.fs.mnt))
        return report


class Paths(Traced):

    def test_files_that_are_excluded_keep_their_extents_and_are_not_opened(self):
        data = content(1, MIB)
        out = ("a.vdi", "home/a/.cache/file", "src/x/node_modules/y/file")
        kept = ("first", "home/a/second", "src/third")
        for name in (*out, *kept):
            self.fs.write(name, data)
        report = self.check(("--exclude", "*.vdi", "--exclude", "/home/*/.cache/", "--exclude",
                             "node_modules"), out, [kept])
        self.assertEqual(report["bytes_freed"], 2 * MIB)
        self.assert_left(report, "excluded", 3, 3 * MIB)

    def test_files_that_are_not_included_are_as_good_as_excluded(self):
        data = content(1, MIB)
        out, kept = ("other", "srv/x"), ("srv/data/first", "srv/data/deep/second")
        for name in (*out, *kept):
            self.fs.write(name, data)
        report = self.check(("--include", "/srv/data"), out, [kept])
        self.assertEqual(report["bytes_freed"], MIB)

    def test_tails_zeros_and_compressed_extents(self):
        tail, packed = content(1, 10 * BLOCK + 77), compressible(1, 512 * KIB)
        zeros = bytes(256 * KIB)
        for folder in ("x1", "x2", "a", "b"):
            self.fs.write(f"{folder}/tail", tail)
            self.fs.write(f"{folder}/zeros", zeros)
            self.fs.write_compressed(f"{folder}/packed", packed)
            self.fs.write(f"{folder}/plain", packed)
        out = [f"{folder}/{name}" for folder in ("x1", "x2")
               for name in ("tail", "zeros", "packed", "plain")]
        report = self.check(("--exclude", "x[12]"), out, [("a/tail", "b/tail"),
                                                          ("a/packed", "b/packed")])
        self.assertGreaterEqual(report["bytes_freed"], 256 * KIB)
        self.assertEqual(placement(self.fs.path("a/zeros")), [])

    def test_a_hard_link_into_an_excluded_folder_excludes(self):
        data = content(1, MIB)
        for name in ("first", "second", "linked"):
            self.fs.write(name, data)
        os.mkdir(self.fs.path("out"))
        os.link(self.fs.path("linked"), self.fs.path("out/name"))
        self.check(("--exclude", "/out"), ("linked",), [("first", "second")])

    def test_more_links_than_an_item_holds(self):
        data = content(1, MIB)
        for name in ("first", "second", "linked"):
            self.fs.write(name, data)
        for i in range(300):  # the rest are INODE_EXTREFs
            os.link(self.fs.path("linked"), self.fs.path(f"a-name-that-takes-its-room-{i:0100}"))
        os.mkdir(self.fs.path("out"))
        os.link(self.fs.path("linked"), self.fs.path("out/name"))
        self.check(("--exclude", "/out"), ("linked",), [("first", "second")])

    def test_an_extent_that_an_excluded_file_shares_is_gone_to(self):
        for order in ("abc", "cab"):
            with self.subTest(order=order):
                self.fresh_filesystem()
                for name in order:
                    if name == "b":
                        harness.clone_range(self.fs.path("a"), self.fs.path("b"))
                    else:
                        self.fs.write(name, content(1, MIB))
                report = self.check(("--exclude", "b"), ("b",), [("a", "c")], apart=("a",))
                self.assertEqual(report["bytes_freed"], MIB)

    def test_a_file_that_is_moved_in_counts_from_then_on(self):
        self.fs.write("out/file", content(1, MIB))
        self.fs.write("first", content(1, MIB))
        options = ("--exclude", "/out")
        self.check(options, ("out/file",), [])
        os.rename(self.fs.path("out/file"), self.fs.path("file"))
        report = self.check(options, (), [])
        self.assertEqual(report["bytes_freed"], 0)  # nothing new was written
        self.fs.write("second", content(1, MIB))
        self.assertEqual(self.check(options, (), [])["bytes_freed"], MIB)
        state = self.fs.state + ".new"
        self.assertEqual(self.fs.run_skep(*options, state=state)["bytes_freed"], MIB)
        self.assert_shared("file", "first")
        self.assert_shared("file", "second")

    def test_a_folder_that_is_moved_in_is_looked_at_when_the_filter_lets_more_through(self):
        for name in ("first", "out/second"):
            self.fs.write(name, content(1, MIB))
        self.check(("--exclude", "/out"), ("out/second",), [])
        report = self.check((), (), [("first", "out/second")])
        self.assertEqual(report["bytes_freed"], MIB)


class Subvolumes(Traced):

    def setUp(self):
        super().setUp()
        for name in ("one", "two", "two/nested", "three"):
            self.fs.subvolume(name)
        for name in ("one", "two", "two/nested", "three"):
            self.fs.write(f"{name}/a", content(1, MIB))
            self.fs.write(f"{name}/b", content(1, MIB))

    def test_excluded_ones_are_left_with_those_nested_in_them(self):
        out = ("two/a", "two/b", "two/nested/a", "two/nested/b")
        report = self.check(("--exclude-subvol", "two"), out,
                            [("one/a", "one/b", "three/a", "three/b")])
        self.assertEqual(report["bytes_freed"], 3 * MIB)

    def test_included_ones_alone_are_looked_at(self):
        out = ("one/a", "one/b", "two/nested/a", "two/nested/b", "three/a", "three/b")
        report = self.check(("--include-subvol", "/two", "--exclude-subvol", "*/nested"), out,
                            [("two/a", "two/b")])
        self.assertEqual(report["bytes_freed"], MIB)

    def test_the_mount_of_one_subvolume_changes_no_path(self):
        self.fs.remount("noatime,subvol=two")
        report = self.fs.run_skep("--include-subvol", "two", "--exclude", "/two/nested")
        self.assertEqual(report["bytes_freed"], MIB)
        self.assert_shared("a", "b")

    def test_a_pattern_that_matches_none_is_told(self):
        for options, warned in ((("--exclude-subvol", "tow"), "no subvolume matches 'tow'"),
                                (("--exclude-subvol", "two"), None)):
            process = self.fs.start_skep(*options)
            _, stderr = process.communicate(timeout=harness.RUN_TIMEOUT_SECONDS)
            self.assertEqual(process.returncode, 0)
            if warned:
                self.assertIn(warned, stderr)
            else:
                self.assertNotIn("no subvolume matches", stderr)

    def test_read_only_snapshots_are_left(self):
        self.fs.snapshot_subvolume("one", "read-only")
        self.fs.snapshot_subvolume("one", "writable", read_only=False)
        self.fs.write("one/c", content(1, MIB))
        self.fs.write("one/d", content(2, MIB))
        self.fs.write("three/d", content(2, MIB))
        out = ("read-only/a", "read-only/b")
        report = self.check(("--no-read-only-subvols",), out,
                            [("three/a", "three/b", "one/c"), ("one/d", "three/d")],
                            apart=("one/a", "one/b", "writable/a", "writable/b"))
        self.assertGreater(report["left"]["excluded"]["extents"], 0)


class Sizes(Traced):

    def test_files_by_their_size(self):
        for number, size in enumerate((64 * KIB, MIB, 8 * MIB)):
            for name in ("a", "b"):
                self.fs.write(f"{number}{name}", content(number, size))
        report = self.check(("--min-file-size", "100K", "--max-file-size", "4M"),
                            ("0a", "0b", "2a", "2b"), [("1a", "1b")])
        self.assertEqual(report["bytes_freed"], MIB)

    def test_extents_by_their_size(self):
        for number, size in enumerate((64 * KIB, MIB, 8 * MIB)):
            for name in ("a", "b"):
                self.fs.write(f"{number}{name}", content(number, size))
        report = self.check(("--min-extent-size", "100K", "--max-extent-size", "4M"),
                            ("0a", "0b", "2a", "2b"), [("1a", "1b")])
        self.assertEqual(report["bytes_freed"], MIB)
        self.assertEqual(report["extents_scanned"], 2)
        self.assertLessEqual(report["table"]["cells"], MIB // BLOCK * 2)


if __name__ == "__main__":
    harness.main()
