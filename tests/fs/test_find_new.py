# SPDX-License-Identifier: MIT
"""`skep find-new` prints what `btrfs subvolume find-new` prints, byte for byte."""
import json
import os
import subprocess

import harness

KIB, MIB = harness.KIB, harness.MIB
NOBODY = 65534


def skep(*arguments, **how):
    return subprocess.run([harness.skep_binary(), "find-new", *map(str, arguments)],
                          capture_output=True, **how)


def btrfs(path, generation):
    return subprocess.run(["btrfs", "subvolume", "find-new", path, str(generation)],
                          capture_output=True, check=True).stdout


class FindNewTest(harness.FilesystemTest):

    def assert_like_btrfs(self, path, generation):
        """Returns what both print."""
        expected = btrfs(path, generation)
        done = skep(path, generation)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(done.stdout, expected)
        return expected

    def marker(self, path):
        return int(btrfs(path, 1 << 62).split()[-1])

    def lines(self, path, generation=0):
        return self.assert_like_btrfs(path, generation).splitlines()


class ThreeSubvolumes(FindNewTest):

    def write_files(self, name, first, count):
        for i in range(first, first + count):
            path = self.fs.path(f"{name}/{i % 7}/{i % 3}/file{i}")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(harness.content(i, 100 + i * 37 % 9000))

    def test_a_thousand_changed_files(self):
        volumes = [self.fs.subvolume(name) for name in ("one", "two", "two/inner")]
        for name, count in (("one", 300), ("two", 200), ("two/inner", 200)):
            self.write_files(name, 0, count)
        self.fs.sync()
        before = [self.marker(path) for path in volumes]
        for name, first, count in (("one", 100, 400), ("two", 150, 300), ("two/inner", 0, 300)):
            self.write_files(name, first, count)
        changed = 0
        for path, generation in zip(volumes, before):
            lines = self.lines(path, generation + 1)
            changed += len({line.split()[1] for line in lines[:-1]})
            for since in (0, generation, self.marker(path), self.marker(path) + 1):
                self.assert_like_btrfs(path, since)
        self.assertEqual(changed, 1000)


class KindsOfExtents(FindNewTest):
    mkfs_options = ("-O", "^no-holes")

    def test_each_kind_of_extent(self):
        self.fs.subvolume("v")
        self.fs.write("v/inline", b"x" * 100)
        self.fs.write_compressed("v/inline-compressed", b"y" * 1000)
        self.fs.write_compressed("v/compressed", harness.compressible(1, 300 * KIB))
        self.fs.write_compressed("v/lzo", harness.compressible(2, 100 * KIB), "lzo")
        self.fs.write_nocow("v/nocow", harness.content(3, 64 * KIB))
        self.fs.write("v/hole", b"a" * 4096)
        self.fs.write("v/hole", b"b" * 4096, offset=MIB)
        os.truncate(self.fs.path("v/hole"), 8 * MIB)
        harness.command("fallocate", "-l", "1M", self.fs.path("v/preallocated"))
        self.fs.write("v/preallocated", b"c" * 8192, offset=64 * KIB)
        source = self.fs.write("v/source", harness.content(4, 128 * KIB))
        harness.clone_range(source, self.fs.path("v/clone"), 16 * KIB, 32 * KIB, 8 * KIB)
        flags = {line.split()[15] for line in self.lines(self.fs.path("v"))[:-1]}
        self.assertEqual(flags, {b"NONE", b"INLINE", b"COMPRESS", b"COMPRESS|INLINE", b"PREALLOC"})


