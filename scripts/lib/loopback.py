# SPDX-License-Identifier: MIT
"""A btrfs on a loop device of its own, and what is to be known about it.

Needs root. Whoever uses it calls fail_in_one_line() and stop_on_signals() first: then also an
interrupted script runs its `with` blocks to their end, and nothing stays behind.
"""
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True


class Failure(Exception):
    """Ends the script with one line."""


def fail_in_one_line(name):
    """Makes Failure end the script with `name: message` and status 1, and a closed pipe in silence."""
    usual = sys.excepthook

    def hook(kind, error, trace):
        if issubclass(kind, Failure):
            print(f"{name}: {error}", file=sys.stderr)
        elif issubclass(kind, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        else:
            usual(kind, error, trace)

    sys.excepthook = hook


_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stop_on_signals():
    """Turns the signals that end a script into an exception, once: what follows is cleaning up."""

    def stop(number, _):
        for each in _STOPPING:
            signal.signal(each, signal.SIG_IGN)
        print("\ninterrupted; cleaning up", file=sys.stderr)
        sys.exit(128 + number)

    for each in _STOPPING:
        signal.signal(each, stop)


@contextlib.contextmanager
def _uninterrupted():
    """Puts those signals off, so that a resource is taken and noted, or given back, as a whole."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run(*command):
    """Runs a command to its end and returns what it printed."""
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode:
        reason = (result.stderr.strip() or result.stdout.strip() or f"status {result.returncode}").splitlines()
        raise Failure(f"{' '.join(command)}: {reason[-1]}")
    return result.stdout


@contextlib.contextmanager
def started(command, **options):
    """A running subprocess.Popen, which is stopped when the block is left early."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True, **options)
    try:
        yield process
    except BaseException:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
    finally:
        process.wait()


class Workspace:
    """A temporary folder that is removed in the end: `with Workspace(parent) as path`."""

    def __init__(self, parent=None):
        self._parent = parent

    def __enter__(self):
        with _uninterrupted():
            self._path = tempfile.mkdtemp(prefix="skep-", dir=self._parent)
        return self._path

    def __exit__(self, *_):
        with _uninterrupted():
            shutil.rmtree(self._path, ignore_errors=True)


def make_image(path, size):
    """A sparse file with an empty btrfs in it."""
    with open(path, "wb") as file:
        file.truncate(size)
    run("mkfs.btrfs", "--quiet", path)


class Loopback:
    """An image's filesystem, mounted: `with Loopback(image, folder) as filesystem`.

    detach() unmounts it before the end of the block.
    """

    def __init__(self, image, mount_point):
        self.image = image
        self.mount_point = mount_point
        self.device = None

    def __enter__(self):
        with _uninterrupted():
            os.makedirs(self.mount_point, exist_ok=True)
            self.device = run("losetup", "--find", "--show", self.image).strip()
            try:
                run("mount", "-t", "btrfs", "-o", "noatime", self.device, self.mount_point)
            except Failure:
                self.detach()
                raise
        return self

    def __exit__(self, *_):
        self.detach()

    def detach(self):
        with _uninterrupted():
            # Something that has just been stopped may still hold it for a moment.
            deadline = time.monotonic() + 20
            while os.path.ismount(self.mount_point):
                if subprocess.run(["umount", self.mount_point], capture_output=True).returncode == 0:
                    continue
                if time.monotonic() > deadline:
                    print(f"{self.mount_point} is busy; unmounting it lazily", file=sys.stderr)
                    subprocess.run(["umount", "--lazy", self.mount_point], check=False)
                time.sleep(0.2)
            if self.device:
                subprocess.run(["losetup", "--detach", self.device], check=False)
                self.device = None

    def settle(self):
        """Waits until the filesystem has written, and freed, what is under way."""
        for _ in range(2):
            os.sync()
            run("btrfs", "filesystem", "sync", self.mount_point)
            time.sleep(0.3)

    def used(self):
        """Bytes in use, as stored: {'data': n, 'metadata': n}, duplicated metadata counted twice."""
        used = {"data": 0, "metadata": 0}
        for line in run("btrfs", "filesystem", "df", "--raw", self.mount_point).splitlines():
            kind, profile, bytes_used = re.match(r"(\w+), (\w+): .*used=(\d+)", line).groups()
            if kind.lower() in used:
                used[kind.lower()] += int(bytes_used) * (2 if profile == "DUP" else 1)
        return used

    def device_traffic(self):
        """Bytes read from and written to the device since it was made."""
        with open(f"/sys/block/{os.path.basename(self.device)}/stat", encoding="ascii") as stat:
            fields = stat.read().split()
        return int(fields[2]) * 512, int(fields[6]) * 512


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as control:
        control.write("3")


def walk_files(root):
    """The paths of all files below a folder, in an order that stays the same."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            yield os.path.join(folder, name)


def fingerprints(root):
    """{path: what must not change}: each file's SHA-256, size, mode, owner and time of change."""
    result = {}
    for path in walk_files(root):
        status = os.stat(path)
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        result[os.path.relpath(path, root)] = (
            content, status.st_size, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)
    return result


_FIEMAP = 0xC020660B
_FIEMAP_LAST, _FIEMAP_UNKNOWN, _FIEMAP_INLINE = 0x1, 0x2, 0x200
_HEADER = struct.Struct("=QQIIII")
_EXTENT = struct.Struct("=QQQQQIIII")
_EXTENTS_A_CALL = 512


def stored_ranges(path):
    """Where a file's data is stored: (address, length) of each piece, metadata left out."""
    buffer = bytearray(_HEADER.size + _EXTENTS_A_CALL * _EXTENT.size)
    at, last = 0, False
    with open(path, "rb") as file:
        while not last:
            _HEADER.pack_into(buffer, 0, at, (1 << 64) - 1 - at, 0, 0, _EXTENTS_A_CALL, 0)
            fcntl.ioctl(file, _FIEMAP, buffer)
            count = _HEADER.unpack_from(buffer)[3]
            last = count == 0
            for number in range(count):
                offset, address, length, _, _, flags, *_ = _EXTENT.unpack_from(
                    buffer, _HEADER.size + number * _EXTENT.size)
                at, last = offset + length, bool(flags & _FIEMAP_LAST)
                if not flags & (_FIEMAP_INLINE | _FIEMAP_UNKNOWN):
                    yield address, length
