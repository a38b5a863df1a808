# SPDX-License-Identifier: MIT
"""Records what is written to a device, so that each moment of it can be played back.

qemu-storage-daemon keeps the log, in the form of the kernel's dm-log-writes (its
Documentation/admin-guide/device-mapper/log-writes.rst), and shows the image as a file through FUSE; a loop
device makes a device of that. What the filesystem flushes arrives in the log as a flush, what it discards as a
discard.
"""
import bisect
import collections
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import time

import harness

MAGIC, VERSION = 0x6A736677736872, 1
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
START_SECONDS = 20

# `offset` and `length` of a write to the device; `data` is where it stands in the log, and `end` where the next
# entry begins there.
Entry = collections.namedtuple("Entry", "offset length flags data end")
# The first `count` entries, and `extra` ones. What was certainly on the device, and what may have been, as positions
# of the log.
Moment = collections.namedtuple("Moment", "kind count extra certain possible")


class Recorder:
    """Shows `image` as the file `export`; each write to it goes to `log` as well."""

    def __init__(self, image):
        self.folder = tempfile.mkdtemp(prefix=f"skep-recorder-{os.getpid()}-", dir=harness.scratch_base())
        self.export = os.path.join(self.folder, "export")
        self.log = os.path.join(self.folder, "log")
        for path in (self.export, self.log):
            pathlib.Path(path).touch()
        size = os.stat(image).st_size
        with open(os.path.join(self.folder, "messages"), "wb") as messages:
            self.process = subprocess.Popen(
                ["qemu-storage-daemon",
                 "--blockdev", f"driver=file,node-name=image,filename={image},discard=unmap",
                 "--blockdev", f"driver=file,node-name=log,filename={self.log}",
                 "--blockdev", "driver=blklogwrites,node-name=recorded,file=image,log=log,discard=unmap",
                 "--export", f"type=fuse,id=export,node-name=recorded,mountpoint={self.export},writable=on"],
                stdin=subprocess.DEVNULL, stdout=messages, stderr=messages, start_new_session=True)
        end = time.monotonic() + START_SECONDS
        while os.stat(self.export).st_size != size:
            if self.process.poll() is not None or time.monotonic() > end:
                said = pathlib.Path(self.folder, "messages").read_text(errors="replace")
                self.end()
                raise harness.HarnessError(f"qemu-storage-daemon shows no image: {said}")
            time.sleep(0.05)

    def position(self):
        """What is on the device now lies before it in the log, if it was flushed."""
        return os.stat(self.log).st_size

    def end(self):
        """The log is complete then. Nothing may have the export open."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        subprocess.run(["umount", "-q", self.export], capture_output=True)

    def remove(self):
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


class RecordedFilesystem(harness.LoopFilesystem):
    """One whose device can be recorded: from record() on until end_record()."""

    recorder = None

    def __init__(self, size, kind="btrfs"):
        super().__init__(size)
        self.kind = kind

    def attach(self):
        self.loop = self.attached(self.recorder.export if self.recorder else self.image)

    def record(self):
        """The filesystem is unmounted and mounted again for it. Its image before goes to `base`."""
        self.detach()
        self.base = os.path.join(self.folder, "base")
        harness.command("cp", "--sparse=always", self.image, self.base)
        self.recorder = Recorder(self.image)
        self.attach()
        self.mount()

    def end_record(self):
        """Unmounted; all that was written."""
        self.detach()
        self.recorder.end()
        return Record(self.base, self.recorder.log)

    def destroy(self):
        super().destroy()
        if self.recorder:
            self.recorder.remove()


class Record:
    """What was written to a device that held what `base` holds."""

    def __init__(self, base, log):
        self.base = base
        self.log = log
        self.entries = read_log(log)
        self.flushes = [i + 1 for i, entry in enumerate(self.entries) if entry.flags & FLUSH]

    def count_at(self, position):
        """How many entries lie before a position of the log."""
        return bisect.bisect_right(self.entries, position, key=lambda entry: entry.end)

    def end_of(self, count):
        return self.entries[count - 1].end if count else 0

    def prefix(self, count):
        return Moment("prefix", count, (), self.end_of(count), self.end_of(count))

    def reordering(self, pick, flush=None):
        """What follows a flush, up to one of the next three, and not all of it. `flush` is its number among the flushes,
        none for any."""
        at = pick.randrange(len(self.flushes) - 1) if flush is None else flush
        count = self.flushes[at]
        after = self.entries[count:self.flushes[min(at + pick.randrange(1, 4), len(self.flushes) - 1)]]
        # A later flush was not waited for yet, when some of what came before it was still on its way: all is lost
        # that came after it.
        end = next((i for i, entry in enumerate(after) if entry.flags & FLUSH), len(after))
        window = after[:end]
        kept = pick.sample(window, pick.randint(0, len(window)))
        return Moment("reordering", count, tuple(kept), self.end_of(count), self.end_of(count + len(window)))


def read_log(path):
    entries = []
    with open(path, "rb") as log:
        magic, version, count, sector = struct.unpack("<QQQL", log.read(28))
        if (magic, version) != (MAGIC, VERSION):
            raise harness.HarnessError(f"{path}: no log of writes")
        at = sector
        for _ in range(count):
            log.seek(at)
            first, sectors, flags, length = struct.unpack("<QQQQ", log.read(32))
            if length and not flags & MARK:
                raise harness.HarnessError(f"{path}: an entry with {length} bytes of its own at {at}")
            data = at + sector
            at = data + (0 if flags & DISCARD else sectors * sector)
            entries.append(Entry(first * sector, sectors * sector, flags, data, at))
    return entries


class Replay:
    """An image that holds what a record says, up to some entry."""

    def __init__(self, record, image):
        self.log = open(record.log, "rb")
        self.entries = record.entries
        self.image = image
        self.applied = 0
        harness.command("cp", "--sparse=always", record.base, image)

    def close(self):
        self.log.close()

    def apply(self, device, entry):
        if entry.flags & DISCARD:  # what is discarded may read as anything: as before, here
            return
        self.log.seek(entry.data)
        device.seek(entry.offset)
        device.write(self.log.read(entry.length))

    def advance(self, count):
        """The first `count` entries are on the device."""
        with open(self.image, "r+b") as device:
            for entry in self.entries[self.applied:count]:
                self.apply(device, entry)
        self.applied = max(self.applied, count)

    def copy(self, image, extra=()):
        """What is on it now, and `extra` entries in this order, go to another image."""
        harness.command("cp", "--sparse=always", self.image, image)
        with open(image, "r+b") as device:
            for entry in extra:
                self.apply(device, entry)
