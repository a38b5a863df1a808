# SPDX-License-Identifier: MIT
"""No room for the state of a skep that stays. It says so, in one line. One that starts ends; one that worked
goes on as far as it can, and as soon as there is room as before."""
import os
import pathlib
import subprocess
import time

import harness
from daemon_harness import FREED_SECONDS
from state_harness import FAILED, MIB, StateTest

# Long enough that the work is over before it is saved.
CONFIG = "[checkpoint]\ninterval = 8\n"


class FullState(StateTest):

    def test_no_room_for_a_table(self):
        self.mount_state("64k")
        daemon = self.daemon(state=self.state)
        self.check_refused(daemon, FAILED, "table", "no room", "--state-dir")
        self.assertEqual(self.fs.used(), 2 * len(self.data))
        self.remount_state("size=8M")
        daemon = self.daemon(state=self.state)
        self.wait_until_used(len(self.data))
        daemon.end()

    def test_no_room_for_a_checkpoint_for_a_while(self):
        self.mount_state("4M")
        daemon = self.daemon(state=self.state, config=CONFIG)
        daemon.wait_until_looked_at()
        before = self.saved()
        self.fill_state()
        self.write_more()
        self.wait_until_used(len(self.data) + MIB)  # it goes on all the same
        self.wait_for_line(daemon, "state.json", "No space left on device")
        self.assertEqual(self.saved(), before)
        os.unlink(os.path.join(self.state, "filler"))
        # Nothing is written to the filesystem any more, but that is still to be saved.
        end = time.monotonic() + FREED_SECONDS
        while self.saved()["totals"]["bytes_freed"] < 2 * len(self.data):
            self.assertLess(time.monotonic(), end, f"{self.saved()}\n{daemon.logged()}")
            time.sleep(0.2)
        daemon.end()

    def test_room_for_a_checkpoint_just_before_the_end(self):
        """What could not be saved is still to be saved, although nothing has happened since."""
        self.mount_state("4M")
        daemon = self.daemon(state=self.state, config=CONFIG)
        daemon.wait_until_looked_at()
        self.fill_state()
        self.write_more()
        self.wait_for_line(daemon, "state.json", "No space left on device", seconds=FREED_SECONDS)
        os.unlink(os.path.join(self.state, "filler"))
        daemon.end()
        self.assertEqual(self.saved()["totals"]["bytes_freed"], 2 * len(self.data))

    def test_no_room_for_the_last_checkpoint(self):
        self.mount_state("4M")
        daemon = self.daemon(state=self.state)
        daemon.wait_until_looked_at()
        self.wait_until_used(len(self.data))
        before = self.saved()
        self.fill_state()
        self.write_more()
        self.wait_until_used(len(self.data) + MIB)
        daemon.end(status=FAILED)
        self.wait_for_line(daemon, "state.json", "No space left on device")
        self.assertEqual(self.saved(), before)
        os.unlink(os.path.join(self.state, "filler"))
        daemon = self.daemon(state=self.state)
        daemon.wait_until_looked_at()
        daemon.end()
        self.assertGreater(self.saved()["done_generation"], before["done_generation"])

    def test_a_full_filesystem_below_the_table(self):
        """Where no metadata can be had for a page of the table, the kernel ends whoever writes to it,
        after a while."""
        with harness.LoopFilesystem(128 * MIB, mkfs_options=("--mixed",)) as full:
            daemon = self.daemon(state=full.path("state"))
            daemon.wait_until_looked_at()
            for size in ("64k", "4k"):
                subprocess.run(["dd", "if=/dev/zero", "bs=" + size, "of=" + full.path(size)],
                               capture_output=True)
            full.sync()
            self.write_more()
            end = time.monotonic() + 2 * FREED_SECONDS
            while daemon.process.poll() is None and self.fs.used() != len(self.data) + MIB:
                self.assertLess(time.monotonic(), end, daemon.logged())
                time.sleep(0.2)
            print(f"skep {'goes on' if daemon.process.poll() is None else 'has ended'}")
            if daemon.process.poll() is not None:
                self.assertEqual(daemon.process.poll(), FAILED, daemon.logged())
                self.wait_for_line(daemon, "table", "make room", "--state-dir")
            for size in ("64k", "4k"):
                pathlib.Path(full.path(size)).unlink(missing_ok=True)
            full.sync()
            if daemon.process.poll() is not None:
                daemon = self.daemon(state=full.path("state"))
            daemon.wait_until_looked_at(2 * FREED_SECONDS)
            self.wait_until_used(len(self.data) + MIB)
            daemon.end()
            full.finish()


if __name__ == "__main__":
    harness.main()
