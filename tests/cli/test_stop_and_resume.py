# SPDX-License-Identifier: MIT
"""Runs that are stopped half-way, politely or not, and the runs after them."""
import json
import os
import signal
import time

from cli_harness import STOPPED, harness

KIB = harness.KIB
STOP_SECONDS = 6 * harness.SLOWDOWN  # a signal ends a run within 2, where the machine has nothing else to do


class StopAndResume(harness.FilesystemTest):

    size = 1024 * harness.MIB
    FILES = 8000  # sharing takes some 0.1 ms a file: long enough to be stopped half-way
    LENGTH = 12 * KIB

    @classmethod
    def setUpClass(cls):
        harness.require_filesystem()
        cls.template = harness.LoopFilesystem(cls.size, cls.mkfs_options, cls.mount_options)
        cls.addClassCleanup(cls.template.destroy)
        cls.template.create()
        for i in range(cls.FILES):  # each content twice, so half of the space can go
            cls.template.write(f"{i % 50}/{i}", harness.content(i // 2, cls.LENGTH), flush=False)
        cls.full = cls.template.settled_used()
        cls.before = harness.snapshot(cls.template.mnt)
        cls.template.detach()

    def setUp(self):
        self.fs = harness.LoopFilesystem(self.size, self.mkfs_options, self.mount_options)
        self.addCleanup(self.fs.destroy)
        self.fs.create(copy_of=self.template.image)

    def stopped_run(self, number, delay=0.1):
        """Starts a run, signals it once its table is there and it takes signals, and returns the
        report."""
        process = self.fs.start_skep("--threads", "1")
        while not (os.path.exists(os.path.join(self.fs.state, "table")) and harness.catches(process, number)):
            self.assertIsNone(process.poll(), "ended before it had a table")
            time.sleep(0.001)
        time.sleep(delay)
        signalled = time.monotonic()
        process.send_signal(number)
        report = self.fs.finish_skep(process, status=STOPPED)
        self.assertLess(time.monotonic() - signalled, STOP_SECONDS)
        return report

    def check_finished(self, *reports):
        """All runs together did the whole job, and no content changed on the way."""
        half = self.FILES // 2 * self.LENGTH
        self.assertEqual(self.fs.settled_used(expect=self.full - half), self.full - half)
        self.assertEqual(sum(report["bytes_freed"] for report in reports), half)
        self.fs.remount()
        self.assert_same_contents(self.before, harness.snapshot(self.fs.mnt))

    def check_signal(self, number):
        stopped = self.stopped_run(number)
        with open(os.path.join(self.fs.state, "state.json"), encoding="utf-8") as file:
            self.assertIsInstance(json.load(file), dict)
        used = self.full - stopped["bytes_freed"]
        self.assertEqual(self.fs.settled_used(expect=used), used)
        self.assertGreater(used, self.full // 2, "the run was over before the signal came")
        self.assert_same_contents(self.before, harness.snapshot(self.fs.mnt))
        finished = self.fs.run_skep()
        self.check_finished(stopped, finished)

    def test_a_gentle_run_keeps_to_the_limits_of_the_configuration(self):
        config = os.path.join(self.fs.folder, "config")
        os.makedirs(config)
        with open(os.path.join(config, "skep.conf"), "w", encoding="utf-8") as file:
            file.write("[throttle]\nread_per_day = 1\n")
        options = ("--config-dir", config)
        process = self.fs.start_skep("--gentle", *options)
        time.sleep(3)
        self.assertIsNone(process.poll())
        signalled = time.monotonic()
        process.send_signal(signal.SIGTERM)
        gentle = self.fs.finish_skep(process, status=STOPPED)
        self.assertLess(time.monotonic() - signalled, STOP_SECONDS)
        self.assertLess(gentle["extents_freed"], self.FILES // 2)
        self.check_finished(gentle, self.fs.run_skep(*options))

    def test_sigterm(self):
        self.check_signal(signal.SIGTERM)

    def test_sigint(self):
        self.check_signal(signal.SIGINT)

    def test_a_signal_right_after_the_start(self):
        stopped = self.stopped_run(signal.SIGTERM, delay=0)
        self.check_finished(stopped, self.fs.run_skep())

    def test_stopped_again_and_again(self):
        reports = []
        for _ in range(3):
            reports.append(self.stopped_run(signal.SIGTERM, delay=0.03))
            self.assertEqual(reports[-1]["result"], "stopped")
        reports.append(self.fs.run_skep())
        self.assertEqual(reports[-1]["result"], "done")
        self.check_finished(*reports)

    def test_killed_without_warning(self):
        process = self.fs.start_skep("--threads", "1")
        while not os.path.exists(os.path.join(self.fs.state, "table")):
            time.sleep(0.001)
        time.sleep(0.1)
        process.kill()
        process.communicate()
        self.assert_same_contents(self.before, harness.snapshot(self.fs.mnt))
        self.fs.run_skep()
        half = self.full // 2
        self.assertEqual(self.fs.settled_used(expect=half), half)
        self.fs.remount()
        self.assert_same_contents(self.before, harness.snapshot(self.fs.mnt))


if __name__ == "__main__":
    harness.main()
