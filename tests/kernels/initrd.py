# SPDX-License-Identifier: MIT
"""What a guest starts with: busybox, a kernel's modules, and the payload, which is what of the clone the checks
need. An archive in cpio's "newc" form, uncompressed, since an emulated machine takes long to unpack."""
import json
import os
import pathlib
import stat

import checks

BUSYBOX = "/bin/busybox"
PAYLOAD = ("tests/fs", "tests/cli", "tests/kernels", "scripts/lib")
SCRIPTS = (".py", ".sh")

# The payload goes to memory; the root's image is only read.
INIT = """#!/bin/busybox sh
busybox mkdir -p /proc /sys /dev /new
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs dev /dev
for module in /modules/*; do busybox insmod $module || echo "cannot load $module"; done
for second in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vda ] && break; busybox sleep 1; done
busybox mount -t ext4 -o rw,noatime /dev/vda /new || { echo "no root"; busybox poweroff -f; }
busybox mount -t tmpfs payload /new/payload
busybox cp -a /payload/. /bin/busybox /new/payload/
busybox mount --move /dev /new/dev
exec busybox switch_root /new /payload/start
"""

START = """#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o size=2500m,mode=1777 tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t tracefs tracefs /sys/kernel/tracing
/payload/busybox hostname guest
/payload/busybox ip link set lo up
python3 -B /payload/clone/tests/kernels/inside.py /payload/plan.json /dev/ttyS1
/payload/busybox poweroff -f
"""


class Archive:
    """A cpio archive that is being written."""

    def __init__(self, file):
        self.file = file
        self.count = 0
        self.folders = set()

    def add(self, name, data=b"", mode=stat.S_IFREG | 0o644):
        self.add_folders(os.path.dirname(name))
        self.count += 1
        encoded = os.fsencode(name) + b"\0"
        fields = (self.count, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        self.padded(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
        self.padded(data)

    def add_folders(self, name):
        if name and name not in self.folders:
            self.folders.add(name)
            self.add(name, mode=stat.S_IFDIR | 0o755)

    def add_file(self, name, path):
        mode = os.stat(path).st_mode
        self.add(name, pathlib.Path(path).read_bytes(), stat.S_IFREG | stat.S_IMODE(mode))

    def add_script(self, name, text):
        self.add(name, text.encode(), stat.S_IFREG | 0o755)

    def finish(self):
        self.add("TRAILER!!!", mode=0)

    def padded(self, data):
        self.file.write(data + bytes(-len(data) % 4))


def write(path, kernel, clone, program, plan):
    """The initrd of a kernel that runs a plan."""
    with open(path, "wb") as file:
        archive = Archive(file)
        archive.add_file("bin/busybox", BUSYBOX)
        archive.add_folders("dev")
        archive.add_script("init", INIT)
        for module in sorted((kernel.folder / "modules").iterdir()):
            archive.add_file(f"modules/{module.name}", module)
        archive.add_script("payload/start", START)
        archive.add("payload/plan.json", json.dumps(plan).encode())
        archive.add_file(checks.SKEP.lstrip("/"), program)
        for folder in PAYLOAD:
            for source in sorted((clone / folder).glob("*")):
                if source.suffix in SCRIPTS:
                    archive.add_file(f"{checks.CLONE}/{folder}/{source.name}".lstrip("/"), source)
        archive.finish()
