# SPDX-License-Identifier: MIT
"""Everything that is done to a filesystem in years, beside a skep that stays, in a minute.

Writers change files in each way that there is; each knows what its own hold. Beside them snapshots are made, sent,
received and deleted, and the filesystem is balanced, defragmented, scrubbed, mounted with other compression, given
quotas and relieved of them; and skep is killed. Now and then all hold still, and every file is compared, those of
the snapshots too. In the end skep has no error to tell, `btrfs check` and scrub find nothing, and space is freed.

Environment:
  SKEP_LIVE_SECONDS  for each filesystem
  SKEP_LIVE          how many filesystems, picked at random of all; all of them when 0
  SKEP_SEED          of all that; printed. What runs beside what depends on the machine.
"""
import collections
import itertools
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "fs"))

import harness  # noqa: E402, found through the line above
import live_model  # noqa: E402
from daemon_harness import Daemon, DaemonTest  # noqa: E402

MIB = harness.MIB
SECONDS = float(os.environ.get("SKEP_LIVE_SECONDS", "120"))
FILESYSTEMS = int(os.environ.get("SKEP_LIVE", "0"))
WRITERS = 3
SNAPSHOTS = 4
COMPARE_EVERY = 20  # seconds
CATCH_UP_SECONDS = 120
CONFIG = "[checkpoint]\ninterval = 1\n"
KINDS = list(itertools.product(("crc32c", "xxhash", "sha256", "blake2"), ("no", "zstd", "lzo")))


class Life:
    """A filesystem, its writers, and what is done to it beside them."""

    def __init__(self, fs, seed, compression):
        self.fs = fs
        self.pick = random.Random(seed)
        self.compression = compression
        self.gate = live_model.Gate()
        pool = live_model.Pool(seed)
        self.root = fs.subvolume("data")
        self.writers = [live_model.Writer(self.root, i, seed, pool, self.gate) for i in range(WRITERS)]
        self.snapshots = {}  # what they hold, by name
        self.made = 0
        self.done = collections.Counter()
        self.kills = self.refused = 0
        self.daemon = None
        self.stream_folder = os.path.join(fs.folder, "received")

    def files(self):
        return {f"{writer.folder}/{name}": data for writer in self.writers for name, data in writer.files.items()}

    def begin(self):
        self.daemon = Daemon(self.fs, config=CONFIG)
        for writer in self.writers:
            writer.start()

    def complaints(self, cold):
        """While nobody writes."""
        out = live_model.complaints(self.root, self.files(), cold)
        for name, files in self.snapshots.items():
            out += [f"{name}/{line}" for line in live_model.complaints(self.fs.path(name), files, cold)]
        return out

    def compare(self):
        self.gate.close()
        try:
            self.fs.sync()
            return self.complaints(cold=True)
        finally:
            self.gate.open()

    def step(self):
        kind = self.pick.choice((Life.snapshot, Life.snapshot, Life.delete_snapshot, Life.balance, Life.defragment,
                                 Life.scrub, Life.mount_otherwise, Life.quotas, Life.send, Life.sync,
                                 Life.writable_copy, Life.kill))
        kind(self)
        self.done[kind.__name__] += 1

    # What is done.

    def snapshot(self):
        if len(self.snapshots) >= SNAPSHOTS:
            self.delete_snapshot()
        self.gate.close()
        try:
            files = self.files()
            self.made += 1
            name = f"s{self.made}"
            if not self.copied(name, read_only=True):
                return
        finally:
            self.gate.open()
        self.snapshots[name] = files

    def copied(self, name, read_only):
        """A snapshot of all. The kernel takes it, and then may fail to remove files from it that were deleted and still
        open: because somebody has them open there too, which skep must not, or because metadata has no room just then,
        which happens once in some hundreds."""
        try:
            self.fs.snapshot_subvolume("data", name, read_only=read_only)
        except harness.HarnessError as error:
            if "Invalid argument" not in str(error):
                raise
            subprocess.run(["btrfs", "subvolume", "delete", self.fs.path(name)], capture_output=True)
            self.refused += 1
            return False
        return True

    def delete_snapshot(self):
        if self.snapshots:
            name = self.pick.choice(sorted(self.snapshots))
            del self.snapshots[name]
            harness.command("btrfs", "subvolume", "delete", self.fs.path(name))

    def writable_copy(self):
        """A subvolume that goes while it is written to."""
        if not self.copied("copy", read_only=False):
            return
        for number in range(20):
            self.fs.write(f"copy/new{number}", self.writers[0].data(), flush=False)
        harness.command("btrfs", "subvolume", "delete", self.fs.path("copy"))

    def balance(self):
        done = subprocess.run(["btrfs", "balance", "start", f"-dusage={self.pick.choice((30, 90))},limit=2",
                               "-musage=50", self.fs.mnt], capture_output=True, text=True)
        # It wants a whole block group of free space to begin with, which there may not be.
        assert not done.returncode or "No space left" in done.stderr, done.stderr

    def defragment(self):
        writer = self.pick.choice(self.writers)
        options = self.pick.choice(((), ("-czstd",), ("-clzo",)))
        # Files go meanwhile: it says so, and goes on.
        subprocess.run(["btrfs", "filesystem", "defragment", "-r", *options, writer.root], capture_output=True)

    def scrub(self):
        harness.command("btrfs", "scrub", "start", "-B", self.fs.mnt)

    def mount_otherwise(self):
        harness.command("mount", "-o", f"remount,compress={self.pick.choice(('no', 'zstd', 'lzo', 'zlib'))}",
                        self.fs.mnt)

    def quotas(self):
        harness.command("btrfs", "quota", "enable", self.fs.mnt)
        self.fs.sync()
        harness.command("btrfs", "quota", "disable", self.fs.mnt)

    def send(self):
        if not self.snapshots:
            return
        name = self.pick.choice(sorted(self.snapshots))
        stream, _ = self.fs.send(name)
        os.mkdir(self.fs.path("received"))
        harness.command("btrfs", "receive", "-q", "-f", stream, self.fs.path("received"))
        os.remove(stream)
        received = self.fs.path(f"received/{name}")
        wrong = live_model.complaints(received, self.snapshots[name], cold=False)
        assert not wrong, f"received: {wrong[:5]}"
        harness.command("btrfs", "subvolume", "delete", received)
        os.rmdir(self.fs.path("received"))

    def sync(self):
        self.fs.sync()

    def kill(self):
        assert self.daemon.process.poll() is None, f"skep has ended: {self.daemon.logged()}"
        self.daemon.process.kill()
        self.daemon.process.wait()
        self.kills += 1
        self.daemon = Daemon(self.fs, config=CONFIG)

    def end(self):
        for writer in self.writers:
            writer.ended.set()
        for writer in self.writers:
            if writer.is_alive():
                writer.join()


