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

Standard library only. Not thread-safe, but any number of processes may run tests side by side.
"""
import array
import atexit
import collections
import ctypes
import errno
import fcntl
import functools
import hashlib
import itertools
import json
import mmap
import os
import pathlib
import random
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

BLOCK = 4096  # the sector size that mkfs.btrfs picks where pages are 4 KiB
KIB = 1 << 10
MIB = 1 << 20

SKIPPED = 77  # exit status of a test file that skipped everything; ctest's SKIP_RETURN_CODE
MOST_SECONDS_TO_SEND = 20
# A container that starts has copies of all mounts until it has its own root.
MOST_SECONDS_TO_FORGET = 60
SEND_AGAIN = "Resource temporarily unavailable"  # EAGAIN, as btrfs send says it
# A skep built with sanitizers looks for leaks through ptrace, which is taken.
STRACE = ("strace", "-E", "LSAN_OPTIONS=detect_leaks=0")
RUN_TIMEOUT_SECONDS = 120  # far above any run in these tests; reaching it means a hang
SHM_HEADROOM_BYTES = 2 << 30  # images live in RAM only where this much stays free

# Every way in which an extent can leave the pipeline without being freed.
REASONS = frozenset(
    "unique excluded no_checksum compressed preallocated immutable busy nodatasum encoded system"
    " too_many_references short_runs copy_ratio metadata_price keeper tail_only changed differs"
    " failed unreferenced".split())
COUNTS = frozenset(
    "passes extents_scanned bytes_scanned bytes_duplicate bytes_freed bytes_copied extents_freed"
    " bytes_read".split())

FS_IOC_FIEMAP = 0xC020660B
FIEMAP_FLAG_SYNC = 0x1
FIEMAP_EXTENT_ENCODED = 0x8
FIEMAP_EXTENT_DATA_INLINE = 0x200
FIEMAP_EXTENT_UNWRITTEN = 0x800
FIEMAP_EXTENT_SHARED = 0x2000
FICLONERANGE = 0x4020940D
FIDEDUPERANGE = 0xC0189436
BTRFS_IOC_TREE_SEARCH_V2 = 0xC0709411
BTRFS_EXTENT_DATA_KEY = 108
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_IMMUTABLE_FL = 0x10
FS_NOCOW_FL = 0x800000

COMPRESSIONS = (None, "zlib", "lzo", "zstd")  # by the number that file extent items hold
INLINE_ITEM, REGULAR_ITEM, PREALLOCATED_ITEM = range(3)

FileExtent = collections.namedtuple("FileExtent", "offset address length flags")
# `length` bytes of a file from `offset` on are what the extent at `address` unpacks to from
# `extent_offset` on. It takes `disk_length` bytes, and unpacks to `content_length`.
FileItem = collections.namedtuple(
    "FileItem", "offset address disk_length extent_offset length content_length compression kind")
DedupeAnswer = collections.namedtuple("DedupeAnswer", "status bytes_deduped")
FileState = collections.namedtuple("FileState",
                                   "inode mode links uid gid size mtime_ns ctime_ns content")


class HarnessError(Exception):
    """A command that the harness needs failed."""


def command(*arguments):
    """Runs a command that must succeed; returns what it printed."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if done.returncode:
        raise HarnessError(f"{' '.join(map(str, arguments))}: status {done.returncode}: "
                           f"{(done.stderr or done.stdout).strip()}")
    return done.stdout


def content(seed, length):
    """`length` bytes that look random, are the same at each call, and have no block in common with
    those of another seed or length."""
    return random.Random(f"{seed} {length}").randbytes(length)


