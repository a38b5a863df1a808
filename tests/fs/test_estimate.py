# SPDX-License-Identifier: MIT
"""What skep estimate says is what a run then frees, and nothing changes before that."""
import json
import os
import pty
import re
import signal
import subprocess
import time

import harness
from harness import BLOCK, KIB, MIB

DONE, FAILED, WRONG_CALL, UNSUPPORTED, STOPPED = range(5)


def look(*arguments, prefix=(), **options):
    done = subprocess.run([*prefix, harness.skep_binary(), *arguments], capture_output=True,
                          stdin=subprocess.DEVNULL, text=True, **options,
                          timeout=harness.RUN_TIMEOUT_SECONDS)
    return done.returncode, done.stdout, done.stderr


def look_json(*arguments):
    status, stdout, stderr = look(*arguments, "--json", "--quiet")
    assert (status, stderr) == (DONE, ""), (status, stdout, stderr)
    return json.loads(stdout)


class Estimate(harness.FilesystemTest):

    size = 512 * MIB

    def mixed(self):
        """Copies, copies at other offsets, edited ones, tails, zeros, a subvolume, a snapshot."""
        whole = harness.content(1, 24 * MIB)
        self.fs.write("images/first", whole)
        edited = bytearray(whole)
        for i in range(40):
            edited[i * 600 * KIB:i * 600 * KIB + BLOCK] = harness.content(100 + i, BLOCK)
        self.fs.write("images/later", bytes(edited))
        self.fs.subvolume("home")
        for i in range(300):
            data = harness.content(1000 + i % 120, 3000 + 517 * (i % 90))
            self.fs.write(f"home/alice/{i % 7}/{i}", data, flush=False)
            if i % 3 == 0:
                self.fs.write(f"tree/{i % 5}/{i}", data + b"more", flush=False)
        self.fs.write("parts/middle", whole[5 * MIB:9 * MIB] + harness.content(2, MIB))
        self.fs.write("parts/zeros", harness.content(3, MIB) + bytes(6 * MIB))
        self.fs.write("unique/data", harness.content(4, 10 * MIB))
        self.fs.sync()
        self.fs.snapshot_subvolume("home", "snapshot")
        self.fs.settled_used()

    def test_a_run_frees_what_was_estimated(self):
        self.mixed()
        said = look_json("estimate", self.fs.mnt)
        report = self.dedupe("--depth", "quick")
        self.assertGreater(report["bytes_freed"], 30 * MIB)
        self.assertAlmostEqual(said["bytes_freed"], report["bytes_freed"],
                               delta=0.03 * report["bytes_freed"])
        self.assertAlmostEqual(said["cost"]["bytes_copied"], report["bytes_copied"],
                               delta=0.05 * report["bytes_freed"])

    def test_plain_copies_are_estimated_to_the_byte(self):
        for name in ("a/one", "b/two", "b/three"):
            self.fs.write(name, harness.content(1, 4 * MIB))
        self.fs.sync()
        said = look_json("estimate", self.fs.mnt)
        self.assertEqual(said["bytes_freed"], 8 * MIB)
        self.assertEqual(said["bytes"], 12 * MIB)
        self.assertEqual((said["exact"], said["bytes_margin"], said["bytes_read"]), (True, 0, 0))
        self.assertEqual(said["kinds"]["whole"], 8 * MIB)
        self.assertEqual(self.dedupe()["bytes_freed"], 8 * MIB)
        after = look_json("estimate", self.fs.mnt)
        self.assertEqual(after["bytes_freed"], 0)
        self.assertEqual(after["kinds"]["already_shared"], 8 * MIB)

    def test_what_is_freed_is_told_by_kind(self):
        half = harness.content(1, MIB)
        self.fs.write("keeper", harness.content(2, MIB) + half + harness.content(3, 2 * MIB))
        self.fs.write("partial", half + harness.content(4, 512 * KIB))
        self.fs.write("zeros", bytes(2 * MIB))
        self.fs.sync()
        said = look_json("estimate", self.fs.mnt)
        self.assertEqual(said["kinds"]["zeros"], 2 * MIB)
        self.assertEqual(said["kinds"]["whole"], 2 * MIB)
        self.assertEqual(said["kinds"]["partial"], MIB)
        self.assertEqual(said["cost"]["bytes_copied"], 512 * KIB)
        self.assertEqual(said["bytes_freed"], 3 * MIB)

    def test_places_are_subvolumes_and_their_top_folders(self):
        self.fs.subvolume("home")
        self.fs.write("keeper", harness.content(1, 8 * MIB))
        self.fs.write("home/alice/deep/copy", harness.content(1, 8 * MIB)[:2 * MIB])
        self.fs.write("home/bob", harness.content(1, 8 * MIB)[2 * MIB:3 * MIB])
        self.fs.write("srv/x", harness.content(1, 8 * MIB)[3 * MIB:7 * MIB])
        self.fs.sync()
        said = look_json("estimate", self.fs.mnt)
        self.assertEqual(said["subvolumes"], [{"path": "/", "bytes_freed": 4 * MIB},
                                              {"path": "/home", "bytes_freed": 3 * MIB}])
        self.assertEqual(said["folders"], [{"path": "/srv", "bytes_freed": 4 * MIB},
                                           {"path": "/home/alice", "bytes_freed": 2 * MIB},
                                           {"path": "/home/", "bytes_freed": MIB}])

    def test_nothing_is_written_and_no_data_is_read(self):
        self.mixed()
        self.fs.remount()
        self.fs.sync()
        before = (self.generation(), self.device_sectors(written=True))
        read = self.device_sectors(written=False)
        for command in ("estimate", "tune"):
            look_json(command, self.fs.mnt)
        self.assertEqual((self.generation(), self.device_sectors(written=True)), before)
        # Metadata, once; of some 70 MiB of data next to nothing.
        self.assertLess(self.device_sectors(written=False) - read, 6 * MIB // 512)
        self.assertFalse(os.path.exists(self.fs.state))

    def generation(self):
        found = harness.command("btrfs", "inspect-internal", "dump-super", self.fs.loop)
        return re.search(r"^generation\s+(\d+)", found, re.MULTILINE)[1]

    def device_sectors(self, written):
        with open(f"/sys/block/{os.path.basename(self.fs.loop)}/stat", encoding="ascii") as file:
            return int(file.read().split()[6 if written else 2])

    def test_compressed_data_that_was_not_read_is_told(self):
        data = harness.compressible(1, 2 * MIB)
        self.fs.write_compressed("alike/one", data)
        self.fs.write_compressed("alike/two", data)
        self.fs.write("plain", data[BLOCK:])
        self.fs.sync()
        said = look_json("estimate", self.fs.mnt)
        self.assertGreater(said["bytes_freed"], 0)
        self.assertGreater(said["compressed_unread"]["bytes"], 0)
        _, text, _ = look("estimate", self.fs.mnt)
        self.assertIn("may find more", text)

    def test_what_the_filter_leaves_out_is_not_estimated(self):
        for name in ("a/one", "b/two"):
            self.fs.write(name, harness.content(1, 2 * MIB))
        self.fs.sync()
        said = look_json("estimate", "--exclude", "/b", self.fs.mnt)
        self.assertEqual(said["bytes_freed"], 0)

    def test_a_pattern_that_matches_no_subvolume_is_told(self):
        self.mixed()
        for command in ("estimate", "tune"):
            status, stdout, stderr = look(command, self.fs.mnt, "--exclude-subvol", "tow", "--json")
            self.assertEqual(status, DONE)
            json.loads(stdout)  # and nothing else
            self.assertEqual(stderr, "skep: no subvolume matches 'tow'; 'btrfs subvolume list' shows what they "
                                     "are called\n")

    def test_a_read_only_mount_will_do(self):
        for name in ("one", "two"):
            self.fs.write(name, harness.content(1, 2 * MIB))
        self.fs.remount("ro")
        self.assertEqual(look_json("estimate", self.fs.mnt)["bytes_freed"], 2 * MIB)
        self.fs.remount()

    def test_a_sample_tells_its_error(self):
        for i in range(2400):
            self.fs.write(f"{i % 40}/{i}", harness.content(i % 1600, 64 * KIB), flush=False)
        self.fs.sync()
        all_of_it = look_json("estimate", self.fs.mnt)["bytes_freed"]
        said = look_json("estimate", "--sample", "50", self.fs.mnt)
        self.assertEqual(said["exact"], False)
        self.assertGreater(said["bytes_margin"], 0)
        self.assertAlmostEqual(said["bytes_freed"], all_of_it, delta=2 * said["bytes_margin"])

    def test_bars_are_for_terminals(self):
        for name in ("one", "two"):
            self.fs.write(name, harness.content(1, MIB))
        self.fs.sync()
        for command in ("estimate", "tune"):
            _, text, _ = look(command, "--quiet", self.fs.mnt)
            self.assertNotIn("█", text)
            self.assertIn("█", self.on_terminal(command, "--quiet", self.fs.mnt))

    def on_terminal(self, *arguments):
        master, slave = pty.openpty()
        try:
            subprocess.run([harness.skep_binary(), *arguments], stdout=slave, check=True,
                           stdin=subprocess.DEVNULL, timeout=harness.RUN_TIMEOUT_SECONDS)
            return os.read(master, 1 << 16).decode()
        finally:
            os.close(slave)
            os.close(master)

    def test_refusals(self):
        self.fs.sync()
        for command in ("estimate", "tune"):
            self.assertEqual(look(command)[0], WRONG_CALL)
            self.assertEqual(look(command, "/nowhere")[0], WRONG_CALL)
            self.assertEqual(look(command, "/proc")[0], UNSUPPORTED)
            self.assertEqual(look(command, "--sample", "0", self.fs.mnt)[0], WRONG_CALL)
            status, stdout, stderr = look(command, self.fs.mnt,
                                          prefix=("setpriv", "--bounding-set=-sys_admin"))
            self.assertEqual((status, stdout), (UNSUPPORTED, ""), stderr)
            self.assertRegex(stderr, r"\A[^\n]+\n\Z")

    def test_a_signal_ends_it_with_status_4(self):
        for i in range(4000):
            self.fs.write(f"{i % 50}/{i}", harness.content(i // 2, 12 * KIB), flush=False)
        self.fs.sync()
        process = self.fs.start(harness.skep_binary(), "estimate", "--quiet", self.fs.mnt,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        harness.wait_until_caught(process, signal.SIGINT)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=harness.RUN_TIMEOUT_SECONDS)
        self.assertEqual((process.returncode, stdout), (STOPPED, ""), stderr)
        self.assertIn("nothing was changed", stderr)


class Tune(harness.FilesystemTest):

    size = 512 * MIB

    def test_a_run_with_the_recommended_size_frees_nearly_as_much_as_with_the_largest(self):
        source = harness.content(1, 40 * MIB)
        self.fs.write("all", source)
        for i in range(60):
            at = i * 600 * KIB
            self.fs.write(f"parts/{i}", source[at:at + 400 * KIB] + harness.content(100 + i, 40 * KIB))
        self.fs.sync()
        said = look_json("tune", self.fs.mnt)
        sizes = [table["size_bytes"] for table in said["tables"]]
        self.assertEqual(sizes, [64 * KIB, 256 * KIB])
        self.assertEqual(said["full_size_bytes"], 256 * KIB)
        self.assertIn(said["recommended_bytes"], sizes)
        most = max(table["bytes_freed"] for table in said["tables"])
        self.assertIn("[table]\nsize = ", said["configuration"])
        report = self.dedupe("--table-size", str(said["recommended_bytes"]))
        self.assertGreaterEqual(report["bytes_freed"], 0.98 * most)

    def test_the_text_recommends_one_size(self):
        for name in ("one", "two"):
            self.fs.write(name, harness.content(1, MIB))
        self.fs.sync()
        status, text, _ = look("tune", self.fs.mnt)
        self.assertEqual(status, DONE)
        self.assertEqual(text.count("<- recommended"), 1)
        self.assertIn(f"/etc/skep/{self.fs.uuid()}.conf", text)
        self.assertIn("for each TiB", text)


if __name__ == "__main__":
    harness.main()
