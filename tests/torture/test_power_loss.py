# SPDX-License-Identifier: MIT
"""The power fails at any moment of a skep at work.

All that is written to the device is recorded, while writers change files, a skep that stays follows them, and one
with --once ends the job. Its state lies on the same filesystem, and then on an ext4, which is recorded too. Then
moments of that are played back on copies of the devices as they were before:

  prefixes     what was written up to a moment, in its order
  reorderings  all that was written before a flush, and of what came after it some, in any order: a device may keep
               back what it was not told to flush

Each such filesystem must pass `btrfs check`, and can be mounted. Each file that nobody wrote to holds what it held.
Each block of one that was written to holds what it held when it was flushed last, or what was written since. A
further skep goes on from the state that has survived, or refuses it with a clear message; then all that is said
above holds still. Where the state lies elsewhere, half of the moments of the two devices lie together, the others
anywhere: what lies elsewhere may also have been restored from a backup.

Environment:
  SKEP_MOMENTS   how many are played back; all prefixes, and as many reorderings, when 0
  SKEP_WRITING   seconds in which writers write
  SKEP_SEED      of what is written, and of the moments; printed
"""
import bisect
import collections
import os
import pathlib
import random
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "fs"))

import harness  # noqa: E402, found through the line above
import recorder  # noqa: E402
from daemon_harness import Daemon  # noqa: E402

BLOCK, KIB, MIB = harness.BLOCK, harness.KIB, harness.MIB
MOMENTS = int(os.environ.get("SKEP_MOMENTS", "0"))
WRITING_SECONDS = float(os.environ.get("SKEP_WRITING", "20"))
RUN_EVERY = 3  # of so many moments, one is gone on from by a further skep
STATE = "state"

# One content of a block of a file: it may be there from the position `begun` of the log on; and is, or a later one,
# from `flushed` on.
Version = collections.namedtuple("Version", "begun flushed content")


