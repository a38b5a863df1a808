# SPDX-License-Identifier: MIT
"""Debian's kernels, newest point releases first of all: found on the mirror that this machine uses, through an
apt configuration of their own, and unpacked into the cache.

A kernel's folder has `vmlinuz`, `modules` (what a guest loads, in that order, each named NUMBER-NAME.ko) and
`version` (the package's).
"""
import dataclasses
import gzip
import hashlib
import lzma
import pathlib
import re
import shutil
import subprocess
import time

import cache

# Of each kernel, by the name it has in the table: the suites in which it may be. The newest of all these is taken;
# backports are at times ahead of sid.
KERNELS = {
    "5.10": ("bullseye", "bullseye-security"),
    "6.1": ("bookworm", "bookworm-security"),
    "6.12": ("trixie", "trixie-security"),
    "newest": ("sid", "trixie-backports"),
}
META_PACKAGE = "linux-image-amd64"
# What a guest's root needs, what the tests' filesystems need; a kernel that has one built in has no such file.
MODULES = ("virtio_pci virtio_blk crc32c_generic crc32c_intel ext4 loop xxhash_generic blake2b_generic sha256_generic"
           " lzo lzo_compress lzo_decompress zstd_compress btrfs xfs").split()
RECIPE = hashlib.sha256(" ".join(MODULES).encode()).hexdigest()[:8]
APT_SECONDS = 600
MOST_AGE_SECONDS = 3600  # the mirror is not asked twice in an hour
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Missing(Exception):
    """A kernel that cannot be had: why."""


@dataclasses.dataclass
class Kernel:
    name: str
    folder: pathlib.Path
    note: str = ""

    @property
    def version(self):
        return (self.folder / "version").read_text(encoding="ascii").strip()


# --- the mirror ----------------------------------------------------------------------------------


def host_release():
    """The code name of this machine's Debian."""
    found = re.search(r"^VERSION_CODENAME=(\w+)$", pathlib.Path("/etc/os-release").read_text(encoding="utf-8"),
                      re.MULTILINE)
    if not found:
        raise Missing("this is no release of Debian")
    return found[1]


def host_sources():
    """{code name: address} of what this machine's apt has its packages from."""
    targets = subprocess.run(["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)"],
                             capture_output=True, text=True, check=False).stdout
    found = {}
    for line in targets.splitlines():
        name, _, address = line.partition(" ")
        if address.startswith("http"):
            found.setdefault(name, address.rstrip("/"))
    return found


def mirror():
    return host_sources().get(host_release(), "http://deb.debian.org/debian")


def security_mirror():
    """The host's own, else what lies beside its mirror."""
    if own := host_sources().get(f"{host_release()}-security"):
        return own
    if mirror() == "http://deb.debian.org/debian":
        return "http://deb.debian.org/debian-security"
    return "http://security.debian.org/debian-security"


def mirror_of(suite):
    return security_mirror() if suite.endswith("-security") else mirror()


# --- apt -----------------------------------------------------------------------------------------


