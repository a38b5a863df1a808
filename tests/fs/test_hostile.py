# SPDX-License-Identifier: MIT
"""Users who want skep to go wrong: by what their files hold, and by what they do with them meanwhile."""
import ctypes
import os
import random
import threading
import time

import harness
from harness import BLOCK, KIB, MIB, FilesystemTest, content

POLYNOMIAL = 0x82F63B78  # of crc32c, bits reversed
RENAME_EXCHANGE = 2
AT_FDCWD = -100


def crc_table():
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ POLYNOMIAL * (i & 1)
        table.append(i)
    return table


TABLE = crc_table()
BY_TOP = {value >> 24: i for i, value in enumerate(TABLE)}


def crc(register, data):
    for byte in data:
        register = register >> 8 ^ TABLE[(register ^ byte) & 0xFF]
    return register


def forged_blocks(count, seed):
    """Blocks that all differ and have one crc32c: the last four bytes bring it about."""
    begin = content(seed, BLOCK - 8)
    after_begin = crc(0xFFFFFFFF, begin)
    wanted = 0x12345678
    for _ in range(4):  # backwards over four bytes
        i = BY_TOP[wanted >> 24]
        wanted = (wanted ^ TABLE[i]) << 8 & 0xFFFFFFFF | i
    for number in range(count):
        middle = number.to_bytes(4, "little")
        yield begin + middle + (wanted ^ crc(after_begin, middle)).to_bytes(4, "little")


class EqualChecksums(FilesystemTest):

    size = 512 * MIB

    def fill(self, blocks, times=1):
        """16 MiB of it, in extents of 1, 8 and 64 blocks."""
        for size, count in ((1, 512 * times), (8, 128 * times), (64, 40 * times)):
            for i in range(count):
                self.fs.write(f"{size}/{i}", b"".join(next(blocks) for _ in range(size)), flush=False)

    def test_blocks_that_differ_are_not_shared_and_are_read_once(self):
        self.fill(forged_blocks(5000, "forged"))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 0)
        data = report["bytes_scanned"]
        self.assertGreater(data, 15 * MIB)
        # Each extent is compared with another one, found to differ, and left.
        self.assertLess(report["bytes_read"], 2 * data)
        self.assertEqual(self.dedupe()["bytes_read"], 0)

    def test_many_under_one_checksum_are_soon_not_read_any_more(self):
        self.fill(forged_blocks(70000, "forged"), times=14)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 0)
        self.assertGreater(report["bytes_scanned"], 200 * MIB)
        # What was on its way when the first were found to differ.
        self.assertLess(report["bytes_read"], 128 * MIB)
        self.assertLess(report["counters"]["share_differs"], 1000)


class FilesThatMove(FilesystemTest):

    def test_files_exchanged_and_replaced_while_skep_plans(self):
        """Each holds in the end what the one held that has come to its name."""
        pick = random.Random(1)
        names = [f"{i}" for i in range(200)]
        held = {}
        for i, name in enumerate(names):
            held[name] = content(i % 20, 64 * KIB)
            self.fs.write(name, held[name], flush=False)
        outside = os.path.join(self.fs.folder, "outside")
        with open(outside, "wb") as file:
            file.write(content(1, 64 * KIB))
        self.fs.sync()
        libc = ctypes.CDLL(None, use_errno=True)
        ended = threading.Event()
        moves = 0

        def in_its_place(path):
            kind = pick.randrange(3)
            if kind == 0:
                os.symlink(outside, path)
            elif kind == 1:
                os.mkfifo(path)
            else:
                os.mkdir(path)

        def move():
            nonlocal moves
            while not ended.is_set():
                one, other = pick.sample(names, 2)
                paths = [os.fsencode(self.fs.path(name)) for name in (one, other)]
                if libc.renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE):
                    raise OSError(ctypes.get_errno(), "renameat2")
                held[one], held[other] = held[other], held[one]
                moves += 1
                if moves % 10 == 0:  # something else in its place, and back
                    path = self.fs.path(one)
                    os.rename(path, path + ".away")
                    in_its_place(path)
                    time.sleep(0.0005)
                    (os.rmdir if os.path.isdir(path) and not os.path.islink(path) else os.unlink)(path)
                    os.rename(path + ".away", path)

        mover = threading.Thread(target=move)
        mover.start()
        try:
            report = self.fs.run_skep()
        finally:
            ended.set()
            mover.join()
        self.assertGreater(moves, 10)
        self.assertEqual(report["bytes_freed"], (200 - 20) * 64 * KIB)
        self.fs.remount()
        for name in names:
            self.assertEqual(harness.read_whole(self.fs.path(name)), held[name], name)
        with open(outside, "rb") as file:
            self.assertEqual(file.read(), content(1, 64 * KIB))

    def test_names_that_are_hard_to_print_or_to_open(self):
        names = ["new\nline", b"not utf-8 \xff\xfe", "x" * 255, "-rf", "\x1b[2J"]
        data = content(1, MIB)
        for name in names:
            with open(os.path.join(os.fsencode(self.fs.mnt), os.fsencode(name)), "wb") as file:
                file.write(data)
        # Deeper than a path may be long.
        here = os.open(self.fs.mnt, os.O_RDONLY | os.O_DIRECTORY)
        for _ in range(30):
            os.mkdir("d" * 200, dir_fd=here)
            below = os.open("d" * 200, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
        with open(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here), "wb") as file:
            file.write(data)
        os.close(here)
        self.fs.sync()
        report = self.fs.run_skep()
        self.assertEqual(report["bytes_freed"], len(names) * MIB)
        for name in names:
            with open(os.path.join(os.fsencode(self.fs.mnt), os.fsencode(name)), "rb") as file:
                self.assertEqual(file.read(), data)


if __name__ == "__main__":
    harness.main()
