# SPDX-License-Identifier: MIT
"""Large filesystems: many extents, subvolumes, snapshots, references to one extent, files in a folder, and a
file that is nearly all hole.

Each is made in two sizes, a quarter of the scale and the scale itself, and run over once. Nothing that the files
hold changes; what is stored twice goes; the memory of skep stays as it is, and its processor time grows with the
work, with some room for what is sorted. No time is compared with a clock's, only with that of the quarter.

Environment:
  SKEP_SCALE   part of the whole: 1 is five million extents, a thousand subvolumes and snapshots, a hundred thousand
               references, a million files. It takes 40 GiB in TMPDIR, or in memory, and most of an hour.
"""
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import random
import re
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "fs"))

import harness  # noqa: E402, found through the line above

KIB, MIB, GIB = harness.KIB, harness.MIB, 1024 * harness.MIB
BLOCK = harness.BLOCK

SCALE = float(os.environ.get("SKEP_SCALE", "1"))
WHOLE = {"extents": 5_000_000, "subvolumes": 1000, "snapshots": 1000, "references": 100_000,
         "files": 1_000_000}
# Of processor time: what sorting and deeper trees add to four times as much. And what a run takes that has
# nothing to do.
MOST_GROWTH, LEAST_SECONDS = 1.6, 0.25
# Of memory: structures with a limit of their own fill up on the way (DESIGN: within a tenth from 100,000 extents
# to millions; the quarter here is smaller).
MOST_MEMORY_GROWTH = 1.15
# What a run over some thousand extents takes; a shorter one may have ended before it was looked at.
LEAST_MEMORY = 20 * MIB
TABLE = "4M"


@dataclasses.dataclass
class Run:
    report: dict
    cpu_seconds: float
    memory: int


def digest_of(root):
    """Of all names and contents below."""
    digest = hashlib.blake2b()
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            digest.update(os.fsencode(os.path.relpath(path, root)) + b"\0")
            with open(path, "rb") as file:
                if os.path.getsize(path) > 64 * GIB:  # a hole, nearly all of it
                    digest_data(file, digest)
                    continue
                while piece := file.read(MIB):
                    digest.update(piece)
    return digest.digest()


def digest_data(file, digest):
    at, end = 0, os.fstat(file.fileno()).st_size
    while at < end:
        try:
            at = os.lseek(file.fileno(), at, os.SEEK_DATA)
        except OSError:  # no more
            return
        stop = os.lseek(file.fileno(), at, os.SEEK_HOLE)
        digest.update(struct.pack("=QQ", at, stop))
        digest.update(os.pread(file.fileno(), stop - at, at))
        at = stop


def peak_of(process):
    """Resident bytes at most, once it ends. What wait4 tells begins with the size of this interpreter."""
    peak = 0
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        while True:
            status.seek(0)
            found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read(), re.MULTILINE)
            if not found:  # it has ended
                return peak
            peak = int(found[1]) * KIB
            time.sleep(0.005)


