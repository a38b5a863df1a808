# SPDX-License-Identifier: MIT
"""One corpus, the same wherever this is run: a run frees the same bytes of it on each kernel, all contents stay,
and `btrfs check` is clean. Prints 'RESULT BYTES'."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "fs"))
import harness  # noqa: E402
from harness import BLOCK, KIB, MIB, content  # noqa: E402


class SameBytesFreed(harness.FilesystemTest):

    def write_corpus(self):
        """Uncompressed: what is compressed takes other space on other kernels."""
        self.fs.subvolume("data")
        for i in range(24):  # whole copies, some with tails
            for copy in "ab":
                self.fs.write(f"data/whole/{i}.{copy}", content(i, (i % 7 + 1) * 64 * KIB + i % 3 * 777))
        large = content(1000, 8 * MIB)
        self.fs.write("data/large", large)
        for i in range(12):  # parts of the large one, at any block, between other data
            part = large[i * 150 * BLOCK:][:(i + 3) * 8 * BLOCK]
            self.fs.write(f"data/parts/{i}", content(2000 + i, i * BLOCK) + part + content(3000 + i, 5 * BLOCK))
        self.fs.write("data/shifted", large[BLOCK * 3 + 512:2 * MIB])
        self.fs.write("data/zeros", content(4000, 64 * KIB) + bytes(MIB) + content(4001, 64 * KIB) + bytes(300 * KIB))
        for i in range(40):  # one block or two, equal at the end alone
            self.fs.write(f"data/tails/{i}", content(5000 + i, BLOCK) + content(6000 + i % 4, 1000 + i % 4))
        self.fs.snapshot_subvolume("data", "snapshot")
        self.fs.write("data/large", content(7000, 64 * KIB), offset=MIB)
        self.fs.write("data/whole/new", content(6, 7 * 64 * KIB))

    def test_same_bytes_freed(self):
        self.write_corpus()
        report = self.dedupe()
        self.assertGreater(report["bytes_freed"], 0)
        print(f"RESULT {report['bytes_freed']}", flush=True)


if __name__ == "__main__":
    harness.main()
