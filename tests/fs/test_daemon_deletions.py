# SPDX-License-Identifier: MIT
"""What is deleted in the middle of a long pass gives its space back at once: skep has files open, but
not many, and none for long."""
import os
import time

import harness
from daemon_harness import DaemonTest

MIB = harness.MIB


class Deletions(DaemonTest):

    PAIRS = 40
    LENGTH = 8 * MIB
    GIVEN_BACK_SECONDS = 12 * harness.SLOWDOWN
    # A batch of two files takes most of a second, and the rests between them are so short that
    # nothing is closed for their sake.
    CONFIG = '[throttle]\nread_rate = "20M"\n'

    def setUp(self):
        super().setUp()
        self.fs.subvolume("sub")
        self.pairs = []
        for i in range(self.PAIRS):
            folder = "sub" if i == 1 else "."
            data = harness.content(i, self.LENGTH)
            self.pairs.append([self.fs.write(f"{folder}/{i}.{copy}", data) for copy in "ab"])
        self.pass_daemon = self.daemon(config=self.CONFIG)

    def address_when_shared(self, pair):
        """Waits until both files are stored once; returns where."""
        end = time.monotonic() + 25 * harness.SLOWDOWN
        while True:
            one, other = ({extent.address for extent in harness.extents(path)} for path in pair)
            if one == other and len(one) == 1:
                return one.pop()
            self.assertLess(time.monotonic(), end, self.pass_daemon.logged())
            time.sleep(0.05)

    def assert_given_back(self, address, since):
        while harness.extent_is_stored(self.fs.mnt, address):
            self.assertLess(time.monotonic() - since, self.GIVEN_BACK_SECONDS,
                            f"skep has open: {self.open_files()}")
            time.sleep(0.1)
            self.fs.sync()  # also wakes the thread that cleans up behind deleted subvolumes
        self.assertEqual(self.pass_daemon.status()["phase"], "working", "the pass is over")

    def open_files(self):
        found = []
        for link in os.scandir(f"/proc/{self.pass_daemon.process.pid}/fd"):
            try:
                found.append(os.readlink(link.path))
            except FileNotFoundError:
                pass
        return found

    def test_a_file(self):
        address = self.address_when_shared(self.pairs[0])
        for path in self.pairs[0]:
            os.unlink(path)
        self.assert_given_back(address, time.monotonic())
        self.pass_daemon.end()

    def test_a_subvolume(self):
        address = self.address_when_shared(self.pairs[1])
        harness.command("btrfs", "subvolume", "delete", "-c", self.fs.path("sub"))
        self.assert_given_back(address, time.monotonic())
        self.pass_daemon.end()


class ManyFiles(DaemonTest):

    MOST_OPEN = 2048 + 600  # for later use, and in use

    def test_few_files_are_open_at_a_time(self):
        for i in range(9000):
            self.fs.write(f"{i % 60}/{i}", harness.content(i // 2, 4096), flush=False)
        self.fs.sync()
        daemon = self.daemon()
        most = 0
        while not daemon.status()["phase"] == "idle" or not daemon.status()["done_generation"]:
            most = max(most, len(os.listdir(f"/proc/{daemon.process.pid}/fd")))
            time.sleep(0.01)
        self.assertGreater(most, 200)
        self.assertLess(most, self.MOST_OPEN)
        daemon.end()


if __name__ == "__main__":
    harness.main()
