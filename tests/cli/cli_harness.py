# SPDX-License-Identifier: MIT
"""What the command line's tests share: one call of skep, and its three answers."""
import collections
import os
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "fs"))

import harness  # noqa: E402, found through the line above

Answer = collections.namedtuple("Answer", "status stdout stderr")

DONE, FAILED, WRONG_CALL, UNSUPPORTED, STOPPED = range(5)


def call(*arguments, binary=None, prefix=(), **options):
    """Runs skep with these arguments."""
    done = subprocess.run([*prefix, binary or harness.skep_binary(), *map(str, arguments)],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          timeout=harness.RUN_TIMEOUT_SECONDS, **options)
    return Answer(done.returncode, done.stdout, done.stderr)


class Refusals(unittest.TestCase):
    """Assertions on calls that must not work."""

    def assert_refused(self, answer, status, *named):
        """One line on stderr that names these things, nothing on stdout, and this status."""
        self.assertEqual(answer.status, status, answer)
        self.assertEqual(answer.stdout, "", answer)
        self.assertRegex(answer.stderr, r"\A[^\n]+\n\Z", answer)
        for name in named:
            self.assertIn(str(name).lower(), answer.stderr.lower())


class SharedFilesystem(Refusals):
    """One filesystem for all tests of a class, with one pair of equal files in it."""

    @classmethod
    def setUpClass(cls):
        harness.require_filesystem()
        cls.fs = harness.LoopFilesystem()
        cls.addClassCleanup(cls.fs.destroy)
        cls.fs.create()
        for name in ("first", "second"):
            cls.fs.write(f"folder/{name}", harness.content(1, harness.MIB))

    @classmethod
    def tearDownClass(cls):
        cls.fs.finish()

    def state(self):
        """A state folder of the test's own."""
        return os.path.join(self.fs.folder, "state-" + self.id())

    def run_once(self, *options, target=None, state=None, **how):
        return call("run", "--once", "--state-dir", state or self.state(), *options,
                    target or self.fs.mnt, **how)
