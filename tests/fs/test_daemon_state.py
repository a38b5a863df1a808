# SPDX-License-Identifier: MIT
"""The state directory of a skep that stays: of another filesystem, or not to be written to. It says what is
wrong, in one line."""
import os
import pathlib

import harness
from state_harness import FAILED, WRONG_CALL, StateTest


class State(StateTest):

    def test_not_to_be_written_to(self):
        self.mount_state("8M")
        self.remount_state("ro")
        daemon = self.daemon(state=self.state)
        self.check_refused(daemon, FAILED, "table", "Read-only file system", "make it writable",
                           "--state-dir")
        self.assertEqual(self.fs.used(), 2 * len(self.data))
        self.remount_state("rw")
        daemon = self.daemon(state=self.state)
        self.wait_until_used(len(self.data))
        daemon.end()

    def test_of_a_filesystem_that_was_made_anew(self):
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        daemon.end()
        os.truncate(daemon.log, 0)
        before = {name: harness.read_whole(os.path.join(self.fs.state, name))
                  for name in os.listdir(self.fs.state)}
        uuid = self.fs.uuid()
        self.fs.unmount()
        harness.command("mkfs.btrfs", "-q", "-f", self.fs.loop)
        self.fs.mount()
        daemon = self.daemon()
        self.check_refused(daemon, WRONG_CALL, self.fs.state, uuid, "--state-dir")
        self.assertEqual(before, {name: harness.read_whole(os.path.join(self.fs.state, name))
                                  for name in os.listdir(self.fs.state)})

    def test_of_a_copy_of_a_mounted_filesystem(self):
        """It is mounted under a UUID that was made up, and is another one the next time."""
        copy = harness.LoopFilesystem(self.size)
        self.addCleanup(copy.destroy)
        copy.create(copy_of=self.fs.image)
        [device] = pathlib.Path("/sys/fs/btrfs").glob(f"*/devices/{os.path.basename(copy.loop)}")
        temporary = device.parent.parent / "temp_fsid"
        self.assertEqual(temporary.read_text(encoding="ascii").strip(), "1")
        self.fs, original = copy, self.fs
        try:
            daemon = self.daemon(state=False)
            self.check_refused(daemon, WRONG_CALL, "temporary UUID", "--state-dir")
            daemon = self.daemon()
            daemon.wait_for(lambda s: s["phase"] == "idle" and s["since_start"]["bytes_freed"])
            daemon.end()
        finally:
            self.fs = original
        copy.finish()
        self.assertEqual(self.fs.used(), 2 * len(self.data))


if __name__ == "__main__":
    harness.main()
