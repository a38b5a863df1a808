# SPDX-License-Identifier: MIT
"""`skep scan` fills the table, and a later run starts from it: it frees the same, and reads no
checksum for the table once more."""
import json
import os
import subprocess

import harness
from harness import KIB, MIB, compressible, content


class ScanTest(harness.FilesystemTest):
    size = 160 * MIB

    def scan(self, *options, target=None, command="scan"):
        done = subprocess.run([harness.skep_binary(), command, "--json", "--state-dir",
                               self.fs.state, *options, target or self.fs.mnt],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done)
        return json.loads(done.stdout)

    def write_copies(self, count=20):
        for i in range(count):
            for copy in range(2):
                self.fs.write(f"{copy}/{i}", content(i, 50000 + i * 1000))

    def state_json(self):
        return json.loads(harness.read_whole(os.path.join(self.fs.state, "state.json")))

    def compare_with_a_run_alone(self, *options):
        """The reports of a run after a scan, and of one on a copy of the filesystem without."""
        self.fs.detach()
        data = harness.read_whole(self.fs.image)
        self.fs.attach()
        self.fs.mount()
        scanned = self.scan(*options)
        after = self.dedupe(*options)
        self.fs.detach()
        with open(self.fs.image, "wb") as image:
            image.write(data)
        self.fs.attach()
        self.fs.mount()
        alone = self.dedupe(*options, state=self.fs.state + ".alone")
        self.assertEqual(after["bytes_freed"], alone["bytes_freed"])
        self.assertGreater(alone["bytes_freed"], 0)
        return scanned, after, alone


class Scanning(ScanTest):

    def test_a_run_after_a_scan_frees_the_same_and_does_not_scan_again(self):
        self.write_copies()
        scanned, after, alone = self.compare_with_a_run_alone()
        self.assertEqual(scanned["result"], "done")
        self.assertEqual((scanned["extents_scanned"], scanned["bytes_read"]), (40, 0))
        self.assertGreater(scanned["table"]["cells"], 0)
        self.assertEqual(alone["counters"]["extents_indexed"], 40)
        # What the run itself writes, it may index.
        self.assertEqual(after["counters"]["extents_indexed"],
                         alone["counters"]["extents_indexed"] - 40)
        self.assertEqual(after["left"], alone["left"])

    def test_only_what_came_after_the_scan_is_indexed(self):
        self.write_copies()
        self.scan()
        self.fs.write("late", content(0, 50000))
        report = self.dedupe()
        self.assertEqual(report["counters"]["extents_indexed"], 1)
        self.assert_shared("late", "0/0")

    def test_a_second_scan_looks_at_what_is_new(self):
        self.write_copies()
        self.assertEqual(self.scan()["extents_scanned"], 40)
        self.fs.write("late", content(99, 50000))
        self.assertEqual(self.scan()["extents_scanned"], 1)
        self.assertEqual(self.scan()["extents_scanned"], 0)

    def test_a_scan_changes_nothing_and_counts_as_no_run(self):
        self.write_copies()
        self.fs.sync()
        before = harness.snapshot(self.fs.mnt)
        used = self.fs.settled_used()
        self.scan()
        self.assertEqual(self.fs.settled_used(), used)
        self.assert_same_contents(before, harness.snapshot(self.fs.mnt))
        state = self.state_json()
        self.assertEqual(state["done_generation"], 0)
        self.assertFalse(any(state["totals"][name] for name in ("runs", "extents_scanned")))
        self.assertGreater(state["table_generation"], 0)

    def test_a_table_that_was_lost_or_resized_is_filled_again(self):
        self.write_copies()
        self.scan()
        os.unlink(os.path.join(self.fs.state, "table"))
        self.assertEqual(self.scan()["extents_scanned"], 40)
        self.assertEqual(self.scan("--table-size", "2M")["extents_scanned"], 40)
        report = self.dedupe("--table-size", "4M")
        self.assertGreaterEqual(report["counters"]["extents_indexed"], 40)

    def test_a_scan_between_runs_keeps_what_they_have_looked_at(self):
        self.write_copies()
        self.dedupe("--exclude", "1")
        done = self.state_json()["done_generation"]
        self.scan()
        state = self.state_json()
        self.assertEqual(state["done_generation"], done)
        self.assertEqual(state["filter"]["exclude_paths"], ["1"])

    def test_compressed_extents(self):
        for i in range(8):
            for copy in range(2):
                self.fs.write_compressed(f"{copy}/{i}", compressible(i, 128 * KIB))
            self.fs.write(f"plain/{i}", compressible(i, 128 * KIB))
        scanned, after, alone = self.compare_with_a_run_alone()
        self.assertEqual(scanned["bytes_read"], 0)
        self.assertEqual(after["left"], alone["left"])

    def test_fingerprints_of_data(self):
        self.write_copies()
        scanned, _, _ = self.compare_with_a_run_alone("--fingerprint", "data")
        self.assertGreater(scanned["bytes_read"], 40 * 50000)
        self.assertEqual(scanned["extents_scanned"], 40)

    def test_bedup_s_name(self):
        self.write_copies(3)
        volume = self.fs.subvolume("volume")
        # The table is of all the filesystem, whichever part of it is named.
        self.assertEqual(self.scan(target=volume, command="scan-vol")["extents_scanned"], 6)