class NamesAndPlaces(FindNewTest):

    def test_each_kind_of_name(self):
        volume = self.fs.subvolume("v")
        plain = self.fs.write("v/folder/deep/plain", harness.content(1, 20000))
        os.link(plain, self.fs.path("v/another name"))
        os.link(plain, self.fs.path("v/folder/third"))
        self.fs.write("v/folder/new\nline", harness.content(2, 5000))
        odd = os.path.join(volume.encode(), b"folder", b"not\xff\xfeUTF-8")
        with open(odd, "wb") as file:
            file.write(harness.content(3, 9000))
        moved = self.fs.write("v/before", harness.content(4, 5000))
        os.rename(moved, self.fs.path("v/folder/after"))
        self.assert_like_btrfs(volume, 0)

        listed = skep("-0", volume, 0).stdout
        self.assertEqual(listed.replace(b"\0", b"\n"), btrfs(volume, 0))
        self.assertIn(b"\x00", listed)
        self.assertEqual(len(listed.split(b"\0")), 6)

        found = json.loads(skep("--json", volume, 0).stdout)
        self.assertEqual([change["path"] for change in found["changes"]],
                         ["another name", "folder/new\nline", "folder/not\ufffd\ufffdUTF-8",
                          "folder/after"])
        self.assertEqual([bytes.fromhex(change["path_hex"]) for change in found["changes"]
                          if "path_hex" in change], [b"folder/not\xff\xfeUTF-8"])

    def test_a_file_whose_many_links_do_not_fit_one_item(self):
        """btrfs-progs looks into the first 4 KiB alone, and prints no name."""
        volume = self.fs.subvolume("v")
        first = self.fs.write("v/0" + "n" * 200, harness.content(1, 5000))
        for i in range(1, 200):
            os.link(first, self.fs.path(f"v/{i}" + "n" * 200))
        self.assertIn(b"flags NONE 0nnn", skep(volume, 0).stdout)

    def test_a_deleted_file_that_is_open_is_not_listed(self):
        volume = self.fs.subvolume("v")
        path = self.fs.write("v/deleted", harness.content(1, 9000))
        self.fs.write("v/stays", harness.content(2, 9000))
        with open(path, "rb"):
            os.unlink(path)
            self.assertEqual(len(self.lines(volume)), 2)

    def test_a_nested_subvolume_is_another_one(self):
        volume, nested = self.fs.subvolume("v"), self.fs.subvolume("v/nested")
        self.fs.write("v/file", harness.content(1, 5000))
        self.fs.write("v/nested/file", harness.content(2, 5000))
        for path in (volume, nested, self.fs.mnt):
            self.assert_like_btrfs(path, 0)
        self.assertEqual(len(self.lines(nested)), 2)
        self.assertEqual(len(self.lines(self.fs.mnt)), 1)

    def test_a_read_only_snapshot_and_a_read_only_mount(self):
        self.fs.subvolume("v")
        self.fs.write("v/file", harness.content(1, 5000))
        self.fs.snapshot_subvolume("v", "snapshot")
        self.fs.remount("noatime,ro")
        self.assertEqual(len(self.lines(self.fs.path("snapshot"))), 2)
        self.fs.remount()

    def test_what_is_not_flushed_yet(self):
        volume = self.fs.subvolume("v")
        self.fs.write("v/file", harness.content(1, 5000), flush=False)
        self.assertIn(b"flags NONE file", skep(volume, 0).stdout)

    def test_the_marker_leads_to_what_comes_later(self):
        volume = self.fs.subvolume("v")
        self.fs.write("v/early", harness.content(1, 5000))
        found = json.loads(skep("--json", volume, 0).stdout)
        self.assertEqual((found["version"], found["filesystem"], found["since"]),
                         (1, self.fs.uuid(), 0))
        self.assertEqual(found["generation"], self.marker(volume))
        self.fs.sync()
        self.fs.write("v/late", harness.content(2, 5000))
        later = json.loads(skep("--json", volume, found["generation"] + 1).stdout)
        self.assertEqual([change["path"] for change in later["changes"]], ["late"])
        self.assertEqual(json.loads(skep("--json", volume, 1 << 63).stdout)["changes"], [])


class Refusals(FindNewTest):

    def assert_refused(self, done, status, *named):
        self.assertEqual((done.returncode, done.stdout), (status, b""), done)
        self.assertEqual(done.stderr.count(b"\n"), 1, done)
        for name in named:
            self.assertIn(name, done.stderr.decode())

    def test_what_is_no_subvolume(self):
        os.mkdir(self.fs.path("folder"))
        file = self.fs.write("file", b"x")
        self.assert_refused(skep(self.fs.path("folder"), 0), 2, "folder", "subvolume")
        self.assert_refused(skep(file, 0), 2, file)
        self.assert_refused(skep(self.fs.path("missing"), 0), 2, "missing", "No such file")
        self.assert_refused(skep("/proc", 0), 3, "/proc", "btrfs")

    def test_what_is_no_generation(self):
        for text in ("abc", "-1", "5k", "0x5", "1e3", "", " 7", "18446744073709551616", "1.5"):
            with self.subTest(text=text):
                self.assert_refused(skep(self.fs.mnt, text), 2)
        self.assert_refused(skep(self.fs.mnt), 2, "GENERATION")
        self.assert_refused(skep("--json", "-0", self.fs.mnt, 0), 2)

    def test_without_privilege(self):
        os.chmod(self.fs.mnt, 0o755)
        done = skep(self.fs.mnt, 0, preexec_fn=lambda: os.setresuid(NOBODY, NOBODY, NOBODY))
        self.assert_refused(done, 3, self.fs.mnt, "root")

    def test_a_result_that_cannot_be_written(self):
        self.fs.write("file", harness.content(1, 5000))
        with open("/dev/full", "wb") as full:
            done = subprocess.run([harness.skep_binary(), "find-new", self.fs.mnt, "0"],
                                  stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left", done.stderr)


if __name__ == "__main__":
    harness.main()
