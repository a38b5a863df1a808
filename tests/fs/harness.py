# SPDX-License-Identifier: MIT
"""Real btrfs filesystems for tests: an image, a loop device, a mount, and nothing left behind.

A test derives from FilesystemTest and gets `self.fs`, a fresh and empty LoopFilesystem. It writes
files with `self.fs.write`, calls `self.dedupe()`, and asserts on the report that comes back.
`dedupe()` itself asserts what holds for every run: each file's bytes, size, mode, owner and times
are as before (read back after a remount, so from the device), and the used space fell by exactly
what the report says. At the end of each test `btrfs check` must find nothing, and no process,
mount or loop device of the test may remain.

Environment:
  SKEP_BINARY        the program under test
  SKEP_REQUIRE_FS=1  fail where these tests cannot run (no root, no btrfs, no loop devices) instead
                     of skipping; CI, when set, does the same
  SKEP_TEST_SECONDS  clean up and give up after this long
  SKEP_TEST_SLOWDOWN  how many times slower than usual this machine is, as an emulated one: each wait
                     for something to happen may last that much longer

Standard library only. Not thread-safe, but any number of processes may run tests side by side.
"""
import atexit
import functools
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

# Tests have all of it from here.
from contents import (BLOCK, KIB, MIB, FileState, compressible, content, differences, read_whole,
                      round_up, snapshot, state_of, thin)  # noqa: F401
from ioctls import (BTRFS_EXTENT_DATA_KEY, COMPRESSIONS, FICLONERANGE, FIDEDUPERANGE,
                    FIEMAP_EXTENT_DATA_INLINE, FIEMAP_EXTENT_ENCODED, FIEMAP_EXTENT_SHARED,
                    FIEMAP_EXTENT_UNWRITTEN, FIEMAP_FLAG_SYNC, FS_IMMUTABLE_FL, FS_IOC_FIEMAP,
                    FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_NOCOW_FL, INLINE_ITEM, PREALLOCATED_ITEM,
                    REGULAR_ITEM, DedupeAnswer, FileExtent, FileItem, block_addresses, block_places,
                    clone_range, compressions, dedupe_range, disk_bytes, extent_is_stored, extents,
                    file_items, generation, inode_is_stored, placement, resident_pages, set_flags)  # noqa: F401

PACKED_EXTENT, LONGEST_EXTENT = 128 << 10, 128 << 20  # what the kernel puts into one, compressed or not
SKIPPED = 77  # exit status of a test file that skipped everything; ctest's SKIP_RETURN_CODE
SLOWDOWN = float(os.environ.get("SKEP_TEST_SLOWDOWN", "1"))
MOST_SECONDS_TO_SEND = 20 * SLOWDOWN
# A container that starts has copies of all mounts until it has its own root.
MOST_SECONDS_TO_FORGET = 60 * SLOWDOWN
MOST_SECONDS_TO_DELETE = 60 * SLOWDOWN
UNKNOWN_DEVICE = "No such file or directory"  # ENOENT, as btrfs device scan says it
SEND_AGAIN = "Resource temporarily unavailable"  # EAGAIN, as btrfs send says it
# A skep built with sanitizers looks for leaks through ptrace, which is taken.
STRACE = ("strace", "-E", "LSAN_OPTIONS=detect_leaks=0")
RUN_TIMEOUT_SECONDS = 120 * SLOWDOWN  # far above any run in these tests; reaching it means a hang
MOST_WRITES = 8  # of the same, until it lies in one extent
SHM_HEADROOM_BYTES = 2 << 30  # images live in RAM only where this much stays free

# Every way in which an extent can leave the pipeline without being freed.
REASONS = frozenset(
    "unique excluded no_checksum compressed preallocated immutable busy nodatasum encoded system"
    " too_many_references short_runs copy_ratio metadata_price keeper tail_only changed differs"
    " failed unreferenced".split())
COUNTS = frozenset(
    "passes extents_scanned bytes_scanned bytes_duplicate bytes_freed bytes_copied extents_freed"
    " bytes_read".split())


