# SPDX-License-Identifier: MIT
"""What is run on each kernel: one check a row of the table.

A check runs one of the files of tests/fs, whole or some of its tests, or a program of its own. The core is what
fits into a few minutes under emulation, where all is some twenty times slower.
"""
import dataclasses
import posixpath

CLONE = "/payload/clone"  # where the guest has the parts of the clone that it needs
SKEP = f"{CLONE}/build/release/skep"
FREED = "same bytes freed"
KERNEL_LOG = "kernel log"
CHECK_SECONDS = 900  # far above what any check takes; reaching it means a hang
CORE_CHECK_SECONDS = 240


@dataclasses.dataclass(frozen=True)
class Check:
    """A row of the table. `core` names the tests of the file that run with --core: None for all of them, an empty
    list to leave the check out. `full` names those that run without."""
    name: str
    file: str
    core: tuple | None = None
    full: tuple | None = None

    def plan(self, core):
        """What the guest is told, or None."""
        tests = self.core if core else self.full
        if tests is not None and not tests:
            return None
        arguments = tests or ()
        if self.file.endswith("demo.py"):
            arguments = (SKEP,)
        return {"name": self.name,
                "folder": posixpath.join(CLONE, posixpath.dirname(self.file)),
                "command": ["python3", "-B", posixpath.basename(self.file), *arguments],
                "seconds": CORE_CHECK_SECONDS if core else CHECK_SECONDS}


def fs(name, file, **tests):
    return Check(name, f"tests/fs/test_{file}.py", **tests)


# Two run at a time; those that take longest come first.
CHECKS = (
    fs("compressed, zlib", "compressed", full=("Zlib",)),
    fs("compressed, lzo", "compressed", full=("Lzo",)),
    fs("compressed, zstd", "compressed", full=("Zstd",)),
    fs("daemon, following", "daemon_following"),
    fs("daemon, letting go", "daemon_administration"),
    fs("daemon, deleted files", "daemon_deletions"),
    fs("csum crc32c", "checksums", full=("Crc32c",)),
    fs("csum xxhash", "checksums", full=("Xxhash",)),
    fs("csum sha256", "checksums", full=("Sha256",)),
    fs("csum blake2", "checksums", full=("Blake2",)),
    fs("references", "references"),
    fs("snapshots, subvolumes", "subvolumes"),
    fs("partial overlaps", "partial_overlaps"),
    fs("plain copies", "plain_copies"),
    fs("tails", "tails"),
    fs("zeros and holes", "zeros_and_holes"),
    fs("nodatasum", "nodatasum"),
    fs("find-new", "find_new"),
    fs("estimate, tune", "estimate"),
    fs("explain", "explain"),
    fs("kernel facts", "kernel_facts"),
    fs("forgotten devices", "harness", full=("ForgottenDevices",)),
    Check(FREED, "tests/kernels/same_bytes_freed.py"),
    Check("README's demo", "scripts/lib/demo.py"),
)
