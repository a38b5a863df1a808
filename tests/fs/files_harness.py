# SPDX-License-Identifier: MIT
"""What the tests of `skep dedupe-files` share: one call of it, and what holds for each; XFS."""
import json
import os
import pathlib
import shutil
import subprocess

import harness
from harness import MIB, LoopFilesystem, command

DONE, FAILED, WRONG_CALL, UNSUPPORTED, STOPPED = range(5)


def dedupe_files(*arguments, status=DONE, text=None, user=None, cwd=None, name="dedupe-files"):
    """One call with --json. Returns the report, with what came on stderr as `errors`."""
    done = subprocess.run([harness.skep_binary(), name, "--json", *map(os.fsencode, arguments)],
                          input=text, capture_output=True, cwd=cwd,
                          timeout=harness.RUN_TIMEOUT_SECONDS,
                          **({"user": user, "group": user, "extra_groups": []} if user else {}))
    if done.returncode != status:
        raise AssertionError(f"exit status {done.returncode}, expected {status}\n"
                             f"{done.stderr.decode(errors='replace')}\n{done.stdout.decode()}")
    report = json.loads(done.stdout)
    report["errors"] = done.stderr.decode(errors="surrogateescape").splitlines()
    check(report, status)
    return report


def check(report, status):
    """What holds for each report."""
    files = [file for group in report["groups"] for file in group["files"]]
    assert report["version"] == 1, report
    assert report["result"] == {DONE: "done", STOPPED: "stopped"}.get(status, "failed"), report
    for name in ("bytes_shared", "bytes_freed"):
        assert report[name] == sum(file[name] for file in files), report
        assert all(group[name] == sum(file[name] for file in group["files"])
                   for group in report["groups"]), report
    for group in report["groups"]:
        fates = [file["fate"] for file in group["files"]]
        assert fates.count("kept") <= (group["kind"] == "files"), report
        assert "kept" not in fates[1:], report
    failed = sum(file["fate"] == "failed" for file in files) + len(report["problems"])
    assert report["files_failed"] == failed == len(report["errors"]), report


def fates(report):
    """What became of each file, by its name in the report."""
    return {file["path"]: file["fate"] for group in report["groups"] for file in group["files"]}


class XfsFilesystem(LoopFilesystem):
    """An XFS that shares ranges, on a loop device, with what of its base class fits it."""

    kind = "xfs"

    def __init__(self, size):
        super().__init__(size, mkfs_options=("-m", "reflink=1"))

    def sync(self):
        command("sync", "-f", self.mnt)

    def used(self, kind="Data"):
        room = os.statvfs(self.mnt)
        return (room.f_blocks - room.f_bfree) * room.f_frsize

    def finish(self):
        """Takes the filesystem down, and asserts that it was sound."""
        self.unmount()
        checked = subprocess.run(["xfs_repair", "-n", self.image], capture_output=True, text=True)
        assert checked.returncode == 0, f"xfs_repair -n: {checked.stdout}\n{checked.stderr}"
        self.destroy()


XFS_BYTES = 320 * MIB  # mkfs.xfs makes none below 300 MiB


def missing_xfs():
    """Why no XFS can be made here, or None."""
    if not shutil.which("mkfs.xfs"):
        return "mkfs.xfs is not installed"
    known = pathlib.Path("/proc/filesystems").read_text(encoding="ascii").split()
    if "xfs" not in known and subprocess.run(["modprobe", "xfs"], capture_output=True).returncode:
        return "this kernel has no XFS"
    return None
