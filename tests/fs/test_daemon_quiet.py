# SPDX-License-Identifier: MIT
"""A skep that has nothing to do does nothing."""
import os
import time

import harness
from daemon_harness import DaemonTest

MIB = harness.MIB


class Quiet(DaemonTest):

    WATCHED_SECONDS = 20

    def writes(self, daemon):
        with open(f"/proc/{daemon.process.pid}/io", encoding="ascii") as file:
            fields = dict(line.split(": ") for line in file.read().splitlines())
        # Of the one thread that it has while idle.
        with open(f"/proc/{daemon.process.pid}/schedstat", encoding="ascii") as file:
            nanoseconds = int(file.read().split()[0])
        return int(fields["write_bytes"]), nanoseconds

    def check_idle(self, state=None):
        self.fs.write("one", harness.content("a", 4 * MIB))
        self.fs.write("other", harness.content("a", 4 * MIB))
        daemon = self.daemon(state=state)
        daemon.reload("[checkpoint]\ninterval = 1\n")
        daemon.wait_for(lambda s: s["phase"] == "idle" and s["since_start"]["bytes_freed"])
        daemon.wait_until_looked_at()
        time.sleep(5)  # the last checkpoint, and what it commits
        self.fs.sync()
        daemon.wait_until_looked_at()
        generation = daemon.status()["generation"]
        written, cpu = self.writes(daemon)
        time.sleep(self.WATCHED_SECONDS)
        written_then, cpu_then = self.writes(daemon)
        self.assertEqual(written_then, written)
        # A second an hour; three times as much, for one who has just begun to be idle.
        self.assertLess((cpu_then - cpu) / 1e9, 3 * self.WATCHED_SECONDS / 3600)
        self.assertEqual(daemon.wait_until_looked_at()["generation"], generation)
        daemon.end()

    def test_an_idle_daemon_writes_nothing(self):
        self.check_idle()

    def test_nor_with_its_state_on_the_filesystem_itself(self):
        self.check_idle(state=self.fs.path(".skep"))

    def test_nothing_of_the_filesystem_is_open_while_idle(self):
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        for name in os.listdir(f"/proc/{daemon.process.pid}/fd"):
            target = os.readlink(f"/proc/{daemon.process.pid}/fd/{name}")
            self.assertFalse(target.startswith(self.fs.mnt), target)
        daemon.end()


if __name__ == "__main__":
    harness.main()
