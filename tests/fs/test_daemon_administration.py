# SPDX-License-Identifier: MIT
"""A skep that stays beside what administrators do, unmounting included."""
import contextlib
import fcntl
import os
import time

import harness
from daemon_harness import END_SECONDS, DaemonTest

MIB = harness.MIB


class Administration(DaemonTest):

    def test_unmounting_and_mounting_again(self):
        self.fs.write("one", harness.content("a", 4 * MIB))
        daemon = self.daemon(target=self.fs.uuid())
        daemon.wait_until_looked_at()
        used = self.fs.used()
        harness.command("umount", self.fs.mnt)
        daemon.wait_for(None, phase="unmounted")
        self.assertFalse(os.path.exists(f"/sys/fs/btrfs/{daemon.status()['filesystem']}"))
        self.fs.mount()
        self.fs.write("other", harness.content("a", 4 * MIB))
        self.fs.sync()
        self.wait_until_used(used)
        daemon.end()

    def test_the_mount_point_is_free_while_it_works(self):
        for i in range(2000):
            self.fs.write(f"{i}", harness.content(i // 2, 8192), flush=False)
        self.fs.sync()
        daemon = self.daemon("--threads", "1")
        daemon.wait_for(lambda s: s["phase"] in ("working", "idle"))
        harness.command("umount", self.fs.mnt)
        uuid = daemon.wait_for(None, phase="unmounted")["filesystem"]
        end = time.monotonic() + END_SECONDS
        while os.path.exists(f"/sys/fs/btrfs/{uuid}"):
            self.assertLess(time.monotonic(), end, "the device is still in use")
            time.sleep(0.1)
        self.fs.mount()
        daemon.wait_until_looked_at()
        daemon.end()
        self.assertEqual(self.fs.settled_used(expect=1000 * 8192), 1000 * 8192)

    def test_subvolumes_are_deleted_beside_it(self):
        self.fs.subvolume("sub")
        self.fs.write("one", harness.content("a", 4 * MIB))
        self.fs.write("sub/other", harness.content("a", 4 * MIB))
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        harness.command("btrfs", "subvolume", "delete", "-c", self.fs.path("sub"))
        harness.command("btrfs", "subvolume", "sync", self.fs.mnt)
        daemon.wait_until_looked_at()
        daemon.end()

    def test_a_read_only_filesystem_is_waited_for(self):
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        harness.command("mount", "-o", "remount,ro", self.fs.mnt)
        daemon.wait_for(None, hold="read_only")
        harness.command("mount", "-o", "remount,rw", self.fs.mnt)
        daemon.wait_for(None, hold="", phase="idle")
        daemon.end()

    def test_maintenance_beside_it(self):
        data = [harness.content(i % 8, MIB) for i in range(24)]
        for i in range(12):
            self.fs.write(f"{i}", data[i])
        daemon = self.daemon()
        for i in range(12, 24):
            self.fs.write(f"{i}", data[i])
            if i % 4 == 0:
                self.fs.snapshot_subvolume(".", f"snap{i}")
            if i % 6 == 0:
                harness.command("btrfs", "balance", "start", "-dusage=100", self.fs.mnt)
            if i % 8 == 0:
                harness.command("btrfs", "filesystem", "defragment", "-r", self.fs.path("0"))
        harness.command("btrfs", "scrub", "start", "-B", self.fs.mnt)
        harness.command("btrfs", "subvolume", "delete", "-c", self.fs.path("snap12"))
        self.fs.sync()
        daemon.wait_until_looked_at()
        self.assertEqual(daemon.status()["last_error"], "", daemon.logged())
        daemon.end()
        for i in range(24):
            self.assertEqual(harness.read_whole(self.fs.path(f"{i}")), data[i])

    def test_another_run_is_waited_for_not_fought(self):
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        with self.lock_of_another():
            self.fs.write("one", harness.content("a", 4 * MIB))
            self.fs.write("other", harness.content("a", 4 * MIB))
            self.fs.sync()
            daemon.wait_for(None, phase="held", hold="other_instance")
            self.assertEqual(self.fs.used(), 8 * MIB)
        self.wait_until_used(4 * MIB)
        daemon.end()

    @contextlib.contextmanager
    def lock_of_another(self):
        """As a skep has it that works on the filesystem."""
        folder = os.open(self.fs.mnt, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def test_a_second_daemon_is_refused(self):
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        second = self.daemon()
        self.assertEqual(second.process.wait(END_SECONDS), 1)
        self.assertIn("runs already", daemon.logged())
        daemon.end()


if __name__ == "__main__":
    harness.main()
