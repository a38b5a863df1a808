# SPDX-License-Identifier: MIT
"""Devices are added, removed, replaced and resized beside a skep that stays: the kernel moves extents
meanwhile, those that skep is about to share too."""
import threading

import harness
from daemon_harness import DaemonTest

MIB = harness.MIB


class Devices(DaemonTest):

    size = 512 * MIB
    FILES = 120

    def setUp(self):
        super().setUp()
        # Each content three times, some with a block more: shared, and copied.
        self.contents = {f"{i}": harness.content(i // 3, 192 * 1024) + harness.content(i % 2, 4096)
                         for i in range(self.FILES)}
        for name in list(self.contents)[::2]:
            self.fs.write(name, self.contents[name])
        self.fs.snapshot_subvolume(".", "snapshot")

    def keep_busy(self, stop):
        """Writes the other half, and then all anew, again and again."""
        names = list(self.contents)
        names = names[1::2] + names
        at = 0
        while not stop.is_set():
            name = names[at % len(names)]
            self.fs.write(name, self.contents[name], flush=False)
            at += 1
            if at % 20 == 0:
                self.fs.sync()
            stop.wait(0.01)
        for name in self.contents:
            if at < len(names):
                self.fs.write(name, self.contents[name], flush=False)

    def beside_it(self, *steps):
        stop = threading.Event()
        daemon = self.daemon()
        writer = threading.Thread(target=self.keep_busy, args=(stop,))
        writer.start()
        try:
            for step in steps:
                harness.command("btrfs", *step)
        finally:
            stop.set()
            writer.join()
        daemon.wait_until_looked_at()
        self.assertEqual(daemon.status()["last_error"], "", daemon.logged())
        self.assertNotIn("error", daemon.logged())
        daemon.end()
        for name, data in self.contents.items():
            self.assertEqual(harness.read_whole(self.fs.path(name)), data, name)
        harness.command("btrfs", "subvolume", "delete", "-c", self.fs.path("snapshot"))
        harness.command("btrfs", "subvolume", "sync", self.fs.mnt)
        distinct = sum(map(len, self.contents.values())) / 3
        self.dedupe()  # what was in motion, too
        self.assertLess(self.fs.used(), 1.05 * distinct)

    def test_adding_and_removing(self):
        spare = self.fs.spare_device()
        mnt = self.fs.mnt
        self.beside_it(("device", "add", "-f", spare, mnt),
                       ("balance", "start", "--full-balance", mnt),
                       ("device", "remove", spare, mnt))

    def test_shrinking_and_growing(self):
        mnt = self.fs.mnt
        self.beside_it(("filesystem", "resize", "-256M", mnt),
                       ("filesystem", "resize", "max", mnt),
                       ("filesystem", "resize", "-200M", mnt),
                       ("filesystem", "resize", "+100M", mnt))

    def test_replacing(self):
        spare = self.fs.spare_device()
        mnt = self.fs.mnt
        self.beside_it(("replace", "start", "-B", "-f", self.fs.loop, spare, mnt),
                       ("replace", "start", "-B", "-f", spare, self.fs.loop, mnt))


if __name__ == "__main__":
    harness.main()
