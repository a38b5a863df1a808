# SPDX-License-Identifier: MIT
"""Subvolumes and snapshots: one filesystem, many trees."""
import random

import harness
from harness import BLOCK, KIB, MIB, FilesystemTest, content


class ManySubvolumes(FilesystemTest):

    mount_options = "noatime,commit=1"  # deleted subvolumes go with the commits

    def test_copies_in_different_subvolumes_are_shared(self):
        for i in range(40):
            self.fs.subvolume(f"volume{i}")
            self.fs.write(f"volume{i}/file", content(1, 256 * KIB))
            self.fs.write(f"volume{i}/own", content(("own", i), 64 * KIB))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 39 * 256 * KIB)
        self.assertEqual(report["bytes_copied"], 0)
        for i in range(1, 40):
            self.assert_shared("volume0/file", f"volume{i}/file")

    def test_nested_subvolumes_are_reached(self):
        for name in ("a", "a/b", "a/b/c"):
            self.fs.subvolume(name)
            self.fs.write(f"{name}/file", content(1, MIB))
        self.assertEqual(self.dedupe()["bytes_freed"], 2 * MIB)

    def test_a_deleted_subvolume_is_no_obstacle(self):
        for name in ("gone", "kept"):
            self.fs.subvolume(name)
            self.fs.write(f"{name}/first", content(1, MIB))
        self.fs.write("kept/second", content(1, MIB))
        harness.command("btrfs", "subvolume", "delete", self.fs.path("gone"))
        self.fs.run_skep()  # finds it half-way gone
        harness.command("btrfs", "subvolume", "sync", self.fs.mnt)
        self.fs.run_skep(state=self.fs.state + ".new")
        self.assertEqual(self.fs.settled_used(expect=MIB), MIB)
        self.assert_shared("kept/first", "kept/second")


class MountedSubvolume(FilesystemTest):

    def test_any_mount_point_serves_for_the_whole_filesystem(self):
        for name in ("mounted", "elsewhere"):
            self.fs.subvolume(name)
        self.fs.write("mounted/file", content(1, MIB))
        self.fs.write("elsewhere/first", content(1, MIB))
        self.fs.write("elsewhere/second", content(2, MIB))
        self.fs.write("top", content(2, MIB))
        before = harness.snapshot(self.fs.mnt)
        self.fs.remount("noatime,subvol=mounted")
        report = self.fs.run_skep()
        self.assertEqual(report["bytes_freed"], 2 * MIB)
        self.fs.remount()
        self.assert_same_contents(before, harness.snapshot(self.fs.mnt))
        self.assert_shared("mounted/file", "elsewhere/first")
        self.assert_shared("top", "elsewhere/second")


class Snapshots(FilesystemTest):

    def test_data_in_read_only_snapshots_is_freed_for_all_of_them(self):
        self.fs.subvolume("data")
        for name in ("first", "second"):
            self.fs.write(f"data/{name}", content(1, 4 * MIB))
        for i in range(3):
            self.fs.snapshot_subvolume("data", f"snapshot{i}")
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 4 * MIB)
        self.assertEqual(report["bytes_copied"], 0)
        for i in range(3):
            self.assert_shared("data/first", f"snapshot{i}/second")
            self.assertEqual(harness.command("btrfs", "property", "get", "-ts",
                                             self.fs.path(f"snapshot{i}"), "ro").strip(),
                             "ro=true")

    def test_what_only_snapshots_hold_is_shared_too(self):
        self.fs.subvolume("data")
        self.fs.write("data/old", content(1, 4 * MIB))
        self.fs.snapshot_subvolume("data", "frozen")
        harness.command("rm", self.fs.path("data/old"))
        self.fs.write("data/new", content(1, 4 * MIB))
        self.assertEqual(self.dedupe()["bytes_freed"], 4 * MIB)
        self.assert_shared("frozen/old", "data/new")

    def test_partial_overlaps_are_copied_once_for_all_snapshots(self):
        base = content(1, 4 * MIB)
        self.fs.subvolume("data")
        self.fs.write("data/first", base)
        self.fs.write("data/second", base[:3 * MIB] + content(2, MIB))
        for i in range(4):
            self.fs.snapshot_subvolume("data", f"snapshot{i}", read_only=i % 2 == 0)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 3 * MIB)
        self.assertEqual(report["bytes_copied"], MIB)
        self.assert_shared("data/second", "snapshot3/second")

    def test_snapshots_that_went_their_own_ways_stay_different(self):
        base = content(1, MIB)
        self.fs.subvolume("data")
        self.fs.write("data/file", base)
        for i in range(6):
            self.fs.snapshot_subvolume("data", f"writable{i}", read_only=False)
            self.fs.write(f"writable{i}/file", content(("own", i % 2), 128 * KIB),
                          offset=i * 128 * KIB)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 4 * 128 * KIB)