class Scale(harness.FilesystemTest):

    size = 64 * GIB  # sparse

    def run_over(self):
        self.fs.remount()
        used, before = self.fs.settled_used(), digest_of(self.fs.mnt)
        self.fs.remount()
        process = self.fs.start(*self.fs.skep_arguments("--json", "--table-size", TABLE),
                                stdout=subprocess.PIPE)
        memory = peak_of(process)
        report = json.loads(process.stdout.read())
        process.stdout.close()
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
        self.assertEqual(process.returncode, 0)
        self.fs.check_report(report, 0)
        freed = report["bytes_freed"]
        # Copies of a plan that failed count as written, though they may be gone with it: never more is claimed.
        actual = used - self.fs.settled_used(expect=used - freed)
        self.assertGreaterEqual(actual, freed)
        self.assertLessEqual(actual, freed * 1.001)
        self.fs.remount()
        self.assertEqual(digest_of(self.fs.mnt), before)
        return Run(report, usage.ru_utime + usage.ru_stime, memory)

    def compare(self, what, fill, least_freed):
        """`fill(n)` makes n of them; then `least_freed(n)` bytes at least can be freed."""
        count = max(8, int(WHOLE[what] * SCALE))
        runs = []
        for n in (count // 4, count):
            if runs:
                self.fresh_filesystem()
            fill(n)
            run = self.run_over()
            runs.append(run)
            print(f"{n} {what}: {run.cpu_seconds:.2f} s of processor time, {run.memory / MIB:.1f} MiB, "
                  f"{run.report['extents_scanned']} extents looked at, "
                  f"{run.report['bytes_freed'] / MIB:.1f} MiB freed", flush=True)
            self.assertGreaterEqual(run.report["bytes_freed"], least_freed(n), run.report)
        quarter, whole = runs
        self.assertLess(whole.memory, max(quarter.memory, LEAST_MEMORY) * MOST_MEMORY_GROWTH)
        self.assertLess(whole.cpu_seconds, 4 * MOST_GROWTH * (quarter.cpu_seconds + LEAST_SECONDS))
        return runs

    def test_extents(self):
        """Of a block each, in two files; one in four of them can go."""
        def fill(n):
            pick = random.Random(n)
            for name in ("one", "other"):
                with open(self.fs.path(name), "wb", buffering=0) as file:
                    for begin in range(0, n // 2, 256):
                        shared = random.Random(begin).randbytes(128 * BLOCK)
                        data = shared + pick.randbytes(128 * BLOCK)
                        for i in range(min(256, n // 2 - begin)):
                            os.pwrite(file.fileno(), data[i * BLOCK:(i + 1) * BLOCK],
                                      2 * BLOCK * (begin + i))
                    os.fsync(file.fileno())
        self.compare("extents", fill, lambda n: n // 5 * BLOCK)

    def test_a_file_written_at_random(self):
        """As databases and virtual machines do: what lies side by side on the device does not in the file."""
        count = int(WHOLE["extents"] * SCALE / 10)
        runs = []
        for order in (range(count), random.Random(1).sample(range(count), count)):
            if runs:
                self.fresh_filesystem()
            with open(self.fs.path("file"), "wb", buffering=0) as file:
                data = random.Random(2).randbytes(BLOCK)
                for number, i in enumerate(order):
                    os.pwrite(file.fileno(), i.to_bytes(8, "little") + data[8:BLOCK], 2 * BLOCK * i)
                    if number % (count // 250) == 0:
                        os.fsync(file.fileno())
                os.fsync(file.fileno())
            runs.append(self.run_over())
        print(f"{count} extents written in order: {runs[0].cpu_seconds:.2f} s; at random: {runs[1].cpu_seconds:.2f} s")
        self.assertLess(runs[1].cpu_seconds, 4 * (runs[0].cpu_seconds + LEAST_SECONDS))

    def test_subvolumes(self):
        """Each second one holds what the one before it holds."""
        def fill(n):
            for i in range(n):
                self.fs.subvolume(f"{i}")
                for j in range(10):
                    self.fs.write(f"{i}/{j}", harness.content(f"{i // 2} {j}", 16 * KIB), flush=False)
        self.compare("subvolumes", fill, lambda n: n // 2 * 9 * 16 * KIB)

    def test_snapshots(self):
        """Of one subvolume, which holds everything twice in a few long extents. Under few snapshots those go; under
        many they are left: each snapshot would need metadata of its own then."""
        def fill(n):
            self.fs.subvolume("work")
            for j in range(8):
                self.fs.write(f"work/{j}", harness.content(f"{j // 2}", 4 * MIB))
            for i in range(n):
                self.fs.snapshot_subvolume("work", f"{i}")
        for run in self.compare("snapshots", fill, lambda n: 0):
            left = run.report["left"].get("metadata_price", {"extents": 0})
            self.assertEqual(run.report["extents_freed"] + left["extents"], 4, run.report)

    def test_references(self):
        """To one extent, of which there is a second copy that is referred to once."""
        def fill(n):
            data = harness.content("crowded", 16 * KIB)
            self.fs.write("one", data)
            self.fs.write("other", data)
            with open(self.fs.path("one"), "rb") as one, open(self.fs.path("many"), "wb") as many:
                for i in range(n):
                    fcntl.ioctl(many.fileno(), harness.FICLONERANGE,
                                struct.pack("=qQQQ", one.fileno(), 0, 16 * KIB, i * 16 * KIB))
        self.compare("references", fill, lambda n: 16 * KIB)

    def test_files(self):
        """In one folder, of a block and a bit each; one in two is there twice."""
        def fill(n):
            os.mkdir(self.fs.path("folder"))
            for i in range(n):
                number = i if i % 4 < 2 else i - i % 4
                self.fs.write(f"folder/{i}", random.Random(number).randbytes(BLOCK + 100), flush=False)
        self.compare("files", fill, lambda n: n // 4 * BLOCK)

    def test_a_sparse_file(self):
        """Of 1 TiB, with some data at its begin, in the middle, and at its end."""
        def fill(size):
            with open(self.fs.path("sparse"), "wb", buffering=0) as file:
                for at in (0, size // 2, size - 128 * KIB):
                    os.pwrite(file.fileno(), harness.content("sparse", 128 * KIB), at)
                os.fsync(file.fileno())
        runs = []
        for size in (GIB, 1024 * GIB):
            if runs:
                self.fresh_filesystem()
            fill(size)
            runs.append(self.run_over())
            self.assertEqual(runs[-1].report["bytes_freed"], 2 * 128 * KIB)
        print(f"a sparse file of 1 GiB: {runs[0].cpu_seconds:.2f} s; of 1 TiB: {runs[1].cpu_seconds:.2f} s")
        self.assertLess(runs[1].cpu_seconds, runs[0].cpu_seconds + LEAST_SECONDS)
        self.assertLess(runs[1].memory, runs[0].memory * MOST_MEMORY_GROWTH + LEAST_MEMORY)


if __name__ == "__main__":
    harness.main()
