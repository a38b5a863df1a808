# SPDX-License-Identifier: MIT
"""What skep takes for granted about the kernel. A failure here means that this kernel answers
otherwise, and that a decision of skep's rests on nothing."""
import ctypes
import errno
import os
import pathlib
import struct
import subprocess
import time

import harness
from harness import (BLOCK, KIB, MIB, FilesystemTest, block_addresses, compressible, content,
                     dedupe_range)

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
FS_TREE_OBJECTID = 5
BTRFS_WITHOUT_PARENT = 0x4D
INODE = struct.Struct("=QQI")  # inode, root, generation
INODE_BYTES = INODE.size


class FileHandle(ctypes.Structure):
    """struct file_handle, with as much in it as btrfs puts there."""

    _fields_ = [("size", ctypes.c_uint), ("kind", ctypes.c_int), ("data", ctypes.c_ubyte * INODE_BYTES)]

    def __init__(self, size, kind, data):
        super().__init__(size, kind, (ctypes.c_ubyte * INODE_BYTES)(*data))


class Sharing(FilesystemTest):

    def share(self, source, source_offset, length, destination, offset=0):
        with open(source, "rb") as from_file, open(destination, "rb") as to_file:
            return dedupe_range(from_file, source_offset, length, [(to_file, offset)])[0]

    def test_a_descriptor_open_for_reading_may_be_the_target(self):
        first = self.fs.write("first", content(1, MIB))
        second = self.fs.write("second", content(1, MIB))
        os.chmod(second, 0o444)
        before = harness.snapshot(self.fs.mnt)
        self.assertEqual(self.share(first, 0, MIB, second), (0, MIB))
        self.assert_shared("first", "second")
        self.assert_same_contents(before, harness.snapshot(self.fs.mnt))

    def test_blocks_that_differ_are_not_shared(self):
        first = self.fs.write("first", content(1, MIB))
        second = self.fs.write("second", content(1, MIB)[:-1] + b"x")
        answer = self.share(first, 0, MIB, second)
        self.assertEqual(answer.status, 1)  # FILE_DEDUPE_RANGE_DIFFERS
        self.assert_not_shared("second")

    def test_a_tail_is_not_shared_with_the_inside_of_a_file_though_the_answer_says_so(self):
        first = self.fs.write("first", content(1, 5000) + bytes(MIB))
        second = self.fs.write("second", content(1, 5000))
        self.assertEqual(self.share(first, 0, 5000, second), (0, 5000))
        one, other = block_addresses(first), block_addresses(second)
        self.assertEqual(one[0], other[0])
        self.assertNotEqual(one[1], other[1])

    def test_tails_that_end_at_the_same_byte_are_shared(self):
        first = self.fs.write("first", content(0, 3 * BLOCK) + content(1, 5000))
        second = self.fs.write("second", content(1, 5000))
        self.assertEqual(self.share(first, 3 * BLOCK, 5000, second), (0, 5000))
        self.assertEqual(block_addresses(first)[4], block_addresses(second)[1])

    def test_a_range_past_the_end_is_invalid(self):
        first = self.fs.write("first", content(1, 2 * BLOCK))
        second = self.fs.write("second", content(1, 2 * BLOCK))
        with self.assertRaises(OSError) as caught:
            self.share(first, 0, 3 * BLOCK, second)
        self.assertEqual(caught.exception.errno, errno.EINVAL)
        longer = self.fs.write("longer", content(1, 2 * BLOCK) + content(2, BLOCK))
        self.assertEqual(self.share(longer, 0, 3 * BLOCK, second).status, -errno.EINVAL)

    def test_unaligned_offsets_are_invalid(self):
        first = self.fs.write("first", content(1, 2 * BLOCK))
        second = self.fs.write("second", content(1, 2 * BLOCK))
        self.assertEqual(self.share(first, 0, BLOCK, second, 512).status, -errno.EINVAL)

    def test_127_targets_fit_and_128_do_not(self):
        first = self.fs.write("first", content(1, BLOCK))
        second = self.fs.write("second", content(1, BLOCK))
        with open(first, "rb") as source, open(second, "rb") as target:
            answers = dedupe_range(source, 0, BLOCK, [(target, 0)] * 127)
            self.assertEqual(answers, [(0, BLOCK)] * 127)
            with self.assertRaises(OSError) as caught:
                dedupe_range(source, 0, BLOCK, [(target, 0)] * 128)
            self.assertEqual(caught.exception.errno, errno.ENOMEM)

    def test_immutable_files_are_refused_as_targets_and_serve_as_sources(self):
        first = self.fs.write("first", content(1, MIB))
        second = self.fs.write("second", content(1, MIB))
        harness.set_flags(second, harness.FS_IMMUTABLE_FL)
        self.assertEqual(self.share(first, 0, MIB, second).status, -errno.EPERM)
        self.assertEqual(self.share(second, 0, MIB, first), (0, MIB))
        self.assert_shared("first", "second")

    def test_checksummed_and_nocow_files_do_not_share(self):
        first = self.fs.write("first", content(1, MIB))
        second = self.fs.write_nocow("second", content(1, MIB))
        self.assertEqual(self.share(first, 0, MIB, second).status, -errno.EINVAL)

    def test_nocow_files_share_with_each_other(self):
        first = self.fs.write_nocow("first", content(1, MIB))
        second = self.fs.write_nocow("second", content(1, MIB))
        self.assertEqual(self.share(first, 0, MIB, second), (0, MIB))
        self.assert_shared("first", "second")

    def test_zeros_of_a_nocow_file_become_a_hole_when_shared_with_one(self):
        zeros = self.fs.write_nocow("zeros", bytes(MIB))
        hole = self.fs.write_nocow("hole", b"")
        os.truncate(hole, MIB)
        self.assertEqual(self.share(hole, 0, MIB, zeros), (0, MIB))
        self.assertEqual(harness.extents(zeros), [])

    def test_what_is_shared_with_a_compressed_extent_is_compressed_then(self):
        first = self.fs.write_compressed("first", compressible(1, 2 * MIB))
        second = self.fs.write("second", compressible(1, 2 * MIB)[5 * BLOCK:5 * BLOCK + MIB])
        self.assertEqual(self.share(first, 5 * BLOCK, MIB, second), (0, MIB))
        self.assertEqual(harness.compressions(second), {"zstd"})
        places = harness.block_places(first)
        self.assertEqual([places[5 + block] for block in range(MIB // BLOCK)],
                         list(harness.block_places(second).values()))

    def test_equal_data_is_compressed_to_equal_bytes(self):
        for algorithm in ("zlib", "lzo", "zstd"):
            with self.subTest(algorithm=algorithm):
                found = []
                for name in ("first", "second"):
                    path = self.fs.write_compressed(f"{name} {algorithm}", compressible(1, 128 * KIB),
                                                    algorithm)
                    self.fs.sync()
                    found.append(self.stored(path))
                self.assertEqual(found[0], found[1])

    def stored(self, path):
        """What the device holds of the file's only extent."""
        item, = harness.file_items(path)
        self.fs.unmount()
        with open(self.fs.image, "rb") as device:
            device.seek(self.fs.device_offset(item.address))
            bytes_stored = device.read(item.disk_length)
        self.fs.mount()
        return bytes_stored

    def test_running_executables_may_be_the_target(self):
        program = harness.read_whole("/bin/sleep")
        first = self.fs.write("first", program)
        second = self.fs.write("second", program)
        os.chmod(second, 0o755)
        process = self.fs.start(second, "600", stderr=subprocess.DEVNULL)
        self.assertEqual(self.share(first, 0, len(program), second), (0, len(program)))
        self.assert_shared("first", "second")
        self.assertIsNone(process.poll())
        process.kill()
        process.wait()

    def test_read_only_snapshots_may_be_the_target(self):
        self.fs.subvolume("data")
        first = self.fs.write("data/first", content(1, MIB))
        self.fs.write("data/second", content(1, MIB))
        self.fs.snapshot_subvolume("data", "frozen")
        self.assertEqual(self.share(first, 0, MIB, self.fs.path("frozen/second")), (0, MIB))
        self.assert_shared("data/first", "frozen/second")

    def test_an_extent_goes_only_when_nothing_refers_to_any_part_of_it(self):
        first = self.fs.write("first", content(1, MIB))
        second = self.fs.write("second", content(1, MIB))
        used = self.fs.settled_used()
        self.share(first, 0, MIB - BLOCK, second)
        self.assertEqual(self.fs.settled_used(), used)
        with open(first, "rb") as source, open(second, "rb") as target:
            dedupe_range(source, MIB - BLOCK, BLOCK, [(target, MIB - BLOCK)])
        self.assertEqual(self.fs.settled_used(expect=used - MIB), used - MIB)


class Reading(FilesystemTest):

    def test_a_read_that_must_not_wait_brings_pages_in_all_the_same(self):
        """Not so on 5.10 and 6.1; on 6.12 and later ones it does, so it cannot be used to see what is cached. Those
        between may do either."""
        path = self.fs.write("file", content(1, 8 * MIB))
        self.fs.remount()
        with open(path, "rb", buffering=0) as file:
            with self.assertRaises(BlockingIOError):
                os.preadv(file.fileno(), [bytearray(MIB)], 0, os.RWF_NOWAIT)
        brought = self.some_come_in(path)
        if harness.kernel() <= (6, 1):
            self.assertFalse(brought)
        elif harness.kernel() >= (6, 12):
            self.assertTrue(brought, "so it can be used to see what is cached")

    def some_come_in(self, path):
        for _ in range(100):
            if harness.resident_pages(path):
                return True
            time.sleep(0.01)
        return False

    def test_asking_what_is_resident_brings_nothing_in(self):
        path = self.fs.write("file", content(1, 8 * MIB))
        self.fs.remount()
        self.assertEqual(harness.resident_pages(path), set())
        time.sleep(0.05)
        self.assertEqual(harness.resident_pages(path), set())
        for _ in range(10):  # where memory is short, the kernel takes pages back
            harness.read_whole(path)
            if len(harness.resident_pages(path)) == 8 * MIB // BLOCK:
                return
        self.fail("what is read is not told")


class Interfaces(FilesystemTest):
    """What the kernel has, and since when. Where it has not, skep has to do without."""

    def folder(self):
        return pathlib.Path("/sys/fs/btrfs", self.fs.uuid())

    def test_the_generation_is_in_sysfs_since_5_11_and_an_ioctl_tells_it_everywhere(self):
        self.fs.sync()
        before = harness.generation(self.fs.mnt)
        self.fs.write("file", content(1, MIB))
        self.fs.sync()
        self.assertGreater(harness.generation(self.fs.mnt), before)
        file = self.folder() / "generation"
        self.assertEqual(file.exists(), harness.kernel() >= (5, 11))
        if file.exists():
            self.assertEqual(int(file.read_text(encoding="ascii")), harness.generation(self.fs.mnt))

    def test_a_temporary_uuid_is_told_since_6_7(self):
        self.assertEqual((self.folder() / "temp_fsid").exists(), harness.kernel() >= (6, 7))

    def open_by_handle(self, path, generation):
        """Opens the file as skep does, by its inode number in the top level and a generation."""
        handle = FileHandle(INODE_BYTES, BTRFS_WITHOUT_PARENT,
                            INODE.pack(os.stat(path).st_ino, FS_TREE_OBJECTID, generation))
        mount = os.open(self.fs.mnt, os.O_RDONLY)
        try:
            descriptor = LIBC.open_by_handle_at(mount, ctypes.byref(handle), os.O_RDONLY)
            if descriptor < 0:
                return ctypes.get_errno()
            os.close(descriptor)
            return 0
        finally:
            os.close(mount)

    def test_a_handle_with_its_inodes_generation_opens_and_0_is_any_since_6_2(self):
        path = self.fs.write("file", content(1, BLOCK))
        own = self.handle_generation(path)
        self.assertEqual(self.open_by_handle(path, own), 0)
        self.assertEqual(self.open_by_handle(path, own + 1), errno.ESTALE)
        self.assertEqual(self.open_by_handle(path, 0), 0 if harness.kernel() >= (6, 2) else errno.ESTALE)

    def handle_generation(self, path):
        handle, mount = FileHandle(INODE_BYTES, 0, bytes(INODE_BYTES)), ctypes.c_int()
        answer = LIBC.name_to_handle_at(AT_FDCWD, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount), 0)
        self.assertEqual((answer, handle.kind), (0, BTRFS_WITHOUT_PARENT))
        inode, root, generation = INODE.unpack(bytes(handle.data))
        self.assertEqual((inode, root), (os.stat(path).st_ino, FS_TREE_OBJECTID))
        return generation


if __name__ == "__main__":
    harness.main()