class Model:
    """What files hold. Those below `live` are written to, the others never."""

    def __init__(self, fs, pick):
        self.fs = fs
        self.pick = pick
        self.still = {}
        self.live = collections.defaultdict(list)  # by name and block: versions
        self.pool = [pick.randbytes(BLOCK) for _ in range(40)] + [bytes(BLOCK)]

    def populate(self):
        fs, pick = self.fs, self.pick
        fs.subvolume("data")
        os.mkdir(fs.path("live"))
        for i in range(60):
            data = harness.content(i % 20, pick.choice((5, 16, 40, 120)) * KIB + pick.choice((0, 0, 77)))
            self.still[f"data/plain{i}"] = data
        for i in range(12):
            base = harness.content("run", 400 * KIB)
            at = pick.randrange(0, 50) * BLOCK
            self.still[f"data/part{i}"] = pick.randbytes(pick.randrange(3) * BLOCK) + base[at:at + 200 * KIB]
        for i in range(6):
            self.still[f"data/holes{i}"] = bytes(256 * KIB) + harness.content(i % 2, 64 * KIB)
            self.still[f"data/inline{i}"] = harness.content(i % 2, 900)
        for name, data in self.still.items():
            fs.write(name, data, flush=False)
        for i in range(8):
            self.still[f"data/packed{i}"] = data = harness.compressible(i % 3, 300 * KIB)
            fs.write_compressed(f"data/packed{i}", data)
        for i in range(20):
            for block in range(pick.choice((1, 4, 16, 48))):
                self.live[f"live/{i}", block] = []
        for name in sorted({name for name, _ in self.live}):
            self.put(name, {block: self.pick.choice(self.pool) for block in self.blocks(name)}, lambda: 0)
        fs.snapshot_subvolume("data", "snapshot")
        self.still |= {name.replace("data/", "snapshot/", 1): data for name, data in self.still.items()}
        fs.sync()

    def blocks(self, name):
        return sorted(block for other, block in self.live if other == name)

    def put(self, name, contents, position):
        """Writes blocks of a file in place, or all of them to a new file in its place."""
        whole = list(contents) == self.blocks(name)
        begun = position()
        path = self.fs.path(name)
        target = path + ".new" if whole else path
        with open(os.open(target, os.O_WRONLY | os.O_CREAT, 0o644), "wb", buffering=0) as file:
            for block, content in contents.items():
                file.seek(block * BLOCK)
                file.write(content)
            os.fsync(file.fileno())
        if whole:
            os.rename(target, path)
            folder = os.open(os.path.dirname(path), os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        flushed = position()
        for block, content in contents.items():
            self.live[name, block].append(Version(begun, flushed, content))

    def write_some(self, position):
        name = self.pick.choice(sorted({name for name, _ in self.live}))
        blocks = self.blocks(name)
        if self.pick.random() < 0.7:
            first = self.pick.choice(blocks)
            blocks = blocks[first:first + self.pick.randrange(1, 9)]
        run = self.pick.randrange(len(self.pool) - len(blocks)) if len(blocks) < len(self.pool) else 0
        # Mostly consecutive ones of the pool, so that there are runs that are equal.
        self.put(name, {b: self.pool[(run + i) % len(self.pool)] for i, b in enumerate(blocks)}, position)

    def complaints(self, root, moment):
        out = []
        for name, data in self.still.items():
            out += self.look(root, name, lambda held, data=data: held == data)
        for name in sorted({name for name, _ in self.live}):
            out += self.look(root, name, lambda held, name=name: self.allows(name, held, moment))
        return out

    def look(self, root, name, is_right):
        try:
            held = pathlib.Path(root, name).read_bytes()
        except OSError as error:
            return [f"{name}: {error.strerror}"]
        return [] if is_right(held) else [f"{name}: holds what it must not"]

    def allows(self, name, held, moment):
        blocks = self.blocks(name)
        return len(held) == len(blocks) * BLOCK and all(
            held[block * BLOCK:(block + 1) * BLOCK] in self.allowed(self.live[name, block], moment)
            for block in blocks)

    def allowed(self, versions, moment):
        last = max(i for i, version in enumerate(versions) if version.flushed <= moment.certain)
        return {version.content for version in versions[last:] if version.begun <= moment.possible}


class Recorded(unittest.TestCase):
    """What was written while skep and others were at work."""

    @classmethod
    def setUpClass(cls):
        harness.require_filesystem()
        cls.seed = int(os.environ.get("SKEP_SEED", random.randrange(10**6)))
        cls.pick = random.Random(cls.seed)
        print(f"seed {cls.seed}", flush=True)
        cls.fs = recorder.RecordedFilesystem(512 * MIB)
        cls.addClassCleanup(cls.fs.destroy)
        cls.fs.create()
        cls.model = Model(cls.fs, cls.pick)
        cls.model.populate()
        cls.begin_record()
        cls.work()
        cls.end_record()

    @classmethod
    def begin_record(cls):
        cls.fs.record()

    @classmethod
    def end_record(cls):
        cls.record = cls.recorded(cls.fs)

    @staticmethod
    def recorded(fs):
        record = fs.end_record()
        print(f"{len(record.entries)} writes and flushes ({len(record.flushes)}), "
              f"{sum(entry.length for entry in record.entries) / MIB:.0f} MiB", flush=True)
        return record

    @classmethod
    def state(cls):
        return cls.fs.path(STATE)

    @classmethod
    def work(cls):
        fs, model = cls.fs, cls.model
        daemon = Daemon(fs, state=cls.state(), config="[checkpoint]\ninterval = 1\n")
        ended = threading.Event()

        def write():
            while not ended.is_set():
                model.write_some(fs.recorder.position)
                cls.written()
                time.sleep(0.02)

        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(WRITING_SECONDS)
        ended.set()
        writer.join()
        daemon.end()
        report = fs.run_skep(state=cls.state())
        print(f"skep has freed {report['totals']['bytes_freed'] / MIB:.1f} MiB at least", flush=True)

    @classmethod
    def written(cls):
        """Something was."""

    def replay(self):
        out = recorder.Replay(self.record, os.path.join(self.fs.folder, "replay"))
        self.addCleanup(out.close)
        return out

    def complaints_of(self, replay, moment, goes_on):
        """What is wrong with the filesystem that `moment` leaves."""
        fs = harness.LoopFilesystem(self.fs.size)
        try:
            return self.complaints_on(fs, replay, moment, goes_on)
        finally:
            fs.destroy()

    def complaints_on(self, fs, replay, moment, goes_on):
        source = os.path.join(self.fs.folder, "moment")
        replay.copy(source, moment.extra)
        checked = subprocess.run(["btrfs", "check", "--readonly", source], capture_output=True, text=True)
        if checked.returncode:
            return [f"btrfs check: {checked.stdout}{checked.stderr}"]
        try:
            fs.create(copy_of=source)
        except harness.HarnessError as error:
            return [str(error)]
        complaints = self.model.complaints(fs.mnt, moment)
        if complaints or not goes_on:
            fs.detach()
            return complaints
        complaints = self.go_on(fs, self.surviving_state(fs))
        fs.remount()
        complaints += self.model.complaints(fs.mnt, moment)
        try:
            fs.finish()
        except AssertionError as error:
            complaints.append(str(error))
        return complaints

    def surviving_state(self, fs):
        return fs.path(STATE)

    def go_on(self, fs, state):
        """A further skep, with the state that there is."""
        arguments = fs.skep_arguments("-q", state=state)
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=harness.RUN_TIMEOUT_SECONDS)
        if done.returncode == 0:
            return []
        lines = done.stderr.splitlines()
        if done.returncode != 2 or len(lines) != 1 or state not in lines[0]:
            return [f"skep: status {done.returncode}: {done.stderr}{done.stdout}"]
        self.refused += 1
        fs.run_skep()
        return []


