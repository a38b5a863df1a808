# SPDX-License-Identifier: MIT
"""What a skep that stays finds, and that nothing is lost when it is killed."""
import os
import random
import signal
import threading
import time

import harness
from daemon_harness import DaemonTest

MIB = harness.MIB


class Following(DaemonTest):

    def test_new_duplicates_are_freed_soon_after_each_commit(self):
        self.fs.write("first", harness.content("a", 20 * MIB))
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        alone = self.fs.used()
        for batch in range(3):
            self.fs.write(f"copy{batch}", harness.content("a", 20 * MIB))
            self.fs.sync()
            self.wait_until_used(alone)
        daemon.wait_until_looked_at()
        daemon.end()
        for batch in range(3):
            self.assert_shared("first", f"copy{batch}")

    def test_what_was_there_before_is_looked_at_first(self):
        self.fs.write("one", harness.content("a", 4 * MIB))
        self.fs.write("other", harness.content("a", 4 * MIB))
        daemon = self.daemon()
        status = daemon.wait_for(lambda s: s["phase"] == "idle" and s["since_start"]["bytes_freed"])
        self.assertEqual(status["since_start"]["bytes_freed"], 4 * MIB)
        daemon.end()

    def test_a_restart_looks_at_what_came_meanwhile_alone(self):
        self.fs.write("first", harness.content("a", 8 * MIB))
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        daemon.end()
        self.fs.write("second", harness.content("a", 4 * MIB) + harness.content("b", 4 * MIB))
        self.fs.write("third", harness.content("b", 4 * MIB))
        daemon = self.daemon()
        status = daemon.wait_for(lambda s: s["phase"] == "idle" and s["since_start"]["bytes_scanned"])
        self.assertLess(status["since_start"]["bytes_scanned"], 20 * MIB)
        self.assertGreater(status["since_ever"]["bytes_scanned"], status["since_start"]["bytes_scanned"])
        daemon.end()

    def test_compressed_data_is_looked_into(self):
        self.fs.write("plain", harness.compressible("a", 4 * MIB))
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        self.fs.write_compressed("packed", harness.compressible("a", 4 * MIB))
        self.fs.sync()
        self.wait_until_used(harness.disk_bytes(self.fs.path("packed")))
        daemon.end()


class Killed(DaemonTest):

    KILLS = 12
    FILES = 60

    def rewrite(self, contents, stop, pick):
        while not stop.is_set():
            name = f"{pick.randrange(self.FILES)}"
            data = harness.content(pick.randrange(10), pick.randrange(1, 12) * 4096)
            self.fs.write(name, data, flush=False)
            contents[name] = data
            time.sleep(0.002)

    def test_killed_at_random_moments_beside_a_writer(self):
        pick = random.Random(seed := int(os.environ.get("SKEP_SEED", "1")))
        contents, stop = {}, threading.Event()
        writer = threading.Thread(target=self.rewrite, args=(contents, stop, random.Random(seed)))
        writer.start()
        try:
            for _ in range(self.KILLS):
                daemon = self.daemon()
                time.sleep(pick.uniform(0.02, 1.5))
                self.fs.sync()
                daemon.end(signal.SIGKILL, status=None)
        finally:
            stop.set()
            writer.join()
        self.fs.sync()
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        daemon.end()
        for name, data in contents.items():
            on_disk = harness.read_whole(self.fs.path(name))[:len(data)]
            self.assertEqual(on_disk, data, f"{name}, seed {seed}")


if __name__ == "__main__":
    harness.main()
