# SPDX-License-Identifier: MIT
"""A skep that stays, for the tests of it: its folders, its status, its end."""
import json
import os
import signal
import time

import harness

MIB = harness.MIB
# Far above what each takes where the machine has nothing else to do.
FREED_SECONDS = 90 * harness.SLOWDOWN  # from the commit to the space being back
PHASE_SECONDS = 60 * harness.SLOWDOWN
END_SECONDS = 30 * harness.SLOWDOWN
NO_STATUS = {"phase": "", "hold": ""}


class Daemon:
    """A skep that stays, with its folders beside the filesystem, or where `state` says; False
    leaves that to skep. `config` is the text of its configuration; None leaves what is there."""

    def __init__(self, fs, *options, state=None, target=None, config=None):
        self.fs = fs
        self.run_dir = os.path.join(fs.folder, "run")
        self.config_dir = os.path.join(fs.folder, "config")
        self.log = os.path.join(fs.folder, "daemon.log")
        os.makedirs(self.config_dir, exist_ok=True)
        if config is not None:
            self.configure(config)
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = fs.start(
                harness.skep_binary(), "run", "--run-dir", self.run_dir, "--config-dir",
                self.config_dir, *([] if state is False else ["--state-dir", state or fs.state]),
                *options, target or fs.mnt, stderr=log)

    def configure(self, text):
        with open(os.path.join(self.config_dir, "skep.conf"), "w", encoding="utf-8") as file:
            file.write(text)

    def reload(self, text):
        self.wait_for(lambda status: status["phase"])  # from then on it takes signals
        before = self.logged().count("settings")
        self.configure(text)
        self.process.send_signal(signal.SIGHUP)
        self.wait_for(lambda _: self.logged().count("settings") > before)

    def logged(self):
        with open(self.log, encoding="utf-8") as file:
            return file.read()

    def status(self):
        try:
            with open(os.path.join(self.run_dir, "status.json"), encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return NO_STATUS

    def own_status(self):
        """Of this process; what an earlier one has left is none."""
        status = self.status()
        return status if status.get("pid") == self.process.pid else NO_STATUS

    def wait_for(self, what, seconds=PHASE_SECONDS, **fields):
        """Waits until its own status has these fields, or `what`, a function of it, is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status = self.own_status()
            if what(status) if what else all(status.get(k) == v for k, v in fields.items()):
                return status
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds} s: {what or fields}; status {self.process.poll()}; "
                             f"{self.status()}\n{self.logged()}")

    def wait_until_looked_at(self, seconds=FREED_SECONDS):
        """Everything that is written now has been looked at."""
        self.fs.sync()
        generation = harness.generation(self.fs.mnt)
        return self.wait_for(lambda s: s["phase"] == "idle" and s["done_generation"] >= generation,
                             seconds)

    def end(self, number=signal.SIGTERM, status=0):
        self.process.send_signal(number)
        code = self.process.wait(END_SECONDS)
        if status is not None and code != status:
            raise AssertionError(f"ended with {code}:\n{self.logged()}")
        return code


class DaemonTest(harness.FilesystemTest):

    size = 1024 * MIB

    def daemon(self, *options, **places):
        return Daemon(self.fs, *options, **places)

    def tearDown(self):
        for process in self.fs.processes:  # of a test that has failed
            if process.poll() is None:
                process.kill()
                process.wait()
        super().tearDown()

    def wait_until_used(self, expected, seconds=FREED_SECONDS):
        end = time.monotonic() + seconds
        while (used := self.fs.used()) != expected:
            self.assertLess(time.monotonic(), end, f"{used} are used, not {expected}")
            time.sleep(0.2)
