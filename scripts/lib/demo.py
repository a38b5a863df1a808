# SPDX-License-Identifier: MIT
"""The part of scripts/demo that comes after the build: demo.py SKEP-PROGRAM."""
import json
import os
import random
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import corpora  # noqa: E402
import loopback  # noqa: E402
from loopback import Failure  # noqa: E402

IMAGE_SIZE = 3 << 30
SCALE = 0.2
MIB = 1 << 20
BOLD, PLAIN = ("\033[1m", "\033[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("", "")


def say(text=""):
    print(text, flush=True)


def heading(text):
    say(f"\n{BOLD}{text}{PLAIN}")


def write_samples(root):
    """Fills a fresh filesystem, one folder a kind, and takes a snapshot. Returns {folder: description}."""
    data = f"{root}/data"
    loopback.run("btrfs", "subvolume", "create", data)
    corpora.write(data, corpora.KINDS, SCALE)
    os.sync()
    loopback.run("btrfs", "subvolume", "snapshot", "-r", data, f"{root}/snapshot")
    # What is live goes on, and parts from its snapshot.
    corpora.rewrite(f"{data}/databases/day3.db", random.Random(1), int(1000 * SCALE), 8192)
    folders = {f"data/{name}": kind.__doc__ for name, kind in corpora.KINDS.items()}
    folders["snapshot"] = "all of it, read-only, before day3.db changed"
    return folders


class Usage:
    """What a filesystem's folders store; every stored block counts once, in the first folder with it."""

    def __init__(self, filesystem, folders):
        filesystem.settle()
        self.total = filesystem.used()
        self.files, self.size, self.stored = {}, {}, {}
        seen = set()
        for folder in folders:
            self.files[folder] = self.size[folder] = 0
            before = len(seen)
            for path in loopback.walk_files(f"{filesystem.mount_point}/{folder}"):
                self.files[folder] += 1
                self.size[folder] += os.path.getsize(path)
                for address, length in loopback.stored_ranges(path):
                    seen.update(range(address // corpora.BLOCK, (address + length) // corpora.BLOCK))
            self.stored[folder] = (len(seen) - before) * corpora.BLOCK
        self.unreachable = self.total["data"] - len(seen) * corpora.BLOCK


def where_it_went(folders, before, after):
    def row(name, files, was, now, note=""):
        say(f"  {name:<16}{files:>8}{was / MIB:>10.1f}{now / MIB:>10.1f}{(was - now) / MIB:>10.1f}   {note}".rstrip())

    say(f"  {'MiB stored':<16}{'files':>8}{'before':>10}{'after':>10}{'freed':>10}")
    for folder in folders:
        row(folder, before.files[folder], before.stored[folder], after.stored[folder])
    row("unreachable", "", before.unreachable, after.unreachable, "parts of extents that no file uses any more")
    row("metadata", "", before.total["metadata"], after.total["metadata"], "each block of it stored twice")
    row("total", sum(before.files.values()), sum(before.total.values()), sum(after.total.values()))


def check_same(root, before):
    now = loopback.fingerprints(root)
    if changed := sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path)):
        raise Failure(f"{len(changed)} files are not as before, the first of them {changed[0]}")
    say(f"  {len(now)} files, {sum(size for _, size, *_ in now.values()) / MIB:.0f} MiB: all as before")


def run_skep(program, filesystem, state, json_wanted=False):
    """Runs skep; it shows its own progress and summary, or returns its result as an object."""
    command = [program, "run", "--once", "--state-dir", state, *(["--json", "--quiet"] if json_wanted else []),
               filesystem.mount_point]
    say(f"  $ {' '.join(['skep', *command[1:]])}\n")
    start = time.monotonic()
    with loopback.started(command, stdout=subprocess.PIPE if json_wanted else None) as process:
        output, _ = process.communicate()
    if process.returncode:
        raise Failure(f"skep failed with status {process.returncode}")
    return json.loads(output) if json_wanted else None, time.monotonic() - start


def demonstrate(program, filesystem, work):
    heading("Sample data")
    folders = write_samples(filesystem.mount_point)
    before = Usage(filesystem, folders)
    expected = loopback.fingerprints(filesystem.mount_point)
    for folder, description in folders.items():
        say(f"  {folder:<16}{before.files[folder]:>6} files{before.size[folder] / MIB:>8.0f} MiB   {description}")
    loopback.drop_caches()

    heading("Deduplicate")
    _, seconds = run_skep(program, filesystem, f"{work}/state")
    after = Usage(filesystem, folders)

    heading(f"Where it went, in {seconds:.1f} s")
    where_it_went(folders, before, after)

    heading("Nothing but space has changed")
    loopback.drop_caches()
    check_same(filesystem.mount_point, expected)

    heading("A second run finds nothing left to do")
    result, seconds = run_skep(program, filesystem, f"{work}/state", json_wanted=True)
    say(f"  freed {result['bytes_freed']} bytes, copied {result['bytes_copied']}, in {seconds:.1f} s")
    if result["bytes_freed"] or result["bytes_copied"]:
        raise Failure("the first run left something that the second one found")
    if sum(after.total.values()) >= sum(before.total.values()):
        raise Failure("no space was freed")


def main():
    loopback.fail_in_one_line("demo")
    loopback.stop_on_signals()
    program = os.path.abspath(sys.argv[1])
    with loopback.Workspace() as work:
        image = f"{work}/disk.img"
        loopback.make_image(image, IMAGE_SIZE)
        with loopback.Loopback(image, f"{work}/mnt") as filesystem:
            heading("A new btrfs on a loop device")
            say(f"  {filesystem.device}, {IMAGE_SIZE >> 30} GiB (a sparse file), on {filesystem.mount_point}")
            demonstrate(program, filesystem, work)
            filesystem.detach()
            loopback.run("btrfs", "check", image)
    say(f"\n{BOLD}Done:{PLAIN} btrfs check is clean; the loop device and its files are gone again.")


if __name__ == "__main__":
    main()
