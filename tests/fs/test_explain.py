# SPDX-License-Identifier: MIT
"""skep explain: what it says of each extent is so, and what a run then does; and it changes nothing."""
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import harness
from harness import KIB, MIB, content

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))

from cli_harness import (DONE, FAILED, UNSUPPORTED, WRONG_CALL, Refusals,  # noqa: E402
                         call)

NOBODY = 65534


class ExplainTest(harness.FilesystemTest, Refusals):

    def setUp(self):
        super().setUp()
        self.config = os.path.join(self.fs.folder, "config")
        os.mkdir(self.config)

    def arguments(self, path):
        return "explain", "--state-dir", self.fs.state, "--config-dir", self.config, path

    def explain(self, name):
        answer = call(*self.arguments(self.fs.path(name)), "--json")
        self.assertEqual((answer.status, answer.stderr), (DONE, ""), answer)
        return json.loads(answer.stdout)

    def extents(self, name):
        return self.explain(name)["extents"]

    def only(self, name):
        """The only extent of a file."""
        found = self.extents(name)
        self.assertEqual(len(found), 1, found)
        return found[0]

    def verdicts(self, *names):
        return [self.only(name)["verdict"] for name in names]

    def configure(self, text):
        with open(os.path.join(self.config, "skep.conf"), "w", encoding="utf-8") as file:
            file.write(text)


class Verdicts(ExplainTest):

    def test_of_two_new_copies_one_stays_and_one_goes_as_in_the_run(self):
        self.fs.write("other", content(1, MIB))
        self.dedupe()
        self.fs.write("first", content(2, MIB))
        self.fs.write("second", content(2, MIB))
        places = {name: harness.extents(self.fs.path(name))[0].address for name in ("first", "second")}
        stays, goes = sorted(places, key=places.get)
        first, second = self.only(stays), self.only(goes)
        self.assertEqual((first["verdict"], second["verdict"]), ("keeper", "goes"))
        self.assertEqual((first["looked_at"], first["address"]), (False, places[stays]))
        self.assertEqual(second["elsewhere"], [{"offset": 0, "length": MIB, "address": places[stays],
                                                "file": stays, "file_offset": 0}])
        self.dedupe()
        shared = self.only(goes)
        self.assertEqual(shared["address"], places[stays])
        self.assertEqual((shared["references"], shared["others"]), (2, [stays]))
        self.assertEqual((shared["verdict"], shared["looked_at"], shared["elsewhere"]),
                         ("unique", True, []))

    def test_a_part_that_is_stored_elsewhere_is_named_also_when_it_is_not_worth_it(self):
        self.fs.write("small", content(1, 64 * KIB))
        self.fs.write("large", content(2, 128 * KIB) + content(1, 64 * KIB) + content(3, 320 * KIB))
        self.dedupe()
        small, large = self.only("small"), self.only("large")
        # The small one went, into the large one.
        self.assertEqual(small["address"], large["address"])
        self.assertEqual((small["extent_offset"], small["length"]), (128 * KIB, 64 * KIB))
        self.fs.write("new", content(4, 512 * KIB) + content(1, 64 * KIB))
        new = self.only("new")
        self.assertEqual(new["verdict"], "copy_ratio")
        self.assertIn("too much would have to be copied", new["why"])
        self.assertEqual([(run["offset"], run["length"], run["address"]) for run in new["elsewhere"]],
                         [(512 * KIB, 64 * KIB, large["address"] + 128 * KIB)])
        self.assertEqual(self.dedupe()["left"]["copy_ratio"]["extents"], 1)

    def test_compressed_copies_meet_plain_ones(self):
        data = harness.compressible(1, 256 * KIB)
        self.fs.write_compressed("packed", data)
        self.dedupe()
        self.fs.write("plain", data)
        packed = self.extents("packed")
        self.assertEqual({(one["kind"], one["compression"]) for one in packed}, {("data", "zstd")})
        self.assertLess(sum(one["disk_length"] for one in packed), 128 * KIB)
        plain = self.only("plain")
        self.assertEqual(plain["verdict"], "goes")
        self.assertEqual({run["file"] for run in plain["elsewhere"]}, {"packed"})
        self.assertEqual(self.dedupe()["bytes_freed"], 256 * KIB)

    def test_what_is_no_data_is_told_apart(self):
        self.fs.write("tiny", b"hello")
        self.fs.write("sparse", content(1, 8 * KIB), offset=MIB)
        with open(self.fs.path("reserved"), "wb") as file:
            os.posix_fallocate(file.fileno(), 0, 64 * KIB)
        self.fs.write("zeros", bytes(64 * KIB))
        self.fs.write("empty", b"")
        self.dedupe("--min-extent-size", "128K")  # makes a table, leaves all as it is
        kinds = {name: [(one["offset"], one["length"], one["kind"]) for one in self.extents(name)]
                 for name in ("tiny", "sparse", "reserved", "zeros", "empty")}
        self.assertEqual(kinds, {
            "tiny": [(0, 5, "inline")],
            "sparse": [(0, MIB, "hole"), (MIB, 8 * KIB, "data")],
            "reserved": [(0, 64 * KIB, "preallocated")],
            "zeros": [(0, 64 * KIB, "data")],
            "empty": []})
        # What the last run left out by its length is said to be.
        self.assertEqual(self.only("zeros")["why"], "left out by --min-extent-size 131072")
        self.dedupe()
        self.assertEqual([one["kind"] for one in self.extents("zeros")], ["hole"])

    def test_nodatasum_and_immutable_files_say_so(self):
        for name in ("one", "other"):
            self.fs.write_nocow(f"nocow-{name}", content(1, 64 * KIB))
            self.fs.write(f"fixed-{name}", content(2, 64 * KIB))
            harness.set_flags(self.fs.path(f"fixed-{name}"), harness.FS_IMMUTABLE_FL)
        try:
            report = self.dedupe()
            self.assertEqual(self.verdicts("nocow-one", "nocow-other"), ["no_checksum"] * 2)
            self.assertIn("immutable", self.verdicts("fixed-one", "fixed-other"))
            self.assertGreater(report["left"]["immutable"]["extents"], 0)
        finally:
            for name in ("one", "other"):
                subprocess.run(["chattr", "-i", self.fs.path(f"fixed-{name}")], check=True)

    def test_a_file_that_is_left_out_says_by_what(self):
        self.fs.write("keep/data", content(1, 64 * KIB))
        self.fs.write("keep/data.tmp", content(1, 64 * KIB))
        self.fs.write("small", content(1, 16 * KIB))
        self.fs.write("alike", content(1, 16 * KIB))
        self.configure('[filter]\nexclude_paths = ["*.bak", "*.tmp"]\nmin_file_size = "32K"\n')
        self.dedupe("--config-dir", self.config)
        found = {name: self.explain(name)["excluded_by"]
                 for name in ("keep/data", "keep/data.tmp", "small")}
        self.assertEqual(found, {"keep/data": "", "keep/data.tmp": "--exclude '*.tmp'",
                                 "small": "--min-file-size 32768"})
        self.assertEqual(self.verdicts("keep/data.tmp", "small"), ["excluded"] * 2)
        self.configure('[filter]\ninclude_paths = ["/other"]\n')
        self.assertEqual(self.explain("keep/data")["excluded_by"], "no --include that matches")
        text = call(*self.arguments(self.fs.path("keep/data"))).stdout
        self.assertIn("left out     by no --include that matches\n", text)


