# SPDX-License-Identifier: MIT
"""Writers that know what their files hold at any time."""
import collections
import ctypes
import fcntl
import mmap
import os
import pathlib
import random
import threading

import harness

BLOCK, KIB, MIB = harness.BLOCK, harness.KIB, harness.MIB
FICLONE = 0x40049409
PUNCH_HOLE, KEEP_SIZE, ZERO_RANGE = 2, 1, 16
MOST_FILES, MOST_BYTES = 120, 512 * KIB

_libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd, mode, offset, length):
    if _libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "fallocate")


class Pool:
    """Contents that come again and again: whole, in part, shifted by blocks and by bytes."""

    def __init__(self, seed):
        pick = random.Random(seed)
        self.long = [pick.randbytes(MIB), harness.compressible(f"{seed}", MIB), harness.thin(seed, MIB), bytes(MIB)]

    def some(self, pick, length):
        source = pick.choices(self.long, (5, 3, 1, 1))[0]
        step = pick.choices((64 * KIB, BLOCK, 1), (4, 4, 1))[0]
        at = pick.randrange((len(source) - length) // step + 1) * step
        return source[at:at + length]


class Gate:
    """Many pass it at a time, or one that wants to be alone."""

    def __init__(self):
        self.condition = threading.Condition()
        self.inside = 0
        self.closed = False

    def __enter__(self):
        with self.condition:
            self.condition.wait_for(lambda: not self.closed)
            self.inside += 1

    def __exit__(self, *_):
        with self.condition:
            self.inside -= 1
            self.condition.notify_all()

    def close(self):
        with self.condition:
            self.condition.wait_for(lambda: not self.closed)
            self.closed = True
            self.condition.wait_for(lambda: self.inside == 0)

    def open(self):
        with self.condition:
            self.closed = False
            self.condition.notify_all()


class Writer(threading.Thread):
    """Changes the files of its own folder, one operation after the other. `files` has what they hold, by name."""

    def __init__(self, root, number, seed, pool, gate):
        super().__init__()
        self.folder = f"w{number}"
        self.root = os.path.join(root, self.folder)
        os.mkdir(self.root)
        self.pick = random.Random(f"{seed} {number}")
        self.pool = pool
        self.gate = gate
        self.files = {}
        self.made = 0
        self.done = collections.Counter()
        self.ended = threading.Event()
        self.error = None

    def run(self):
        try:
            while not self.ended.is_set():
                with self.gate:
                    self.step()
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def step(self):
        kinds = [self.create]
        if self.files:
            kinds += CHANGES
        if len(self.files) >= MOST_FILES:
            kinds = [Writer.delete]
        kind = self.pick.choice(kinds)
        name = kind.__name__
        kind() if kind == self.create else kind(self, self.pick.choice(sorted(self.files)))
        self.done[name] += 1

    def path(self, name):
        return os.path.join(self.root, name)

    def new_name(self):
        self.made += 1
        return f"f{self.made}"

    def length(self):
        return self.pick.choices((self.pick.randrange(1, 3000), self.pick.randrange(1, 64) * BLOCK,
                                  self.pick.randrange(1, 256 * KIB)), (1, 4, 3))[0]

    def data(self, length=None):
        return self.pool.some(self.pick, length or self.length())

    def place(self, name):
        """A range of the file: of whole blocks mostly."""
        size = len(self.files[name])
        step = self.pick.choices((BLOCK, 1), (4, 1))[0]
        at = self.pick.randrange(max(size, 1)) // step * step
        return at, self.pick.randrange(1, 17) * BLOCK

    def overlay(self, name, at, data):
        held = self.files[name].ljust(at, b"\0")
        self.files[name] = held[:at] + data + held[at + len(data):]

    # What is done.

    def create(self):
        name = self.new_name()
        data = self.data()
        with open(self.path(name), "wb") as file:
            file.write(data)
            if self.pick.random() < 0.3:
                os.fsync(file.fileno())
        self.files[name] = data

    def rewrite(self, name):
        self.files[name] = data = self.data()
        with open(self.path(name), "wb") as file:
            file.write(data)

    def overwrite(self, name):
        at, length = self.place(name)
        data = self.data(length)
        with open(self.path(name), "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), data, at)
            if self.pick.random() < 0.2:
                os.fdatasync(file.fileno())
        self.overlay(name, at, data)

    def write_mapped(self, name):
        size = len(self.files[name])
        if not size:
            return
        at, length = self.place(name)
        data = self.data(length)[:size - at]
        with open(self.path(name), "r+b") as file, mmap.mmap(file.fileno(), size) as mapped:
            mapped[at:at + len(data)] = data
            if self.pick.random() < 0.5:
                mapped.flush()
        self.overlay(name, at, data)

    def write_direct(self, name):
        at, length = self.place(name)
        at = at // BLOCK * BLOCK
        data = self.data(length)
        fd = os.open(self.path(name), os.O_WRONLY | os.O_DIRECT)
        try:
            with mmap.mmap(-1, length) as aligned:
                aligned[:] = data
                os.pwrite(fd, aligned, at)
        finally:
            os.close(fd)
        self.overlay(name, at, data)

    def append(self, name):
        if len(self.files[name]) > MOST_BYTES:
            return
        data = self.data()
        with open(self.path(name), "ab") as file:
            file.write(data)
        self.files[name] += data

    def truncate(self, name):
        size = self.pick.randrange(len(self.files[name]) + 20 * BLOCK)
        os.truncate(self.path(name), size)
        self.files[name] = self.files[name][:size].ljust(size, b"\0")

    def _fallocate(self, name, mode, at, length):
        fd = os.open(self.path(name), os.O_RDWR)
        try:
            fallocate(fd, mode, at, length)
        finally:
            os.close(fd)

    def punch(self, name):
        at, length = self.place(name)
        self._fallocate(name, PUNCH_HOLE | KEEP_SIZE, at, length)
        size = len(self.files[name])
        self.overlay(name, at, bytes(length))
        self.files[name] = self.files[name][:size]

    def zero(self, name):
        at, length = self.place(name)
        self._fallocate(name, ZERO_RANGE, at, length)
        self.overlay(name, at, bytes(length))

    def preallocate(self, name):
        at, length = self.place(name)
        keeps_size = self.pick.random() < 0.5
        self._fallocate(name, KEEP_SIZE if keeps_size else 0, at, length)
        if not keeps_size:
            self.files[name] = self.files[name].ljust(at + length, b"\0")

    def reflink(self, name):
        copy = self.new_name()
        with open(self.path(name), "rb") as source, open(self.path(copy), "wb") as target:
            fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
        self.files[copy] = self.files[name]

    def copy(self, name):
        copy = self.new_name()
        with open(self.path(copy), "wb") as file:
            file.write(self.files[name])
        self.files[copy] = self.files[name]

    def rename(self, name):
        other = self.pick.choice(sorted(self.files)) if self.pick.random() < 0.5 else self.new_name()
        os.rename(self.path(name), self.path(other))
        self.files[other] = self.files.pop(name)

    def delete(self, name):
        os.unlink(self.path(name))
        del self.files[name]

    def compress(self, name):
        """What is written to it from now on."""
        os.setxattr(self.path(name), "btrfs.compression", self.pick.choice((b"zstd", b"lzo", b"zlib", b"no")))


CHANGES = [Writer.rewrite, Writer.overwrite, Writer.overwrite, Writer.write_mapped, Writer.write_direct, Writer.append,
           Writer.truncate, Writer.punch, Writer.zero, Writer.preallocate, Writer.reflink, Writer.copy, Writer.rename,
           Writer.delete, Writer.compress]


def complaints(root, files, cold):
    """What differs below `root` from `files`, which has paths and what they hold. `cold`: read from the device."""
    out = []
    held = {str(path.relative_to(root)) for path in pathlib.Path(root).rglob("*") if path.is_file()}
    out += [f"{name}: new" for name in held - files.keys()] + [f"{name}: gone" for name in files.keys() - held]
    for name in sorted(held & files.keys()):
        with open(os.path.join(root, name), "rb") as file:
            if cold:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            data = file.read()
        if data != files[name]:
            at = next((i for i, (a, b) in enumerate(zip(data, files[name])) if a != b), min(len(data), len(files[name])))
            out.append(f"{name}: {len(data)} bytes, not {len(files[name])}; differs from {at} on")
    return out