class NetGainTest(FilesystemTest):
    """What is freed must be worth the metadata that it costs, which is stored twice."""

    size = 512 * MIB

    def net_gain(self, snapshots):
        data, metadata = self.fs.settled_used(), self.fs.used("Metadata")
        report = self.dedupe()
        gained = data - self.fs.settled_used()
        paid = 2 * (self.fs.used("Metadata") - metadata)
        self.assertGreaterEqual(gained - paid, 0,
                                f"{snapshots} snapshots: freed {gained}, metadata grew by {paid}: "
                                f"{report}")
        return report


class NetGain(NetGainTest):

    def populate(self, snapshots):
        pick = random.Random(7)
        for volume in ("one", "two"):
            self.fs.subvolume(volume)
            for i in range(200):  # small files, every other one in both volumes
                seed = i if i % 2 else (volume, i)
                self.fs.write(f"{volume}/small/{i}", content(seed, 3000 + 31 * i))
            for i in range(20):  # larger ones that overlap here and there
                blocks = [content(("block", pick.randrange(400)), 16 * BLOCK) for _ in range(8)]
                self.fs.write(f"{volume}/large/{i}", b"".join(blocks))
        for i in range(snapshots):
            for volume in ("one", "two"):
                self.fs.snapshot_subvolume(volume, f"{volume}.{i}")

    def test_no_snapshots(self):
        self.populate(0)
        self.assertGreater(self.net_gain(0)["bytes_freed"], 0)

    def test_ten_snapshots_of_two_subvolumes(self):
        self.populate(10)
        self.net_gain(10)

    def test_small_files_under_many_snapshots_are_left_when_they_do_not_pay(self):
        self.fs.subvolume("data")
        for i in range(200):
            self.fs.write(f"data/{i}", content(i % 100, BLOCK))
        for i in range(40):
            self.fs.snapshot_subvolume("data", f"snapshot{i}")
        report = self.net_gain(40)
        self.assert_left(report, "metadata_price")

    def test_large_files_under_many_snapshots_still_pay(self):
        self.fs.subvolume("data")
        for i in range(2):
            self.fs.write(f"data/{i}", content(1, 8 * MIB))
        for i in range(30):
            self.fs.snapshot_subvolume("data", f"snapshot{i}")
        self.assertEqual(self.net_gain(30)["bytes_freed"], 8 * MIB)


class NodeSizes:
    """Leaves of other sizes hold as much less or more, which is what unsharing one costs."""

    node_bytes = None

    def setUp(self):
        self.mkfs_options = ("--nodesize", str(self.node_bytes))
        super().setUp()

    def test_small_files_under_two_snapshots_pay(self):
        self.fs.subvolume("data")
        for i in range(400):
            self.fs.write(f"data/{i}", content(i % 200, 3 * BLOCK))
        for i in range(2):
            self.fs.snapshot_subvolume("data", f"snapshot{i}")
        self.assertGreater(self.net_gain(2)["bytes_freed"], 100 * 3 * BLOCK)


class NodesOf4K(NodeSizes, NetGainTest):
    node_bytes = 4096


class NodesOf16K(NodeSizes, NetGainTest):
    node_bytes = 16384


class NodesOf64K(NodeSizes, NetGainTest):
    node_bytes = 65536


if __name__ == "__main__":
    harness.main()