class Live(DaemonTest):

    size = 2048 * MIB

    @classmethod
    def setUpClass(cls):
        cls.seed = int(os.environ.get("SKEP_SEED", random.randrange(10**6)))
        cls.totals = collections.Counter()
        print(f"seed {cls.seed}", flush=True)

    def setUp(self):
        harness.require_filesystem()
        self.fs = harness.LoopFilesystem(self.size)

    def tearDown(self):
        self.fs.destroy()

    def filesystem(self, checksum, compression):
        self.fs.destroy()
        self.fs = harness.LoopFilesystem(self.size, ("--csum", checksum), f"noatime,compress={compression}")
        self.fs.create()

    def live(self, seed, compression):
        """One life; what it has done."""
        life = Life(self.fs, seed, compression)
        life.begin()
        try:
            begun = compared = time.monotonic()
            while time.monotonic() < begun + SECONDS:
                life.step()
                self.assertEqual([w.error for w in life.writers if w.error], [])
                if time.monotonic() > compared + COMPARE_EVERY:
                    self.assertEqual(life.compare(), [])
                    compared = time.monotonic()
        finally:
            life.end()
        return life

    def check_end(self, life):
        self.assertEqual([w.error for w in life.writers if w.error], [])
        status = life.daemon.wait_until_looked_at(CATCH_UP_SECONDS)
        self.assertEqual(status["last_error"], "")
        self.assertLessEqual(life.refused, 1 + (life.done["snapshot"] + life.done["writable_copy"]) // 500)
        life.daemon.end()
        self.assertNotRegex(life.daemon.logged(), "(?i)error|fail")
        self.fs.remount()
        self.assertEqual(life.complaints(cold=False), [])
        harness.command("btrfs", "scrub", "start", "-B", self.fs.mnt)
        freed = status["since_ever"]["bytes_freed"]
        self.assertGreater(freed, 0)
        held = sum(map(len, life.files().values()))
        print(f"  {held / MIB:.0f} MiB in {len(life.files())} files and {len(life.snapshots)} snapshots, in use "
              f"{self.fs.used() / MIB:.0f} MiB; {freed / MIB:.0f} MiB were freed; {life.kills} kills", flush=True)
        self.fs.finish()

    def test_everything_at_once(self):
        pick = random.Random(self.seed)
        kinds = pick.sample(KINDS, FILESYSTEMS) if FILESYSTEMS else KINDS
        for number, (checksum, compression) in enumerate(kinds):
            seed = f"{self.seed} {number}"
            with self.subTest(checksum=checksum, compression=compression, seed=seed):
                print(f"{checksum}, compress={compression}", flush=True)
                self.filesystem(checksum, compression)
                life = self.live(seed, compression)
                self.check_end(life)
                for done in (life.done, *(writer.done for writer in life.writers)):
                    self.totals += done
        print(f"{sum(self.totals.values())} operations: "
              f"{', '.join(f'{name} {count}' for name, count in sorted(self.totals.items()))}", flush=True)
        self.assertFalse({kind.__name__ for kind in live_model.CHANGES} - self.totals.keys())

    def test_that_one_changed_byte_would_be_found(self):
        self.filesystem("crc32c", "no")
        life = Life(self.fs, self.seed, "no")
        for writer in life.writers:
            for _ in range(20):
                writer.step()
        life.snapshot()
        self.assertEqual(life.compare(), [])
        name, data = next((name, data) for name, data in life.files().items() if data)
        snapshot = next(iter(life.snapshots))
        life.snapshots[snapshot] = life.snapshots[snapshot] | {name: bytes([data[0] ^ 1]) + data[1:]}
        self.assertEqual(len(life.compare()), 1)
        writer, file = name.split("/")
        shutil.copy(self.fs.path(f"data/{name}"), self.fs.path(f"data/{name}.new"))
        self.assertEqual(len(life.compare()), 2)
        os.remove(self.fs.path(f"data/{writer}/{file}"))
        self.assertEqual(len(life.compare()), 3)
        self.fs.finish()


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    harness.main()