class PowerLoss(Recorded):
    """The state lies on the filesystem itself."""

    def moments(self):
        if not MOMENTS:
            prefixes = range(len(self.record.entries) + 1)
        else:
            # Half of them right after a flush, where a superblock may just have come or be about to.
            flushes = self.record.flushes
            near = self.pick.sample(flushes, min(len(flushes), MOMENTS // 4))
            prefixes = near + [self.pick.randrange(len(self.record.entries)) for _ in range(MOMENTS // 2 - len(near))]
        out = [self.record.prefix(count) for count in prefixes]
        out += [self.record.reordering(self.pick) for _ in range(len(out))]
        return sorted(out, key=lambda moment: moment.count)

    def test_each_moment(self):
        replay = self.replay()
        self.refused = 0
        counts = collections.Counter()
        for number, moment in enumerate(self.moments()):
            replay.advance(moment.count)
            goes_on = number % RUN_EVERY == 0
            with self.subTest(kind=moment.kind, count=moment.count, kept=len(moment.extra)):
                self.assertEqual(self.complaints_of(replay, moment, goes_on), [])
            counts[moment.kind] += 1
            counts["gone on from"] += goes_on
        print(f"{counts['prefix']} prefixes, {counts['reordering']} reorderings, gone on from "
              f"{counts['gone on from']}, of which {self.refused} states were refused", flush=True)

    def test_that_lost_writes_would_be_found(self):
        """A device that says that it has flushed, and has not."""
        found = 0
        for _ in range(4):
            replay = self.replay()
            count = self.pick.choice(self.record.flushes[len(self.record.flushes) // 2:])
            kept = [entry for entry in self.record.entries[:count] if self.pick.random() < 0.9]
            found += bool(self.complaints_of(replay, self.record.prefix(count)._replace(extra=kept), False))
        self.assertGreater(found, 0)

    def test_that_a_changed_block_would_be_found(self):
        replay = self.replay()
        replay.advance(len(self.record.entries))
        moment = self.record.prefix(len(self.record.entries))
        self.assertEqual(self.complaints_of(replay, moment, False), [])
        name = next(name for name in self.model.still if name.startswith("data/plain"))
        block = self.model.still[name][:BLOCK]
        image = pathlib.Path(replay.image)
        data = image.read_bytes()
        self.assertIn(block, data)
        image.write_bytes(data.replace(block, bytes(BLOCK)))
        self.assertNotEqual(self.complaints_of(replay, moment, False), [])

    def test_that_a_lost_version_would_be_found(self):
        """The model does not allow what was there before the last flush."""
        replay = self.replay()
        late = self.record.prefix(len(self.record.entries))
        early = self.record.prefix(self.record.flushes[len(self.record.flushes) // 4])
        replay.advance(early.count)
        self.assertEqual(self.complaints_of(replay, early, False), [])
        self.assertNotEqual(self.complaints_of(replay, late, False), [])


class StateElsewhere(Recorded):
    """The state lies on an ext4, which loses its power too."""

    @classmethod
    def begin_record(cls):
        cls.state_fs = recorder.RecordedFilesystem(64 * MIB, kind="ext4")
        cls.addClassCleanup(cls.state_fs.destroy)
        cls.state_fs.create()
        cls.state_fs.record()
        cls.together = []  # positions of both logs
        super().begin_record()

    @classmethod
    def end_record(cls):
        super().end_record()
        cls.state_record = cls.recorded(cls.state_fs)

    @classmethod
    def state(cls):
        return cls.state_fs.path(STATE)

    @classmethod
    def written(cls):
        cls.together.append((cls.fs.recorder.position(), cls.state_fs.recorder.position()))

    def moment(self, record, count):
        """A prefix, or a reordering of what follows the last flush before."""
        before = bisect.bisect_right(record.flushes, count) - 1
        if self.pick.randrange(2) or not 0 <= before < len(record.flushes) - 1:
            return record.prefix(count)
        return record.reordering(self.pick, before)

    def pairs(self):
        """Of moments of the filesystem, and of the state's."""
        records = self.record, self.state_record
        out = []
        for _ in range((MOMENTS or len(self.record.entries)) // RUN_EVERY):
            if self.pick.randrange(2):
                counts = [r.count_at(at) for r, at in zip(records, self.pick.choice(self.together))]
            else:
                counts = [self.pick.randrange(len(r.entries) + 1) for r in records]
            out.append([self.moment(record, count) for record, count in zip(records, counts)])
        return sorted(out, key=lambda pair: pair[0].count)

    def surviving_state(self, fs):
        return self.survived.path(STATE)

    def mounted(self, moment):
        """The state's filesystem as a moment leaves it."""
        image = os.path.join(self.fs.folder, "state moment")
        replay = recorder.Replay(self.state_record, os.path.join(self.fs.folder, "state replay"))
        replay.advance(moment.count)
        replay.copy(image, moment.extra)
        replay.close()
        out = recorder.RecordedFilesystem(self.state_fs.size, kind="ext4")
        out.create(copy_of=image)
        return out

    def test_each_pair_of_moments(self):
        replay = self.replay()
        self.refused = 0
        found = collections.Counter()
        for moment, of_state in self.pairs():
            replay.advance(moment.count)
            with self.subTest(count=moment.count, state=of_state.count, kept=len(of_state.extra)):
                self.survived = self.mounted(of_state)
                try:
                    found["with" if os.path.exists(self.survived.path(f"{STATE}/state.json")) else "without"] += 1
                    self.assertEqual(self.complaints_of(replay, moment, True), [])
                finally:
                    self.survived.destroy()
        print(f"{found.total()} pairs, {found['with']} with a state, of which {self.refused} were refused", flush=True)
        self.assertGreater(found["with"], 0)


if __name__ == "__main__":
    harness.main()
