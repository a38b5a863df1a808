# SPDX-License-Identifier: MIT
"""What skep does with and without features of the kernel: skep(1), KERNELS, has the list."""
import ctypes
import errno
import json
import os
import platform
import subprocess

import harness
from harness import MIB, FilesystemTest, content

UNSUPPORTED = 3
SYS_MOUNT_SETATTR = 442  # the same on all architectures


def kernel_has_mount_setattr():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(SYS_MOUNT_SETATTR, -1, None, 0, None, 0)
    return ctypes.get_errno() != errno.ENOSYS


class OnlyMountReadOnly(FilesystemTest):
    """As a service sees it, whose sandbox makes all mounts read-only."""

    def setUp(self):
        super().setUp()
        self.fs.write("one", content(1, MIB))
        self.fs.write("other", content(1, MIB))
        harness.command("mount", "-o", "remount,bind,ro", self.fs.mnt)

    def run_on(self, target):
        done = subprocess.run([harness.skep_binary(), "run", "--once", "--json", "--state-dir", self.fs.state, target],
                              capture_output=True, text=True, timeout=harness.RUN_TIMEOUT_SECONDS)
        harness.command("mount", "-o", "remount,bind,rw", self.fs.mnt)
        return done

    def test_by_its_uuid(self):
        uuid = self.fs.uuid()
        done = self.run_on(uuid)
        if kernel_has_mount_setattr():
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout)["bytes_freed"], MIB)
            return
        self.assertEqual(done.returncode, UNSUPPORTED, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in (uuid, "read-only", "5.12", "mount it read-write", "ReadWritePaths=" + self.fs.mnt):
            self.assertIn(word, done.stderr)

    def test_by_its_mount_point(self):
        """Who names a mount means it as it is."""
        done = self.run_on(self.fs.mnt)
        self.assertEqual(done.returncode, UNSUPPORTED, done.stderr)
        self.assertIn("mounted read-only", done.stderr)


class ReusedInodeNumbers(FilesystemTest):
    """The number of a subvolume's newest file, deleted before an unmount, is used anew."""

    def test_a_later_file_under_the_number_of_an_excluded_one_is_shared(self):
        keep = self.fs.write("keep", content(1, MIB))
        old = self.fs.write("out/old", content(1, MIB))
        number = os.stat(old).st_ino
        report = self.fs.run_skep("--exclude", "/out")
        self.assertEqual(report["bytes_freed"], 0, report)
        self.fs.unlink(old)
        self.fs.remount()
        new = self.fs.write("new", content(1, MIB))
        self.assertEqual(os.stat(new).st_ino, number)
        report = self.fs.run_skep("--exclude", "/out")
        self.assertEqual(report["bytes_freed"], MIB, report)
        self.assertEqual(harness.placement(keep), harness.placement(new))


if __name__ == "__main__":
    print(f"Linux {platform.release()}")
    harness.main()