class HarnessError(Exception):
    """A command that the harness needs failed."""


def command(*arguments):
    """Runs a command that must succeed; returns what it printed."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if done.returncode:
        raise HarnessError(f"{' '.join(map(str, arguments))}: status {done.returncode}: "
                           f"{(done.stderr or done.stdout).strip()}")
    return done.stdout


def kernel():
    """This kernel's version, as (6, 1): for what kernels answer differently."""
    return tuple(int(number) for number in re.match(r"(\d+)\.(\d+)", os.uname().release).groups())


def skep_binary():
    path = os.environ.get("SKEP_BINARY")
    if not path:
        raise HarnessError("SKEP_BINARY names no program: set it to the skep under test")
    return os.path.abspath(path)


# --- what the machine can do ---------------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def missing_ability():
    """Why no loopback btrfs can be made here, or None."""
    if os.geteuid():
        return "not root"
    for tool in ("mkfs.btrfs", "btrfs", "losetup", "mount"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    try:
        with LoopFilesystem():
            return None
    except (HarnessError, OSError) as error:
        return f"no loopback btrfs: {error}"


def skip(reason):
    """Skips the calling test, unless it has to run here."""
    if os.environ.get("CI") or os.environ.get("SKEP_REQUIRE_FS") == "1":
        raise AssertionError(f"this test is required, but: {reason}")
    raise unittest.SkipTest(reason)


def require_filesystem():
    """Skips the calling test where filesystems cannot be made, unless they are required."""
    if reason := missing_ability():
        skip(reason)


def catches(process, number):
    """Whether a signal would not end it at once, as it does before main() has begun."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        caught = re.search(r"^SigCgt:\s*(\w+)$", file.read(), re.MULTILINE)
    return bool(caught and int(caught[1], 16) >> (number - 1) & 1)


def wait_until_caught(process, number):
    """For a skep that was just started; also over when it has ended already."""
    while process.poll() is None and not catches(process, number):
        time.sleep(0.001)


def scratch_base():
    """TMPDIR when it is set; else RAM when it has room, else where temporary files go."""
    if "TMPDIR" in os.environ:
        return tempfile.gettempdir()
    try:
        room = os.statvfs("/dev/shm")
        if room.f_bavail * room.f_frsize > SHM_HEADROOM_BYTES and os.access("/dev/shm", os.W_OK):
            return "/dev/shm"
    except OSError:
        pass
    return tempfile.gettempdir()


# --- filesystems ---------------------------------------------------------------------------------

_live = []  # filesystems to take down when the process ends, however it ends


class LoopFilesystem:
    """A filesystem on a loop device, in a folder of its own. Use it as a context manager, or call
    create() and, whatever happens, destroy()."""

    kind = "btrfs"

    def __init__(self, size=256 * MIB, mkfs_options=(), mount_options="noatime"):
        self.size = size
        self.mkfs_options = mkfs_options
        self.mount_options = mount_options
        self.folder = None
        self.loop = None
        self.spare_loops = []
        self.processes = []
        self.swap_files = []

    def __enter__(self):
        try:
            return self.create()
        except BaseException:
            self.destroy()
            raise

    def __exit__(self, *_):
        self.destroy()

    def create(self, copy_of=None):
        """Makes the image, or copies that of an unmounted filesystem, and mounts it."""
        _live.append(self)
        self.folder = tempfile.mkdtemp(prefix=f"skep-test-{os.getpid()}-", dir=scratch_base())
        os.chmod(self.folder, 0o755)
        self.image = os.path.join(self.folder, "image")
        self.mnt = os.path.join(self.folder, "mnt")
        self.state = os.path.join(self.folder, "state")
        os.mkdir(self.mnt)
        if copy_of:
            command("cp", "--sparse=always", copy_of, self.image)
        else:
            with open(self.image, "wb") as image:
                image.truncate(self.size)
            command(f"mkfs.{self.kind}", "-q", *self.mkfs_options, self.image)
        self.attach()
        self.mount()
        return self

    def attach(self):
        self.loop = self.attached(self.image)

    def attached(self, image):
        for attempt in range(20):  # another process may win the race for the free device
            try:
                return command("losetup", "--show", "-f", image).strip()
            except HarnessError:
                if attempt == 19:
                    raise
                time.sleep(0.1)

    def spare_device(self, size=None):
        """A device to add to the filesystem. It is no longer part of it when the test ends."""
        image = os.path.join(self.folder, f"spare{len(self.spare_loops)}")
        with open(image, "wb") as file:
            file.truncate(size or self.size)
        self.spare_loops.append(self.attached(image))
        return self.spare_loops[-1]

    def mount(self, options=None):
        command("mount", "-t", self.kind, "-o", options or self.mount_options, self.loop, self.mnt)

    def unmount(self):
        try:
            command("umount", self.mnt)
        except HarnessError as error:
            raise HarnessError(f"{error}; open: {self.holders()}") from None

    def release_loop(self):
        """Frees the loop device."""
        if self.kind == "btrfs":
            self.forget_loop()
        command("losetup", "-d", self.loop)
        self.loop = None
        while self.spare_loops:
            command("losetup", "-d", self.spare_loops.pop())

    def forget_loop(self):
        """The kernel remembers unmounted devices and would refuse an older copy of the same btrfs on
        another one, so it is told to forget this one. Another process's mount namespace, copied while
        this was mounted, may keep it busy for a while. Some kernels (6.1 does, 6.18 does not) forget by
        themselves what is unmounted, and then have no such device: one that is unknown is forgotten."""
        end = time.monotonic() + MOST_SECONDS_TO_FORGET
        while True:
            try:
                command("btrfs", "device", "scan", "--forget", self.loop)
                break
            except HarnessError as error:
                if UNKNOWN_DEVICE in str(error):
                    break
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def detach(self):
        """Leaves the image for others to copy."""
        self.unmount()
        self.release_loop()

    def remount(self, options=None):
        """Unmounts and mounts again: caches are cold, and everything comes from the device."""
        self.unmount()
        self.mount(options)

    def holders(self):
        """Descriptors of any process below the mount point."""
        found = []
        for link in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith(self.mnt):
                found.append(f"{link} -> {target}")
        return found

    def uuid(self):
        return command("blkid", "-p", "-o", "value", "-s", "UUID", self.image).strip()

    # Files. Paths are relative to the mount point.

    def path(self, name):
        return os.path.join(self.mnt, name)

    def write(self, name, data, offset=0, flush=True):
        """Writes data into a file, made when missing, and flushes it, so that what is written
        becomes an extent of its own. Returns the full path."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        for _ in range(MOST_WRITES):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644), "wb", buffering=0) as file:
                file.seek(offset)
                view = memoryview(data)
                while view:
                    view = view[file.write(view):]
                if flush:
                    os.fsync(file.fileno())
            if not flush:
                break
            # fsync waits for the data, which a log then names, not for the file's extent items: of one file in
            # two thousand they came later, most of those compressed. A synced extent map waits.
            extents(path)
            if not self.was_parted(path, offset, len(data)):
                break
        return path

    def was_parted(self, path, offset, length):
        """Whether that range was written into more extents than it needs: where memory is short, the kernel begins
        to write before all is there."""
        if self.kind != "btrfs":
            return False
        compressed = "compress" in self.mount_options or "btrfs.compression" in os.listxattr(path)
        longest = PACKED_EXTENT if compressed else LONGEST_EXTENT
        return any(item.kind == REGULAR_ITEM and offset < item.offset < offset + length
                   and (item.offset - offset) % longest for item in file_items(path))

    def write_nocow(self, name, data):
        path = self.write(name, b"")
        set_flags(path, FS_NOCOW_FL)
        return self.write(name, data)

    def write_compressed(self, name, data, algorithm="zstd", offset=0):
        """Writes data that is stored compressed, where that makes it smaller."""
        path = self.write(name, b"")
        os.setxattr(path, "btrfs.compression", algorithm.encode())
        return self.write(name, data, offset=offset)

    def unlink(self, name):
        """Deletes a file that nobody has open, and waits until its extents are let go of: writeback may have it
        in use for a moment, and then the kernel's cleaner does that, on a busy machine after a run of skep, which
        finds extents that a deleted file refers to."""
        path = self.path(name)
        number = os.stat(path).st_ino
        os.unlink(path)
        end = time.monotonic() + MOST_SECONDS_TO_DELETE
        while inode_is_stored(os.path.dirname(path), number):
            if time.monotonic() > end:
                raise HarnessError(f"{path}: deleted, and still there")
            self.sync()

    def subvolume(self, name):
        command("btrfs", "subvolume", "create", self.path(name))
        return self.path(name)

    def snapshot_subvolume(self, source, name, read_only=True):
        command("btrfs", "subvolume", "snapshot", *(["-r"] if read_only else []),
                self.path(source), self.path(name))
        return self.path(name)

    def send(self, snapshot, parent=None):
        """The file of the stream, and how many sends that took. One that begins while skep shares
        into the same snapshot is refused by the kernel, at once and before anything is sent
        (skepd(8)): it comes again, and gets through soon."""
        stream = os.path.join(self.folder, "stream")
        parents = ["-p", self.path(parent)] if parent else []
        end = time.monotonic() + MOST_SECONDS_TO_SEND
        for sends in itertools.count(1):
            done = subprocess.run(["btrfs", "send", "-q", "-f", stream, *parents,
                                   self.path(snapshot)], capture_output=True, text=True)
            if not done.returncode:
                return stream, sends
            if SEND_AGAIN not in done.stderr or time.monotonic() > end:
                raise HarnessError(f"btrfs send, for the {sends}. time: {done.stderr.strip()}")
            time.sleep(0.05)

    def start(self, *arguments, **options):
        """A process that ends with the filesystem at the latest, in a group of its own."""
        process = subprocess.Popen([str(a) for a in arguments], start_new_session=True, **options)
        self.processes.append(process)
        return process

    # Space.

    def sync(self):
        command("btrfs", "filesystem", "sync", self.mnt)

    def used(self, kind="Data"):
        """Used bytes of a kind of block group, as the filesystem's own df tells, each byte once."""
        return sum(int(used) for name, used in re.findall(
            r"^(\w+), .*used=(\d+)$", command("btrfs", "filesystem", "df", "-b", self.mnt),
            re.MULTILINE) if name == kind)

    def settled_used(self, kind="Data", expect=None):
        """used() after syncs, once it is as expected or, failing that, no longer changes."""
        last = None
        for _ in range(20):
            self.sync()
            now = self.used(kind)
            if now == expect or (expect is None and now == last):
                return now
            last = now
            time.sleep(0.05)
        return last

    def device_offset(self, address):
        """Where a logical address lies on the only device, for data of profile single. The
        filesystem is not mounted."""
        dump = command("btrfs", "inspect-internal", "dump-tree", "-t", "chunk", self.image)
        for item in dump.split("item ")[1:]:
            chunk = re.search(r"CHUNK_ITEM (\d+)\).*?length (\d+) .*?type (\S+).*?"
                              r"stripe 0 devid 1 offset (\d+)", item, re.DOTALL)
            if not chunk:
                continue
            start, length, kind, offset = (chunk[1], chunk[2], chunk[3], chunk[4])
            if int(start) <= address < int(start) + int(length):
                assert kind == "DATA|single", kind
                return int(offset) + address - int(start)
        raise HarnessError(f"no chunk holds address {address}")

    def damage(self, name, offset):
        """Flips bytes of the file on the device, below the filesystem, and remounts. Of a compressed
        extent the first bytes are hit, so that nothing of it can be read."""
        self.sync()
        address = next(item.address if item.compression else
                       item.address + item.extent_offset + offset - item.offset
                       for item in file_items(self.path(name))
                       if item.offset <= offset < item.offset + item.length)
        self.unmount()
        with open(self.image, "r+b") as device:
            at = self.device_offset(address)
            device.seek(at)
            flipped = bytes(byte ^ 0xFF for byte in device.read(16))
            device.seek(at)
            device.write(flipped)
        self.mount()

    # The program.

    def skep_arguments(self, *options, state=None, target=None):
        return [skep_binary(), "run", "--once", "--state-dir", state or self.state, *options,
                target or self.mnt]

    def start_skep(self, *options, state=None, target=None):
        return self.start(*self.skep_arguments("--json", *options, state=state, target=target),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish_skep(self, process, status=0):
        """Waits for what start_skep() began; checks exit status and report; returns the report."""
        stdout, stderr = process.communicate(timeout=RUN_TIMEOUT_SECONDS)
        allowed = status if isinstance(status, (tuple, list)) else (status,)
        if process.returncode not in allowed:
            raise AssertionError(f"exit status {process.returncode}, expected {status}\n"
                                 f"stderr:\n{stderr}\nstdout:\n{stdout}")
        try:
            os.killpg(process.pid, 0)
            raise AssertionError("skep left a child process behind")
        except ProcessLookupError:
            pass
        report = json.loads(stdout)
        self.check_report(report, process.returncode)
        return report

    def run_skep(self, *options, status=0, state=None, target=None):
        return self.finish_skep(self.start_skep(*options, state=state, target=target), status)

    def check_report(self, report, status):
        """What holds for each report."""
        assert report["version"] == 1, report
        assert report["filesystem"] == self.uuid(), report
        assert report["result"] == {0: "done", 4: "stopped"}[status], report
        assert report["seconds"] >= 0, report
        for name in COUNTS:
            assert type(report[name]) is int and report[name] >= 0, (name, report)
        unknown = report["left"].keys() - REASONS
        assert not unknown, f"reasons that are not in the contract: {unknown}"
        for reason, left in report["left"].items():
            assert left.keys() == {"extents", "bytes"}, (reason, left)
            assert left["extents"] >= 0 and left["bytes"] >= 0, (reason, left)
        for name, value in report["counters"].items():
            assert type(value) is int and value >= 0, (name, value)

    # The end.

    def finish(self):
        """Takes the filesystem down, and asserts that it was sound and that nothing is left."""
        for process in self.processes:
            assert process.poll() is not None, f"still running: {process.args}"
        self.unmount()
        checked = subprocess.run(["btrfs", "check", "--readonly", self.image], capture_output=True,
                                 text=True)
        assert checked.returncode == 0, f"btrfs check: {checked.stdout}\n{checked.stderr}"
        self.release_loop()
        for _ in range(100):  # detaching is finished by whoever closes the device last
            if not self.leftovers():
                break
            time.sleep(0.05)
        assert not self.leftovers(), self.leftovers()
        self.destroy()

    def leftovers(self):
        """Mounts and loop devices that still belong to this filesystem."""
        found = mount_points_below(self.folder)
        for backing in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
            try:
                if backing.read_text().startswith(f"{self.folder}/"):
                    found.append(str(backing))
            except OSError:  # detached meanwhile
                pass
        return found

    def destroy(self):
        """Takes everything down, whatever state it is in. Never raises; may be called twice."""
        def quietly(*arguments):
            subprocess.run(arguments, capture_output=True)

        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        for swap_file in self.swap_files:
            quietly("swapoff", swap_file)
        if self.folder:
            for mount_point in reversed(mount_points_below(self.folder)):
                quietly("umount", mount_point)
            # What this process has open itself, in other threads: it goes when that does.
            for mount_point in reversed(mount_points_below(self.folder)):
                quietly("umount", "--lazy", mount_point)
        if self.loop:
            quietly("btrfs", "device", "scan", "--forget", self.loop)
            quietly("losetup", "-d", self.loop)
            self.loop = None
        while self.spare_loops:
            spare = self.spare_loops.pop()
            quietly("btrfs", "device", "scan", "--forget", spare)
            quietly("losetup", "-d", spare)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self in _live:
            _live.remove(self)


def mount_table():
    """The lines of /proc/self/mountinfo; names in them are any bytes, also those of tests beside this one."""
    return pathlib.Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()


def mount_points_below(folder):
    """What is mounted at the folder or in it, in the order of mounting. A neighbour whose name begins
    alike is not in it."""
    points = [line.split()[4] for line in mount_table()]
    return [point for point in points if pathlib.PurePath(point).is_relative_to(folder)]


def _destroy_all():
    for filesystem in list(_live):
        filesystem.destroy()


def _on_signal(number, _):
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(other, signal.SIG_IGN)
    sys.stderr.write(f"\n{signal.Signals(number).name}: taking the test's filesystems down\n")
    _destroy_all()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def install_cleanup():
    """Whatever ends this process short of SIGKILL also ends its filesystems."""
    atexit.register(_destroy_all)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, _on_signal)
    if seconds := os.environ.get("SKEP_TEST_SECONDS"):
        signal.alarm(int(seconds))


class FilesystemTest(unittest.TestCase):
    """A test with an empty filesystem of its own. Subclasses set the class attributes."""

    size = 256 * MIB
    mkfs_options = ()
    mount_options = "noatime"
    maxDiff = None

    def setUp(self):
        require_filesystem()
        self.fs = LoopFilesystem(self.size, self.mkfs_options, self.mount_options)
        self.addCleanup(self.fs.destroy)
        self.fs.create()

    def tearDown(self):
        self.fs.finish()

    def fresh_filesystem(self):
        """Ends the current filesystem with all its checks, and begins with an empty one."""
        try:
            self.fs.finish()
        finally:
            self.setUp()

    def assert_same_contents(self, before, after):
        changed = differences(before, after)
        self.assertFalse(changed, "the run changed files:\n" + "\n".join(changed[:20]))

    def dedupe(self, *options, status=0, state=None):
        """One run over the filesystem at rest, with everything that must hold for any such run."""
        used = self.fs.settled_used()
        before = snapshot(self.fs.mnt)
        self.fs.remount()
        report = self.fs.run_skep(*options, status=status, state=state)
        expected = used - report["bytes_freed"]
        self.assertEqual(self.fs.settled_used(expect=expected), expected,
                         f"used data was {used}; the report claims otherwise: {report}")
        self.fs.remount()
        self.assert_same_contents(before, snapshot(self.fs.mnt))
        return report

    def assert_left(self, report, reason, extent_count=None, byte_count=None):
        """The report names extents that were left alone for this reason."""
        left = report["left"].get(reason, {"extents": 0, "bytes": 0})
        self.assertGreater(left["extents"], 0, f"nothing left as {reason}: {report}")
        if extent_count is not None:
            self.assertEqual(left["extents"], extent_count, report)
        if byte_count is not None:
            self.assertEqual(left["bytes"], byte_count, report)

    def assert_shared(self, first, second, blocks=None):
        """Both files' blocks (all, or those of the given numbers) are stored once."""
        one = block_places(self.fs.path(first))
        other = block_places(self.fs.path(second))
        for block in blocks if blocks is not None else one:
            self.assertEqual(one[block], other[block], f"block {block} of {first} and {second}")

    def assert_not_shared(self, name):
        for extent in extents(self.fs.path(name)):
            self.assertFalse(extent.flags & FIEMAP_EXTENT_SHARED, f"{name}: {extent}")


def main():
    """Runs the calling file's tests. Exits with SKIPPED when every one of them was skipped."""
    install_cleanup()
    result = unittest.main(module="__main__", exit=False).result
    if not result.wasSuccessful():
        sys.exit(1)
    if result.skipped and len(result.skipped) >= result.testsRun:
        print(f"skipped: {result.skipped[0][1]}")
        sys.exit(SKIPPED)
    sys.exit(0)
