# SPDX-License-Identifier: MIT
"""The root that guests start from: a small Debian of this machine's release, so that a skep that was built here
runs there, as an image that is made once. What belongs to the clone is not in it (see initrd.py)."""
import hashlib
import os
import re
import subprocess

import cache
import packages

TOOLS = "btrfs-progs e2fsprogs kmod mount python3-minimal python3 strace util-linux xfsprogs".split()
IMAGE_BYTES = 2 << 30  # sparse
NOT_NEEDED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/lib/apt/lists")
DEBOOTSTRAP_SECONDS = 1200


class CannotMake(Exception):
    """Why there is no root."""


def run(*command, seconds=DEBOOTSTRAP_SECONDS):
    try:
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise CannotMake(f"{command[0]}: not within {seconds} s") from None
    if done.returncode:
        raise CannotMake(f"{command[0]}: {(done.stderr + done.stdout).strip()[-1000:]}")
    return done.stdout


def owners(paths):
    """The packages that files of this machine belong to."""
    # dpkg knows a file by the path that its package has, with or without /usr.
    known = {path: {real := os.path.realpath(path), real.removeprefix("/usr"), f"/usr{real}"} for path in paths}
    said = subprocess.run(["dpkg-query", "--search", *sorted(set().union(*known.values()))], capture_output=True,
                          text=True, check=False).stdout
    of = dict(reversed(line.split(": ", 1)) for line in said.splitlines() if ": " in line)
    names = set()
    for path, others in known.items():
        found = [of[other] for other in others if other in of]
        if not found:
            raise CannotMake(f"no package of this machine has {path}, which skep needs")
        names.add(re.split("[:,]", found[0])[0])
    return names


def libraries(program):
    """The packages with the libraries of a program."""
    return owners(re.findall(r"(?:=> )?(/\S+) \(0x", run("ldd", program)))


def get(program):
    """The image of a root in which the program runs."""
    release = packages.host_release()
    wanted = sorted({*TOOLS, *libraries(program)})
    of_these = hashlib.sha256(" ".join(wanted).encode()).hexdigest()[:12]
    place = cache.folder() / f"root-{release}-{of_these}.ext4"
    if not place.exists():
        with cache.making(place, "root-*") as work:
            make(work, release, wanted)
    return place


def make(work, release, wanted):
    root, image = work / "root", work / "result"
    settings = root / "etc/dpkg/dpkg.cfg.d"
    settings.mkdir(parents=True)
    (settings / "unsafe-io").write_text("force-unsafe-io\n", encoding="ascii")  # what is half done is thrown away
    run("debootstrap", "--variant=minbase", f"--include={','.join(wanted)}", release, root, packages.mirror())
    for name in NOT_NEEDED:
        cache.remove(root / name)
    (root / "payload").mkdir()
    with open(image, "wb") as file:
        file.truncate(IMAGE_BYTES)
    run("mkfs.ext4", "-q", "-O", "^has_journal,^metadata_csum", "-d", root, image)
