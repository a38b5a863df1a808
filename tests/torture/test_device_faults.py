# SPDX-License-Identifier: MIT
"""Devices that fail, or run out of room, below a filesystem with a skep at work.

Whatever the device does: no file holds anything else than before, skep says what is wrong in one clear line for each
thing, and its exit status tells. When the device is well again, the next run frees all that there is to free.
Flipped bytes are the matter of tests/fs/test_damage.py.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "fs"))

import harness  # noqa: E402, found through the line above
from daemon_harness import Daemon  # noqa: E402

KIB, MIB = harness.KIB, harness.MIB
START_SECONDS = 20
RUN_SECONDS = 60
SOME = "30%"  # of the reads, or writes, fail


class FaultyFilesystem(harness.LoopFilesystem):
    """Its device is served by nbdkit, whose filter makes reads or writes fail while a file is there."""

    server = place = None

    def attach(self):
        if not self.server:
            self.place = tempfile.mkdtemp(prefix=f"skep-faults-{os.getpid()}-", dir=harness.scratch_base())
            self.prepare()
            self.serve()
        self.loop = self.attached(self.export)
        harness.command("losetup", "--direct-io=on", self.loop)  # nothing of it is cached below the filesystem
        # A request that is cut in two and fails in its second half counts as done with the kernel's loop driver.
        with open(f"/sys/block/{os.path.basename(self.loop)}/queue/max_sectors_kb", "w", encoding="ascii") as most:
            most.write("64")

    def prepare(self):
        pass

    def serve(self):
        self.export = os.path.join(self.place, "export")
        pathlib.Path(self.export).touch()
        faults = [f"error-{call}{what}" for call in ("pread", "pwrite")
                  for what in ("=EIO", f"-rate={SOME}", f"-file={self.place}/{call}")]
        with open(os.path.join(self.place, "messages"), "wb") as messages:
            self.server = subprocess.Popen(
                ["nbdfuse", self.export, "--command", "nbdkit", "-s", "--exit-with-parent", "--filter=error",
                 "file", self.image, *faults],
                stdin=subprocess.DEVNULL, stdout=messages, stderr=messages, start_new_session=True)
        end = time.monotonic() + START_SECONDS
        while os.stat(self.export).st_size != os.stat(self.image).st_size:
            if self.server.poll() is not None or time.monotonic() > end:
                raise harness.HarnessError(pathlib.Path(self.place, "messages").read_text(errors="replace"))
            time.sleep(0.05)

    def fail(self, call):
        pathlib.Path(self.place, call).touch()

    def work(self):
        for call in ("pread", "pwrite"):
            pathlib.Path(self.place, call).unlink(missing_ok=True)

    def destroy(self):
        if self.server:
            self.work()
        super().destroy()
        if self.server:
            subprocess.run(["umount", "-q", self.export], capture_output=True)
            try:
                self.server.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
        if self.place:
            shutil.rmtree(self.place, ignore_errors=True)


class SmallFilesystem(FaultyFilesystem):
    """Its image has holes, and lies on a small filesystem."""

    small = None

    def prepare(self):
        self.small = os.path.join(self.place, "small")
        os.mkdir(self.small)
        harness.command("mount", "-t", "tmpfs", "-o", "size=1G", "tmpfs", self.small)
        image = os.path.join(self.small, "image")
        harness.command("cp", "--sparse=always", self.image, image)
        self.image = image

    def fill(self, but):
        """No room is left there for what is new, but for so many bytes."""
        free = os.statvfs(self.small).f_bavail * os.statvfs(self.small).f_frsize
        with open(os.path.join(self.small, "room"), "wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - but)

    def make_room(self):
        os.remove(os.path.join(self.small, "room"))

    def destroy(self):
        if self.small:
            harness.LoopFilesystem.destroy(self)
            subprocess.run(["umount", "-q", self.export], capture_output=True)
            self.server.wait(START_SECONDS)
            subprocess.run(["umount", "-q", self.small], capture_output=True)
        super().destroy()


class DeviceFaults(unittest.TestCase):

    used_in_the_end = 0

    def setUp(self):
        harness.require_filesystem()

    def filesystem(self, kind=FaultyFilesystem, size=512 * MIB, **options):
        fs = kind(size, **options)
        self.addCleanup(fs.destroy)
        fs.create()
        return fs

    def populate(self, fs, copies=2):
        """Copies of everything that there is. What the files hold, and what is duplicated of it."""
        for i in range(24):
            data = harness.content(i, 512 * KIB)
            for copy in range(copies):
                fs.write(f"whole{i}.{copy}", data, flush=False)
                fs.write(f"part{i}.{copy}", harness.content((i, copy), 8 * KIB) + data[64 * KIB:192 * KIB], flush=False)
        for i in range(6):
            for copy, algorithm in enumerate(("zstd", "lzo")):
                fs.write_compressed(f"packed{i}.{copy}", harness.compressible(i, 256 * KIB), algorithm)
        self.before = fs.settled_used()
        held = harness.snapshot(fs.mnt)
        fs.remount()
        return held

    def ideal(self):
        """What is in use on a healthy device after a run."""
        if not DeviceFaults.used_in_the_end:
            with harness.LoopFilesystem(512 * MIB) as fs:
                self.populate(fs)
                fs.run_skep()
                DeviceFaults.used_in_the_end = fs.settled_used()
                fs.finish()
        return DeviceFaults.used_in_the_end

    def run_amid(self, fs, statuses):
        """A run on a device that fails: what it says."""
        done = subprocess.run(fs.skep_arguments("-q"), capture_output=True, text=True, timeout=RUN_SECONDS)
        self.assertIn(done.returncode, statuses, done.stderr)
        lines = done.stderr.splitlines()
        self.assertLessEqual(len(lines), 12, done.stderr)
        for line in lines:
            self.assertRegex(line, r"^skep: .*\S")
        if done.returncode:
            self.assertTrue(lines, "without a word")
        return done

    def check_held(self, fs, held):
        fs.remount()
        self.assertEqual(harness.differences(held, harness.snapshot(fs.mnt)), [])

    def check_goes_on(self, fs, held, ideal):
        """On a device that is well again."""
        fs.run_skep()
        self.assertLessEqual(fs.settled_used(), self.nearly(ideal))
        fs.run_skep(state=os.path.join(fs.folder, "fresh"))
        self.check_held(fs, held)
        self.assertLessEqual(fs.settled_used(), ideal + (self.before - ideal) // 5)
        fs.finish()

    def nearly(self, ideal):
        """Half of what there is to free, at least. Where the device failed in the middle of an extent, some of that was
        copied: as chance has it, up to a sixth."""
        return ideal + (self.before - ideal) // 2

    def test_reads_that_fail(self):
        ideal = self.ideal()
        fs = self.filesystem()
        held = self.populate(fs)
        fs.fail("pread")
        self.run_amid(fs, (0, 1))
        fs.work()
        self.check_held(fs, held)
        self.check_goes_on(fs, held, ideal)

    def test_reads_that_fail_for_a_while_below_one_that_stays(self):
        ideal = self.ideal()
        fs = self.filesystem()
        held = self.populate(fs)
        fs.fail("pread")
        daemon = Daemon(fs)
        time.sleep(3)
        self.assertIsNone(daemon.process.poll(), daemon.logged())
        fs.work()
        end = time.monotonic() + RUN_SECONDS
        while fs.used() > self.nearly(ideal) and time.monotonic() < end:
            time.sleep(0.5)
        self.assertLessEqual(fs.used(), self.nearly(ideal), daemon.logged())
        daemon.end()
        self.assertLess(len(daemon.logged().splitlines()), 20, daemon.logged())
        self.check_held(fs, held)
        fs.finish()

    def test_writes_that_fail(self):
        """btrfs makes itself read-only then, and says so in the kernel's log."""
        ideal = self.ideal()
        fs = self.filesystem()
        held = self.populate(fs)
        fs.fail("pwrite")
        done = self.run_amid(fs, (0, 1, 4))
        options = next(line for line in harness.mount_table() if f" {fs.mnt} " in line).split(" - ")[1].split()[2]
        if options.startswith("ro"):
            self.assertNotEqual(done.returncode, 0, "read-only, and not a word of it")
            self.assertRegex(done.stderr, "(?i)read-only|input/output error")
        fs.work()
        self.check_held(fs, held)
        self.check_goes_on(fs, held, ideal)

    def test_no_room_below_the_filesystem(self):
        """What is new cannot be written, though the filesystem itself has room."""
        ideal = self.ideal()
        fs = self.filesystem(SmallFilesystem)
        held = self.populate(fs)
        fs.fill(but=256 * KIB)
        self.run_amid(fs, (0, 1, 4))
        fs.make_room()
        self.check_held(fs, held)
        self.check_goes_on(fs, held, ideal)

    def test_metadata_that_is_full(self):
        fs = self.filesystem(harness.LoopFilesystem, 128 * MIB, mkfs_options=("-m", "single"))
        data = harness.content("a", 256 * KIB)
        for i in range(8):
            fs.write(f"copy{i}", data)
        fs.sync()
        # So that there is less room for metadata, and it is full soon.
        fd = os.open(fs.path("filler"), os.O_WRONLY | os.O_CREAT)
        os.posix_fallocate(fd, 0, 76 * MIB)
        os.close(fd)
        number = 0
        try:
            for number in range(10**6):  # each in metadata alone
                fs.write(f"small/{number % 100}/{number}", harness.content("b", 2000), flush=False)
        except OSError:
            pass
        self.assertGreater(number, 1000)
        try:
            fs.sync()
        except harness.HarnessError:
            pass
        held = harness.snapshot(fs.mnt)
        done = self.run_amid(fs, (0, 1, 4))
        if done.returncode:
            self.assertRegex(done.stderr, r"(?i)space")
        self.check_held(fs, held)
        for i in range(number // 2):
            os.remove(fs.path(f"small/{i % 100}/{i}"))
        fs.sync()
        held = harness.snapshot(fs.mnt)
        fs.run_skep()
        self.check_held(fs, held)
        self.assertLessEqual(fs.settled_used(), 256 * KIB + os.stat(fs.path("filler")).st_size)
        fs.finish()

    def test_a_checkpoint_of_that_time_serves(self):
        """Killed amid errors, the next one goes on from what it has left."""
        ideal = self.ideal()
        fs = self.filesystem()
        held = self.populate(fs)
        fs.fail("pread")
        daemon = Daemon(fs, config="[checkpoint]\ninterval = 1\n")
        time.sleep(2)
        daemon.process.kill()
        daemon.process.wait()
        fs.work()
        self.check_goes_on(fs, held, ideal)


if __name__ == "__main__":
    harness.main()