class OneSubvolume(ScanTest):

    def make_subvolumes(self):
        """Four copies each: one in every subvolume, and a second one in `home`."""
        for name in ("home", "home/nested", "other"):
            self.fs.subvolume(name)
        for name in ("home/a", "home/b", "home/nested/c", "other/d", "top"):
            self.fs.write(name, content(1, MIB))

    def test_a_run_is_restricted_to_a_subvolume_and_those_nested_in_it(self):
        self.make_subvolumes()
        out = {name: harness.placement(self.fs.path(name)) for name in ("other/d", "top")}
        before = harness.snapshot(self.fs.mnt)
        report = self.fs.run_skep(target=self.fs.path("home"))
        self.assertEqual(report["bytes_freed"], 2 * MIB)
        self.assert_shared("home/a", "home/b")
        self.assert_shared("home/a", "home/nested/c")
        for name, place in out.items():
            self.assertEqual(harness.placement(self.fs.path(name)), place)
        self.assert_left(report, "excluded", 2, 2 * MIB)
        self.assert_same_contents(before, harness.snapshot(self.fs.mnt))
        root = int(harness.command("btrfs", "inspect-internal", "rootid", self.fs.path("home")))
        self.assertEqual(self.state_json()["filter"]["within_subvolume"], root)
        # The checkpoint does not say that the rest was looked at.
        self.assertEqual(self.dedupe()["bytes_freed"], 2 * MIB)
        self.assert_shared("home/a", "top")
        self.assertNotIn("filter", self.state_json())

    def test_a_second_run_over_the_subvolume_looks_at_what_is_new(self):
        self.make_subvolumes()
        self.fs.run_skep(target=self.fs.path("home"))
        self.assertEqual(self.fs.run_skep(target=self.fs.path("home"))["extents_scanned"], 0)
        self.fs.write("home/late", content(1, MIB))
        self.fs.write("other/late", content(1, MIB))
        report = self.fs.run_skep(target=self.fs.path("home"))
        self.assertEqual(report["bytes_freed"], MIB)
        self.assert_shared("home/a", "home/late")

    def test_an_extent_that_a_snapshot_elsewhere_shares_is_left_alone(self):
        self.fs.subvolume("home")
        for name in ("home/a", "home/b"):
            self.fs.write(name, content(1, MIB))
        self.fs.snapshot_subvolume("home", "snapshot")
        report = self.fs.run_skep(target=self.fs.path("home"))
        self.assertEqual(report["bytes_freed"], 0)
        self.assert_left(report, "excluded")

    def test_filters_count_as_well(self):
        self.make_subvolumes()
        report = self.fs.run_skep("--exclude-subvol", "home/nested", target=self.fs.path("home"))
        self.assertEqual(report["bytes_freed"], MIB)
        self.assert_shared("home/a", "home/b")

    def test_a_subvolume_s_own_mount_point_stands_for_the_filesystem(self):
        self.make_subvolumes()
        own = os.path.join(self.fs.folder, "own")
        os.mkdir(own)
        harness.command("mount", "-t", "btrfs", "-o", "subvol=home", self.fs.loop, own)
        try:
            self.assertEqual(self.fs.run_skep(target=own)["bytes_freed"], 4 * MIB)
        finally:
            harness.command("umount", own)

    def test_bedup_s_name(self):
        self.make_subvolumes()
        report = self.scan(target=self.fs.path("home"), command="dedup-vol")
        self.assertEqual(report["bytes_freed"], 2 * MIB)
        self.assertEqual(report["result"], "done")


if __name__ == "__main__":
    harness.main()