def compressible(seed, length):
    """The same, but of a kind that each algorithm packs to about an eighth or a quarter: in each
    block four times the same 1 KiB of text."""
    pick = random.Random(f"compressible {seed} {length}")
    blocks = -(-length // BLOCK)
    return b"".join(pick.randbytes(512).hex().encode() * 4 for _ in range(blocks))[:length]


def thin(seed, length):
    """The same, but 128 KiB of it fit into one block."""
    blocks = -(-length // BLOCK)
    return b"".join((b"%-16d" % (zlib.crc32(b"%r %d" % (str(seed).encode(), i)))) * (BLOCK // 16)
                    for i in range(blocks))[:length]


def round_up(length):
    return -(-length // BLOCK) * BLOCK


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


# --- ioctls --------------------------------------------------------------------------------------


def extents(path):
    """The file's extent map, after a flush. Addresses are btrfs's logical ones; 0 is inline."""
    found = []
    start = 0
    with open(path, "rb") as file:
        while True:
            batch = 256
            request = array.array("B", struct.pack("=QQIIII", start, (1 << 63) - 1 - start,
                                                   FIEMAP_FLAG_SYNC, 0, batch, 0))
            request.frombytes(bytes(56 * batch))
            fcntl.ioctl(file.fileno(), FS_IOC_FIEMAP, request)
            mapped = struct.unpack_from("=I", request, 20)[0]
            for i in range(mapped):
                offset, address, length, _, _, flags = struct.unpack_from(
                    "=QQQQQI", request, 32 + 56 * i)
                found.append(FileExtent(offset, address, length, flags))
            if mapped < batch:
                return found
            start = found[-1].offset + found[-1].length


def placement(path):
    """Where the file's bytes are, and in what kind of extent, whoever else shares them."""
    return [extent._replace(flags=extent.flags & (FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_UNWRITTEN
                                                  | FIEMAP_EXTENT_DATA_INLINE))
            for extent in extents(path)]


def block_addresses(path):
    """Address of each stored block of the file, by block number; holes are left out."""
    return {(extent.offset + at) // BLOCK: extent.address + at
            for extent in extents(path) for at in range(0, extent.length, BLOCK)}


def file_items(path):
    """The file's extent items, holes left out, as the metadata has them: unlike the extent map they
    tell the parts of a compressed extent apart. What is not flushed is not there yet."""
    key_bytes, header_bytes, buffer_bytes = 112, 32, 1 << 16
    inode = os.stat(path).st_ino
    found = []
    start = 0
    with open(path, "rb") as file:
        while True:
            request = array.array("B", struct.pack(
                "=7Q4I4QQ", 0, inode, inode, start, (1 << 64) - 1, 0, (1 << 64) - 1,
                BTRFS_EXTENT_DATA_KEY, BTRFS_EXTENT_DATA_KEY, 1 << 20, 0, 0, 0, 0, 0,
                buffer_bytes))
            request.frombytes(bytes(buffer_bytes))
            fcntl.ioctl(file.fileno(), BTRFS_IOC_TREE_SEARCH_V2, request)
            count = struct.unpack_from("=I", request, 64)[0]
            at = key_bytes
            for _ in range(count):
                _, _, offset, _, length = struct.unpack_from("=QQQII", request, at)
                at += header_bytes
                _, content_length, compression, _, _, kind = struct.unpack_from("=QQBBHB", request,
                                                                                at)
                place = (0, 0, 0, content_length)
                if kind != INLINE_ITEM:
                    place = struct.unpack_from("=4Q", request, at + 21)
                if kind == INLINE_ITEM or place[0]:
                    found.append(FileItem(offset, *place, content_length,
                                          COMPRESSIONS[compression], kind))
                at += length
                start = offset + 1
            if not count:
                return found


def extent_is_stored(folder, address):
    """Whether the filesystem has a data extent that begins there, as far as it is committed."""
    extent_tree, extent_item, most = 2, 168, (1 << 64) - 1
    request = array.array("B", struct.pack(
        "=7Q4I4QQ", extent_tree, address, address, 0, most, 0, most, extent_item, extent_item, 1, 0,
        0, 0, 0, 0, 4096))
    request.frombytes(bytes(4096))
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(opened, BTRFS_IOC_TREE_SEARCH_V2, request)
    finally:
        os.close(opened)
    return struct.unpack_from("=I", request, 64)[0] != 0


def block_places(path):
    """For each stored block of the file, by number: the extent that holds it, and which block of its
    content it is. Files share a block when they name the same place."""
    return {(item.offset + at) // BLOCK: (item.address, item.extent_offset + at)
            for item in file_items(path) if item.kind != INLINE_ITEM
            for at in range(0, item.length, BLOCK)}


def disk_bytes(*paths):
    """What the extents of these files take, each counted once."""
    return sum({item.address: item.disk_length for path in paths
                for item in file_items(path)}.values())


def compressions(path):
    """In which ways the file's extents are stored."""
    return {item.compression for item in file_items(path)}


def resident_pages(path):
    """Numbers of the file's pages that are in the page cache. Asking brings in none."""
    pages = -(-os.path.getsize(path) // mmap.PAGESIZE)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        states = (ctypes.c_ubyte * pages)()
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(len(mapped)), states):
            raise OSError(ctypes.get_errno(), "mincore")
        return {page for page in range(pages) if states[page] & 1}


def clone_range(source, destination, source_offset=0, length=0, destination_offset=0):
    """Makes the destination refer to the source's extents; length 0 means to the end."""
    with open(source, "rb") as from_file, open(
            os.open(destination, os.O_WRONLY | os.O_CREAT, 0o644), "wb") as to_file:
        fcntl.ioctl(to_file.fileno(), FICLONERANGE, struct.pack(
            "=qQQQ", from_file.fileno(), source_offset, length, destination_offset))


def dedupe_range(source, source_offset, length, targets):
    """FIDEDUPERANGE from one open file to [(open file, offset)]; one DedupeAnswer each."""
    request = array.array("B", struct.pack("=QQHHI", source_offset, length, len(targets), 0, 0))
    for file, offset in targets:
        request.frombytes(struct.pack("=qQQiI", file.fileno(), offset, 0, 0, 0))
    fcntl.ioctl(source.fileno(), FIDEDUPERANGE, request)
    answers = []
    for i in range(len(targets)):
        _, _, done, status, _ = struct.unpack_from("=qQQiI", request, 24 + 32 * i)
        answers.append(DedupeAnswer(status, done))
    return answers


def set_flags(path, flags):
    """Adds inode flags, as chattr does."""
    with open(path, "rb") as file:
        now = array.array("l", [0])
        fcntl.ioctl(file.fileno(), FS_IOC_GETFLAGS, now)
        now[0] |= flags
        fcntl.ioctl(file.fileno(), FS_IOC_SETFLAGS, now)


# --- contents ------------------------------------------------------------------------------------


def read_whole(path):
    with open(path, "rb") as file:
        return file.read()


def state_of(path):
    """Everything that a deduplicator must not change about one directory entry."""
    info = os.lstat(path)
    what = None
    if stat.S_ISREG(info.st_mode):
        digest = hashlib.blake2b()
        try:
            with open(path, "rb") as file:
                while piece := file.read(MIB):
                    digest.update(piece)
            what = digest.hexdigest()
        except OSError as error:  # a damaged block
            what = errno.errorcode[error.errno]
    elif stat.S_ISLNK(info.st_mode):
        what = os.readlink(path)
    return FileState(info.st_ino, info.st_mode, info.st_nlink, info.st_uid, info.st_gid,
                     info.st_size, info.st_mtime_ns, info.st_ctime_ns, what)


def snapshot(root):
    """State of every file and directory below root (root too), by path."""
    found = {".": state_of(root)}
    for folder, folders, names in os.walk(root):
        for name in folders + names:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, root)] = state_of(path)
    return found


def differences(before, after):
    """Lines that say what differs between two snapshots."""
    lines = [f"{path}: gone" for path in before.keys() - after.keys()]
    lines += [f"{path}: new" for path in after.keys() - before.keys()]
    for path in before.keys() & after.keys():
        for field in FileState._fields:
            was, now = getattr(before[path], field), getattr(after[path], field)
            if was != now:
                lines.append(f"{path}: {field} was {was}, is {now}")
    return sorted(lines)


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
        this was mounted, may keep it busy for a while."""
        end = time.monotonic() + MOST_SECONDS_TO_FORGET
        while True:
            try:
                command("btrfs", "device", "scan", "--forget", self.loop)
                break
            except HarnessError:
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
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644), "wb", buffering=0) as file:
            file.seek(offset)
            view = memoryview(data)
            while view:
                view = view[file.write(view):]
            if flush:
                os.fsync(file.fileno())
        return path

    def write_nocow(self, name, data):
        path = self.write(name, b"")
        set_flags(path, FS_NOCOW_FL)
        return self.write(name, data)

    def write_compressed(self, name, data, algorithm="zstd", offset=0):
        """Writes data that is stored compressed, where that makes it smaller."""
        path = self.write(name, b"")
        os.setxattr(path, "btrfs.compression", algorithm.encode())
        return self.write(name, data, offset=offset)

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
