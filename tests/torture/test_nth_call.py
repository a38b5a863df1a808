# SPDX-License-Identifier: MIT
"""The N-th call fails, or skep is killed at it: for each kind of system call of a run, the first, the second, the
third, until a run completes untouched.

Each time a run starts over the same small filesystem, which has one of everything: plain copies, tails, zeros,
a remnant, compressed copies, a snapshot. However the run ends: every file holds what it held, there is one clear
line for each thing that failed, the status tells, it ends by itself; the next run ends the job and frees as much as
one that nothing happened to; `btrfs check` finds nothing, and no descriptor, temporary file or lock remains.

strace makes the calls fail. It counts calls for each thread, so with several threads a fault may strike once in
each: which is the harder test.

Environment:
  SKEP_NTH_CASES  how many of all cases are tried, picked at random; all of them when 0
  SKEP_SEED       of the pick; printed
"""
import collections
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "fs"))

import harness  # noqa: E402, found through the line above

CASES = int(os.environ.get("SKEP_NTH_CASES", "0"))
KIB, MIB = harness.KIB, harness.MIB
RUN_SECONDS = 60  # a run takes a tenth of one; more is a loop

# What can come back from each call. `retval=0` is success without an effect: nothing shared, nothing found, and for
# a search an answer that the kernel never wrote. ENOENT and ETXTBSY are none for an ioctl: they say that a file is
# gone, or in use for swap, and what skep then leaves it leaves for good.
FAULTS = {
    "ioctl": ("EIO", "EAGAIN", "ENOSPC", "ENOMEM", "EINTR", "EPERM", "EINVAL", "retval=0"),
    "open_by_handle_at": ("EIO", "ENOMEM", "ESTALE", "EPERM", "EMFILE", "EINTR", "ETXTBSY"),
    "openat": ("EIO", "ENOMEM", "EACCES", "EMFILE", "ENFILE", "ENOENT", "EROFS"),
    "pread64": ("EIO", "EINTR", "ENOMEM", "retval=0"),
    "pwrite64": ("EIO", "ENOSPC", "EINTR", "EDQUOT", "retval=0"),
    "write": ("EIO", "ENOSPC", "EINTR", "EPIPE"),
    "fallocate": ("EIO", "ENOSPC", "EOPNOTSUPP", "EINTR"),
    "ftruncate": ("EIO", "ENOSPC", "EINTR"),
    "fsync": ("EIO", "ENOSPC", "EINTR"),
    "fdatasync": ("EIO", "ENOSPC", "EINTR"),
    "sync_file_range": ("EIO", "ENOSPC", "EINTR"),
    "syncfs": ("EIO", "ENOSPC", "EINTR"),
    "msync": ("EIO", "ENOMEM", "EINTR"),
    "rename": ("EIO", "ENOSPC", "EROFS"),
    "unlink": ("EIO", "EROFS"),
    "mkdir": ("EIO", "ENOSPC", "EACCES"),
    "flock": ("EIO", "EAGAIN", "ENOLCK", "EINTR"),
    "readahead": ("EIO", "EINVAL", "ENOMEM"),
    "fadvise64": ("EIO", "EINVAL"),
    "mincore": ("EAGAIN", "ENOMEM"),
    "fstatfs": ("EIO", "ENOSYS"),
    "statfs": ("EIO", "EACCES", "ENOENT"),
    "open_tree": ("EIO", "EPERM", "ENOSYS"),
}
ALSO_KILLED_AT = ("ioctl", "open_by_handle_at", "pread64", "pwrite64", "write", "fallocate", "rename", "fsync",
                  "syncfs", "msync", "mkdir", "openat")
# The dynamic loader makes these as well: only those on the filesystem and the state are meant.
BY_PATH = ("openat", "pread64", "write")

STATE_FILES = ("table", "state.json", "history.json")

Ending = collections.namedtuple("Ending", "status printed said trace")
Case = collections.namedtuple("Case", "call fault number")


