# SPDX-License-Identifier: MIT
"""A skep that stays, with two equal files to look at and a state directory that can be made small."""
import errno
import json
import os
import time

import harness
from daemon_harness import PHASE_SECONDS, DaemonTest

MIB = harness.MIB

FAILED, WRONG_CALL = 1, 2


class StateTest(DaemonTest):

    def setUp(self):
        super().setUp()
        self.data = harness.content("a", 4 * MIB)
        self.fs.write("one", self.data)
        self.fs.write("other", self.data)
        self.fs.sync()
        self.state = os.path.join(self.fs.folder, "small")

    def tearDown(self):
        # Also after a failed test: nothing is mounted in the folder when it goes.
        for process in self.fs.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        if os.path.ismount(self.state):
            harness.command("umount", self.state)
        super().tearDown()

    def mount_state(self, size):
        os.mkdir(self.state)
        harness.command("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", self.state)

    def remount_state(self, options):
        harness.command("mount", "-o", f"remount,{options}", self.state)

    def fill_state(self):
        with open(os.path.join(self.state, "filler"), "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError as error:
                self.assertEqual(error.errno, errno.ENOSPC)

    def saved(self):
        with open(os.path.join(self.state, "state.json"), encoding="utf-8") as file:
            return json.load(file)

    def wait_for_line(self, daemon, *words, seconds=PHASE_SECONDS):
        """One line of the log names these, and there is no second."""
        end = time.monotonic() + seconds
        while True:
            lines = [line for line in daemon.logged().splitlines()
                     if all(word in line for word in words)]
            if lines or time.monotonic() > end:
                break
            time.sleep(0.1)
        self.assertEqual(len(lines), 1, daemon.logged())

    def check_refused(self, daemon, status, *words):
        self.assertEqual(daemon.process.wait(PHASE_SECONDS), status, daemon.logged())
        self.assertEqual(len(daemon.logged().splitlines()), 1, daemon.logged())
        self.wait_for_line(daemon, *words)

    def write_more(self):
        self.fs.write("third", self.data)
        self.fs.write("fourth", harness.content("b", MIB))
        self.fs.sync()
