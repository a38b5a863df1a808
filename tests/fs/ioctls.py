# SPDX-License-Identifier: MIT
"""What the kernel tells of a file's extents, and what it does to them when it is asked to."""
import array
import collections
import ctypes
import fcntl
import mmap
import os
import struct

from contents import BLOCK

FS_IOC_FIEMAP = 0xC020660B
FIEMAP_FLAG_SYNC = 0x1
FIEMAP_EXTENT_ENCODED = 0x8
FIEMAP_EXTENT_DATA_INLINE = 0x200
FIEMAP_EXTENT_UNWRITTEN = 0x800
FIEMAP_EXTENT_SHARED = 0x2000
FICLONERANGE = 0x4020940D
FIDEDUPERANGE = 0xC0189436
BTRFS_IOC_TREE_SEARCH_V2 = 0xC0709411
BTRFS_IOC_FS_INFO = 0x8400941F
FS_INFO_BYTES, FS_INFO_FLAGS_OFFSET, FS_INFO_GENERATION_OFFSET = 1024, 48, 56
FS_INFO_FLAG_GENERATION = 2
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
    extent_tree, extent_item = 2, 168
    return _item_exists(folder, extent_tree, address, extent_item)


def inode_is_stored(folder, number):
    """Whether the folder's subvolume has that inode, perhaps one that is deleted and in use."""
    own_tree, inode_item = 0, 1
    return _item_exists(folder, own_tree, number, inode_item)


def _item_exists(folder, tree, objectid, kind):
    most = (1 << 64) - 1
    request = array.array("B", struct.pack(
        "=7Q4I4QQ", tree, objectid, objectid, 0, most, 0, most, kind, kind, 1, 0, 0, 0, 0, 0, 4096))
    request.frombytes(bytes(4096))
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(opened, BTRFS_IOC_TREE_SEARCH_V2, request)
    finally:
        os.close(opened)
    return struct.unpack_from("=I", request, 64)[0] != 0


def generation(folder):
    """The filesystem's generation, where sysfs does not tell it (before 5.11) too."""
    info = bytearray(FS_INFO_BYTES)
    struct.pack_into("=Q", info, FS_INFO_FLAGS_OFFSET, FS_INFO_FLAG_GENERATION)
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(opened, BTRFS_IOC_FS_INFO, info)
    finally:
        os.close(opened)
    return struct.unpack_from("=Q", info, FS_INFO_GENERATION_OFFSET)[0]


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
