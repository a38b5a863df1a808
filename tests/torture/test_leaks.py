# SPDX-License-Identifier: MIT
"""A skep that stays looks at new data again and again: it keeps no more open than at first, and takes no more
memory.

Each pass has something to share, something to copy and something that goes away. It is measured when skep is idle
after it: open descriptors, threads, and anonymous memory, which the table has no part in.

Environment:
  SKEP_PASSES   how many; 1000, in some 25 minutes
"""
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "fs"))

import harness  # noqa: E402, found through the line above
from daemon_harness import DaemonTest  # noqa: E402

KIB, MIB, BLOCK = harness.KIB, harness.MIB, harness.BLOCK

PASSES = int(os.environ.get("SKEP_PASSES", "1000"))
KEPT = 40  # files of earlier passes
# Caches with a limit fill up in the first half of a thousand passes; of few, they have not yet, and chance counts.
MOST_GROWTH, MOST_MORE_OPEN = (MIB, 0) if PASSES >= 1000 else (6 * MIB, 2)
# oneTBB lets its threads go some time after the work is done.
MOST_THREADS = os.cpu_count() + 4


def taken_by(pid):
    """(descriptors, threads, bytes of anonymous memory)"""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        status = file.read()
    number = {name: int(re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)[1])
              for name in ("Threads", "RssAnon")}
    return len(os.listdir(f"/proc/{pid}/fd")), number["Threads"], number["RssAnon"] * KIB


class Leaks(DaemonTest):

    def work(self, number):
        data = harness.content(number, 256 * KIB)
        self.fs.write(f"{number}a", data, flush=False)
        self.fs.write(f"{number}b", data + b"a tail", flush=False)
        self.fs.write(f"{number}c", bytes(64 * KIB) + data[:128 * KIB] + harness.content(f"{number}c", 8 * BLOCK),
                      flush=False)
        if number >= KEPT:
            for name in "abc":
                os.unlink(self.fs.path(f"{number - KEPT}{name}"))

    def test_nothing_grows(self):
        daemon = self.daemon()
        taken = []
        for number in range(PASSES):
            self.work(number)
            status = daemon.wait_until_looked_at()
            taken.append(taken_by(daemon.process.pid))
            if number % 100 == 99:
                print(f"{number + 1} passes: {taken[-1]}", flush=True)
        self.assertGreater(status["since_start"]["bytes_freed"], PASSES * 256 * KIB // 2)
        descriptors, threads, memory = zip(*taken)
        half = PASSES // 2
        most_open, most_memory = max(descriptors[:half]), max(memory[:half])
        print(f"{PASSES} passes: descriptors {min(descriptors)} to {max(descriptors)}, threads {min(threads)} to "
              f"{max(threads)}, memory {memory[0] / MIB:.2f} MiB after the first, at most {most_memory / MIB:.2f} MiB in "
              f"the first half, {max(memory[half:]) / MIB:.2f} in the second", flush=True)
        self.assertLessEqual(max(descriptors[half:]), most_open + MOST_MORE_OPEN)
        self.assertLessEqual(max(threads), MOST_THREADS)
        self.assertLessEqual(max(memory[half:]), most_memory + MOST_GROWTH)
        self.assertEqual(daemon.logged().count("error"), 0, daemon.logged())
        daemon.end()


if __name__ == "__main__":
    harness.main()
