# SPDX-License-Identifier: MIT
"""A skep that stays and cannot work says so, wherever one looks: it is not idle, and has not started."""
import os
import signal
import socket
import subprocess
import time

import harness
from daemon_harness import END_SECONDS, PHASE_SECONDS
from state_harness import FAILED, StateTest


class Failing(StateTest):

    def setUp(self):
        super().setUp()
        path = os.path.join(self.fs.folder, "notify")
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.bind(path)
        self.manager.setblocking(False)
        os.environ["NOTIFY_SOCKET"] = path
        self.addCleanup(os.environ.pop, "NOTIFY_SOCKET")
        self.told = []

    def manager_was_told(self):
        """All that a service manager knows, one assignment a line."""
        try:
            while True:
                self.told += self.manager.recv(65536).decode().splitlines()
        except BlockingIOError:
            return self.told

    def wait_until_told(self, begin, *words):
        end = time.monotonic() + PHASE_SECONDS
        while not any(line.startswith(begin) and all(word in line for word in words)
                      for line in self.manager_was_told()):
            self.assertLess(time.monotonic(), end, self.told)
            time.sleep(0.05)

    def status_text(self, daemon):
        return subprocess.run([harness.skep_binary(), "status", "--run-dir", daemon.run_dir], check=True,
                              capture_output=True, text=True, timeout=END_SECONDS).stdout

    def failing(self, **how):
        """One that has worked, and whose state cannot be written to since."""
        self.mount_state("8M")
        daemon = self.daemon(state=self.state, **how)
        daemon.wait_until_looked_at()
        self.remount_state("ro")
        self.write_more()
        daemon.wait_for(None, phase="failing")
        return daemon

    def test_it_ends_when_it_cannot_even_begin(self):
        self.mount_state("8M")
        self.remount_state("ro")
        daemon = self.daemon(state=self.state)
        self.check_refused(daemon, FAILED, self.state, "make it writable")
        self.assertNotIn("READY=1", self.manager_was_told())
        self.assertFalse(os.path.exists(os.path.join(daemon.run_dir, "status.json")))

    def test_it_has_started_once_the_filesystem_is_open(self):
        daemon = self.daemon(state=self.state)
        self.wait_until_told("READY=1")
        daemon.wait_until_looked_at()
        daemon.end()
        self.assertEqual(self.manager_was_told().count("READY=1"), 1)

    def test_it_has_started_when_it_waits_for_the_mount(self):
        uuid = self.fs.uuid()
        self.fs.unmount()
        daemon = self.daemon(state=self.state, target=uuid)
        self.wait_until_told("READY=1")
        self.fs.mount()
        daemon.wait_until_looked_at()
        daemon.end()

    def test_it_fails_later_and_goes_on(self):
        daemon = self.failing()
        status = daemon.status()
        self.assertIn("make it writable", status["last_error"])
        self.assertGreater(status["next_try"], status["written"] - 1)
        self.wait_until_told("STATUS=Failing", "make it writable", "next try at")
        text = self.status_text(daemon)
        self.assertRegex(text, r"\n  state +failing: .*make it writable.*\n  next try +at \d\d:\d\d:\d\d\n")
        self.assertNotIn("idle", text)
        self.assertNotIn("last error", text)
        self.remount_state("rw")
        daemon.process.send_signal(signal.SIGHUP)  # tries again at once
        daemon.wait_until_looked_at()
        self.wait_until_used(len(self.data) + harness.MIB)
        self.assertEqual(daemon.status()["next_try"], 0)
        self.assertIn("last error", self.status_text(daemon))
        daemon.end()
        self.assertEqual(self.manager_was_told().count("READY=1"), 2)  # the second ends the reload

    def test_metrics_tell_of_it(self):
        metrics = os.path.join(self.fs.folder, "metrics")
        os.mkdir(metrics)
        daemon = self.failing(config=f'[metrics]\ndir = "{metrics}"\n')
        file = os.path.join(metrics, f"skep-{self.fs.uuid()}.prom")
        end = time.monotonic() + 2 * PHASE_SECONDS
        while True:
            text = harness.read_whole(file).decode() if os.path.exists(file) else ""
            if 'phase="failing"} 1\n' in text:
                break
            self.assertLess(time.monotonic(), end, text)
            time.sleep(0.2)
        (line,) = [line for line in text.splitlines()
                   if line.startswith("skep_next_try_timestamp_seconds{")]
        self.assertGreater(int(line.split()[-1]), time.time() - 60)
        self.remount_state("rw")
        daemon.end()


if __name__ == "__main__":
    harness.main()
