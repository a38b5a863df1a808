# SPDX-License-Identifier: MIT
"""Duplicate data that is written while skep stays is freed within 30 s of its commit.

Environment:
  SKEP_BATCHES_MIB  duplicate data in all, in three batches; 96 by default, 1024 for the whole
  SKEP_SEED         another arrangement of the same kind

Prints the seconds of each batch. The page cache is emptied at each commit: what skep compares comes
from the device.
"""
import os
import random
import time

import harness
from daemon_harness import FREED_SECONDS, DaemonTest

MIB = harness.MIB
PIECE = 64 * harness.KIB


class Batches(DaemonTest):

    TOTAL = int(os.environ.get("SKEP_BATCHES_MIB", "96")) * MIB
    size = 512 * MIB + 4 * TOTAL

    def drop_from_cache(self):
        """Of this filesystem alone: other tests look at what the page cache has of theirs."""
        for folder, _, names in os.walk(self.fs.mnt):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def write_files(self, folder, data, length):
        for number, at in enumerate(range(0, len(data), length)):
            self.fs.write(f"{folder}/{number}", data[at:at + length], flush=False)

    def test_each_batch_is_freed_within_the_time(self):
        pick = random.Random(seed := int(os.environ.get("SKEP_SEED", "1")))
        size = self.TOTAL // 3 // MIB * MIB
        # As one writes them: a copy; many small files; the same pieces in another order.
        data = b"".join(harness.content(f"{seed} {at}", MIB) for at in range(0, size, MIB))
        self.fs.write("first", data)
        pieces = [data[at:at + PIECE] for at in range(0, size, PIECE)]
        pick.shuffle(pieces)
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        alone = self.fs.used()
        for name, write in {
                "a copy": lambda: self.fs.write("copy", data, flush=False),
                "small files": lambda: self.write_files("small", data, 4 * PIECE),
                "pieces in another order": lambda: self.fs.write("pieces", b"".join(pieces),
                                                                 flush=False)}.items():
            write()
            self.fs.sync()
            committed = time.monotonic()
            self.drop_from_cache()
            self.wait_until_used(alone, FREED_SECONDS)
            print(f"{size // MIB} MiB, {name}: freed {time.monotonic() - committed:.1f} s after the "
                  f"commit (seed {seed})", flush=True)
        daemon.wait_until_looked_at()
        daemon.end()
        self.assertEqual(harness.read_whole(self.fs.path("copy")), data)
        self.assertEqual(harness.read_whole(self.fs.path("pieces")), b"".join(pieces))
        self.assertNotIn("error", daemon.logged())


if __name__ == "__main__":
    harness.main()
