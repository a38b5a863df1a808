# SPDX-License-Identifier: MIT
"""What files hold: data for tests, and whether anything has changed."""
import collections
import errno
import hashlib
import os
import random
import stat
import zlib

BLOCK = 4096  # the sector size that mkfs.btrfs picks where pages are 4 KiB
KIB = 1 << 10
MIB = 1 << 20

FileState = collections.namedtuple("FileState",
                                   "inode mode links uid gid size mtime_ns ctime_ns content")


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
