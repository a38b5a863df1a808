# SPDX-License-Identifier: MIT
"""Files that change while skep works on them. What the writer wrote is what must be read."""
import mmap
import os
import random
import threading
import time

import harness
from harness import BLOCK, KIB, MIB, FilesystemTest, content


class Writer(threading.Thread):
    """Changes files all the time until told to stop, and remembers what must be in them."""

    def __init__(self, filesystem, names, operations, seed):
        super().__init__()
        self.filesystem = filesystem
        self.names = names
        self.operations = operations
        self.random = random.Random(seed)
        self.expected = {name: bytearray(harness.read_whole(filesystem.path(name)))
                         for name in names}
        self.stopping = threading.Event()
        self.count = 0
        self.error = None

    def run(self):
        try:
            while not self.stopping.is_set():
                getattr(self, self.random.choice(self.operations))(self.random.choice(self.names))
                self.count += 1
        except BaseException as error:  # handed to the test, which fails with it
            self.error = error

    def stop(self):
        self.stopping.set()
        self.join()
        if self.error:
            raise self.error

    def some_data(self, most):
        """New bytes, or a copy of what another file has: more work for a deduplicator."""
        length = self.random.randrange(1, most)
        if self.random.random() < 0.5:
            return self.random.randbytes(length)
        other = self.expected[self.random.choice(self.names)]
        at = self.random.randrange(0, len(other) + 1) // BLOCK * BLOCK
        return bytes(other[at:at + length])

    def put(self, name, offset, data):
        with open(os.open(self.filesystem.path(name), os.O_WRONLY | os.O_CREAT, 0o644),
                  "wb") as file:
            file.seek(offset)
            file.write(data)
        model = self.expected[name]
        if len(model) < offset + len(data):
            model.extend(bytes(offset + len(data) - len(model)))
        model[offset:offset + len(data)] = data

    def delete(self, name):
        os.unlink(self.filesystem.path(name))
        self.expected[name] = bytearray()
        self.put(name, 0, self.some_data(128 * KIB))

    def truncate(self, name):
        length = self.random.randrange(0, len(self.expected[name]) + 1)
        os.truncate(self.filesystem.path(name), length)
        del self.expected[name][length:]

    def rewrite(self, name):
        offset = self.random.randrange(0, len(self.expected[name]) + 1)
        if self.random.random() < 0.5:
            offset = offset // BLOCK * BLOCK
        self.put(name, offset, self.some_data(64 * KIB))

    def append(self, name):
        if len(self.expected[name]) < MIB:
            self.put(name, len(self.expected[name]), self.some_data(32 * KIB))

    def rewrite_mapped(self, name):
        model = self.expected[name]
        if not model:
            return
        offset = self.random.randrange(0, len(model))
        data = self.random.randbytes(min(8 * KIB, len(model) - offset))
        with open(self.filesystem.path(name), "r+b") as file:
            with mmap.mmap(file.fileno(), len(model)) as mapped:
                mapped[offset:offset + len(data)] = data
        model[offset:offset + len(data)] = data

    def flush(self, name):
        with open(self.filesystem.path(name), "rb") as file:
            os.fsync(file.fileno())


class ConcurrentWriters(FilesystemTest):

    size = 1024 * MIB

    def check(self, *operations):
        """Two runs, from empty state each, while a writer changes some of the duplicates."""
        quiet, busy = [], []
        for i in range(450):
            busy_one = i % 15 == 0
            for copy in range(3):
                name = f"{'busy' if busy_one else 'quiet'}/{i}.{copy}"
                self.fs.write(name, content(i, (3 * i % 60 + 1) * BLOCK + i), flush=False)
                (busy if busy_one else quiet).append(name)
        self.fs.sync()
        before = harness.snapshot(self.fs.path("quiet"))
        writers = [Writer(self.fs, busy[half::2], operations + ("flush",), seed=half)
                   for half in range(2)]
        for writer in writers:
            writer.start()
        try:
            reports = [self.fs.run_skep(state=f"{self.fs.state}.{run}") for run in range(2)]
        finally:
            for writer in writers:
                writer.stop()
        for writer in writers:
            self.assertGreater(writer.count, 10)
        self.assertGreater(reports[0]["bytes_freed"], 0)
        for where in ("page cache", "device"):
            for writer in writers:
                for name, expected in writer.expected.items():
                    self.assertTrue(harness.read_whole(self.fs.path(name)) == expected,
                                    f"{name} is not what was written, read from the {where}")
            self.assert_same_contents(before, harness.snapshot(self.fs.path("quiet")))
            self.fs.remount()

    def test_files_deleted(self):
        self.check("delete")

    def test_files_truncated(self):
        self.check("truncate", "append")

    def test_files_rewritten(self):
        self.check("rewrite")

    def test_files_appended_to(self):
        self.check("append", "append", "append", "truncate")

    def test_files_rewritten_through_a_mapping(self):
        self.check("rewrite_mapped")

    def test_all_of_it(self):
        self.check("delete", "truncate", "rewrite", "append", "rewrite_mapped")


class ConcurrentAdministration(FilesystemTest):

    size = 512 * MIB

    def populate(self):
        self.fs.subvolume("data")
        for i in range(300):
            for copy in range(2):
                self.fs.write(f"data/{i}.{copy}", content(i, 64 * KIB + i), flush=False)

    def while_running(self, change):
        """Calls `change` with a growing number for as long as a run takes; returns the report."""
        process = self.fs.start_skep()
        count = 0
        while process.poll() is None and count < 2000:
            change(count)
            count += 1
        report = self.fs.finish_skep(process)
        self.assertGreater(count, 0)
        return report

    def test_snapshots_taken_and_deleted(self):
        self.populate()
        before = harness.snapshot(self.fs.path("data"))

        def change(count):
            self.fs.snapshot_subvolume("data", f"snapshot{count}")
            if count % 2:
                harness.command("btrfs", "subvolume", "delete",
                                self.fs.path(f"snapshot{count - 1}"))

        self.while_running(change)
        self.fs.remount()
        self.assert_same_contents(before, harness.snapshot(self.fs.path("data")))

    def test_a_balance(self):
        self.populate()
        before = harness.snapshot(self.fs.path("data"))
        self.while_running(lambda count: harness.command(
            "btrfs", "balance", "start", "--full-balance", self.fs.mnt))
        self.fs.remount()
        self.assert_same_contents(before, harness.snapshot(self.fs.path("data")))

    def test_a_send(self):
        self.populate()
        self.fs.snapshot_subvolume("data", "frozen")
        os.mkdir(self.fs.path("received"))
        before = harness.snapshot(self.fs.path("data"))
        what = {path: (state.size, state.content) for path, state in before.items() if path != "."}

        def change(count):
            if count >= 4:  # room for four
                time.sleep(0.01)
                return
            into = self.fs.path(f"received/{count}")
            os.mkdir(into)
            stream, _ = self.fs.send("frozen")
            harness.command("btrfs", "receive", "-q", "-f", stream, into)
            os.remove(stream)
            received = harness.snapshot(f"{into}/frozen")
            self.assertEqual({path: (state.size, state.content)
                              for path, state in received.items() if path != "."}, what)

        self.while_running(change)
        self.fs.remount()
        self.assert_same_contents(before, harness.snapshot(self.fs.path("data")))


if __name__ == "__main__":
    harness.main()
