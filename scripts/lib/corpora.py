# SPDX-License-Identifier: MIT
"""Sample data as people have it, with known kinds of duplication.

Each kind is a function that writes into a folder. The same kind, scale and seed give the same bytes,
and kinds that work on a source tree all work on the same one. At scale 1 a kind is 100 to 500 MiB.
"""
import os
import random

BLOCK = 4096
MIB = 1 << 20

_SYLLABLES = "ba ke lo mi nu pa re si tu va be ko li mo na pe ru sa ti vo".split()


def _write(path, *chunks):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        for chunk in chunks:
            file.write(chunk)


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def _copy(source, destination):
    _write(destination, _read(source))


def _text_lines(rng):
    """Lines to make up source files of: text, so that it compresses as text does."""
    def word():
        return "".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4)))

    return [
        f"{'  ' * rng.randint(0, 4)}{word()} = {word()}({word()}, {rng.getrandbits(rng.choice((4, 32)))});\n".encode()
        for _ in range(20_000)
    ]


def _source_tree(scale, seed):
    """The files of a source tree, as (name, content): many small ones, few large ones."""
    rng = random.Random(f"source tree {seed}")
    lines = _text_lines(rng)
    tree = []
    for number in range(int(5000 * scale)):
        count = max(3, min(20_000, int(rng.lognormvariate(5.6, 1.2))))
        name = f"part{number % 40:02}/unit{number % 7}/file{number}.c"
        tree.append((name, f"// {name}\n".encode() + b"".join(rng.choices(lines, k=count))))
    return tree


def rewrite(path, rng, count, unit):
    """Overwrites `count` units of `unit` bytes here and there in place, as a database does: what was
    there stays allocated where an extent is still used in part."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())
        units = os.path.getsize(path) // unit
        for _ in range(count):
            file.seek(rng.randrange(units) * unit)
            file.write(rng.randbytes(unit))


def copies(folder, scale, seed):
    """photos, and a backup of them"""
    rng = random.Random(f"copies {seed}")
    for number in range(int(60 * scale) or 1):
        photo = rng.randbytes(rng.randint(MIB // 2, 3 * MIB))
        _write(f"{folder}/photos/{number % 5}/p{number}.jpg", photo)
        _write(f"{folder}/backup/{number % 5}/p{number}.jpg", photo)
    # The same but for the end: the last block of a file is a case of its own.
    notes = rng.randbytes(5 * BLOCK)
    for extra in (0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1):
        tail = rng.randbytes(extra)
        _write(f"{folder}/photos/notes/n{extra}.txt", notes, tail)
        _write(f"{folder}/backup/notes/n{extra}.txt", notes, tail)


def releases(folder, scale, seed):
    """a source tree and its next two releases"""
    rng = random.Random(f"releases {seed}")
    tree = _source_tree(scale, seed)
    for release in range(3):
        for name, content in tree:
            _write(f"{folder}/1.{release}/{name}", content)
        for number in rng.sample(range(len(tree)), len(tree) // 25):
            name, content = tree[number]
            at = rng.randrange(len(content))
            tree[number] = name, content[:at] + b"// changed\n" + content[at:]


def images(folder, scale, seed):
    """two disk images that hold that tree, and one of them a day later"""
    rng = random.Random(f"images {seed}")
    tree = _source_tree(scale, seed)

    def image(path, gap):
        """The files in an order and with gaps of this image's own, as its filesystem laid them out."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            end = 0
            for _, content in rng.sample(tree, len(tree) * 9 // 10):
                at = end + rng.randrange(gap) * BLOCK
                out.seek(at)
                out.write(content)
                end = at + -(-len(content) // BLOCK) * BLOCK
            out.truncate(end)

    image(f"{folder}/one.raw", 3)
    image(f"{folder}/two.raw", 6)
    _copy(f"{folder}/one.raw", f"{folder}/one-next-day.raw")
    rewrite(f"{folder}/one-next-day.raw", rng, int(300 * scale), BLOCK)


def databases(folder, scale, seed):
    """a database's daily copies, pages changed here and there"""
    rng = random.Random(f"databases {seed}")
    pages = int(14_000 * scale)
    _write(f"{folder}/day1.db", rng.randbytes(pages * 8192))
    for day in (2, 3):
        _copy(f"{folder}/day{day - 1}.db", f"{folder}/day{day}.db")
        rewrite(f"{folder}/day{day}.db", rng, pages // 100, 8192)


def logs(folder, scale, seed):
    """three copies of a log that grows"""
    rng = random.Random(f"logs {seed}")
    lines = _text_lines(rng)
    log = b""
    for day in (1, 2, 3):
        log += b"".join(rng.choices(lines, k=int(600_000 * scale)))
        _write(f"{folder}/day{day}.log", log)


def zeros(folder, scale, seed):
    """a disk image that is mostly zeros"""
    rng = random.Random(f"zeros {seed}")
    os.makedirs(folder)
    with open(f"{folder}/fresh.raw", "wb") as file:
        for _ in range(int(100 * scale) or 1):
            file.write(bytes(MIB))
            file.write(rng.randbytes(16 * BLOCK))


def media(folder, scale, seed):
    """films, each of them there once"""
    rng = random.Random(f"media {seed}")
    for number in range(6):
        _write(f"{folder}/film{number}.mkv", rng.randbytes(int(40 * scale * MIB)))


KINDS = {kind.__name__: kind for kind in (copies, releases, images, databases, logs, zeros, media)}


def write(folder, kinds, scale, seed=1):
    """Writes each of the kinds named into a folder of that name."""
    for kind in kinds:
        KINDS[kind](os.path.join(folder, kind), scale, seed)


def distinct_bytes(folder, largest_inline=2048):
    """What of a folder's data has to be stored at least, in bytes.

    Block by block: the first of equal blocks; no zeros. The block in which a file ends can be shared
    only with others that end at the same byte. Files that fit into metadata are left out.
    """
    kept = set()
    for path, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(path, name), "rb", buffering=0) as file:
                size = os.path.getsize(file.fileno())
                if size <= largest_inline:
                    continue
                for at in range(0, size, MIB):
                    piece = os.pread(file.fileno(), MIB, at)
                    kept.update(hash(block) for start in range(0, len(piece), BLOCK)
                                if (block := piece[start:start + BLOCK]).count(0) != len(block))
    return len(kept) * BLOCK