class References(ExplainTest):

    def test_they_are_found_in_all_subvolumes_by_their_paths(self):
        self.fs.subvolume("home")
        self.fs.write("home/folder/file", content(1, 64 * KIB))
        os.link(self.fs.path("home/folder/file"), self.fs.path("home/link"))
        self.fs.snapshot_subvolume("home", "home/.snapshot")
        self.fs.sync()
        found = self.explain("home/folder/file")
        self.assertEqual(found["path_in_filesystem"], "home/folder/file")
        self.assertEqual(self.explain("home/link")["path_in_filesystem"], "home/link")
        extent = found["extents"][0]
        self.assertEqual((extent["references"], len(extent["others"])), (2, 1))
        self.assertIn(extent["others"][0], ("home/.snapshot/folder/file", "home/.snapshot/link"))

    def test_many_are_counted_and_some_are_named(self):
        self.fs.write("file", content(1, 4 * KIB))
        for number in range(40):
            harness.clone_range(self.fs.path("file"), self.fs.path(f"clone{number:04}"))
        extent = self.only("file")
        self.assertEqual((extent["references"], len(extent["others"])), (41, 8))
        # One file may refer to it more often than is counted.
        for number in range(1100):
            harness.clone_range(self.fs.path("file"), self.fs.path("often"), length=4 * KIB,
                                destination_offset=number * 4 * KIB)
        extent = self.only("file")
        self.assertIsNone(extent["references"])
        self.assertIn("more than 1,000\n", call(*self.arguments(self.fs.path("file"))).stdout)

    def test_without_a_table_they_are_all_there_is(self):
        self.fs.write("first", content(1, 64 * KIB))
        harness.clone_range(self.fs.path("first"), self.fs.path("second"))
        found = self.explain("first")
        self.assertIn("no such table", found["no_table"])
        self.assertNotIn("verdict", found["extents"][0])
        self.assertEqual(found["extents"][0]["others"], ["second"])
        text = call(*self.arguments(self.fs.path("first"))).stdout
        self.assertIn("'skep scan' or 'skep run --once' makes one", text)

    def test_a_text_names_each_extent(self):
        path = self.fs.write("new\nline", content(1, 64 * KIB))
        self.fs.write("other", content(1, 64 * KIB))
        self.dedupe()
        answer = call(*self.arguments(path))
        self.assertEqual((answer.status, answer.stderr), (DONE, ""))
        lines = answer.stdout.splitlines()
        self.assertEqual(lines[0], path.replace("\n", "?"))
        self.assertRegex(lines[1], r"^  file         64 KiB; inode \d+ of subvolume 5: new\?line$")
        self.assertEqual(lines[2], f"  filesystem   {self.fs.uuid()}")
        self.assertRegex(lines[3], r"^           0  64K at 0x[0-9a-f]+$")
        self.assertEqual([line.strip() for line in lines[4:]], [
            "references  2, of 2 files; the other:", "other",
            "verdict     unique: next to nothing of it is stored elsewhere"])