class NthCall(unittest.TestCase):
    """One filesystem is made, and copied for each case."""

    @classmethod
    def setUpClass(cls):
        harness.require_filesystem()
        if not shutil.which("strace"):
            harness.skip("strace is not installed")
        cls.original = harness.LoopFilesystem(128 * MIB)
        cls.addClassCleanup(cls.original.destroy)
        cls.original.create()
        cls.fill(cls.original)
        cls.original.sync()
        cls.contents = harness.snapshot(cls.original.mnt)
        cls.original.detach()

    @staticmethod
    def fill(fs):
        for number in range(6):
            fs.write(f"copy{number}", harness.content(number % 3, 40 * KIB))
        for number in range(2):
            fs.write(f"tail{number}", harness.content("tail", 10_000))
        fs.write("zeros", bytes(64 * KIB))
        fs.write("remnant", harness.content(0, 40 * KIB) + harness.content("remnant", 8 * KIB))
        fs.write("ends", harness.content(1, 40 * KIB) + harness.content("ends", 5000))
        fs.write_compressed("packed0", harness.compressible(1, 128 * KIB))
        fs.write_compressed("packed1", harness.compressible(1, 128 * KIB) + harness.compressible(2, 128 * KIB))
        fs.write("unpacked", harness.compressible(2, 128 * KIB))
        fs.subvolume("volume")
        fs.write("volume/large", harness.content("large", 512 * KIB))
        fs.snapshot_subvolume("volume", "snapshot")
        fs.write("large", harness.content("large", 512 * KIB))

    def setUp(self):
        seed = int(os.environ.get("SKEP_SEED", random.randrange(10**6)))
        print(f"seed {seed}", flush=True)
        self.pick = random.Random(seed)
        self.struck = collections.Counter()

    def fresh(self):
        fs = harness.LoopFilesystem(128 * MIB)
        self.addCleanup(fs.destroy)
        return fs.create(copy_of=self.original.image)

    def strace(self, fs, *options):
        """Runs skep; its status and what it said, and the trace."""
        trace = os.path.join(fs.folder, "trace")
        process = fs.start(*harness.STRACE, "-f", "-qq", "-o", trace, *options, *fs.skep_arguments(),
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            printed, said = process.communicate(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"did not end: {options}") from None
        return Ending(process.returncode, printed, said,
                      pathlib.Path(trace).read_text(errors="replace"))

    def traced(self, fs, calls):
        options = ["-e", f"trace={','.join(calls)}"]
        if set(calls) & set(BY_PATH):
            paths = [fs.mnt, fs.state]
            paths += [os.path.join(fs.state, name + end) for name in STATE_FILES for end in ("", ".new")]
            paths += [fs.path(name) for name in self.contents if name != "."]
            options += [part for path in paths for part in ("-P", path)]
        return options

    def options_of(self, fs, case):
        fault = {"KILL": "signal=KILL"}.get(case.fault) or (
            case.fault if "=" in case.fault else f"error={case.fault}")
        return [*self.traced(fs, [case.call]), "-e", f"inject={case.call}:{fault}:when={case.number}"]

    def undisturbed(self):
        """What one run leaves in use, and how often it makes each call."""
        most = collections.Counter()
        for calls in (FAULTS.keys() - set(BY_PATH), BY_PATH):
            fs = self.fresh()
            ending = self.strace(fs, *self.traced(fs, calls))
            self.assertEqual(ending.status, 0, ending)
            used = fs.settled_used()
            fs.finish()
            made = re.findall(r"^(\d+) +(\w+)\(", ending.trace, re.MULTILINE)
            for (_, call), count in collections.Counter(made).items():
                most[call] = max(most[call], count)
        return used, most

    def cases(self, most):
        """All of them, or as many as asked for. A call beyond the last one strikes nobody: such a case shows that
        the runs before have been through all calls."""
        every = []
        for call, faults in FAULTS.items():
            killed = ("KILL",) if call in ALSO_KILLED_AT else ()
            for fault in (*faults, *killed):
                every += [Case(call, fault, number) for number in range(1, most[call] + 1)]
        if CASES and CASES < len(every):
            # Each kind of call and fault has its turn: runs of the same call are many, others few.
            by_kind = collections.defaultdict(list)
            for case in every:
                by_kind[case.call, case.fault].append(case)
            kinds = self.pick.sample(list(by_kind), min(CASES, len(by_kind)))
            picked = [self.pick.choice(by_kind[kind]) for kind in kinds]
            rest = [case for case in every if case not in picked]
            return picked + self.pick.sample(rest, CASES - len(picked))
        return every

    def check_ending(self, case, ending):
        if case.fault == "KILL":
            self.assertIn(ending.status, (0, -signal.SIGKILL))
            return
        self.assertIn(ending.status, (0, 1, 2, 3, 4))
        # Made believe that stderr is a terminal, skep clears a line of progress there.
        said = ending.said.replace("\x1b[K", "").replace("\r", "")
        lines = [line for line in said.splitlines() if line and not line.startswith("strace: ")]
        for line in lines:
            self.assertRegex(line, r"^skep: .*\S")
        self.assertLessEqual(len(lines), 8)
        if ending.status:
            self.assertTrue(lines or "The state is saved" in ending.printed, "without a word")

    def try_case(self, case, used):
        fs = self.fresh()
        ending = self.strace(fs, *self.options_of(fs, case))
        self.struck[case.call] += "(INJECTED)" in ending.trace or ending.status == -signal.SIGKILL
        try:
            self.check_case(case, used, fs, ending)
        except AssertionError as error:
            struck = [line for line in ending.trace.splitlines() if "INJECTED" in line]
            raise AssertionError(f"{error}\nstatus {ending.status}\n{ending.said}{ending.printed}\n" +
                                 "\n".join(struck)) from None

    def check_case(self, case, used, fs, ending):
        self.check_ending(case, ending)
        self.assertEqual(harness.differences(self.contents, harness.snapshot(fs.mnt)), [])
        again = subprocess.run(fs.skep_arguments("-q"), capture_output=True, text=True, timeout=RUN_SECONDS)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(set(os.listdir(fs.state)), set(STATE_FILES), again.stderr)
        fs.remount()
        self.assertEqual(harness.differences(self.contents, harness.snapshot(fs.mnt)), [])
        # What may not be shared into is taken for immutable, and left until it is written again.
        if case.fault != "EPERM" or "in an immutable file" not in ending.printed:
            # Whoever was interrupted may have made another of two equal ones the keeper.
            self.assertLessEqual(fs.settled_used(), used + 64 * KIB)
        fs.finish()

    def test_each_call(self):
        used, most = self.undisturbed()
        cases = self.cases(most)
        for case in cases:
            with self.subTest(case=case):
                self.try_case(case, used)
        print(f"{len(cases)} cases, {sum(self.struck.values())} struck: "
              f"{', '.join(f'{call} {count}' for call, count in sorted(self.struck.items()))}", flush=True)
        self.assertGreater(sum(self.struck.values()), len(cases) // 2)


if __name__ == "__main__":
    harness.main()