class Apt:
    """apt with the suites of one kernel and nothing of this machine's but how it reaches the network."""

    def __init__(self, name):
        self.folder = cache.folder() / f"apt-{name}"
        for part in ("lists/partial", "archives/partial"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        sources = "".join(f"deb [signed-by={KEYRING}] {mirror_of(suite)} {suite} main\n" for suite in KERNELS[name])
        (self.folder / "sources.list").write_text(sources, encoding="ascii")
        # Backports would come last.
        (self.folder / "preferences").write_text("Package: *\nPin: release *\nPin-Priority: 500\n", encoding="ascii")

    def run(self, program, *arguments, cwd=None):
        settings = {"Dir::State": self.folder, "Dir::State::lists": self.folder / "lists",
                    "Dir::State::status": self.folder / "status", "Dir::Cache": self.folder,
                    "Dir::Cache::archives": self.folder / "archives",
                    "Dir::Etc::SourceList": self.folder / "sources.list", "Dir::Etc::SourceParts": "/dev/null",
                    "Dir::Etc::Preferences": self.folder / "preferences", "Dir::Etc::PreferencesParts": "/dev/null",
                    "APT::Architecture": "amd64", "APT::Architectures": "amd64", "APT::Sandbox::User": "root",
                    "APT::Get::List-Cleanup": "true", "Acquire::Languages": "none", "Acquire::Retries": "2",
                    "Acquire::http::Timeout": "30", "APT::Update::Error-Mode": "any"}
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        try:
            return subprocess.run([program, "-q", *options, *arguments], cwd=cwd, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=APT_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess([program], 1, "", f"{program}: not within {APT_SECONDS} s")

    def update(self):
        """Why the mirror cannot be asked, or None."""
        asked, sources = self.folder / "asked", self.folder / "sources.list"
        known = asked.exists() and asked.read_text(encoding="ascii") == sources.read_text(encoding="ascii")
        if known and time.time() - asked.stat().st_mtime < MOST_AGE_SECONDS:
            return None
        done = self.run("apt-get", "update")
        if done.returncode:
            return problem(done)
        shutil.copyfile(sources, asked)
        return None

    def field(self, package, name):
        """A field of the newest version of a package, or None."""
        shown = self.run("apt-cache", "show", "--no-all-versions", package).stdout
        found = re.search(rf"^{name}: (.*)$", shown, re.MULTILINE)
        return found[1] if found else None

    def depends(self, package, pattern):
        """Names of packages that this one depends on, those that match."""
        names = re.findall(r"[a-z0-9][a-z0-9.+-]+", re.sub(r"\([^)]*\)", "", self.field(package, "Depends") or ""))
        return [name for name in names if re.fullmatch(pattern, name)]


def problem(done):
    """The first line that tells why a command failed."""
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith(("E:", "W:", "Err:"))]
    return (lines or (done.stderr or done.stdout).splitlines() or [f"status {done.returncode}"])[0][:200]


# --- a kernel's folder ---------------------------------------------------------------------------


def unpacked_module(path):
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout
    return data


def module_name(path):
    return path.name.split(".ko")[0].replace("-", "_")


def copy_modules(tree, target):
    """What MODULES need and themselves, uncompressed, numbered in the order of loading."""
    files = {module_name(path): path for path in tree.rglob("*.ko*")}
    order = {}

    def add(name):
        if name in order or name not in files:
            return
        data = unpacked_module(files[name])
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in (depends[1].decode() if depends else "").split(","):
            add(other.replace("-", "_"))
        order[name] = data

    for name in MODULES:
        add(name)
    target.mkdir()
    for number, (name, data) in enumerate(order.items()):
        (target / f"{number:03}-{name}.ko").write_bytes(data)


def unpack(apt, packages, version, work):
    fetched = work / "packages"
    fetched.mkdir()
    done = apt.run("apt-get", "download", *packages, cwd=fetched)
    if done.returncode:
        raise Missing(problem(done))
    for package in fetched.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, work / "tree"], check=True)
        package.unlink()
    images = [path for path in (work / "tree").rglob("vmlinu[xz]*") if path.is_file() and not path.is_symlink()]
    if not images:
        raise Missing(f"no kernel in {' '.join(packages)}")
    result = work / "result"
    result.mkdir()
    images[0].rename(result / "vmlinuz")
    copy_modules(work / "tree", result / "modules")
    (result / "version").write_text(f"{version}\n", encoding="ascii")


def cached(name):
    """The folders of a kernel that are there, the latest made last."""
    return sorted(cache.folder().glob(f"linux-{name}_*_{RECIPE}"), key=lambda path: path.stat().st_mtime)


def get(name):
    """The newest point release of a kernel; without the mirror, the one that is in the cache."""
    apt = Apt(name)
    trouble = apt.update()
    note = f"the mirror cannot be asked ({trouble})" if trouble else ""
    try:
        image, = apt.depends(META_PACKAGE, r"linux-image-\d.*") or [None]
        version = image and apt.field(image, "Version")
        if not version:
            raise Missing(note or f"{mirror()} has no {META_PACKAGE} in {KERNELS[name][0]}")
        place = cache.folder() / f"linux-{name}_{version.replace(':', '.')}_{RECIPE}"
        if not place.exists():
            # From 7.x on the package of the image has nothing itself.
            parts = apt.depends(image, r"linux-(binary|modules)-\d.*") or [image]
            with cache.making(place, f"linux-{name}_*") as work:
                unpack(apt, parts, version, work)
    except Missing as why:
        if not (kept := cached(name)):
            raise
        place, note = kept[-1], note or str(why)
    return Kernel(name, place, note)
