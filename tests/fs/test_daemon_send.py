# SPDX-License-Identifier: MIT
"""Sending and receiving snapshots beside a skep that stays."""
import os
import random
import subprocess
import time

import harness
from daemon_harness import DaemonTest

MIB = harness.MIB


class Send(DaemonTest):

    def setUp(self):
        super().setUp()
        self.backup = harness.LoopFilesystem(self.size)
        self.addCleanup(self.backup.destroy)
        self.backup.create()
        self.fs.subvolume("work")
        self.fs.subvolume("received")
        self.pick = random.Random(seed := int(os.environ.get("SKEP_SEED", "1")))
        self.seed = seed

    def tearDown(self):
        self.backup.finish()
        super().tearDown()

    def change(self, round_number):
        """Files that are like others, here and in older snapshots."""
        for i in range(60):
            name = f"work/{self.pick.randrange(100)}"
            data = harness.content(self.pick.randrange(40), self.pick.randrange(1, 65) * 4096)
            self.fs.write(name, data, flush=False)
        self.fs.write(f"work/large{round_number % 3}", harness.content("large", 8 * MIB), flush=False)

    def contents(self, folder):
        return {name: state.content for name, state in harness.snapshot(folder).items()}

    def check_received(self, fs, folder, name):
        self.assertEqual(self.contents(fs.path(f"{folder}/{name}")), self.expected[name],
                         f"{folder}/{name}, seed {self.seed}")

    def test_full_and_incremental_streams(self):
        """To another filesystem, and to the same one."""
        self.expected = {}
        daemon = self.daemon()
        last, refused = None, 0
        os.mkdir(self.backup.path("received"))
        for number in range(6):
            self.change(number)
            name = f"s{number}"
            self.fs.snapshot_subvolume("work", name)
            self.expected[name] = self.contents(self.fs.path(name))
            self.fs.sync()
            time.sleep(self.pick.uniform(0, 2))
            stream, sends = self.fs.send(name, last)
            refused += sends - 1
            for fs in (self.backup, self.fs):
                harness.command("btrfs", "receive", "-q", "-f", stream, fs.path("received"))
            last = name
        _, sends = self.fs.send(last)
        refused += sends - 1
        daemon.wait_until_looked_at()
        print(f"7 sends, {refused} more were refused (seed {self.seed})")
        for name in self.expected:
            self.check_received(self.backup, "received", name)
            self.check_received(self.fs, "received", name)
            self.check_received(self.fs, ".", name)
        self.assertNotIn("error", daemon.logged())
        self.assertEqual(daemon.status()["last_error"], "")
        daemon.end()

    def test_what_a_send_holds_is_done_after_it(self):
        """A send that waits for its reader holds the snapshot for long."""
        data = harness.content("a", 16 * MIB)
        self.fs.write("first", data)
        self.fs.write("work/second", data)
        self.fs.snapshot_subvolume("work", "s")
        self.fs.sync()
        used = self.fs.used()
        with subprocess.Popen(["btrfs", "send", "-q", self.fs.path("s")],
                              stdout=subprocess.PIPE) as sender:
            sender.stdout.read(1)
            daemon = self.daemon()
            daemon.wait_until_looked_at()
            time.sleep(2)
            self.assertEqual(self.fs.used(), used)
            received = 1 + len(sender.stdout.read())
        self.assertEqual(sender.returncode, 0)
        self.assertGreater(received, len(data))
        self.wait_until_used(used - len(data), 60)
        daemon.end()
        self.assertNotIn("error", daemon.logged())


if __name__ == "__main__":
    harness.main()
