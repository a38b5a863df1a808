# SPDX-License-Identifier: MIT
"""Pausing a skep that stays, new settings, no room, metrics."""
import fcntl
import os
import signal
import subprocess
import time

import harness
from daemon_harness import END_SECONDS, PHASE_SECONDS, DaemonTest

MIB = harness.MIB


class Control(DaemonTest):

    def skep(self, *arguments, status=0):
        done = subprocess.run([harness.skep_binary(), *arguments], capture_output=True, text=True,
                              timeout=END_SECONDS)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout

    def test_pause_and_resume(self):
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        self.skep("pause", "--run-dir", daemon.run_dir)
        self.assertEqual(daemon.status()["hold"], "paused")
        used = self.fs.used()
        self.fs.write("one", harness.content("a", 4 * MIB))
        self.fs.write("other", harness.content("a", 4 * MIB))
        self.fs.sync()
        time.sleep(12)  # longer than from one look to the next
        self.assertEqual(self.fs.used(), used + 8 * MIB)
        self.assertIn("paused", self.skep("status", "--run-dir", daemon.run_dir))
        self.skep("resume", "--run-dir", daemon.run_dir)
        self.wait_until_used(used + 4 * MIB)
        daemon.end()

    def test_settings_are_read_again(self):
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        daemon.reload("[throttle]\nread_per_day = 1\n")
        self.fs.write("one", harness.content("a", 4 * MIB))
        self.fs.write("other", harness.content("a", 4 * MIB))
        self.fs.write("third", harness.content("a", 4 * MIB))
        self.fs.sync()
        daemon.wait_for(None, hold="read_budget")
        daemon.reload("[throttle]\nread_per_dya = 1\n")
        end = time.monotonic() + PHASE_SECONDS
        while "read_per_dya" not in daemon.logged():
            self.assertLess(time.monotonic(), end, daemon.logged())
            time.sleep(0.1)
        self.assertEqual(daemon.status()["hold"], "read_budget")
        daemon.reload("")
        daemon.wait_until_looked_at()
        daemon.end()

    def test_no_room_for_metadata_is_waited_for(self):
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        daemon.reload('[space]\nmetadata_reserve = "1T"\n')
        used = self.fs.used()
        self.fs.write("one", harness.content("a", 4 * MIB))
        self.fs.write("other", harness.content("a", 4 * MIB))
        self.fs.sync()
        daemon.wait_for(None, hold="metadata_space", phase="held")
        daemon.reload("")
        self.wait_until_used(used + 4 * MIB)
        daemon.end()

    def test_one_at_a_time_waits_for_its_turn(self):
        """Somebody else has the turn; then it has it itself while it works, and not while it is idle."""
        config = os.path.join(self.fs.folder, "config")
        os.makedirs(config)
        with open(os.path.join(config, "skep.conf"), "w", encoding="utf-8") as file:
            file.write("[service]\none_at_a_time = true\n")
        turn = os.path.join(self.fs.folder, "turn")
        self.fs.write("one", harness.content("a", 4 * MIB))
        self.fs.write("other", harness.content("a", 4 * MIB))
        self.fs.sync()
        used = self.fs.used()
        with open(turn, "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            daemon = self.daemon()
            daemon.wait_for(None, hold="turn", phase="held")
            time.sleep(2)
            self.assertEqual(self.fs.used(), used)
        self.wait_until_used(used - 4 * MIB)
        daemon.wait_until_looked_at()
        with open(turn, "r", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            daemon.end()  # also while it has no turn

    def test_a_stop_while_it_waits_for_its_turn(self):
        config = os.path.join(self.fs.folder, "config")
        os.makedirs(config)
        with open(os.path.join(config, "skep.conf"), "w", encoding="utf-8") as file:
            file.write("[service]\none_at_a_time = true\n")
        self.fs.write("one", harness.content("a", 4 * MIB))
        self.fs.write("other", harness.content("a", 4 * MIB))
        self.fs.sync()
        with open(os.path.join(self.fs.folder, "turn"), "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            daemon = self.daemon()
            daemon.wait_for(None, hold="turn")
            daemon.end()

    def test_a_stop_while_it_is_held(self):
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        self.skep("pause", "--run-dir", daemon.run_dir)
        self.fs.write("one", harness.content("a", 4 * MIB))
        self.fs.sync()
        time.sleep(2)
        daemon.end(signal.SIGINT)
        self.assertFalse(os.path.exists(os.path.join(daemon.run_dir, "status.json")))

    def test_metrics_are_written(self):
        metrics = os.path.join(self.fs.folder, "metrics")
        os.mkdir(metrics)
        daemon = self.daemon()
        daemon.reload(f'[metrics]\ndir = "{metrics}"\n')
        self.fs.write("one", harness.content("a", 4 * MIB))
        self.fs.sync()
        daemon.wait_until_looked_at()
        end = time.monotonic() + PHASE_SECONDS
        while not os.listdir(metrics):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.1)
        daemon.end()
        text = harness.read_whole(os.path.join(metrics, os.listdir(metrics)[0])).decode()
        self.assertIn("skep_scanned_bytes_total", text)


if __name__ == "__main__":
    harness.main()