class Nothing(ExplainTest):

    def test_nothing_is_changed(self):
        self.fs.write("first", content(1, MIB))
        self.dedupe()
        self.fs.write("second", content(1, MIB))
        self.fs.write("third", content(1, MIB))
        before = self.state_of_all()
        for name in ("first", "second", "third"):
            self.explain(name)
        self.assertEqual(self.state_of_all(), before)
        # And what it was asked for is done.
        self.assertEqual(self.dedupe()["bytes_freed"], 2 * MIB)

    def state_of_all(self):
        files = {name: hashlib.blake2b(harness.read_whole(os.path.join(self.fs.state, name))).digest()
                 for name in os.listdir(self.fs.state)}
        return files, {name: harness.extents(self.fs.path(name)) for name in os.listdir(self.fs.mnt)}


class Refused(ExplainTest):

    def test_what_is_no_file(self):
        os.mkfifo(self.fs.path("fifo"))
        os.mkdir(self.fs.path("folder"))
        for name in ("fifo", "folder"):
            path = self.fs.path(name)
            self.assert_refused(call(*self.arguments(path)), WRONG_CALL, path, "regular file")
        self.assert_refused(call(*self.arguments("/dev/null")), WRONG_CALL, "/dev/null", "regular file")
        self.assert_refused(call(*self.arguments("/no/file")), WRONG_CALL, "/no/file")
        self.assert_refused(call("explain"), WRONG_CALL, "PATH")

    def test_a_file_on_another_kind_of_filesystem(self):
        self.assert_refused(call(*self.arguments("/proc/version")), UNSUPPORTED, "/proc/version",
                            "btrfs")

    def test_without_privilege(self):
        path = self.fs.write("file", b"x")
        os.chmod(path, 0o644)
        binary = shutil.copy(harness.skep_binary(), os.path.join(self.fs.folder, "skep"))
        os.chmod(binary, 0o755)
        self.assert_refused(call(*self.arguments(path), binary=binary, user=NOBODY, group=NOBODY,
                                 extra_groups=[]), UNSUPPORTED, "root")

    def test_the_state_of_another_filesystem(self):
        path = self.fs.write("file", content(1, 8 * KIB))
        os.mkdir(self.fs.state)
        with open(os.path.join(self.fs.state, "state.json"), "w", encoding="utf-8") as file:
            json.dump({"filesystem": "0e7d8c9a-2b41-4e0a-9f7e-3d1c5b6a7f80", "version": 1}, file)
        self.assert_refused(call(*self.arguments(path)), WRONG_CALL, self.fs.state, "0e7d8c9a")

    def test_while_another_skep_works(self):
        path = self.fs.write("file", content(1, 8 * KIB))
        folder = os.open(self.fs.mnt, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            self.assert_refused(call(*self.arguments(path)), FAILED, "another skep works")
        finally:
            os.close(folder)


if __name__ == "__main__":
    harness.main()
