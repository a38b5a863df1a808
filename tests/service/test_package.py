# SPDX-License-Identifier: MIT
"""The Debian package and the source tarball of the build under test. The package is installed, used and
removed in a Debian made by debootstrap, which is kept in the build folder for the next time."""
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import unittest

from service_harness import (Container, NoContainer, build_dir, harness, require_tools, skip_or_fail,
                             until)

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PIECE = 4 * harness.MIB
PAGES = sorted(page.name.removesuffix(".scd") for page in (ROOT / "man").glob("*.scd"))
# What a package that is removed may leave, and what runs of systemd and dpkg leave in any case.
KEPT = ("/etc/skep", "/etc/skep/skep.conf", "/var/lib/skep")
NOT_COMPARED = re.compile("/(dev|proc|run|sys|tmp|var/cache|var/lib/dpkg|var/log|etc/(passwd|group|g?shadow)-)")


def packed(folder, config, pattern, **environment):
    """The file that cpack makes."""
    done = subprocess.run(["cpack", "--config", f"{build_dir()}/{config}", "-B", folder],
                          capture_output=True, text=True, cwd=folder, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = pathlib.Path(folder).glob(pattern)
    return found


def temporary_folder(test):
    folder = tempfile.mkdtemp(prefix="skep-test-")
    test.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
    return folder


# --- a clean Debian ------------------------------------------------------------------------------


def codename():
    release = pathlib.Path("/etc/os-release").read_text()
    found = re.search(r"^VERSION_CODENAME=(\w+)$", release, re.MULTILINE)
    if not found or "\nID=debian\n" not in release:
        skip_or_fail("this is no Debian")
    return found[1]


def mirror():
    """Where this machine has its packages from."""
    targets = subprocess.run(["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)"],
                             capture_output=True, text=True).stdout
    found = re.search(rf"^{codename()} (http\S+)$", targets, re.MULTILINE)
    return found[1] if found else "http://deb.debian.org/debian"


def chroot(root, *command, check=True):
    done = subprocess.run(["chroot", root, "env", "-i", "PATH=/usr/bin:/bin:/usr/sbin:/sbin",
                           "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", *command],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if check and done.returncode:
        raise harness.HarnessError(f"{' '.join(command)}: status {done.returncode}: "
                                   f"{done.stderr}{done.stdout}")
    return done


def unpack(archive, root):
    harness.command("tar", "--extract", "--numeric-owner", "--xattrs", "-f", archive, "-C", root)


def pack(root, archive):
    for other in archive.parent.glob("debian-*.tar"):  # of other dependencies
        other.unlink()
    new = archive.with_suffix(f".{os.getpid()}")
    harness.command("tar", "--create", "--numeric-owner", "--xattrs", "-f", new, "-C", root, ".")
    os.rename(new, archive)


def make_root(root, package):
    """A minimal Debian with what the package depends on, and man."""
    done = subprocess.run(["debootstrap", "--variant=minbase", codename(), root, mirror()],
                          capture_output=True, text=True)
    if done.returncode:
        skip_or_fail(f"debootstrap: {done.stdout[-500:]}{done.stderr[-500:]}")
    shutil.copy("/etc/resolv.conf", os.path.join(root, "etc/resolv.conf"))
    shutil.copy(package, os.path.join(root, "skep.deb"))
    chroot(root, "apt-get", "-qq", "update")
    planned = chroot(root, "apt-get", "-s", "--no-install-recommends", "install", "./skep.deb",
                     "man-db").stdout
    names = re.findall(r"^Inst (\S+) ", planned, re.MULTILINE)
    assert "skep" in names, planned
    chroot(root, "apt-get", "-qq", "--no-install-recommends", "-o", "Dpkg::Options::=--force-unsafe-io",
           "install", *(name for name in names if name != "skep"))
    chroot(root, "apt-get", "clean")


def clean_root(folder, package):
    """That Debian, below the folder. Only what the package depends on makes a kept one useless."""
    root = os.path.join(folder, "root")
    os.mkdir(root)
    depends = harness.command("dpkg-deb", "--field", package, "Depends")
    of_these = hashlib.sha256(depends.encode()).hexdigest()[:12]
    kept = pathlib.Path(build_dir(), f"debian-{codename()}-{of_these}.tar")
    if kept.exists():
        unpack(kept, root)
    else:
        make_root(root, package)
        pack(root, kept)
    shutil.copy(package, os.path.join(root, "skep.deb"))
    return root


def paths(root):
    return {path for folder, folders, files in os.walk(root) for name in folders + files
            if not NOT_COMPARED.match(path := os.path.join(folder, name).removeprefix(root))}


# --- tests ---------------------------------------------------------------------------------------


class Package(harness.FilesystemTest):
    """Each test has that Debian to itself, as it was before the package came."""

    @classmethod
    def setUpClass(cls):
        harness.require_filesystem()
        require_tools("cpack", "debootstrap", "dpkg-shlibdeps", "lintian", "systemd-nspawn", "nsenter")
        folder = temporary_folder(cls)
        if harness.scratch_base() == "/dev/shm":  # one of its own: device nodes work there
            harness.command("mount", "-t", "tmpfs", "-o", "mode=755", "skep-test", folder)
            cls.addClassCleanup(harness.command, "umount", folder)
        cls.package = packed(folder, "CPackConfig.cmake", "*.deb")
        cls.base = clean_root(folder, cls.package)

    def setUp(self):
        super().setUp()
        self.container = Container(self.base)
        self.addCleanup(self.container.destroy)
        try:
            self.container.prepare()
        except NoContainer as error:
            skip_or_fail(str(error))
        self.root = self.container.root
        harness.command("mount", "-t", "proc", "proc", f"{self.root}/proc")

    def tearDown(self):
        self.container.destroy()
        super().tearDown()

    def chroot(self, *command, check=True):
        return chroot(self.root, *command, check=check)

    def write_pair(self):
        for name in ("first", "second"):
            self.fs.write(name, harness.content(name == "", PIECE))

    def test_lintian_has_nothing_to_say(self):
        said = subprocess.run(["lintian", "--allow-root", "--suppress-tags",
                               "initial-upload-closes-no-bugs",  # it is not uploaded to Debian
                               self.package], capture_output=True, text=True)
        self.assertEqual((said.returncode, said.stdout), (0, ""))

    def test_it_is_installed_used_removed_and_purged(self):
        before = paths(self.root)
        self.chroot("dpkg", "-i", "/skep.deb")
        self.assert_installed()
        self.run_once()
        self.chroot("dpkg", "-r", "skep")
        state = {f"/var/lib/skep/{self.fs.uuid()}{name}" for name in ("", "/table", "/state.json", "/history.json")}
        self.assertEqual(paths(self.root) - before, {*KEPT, *state})
        self.assertEqual(before - paths(self.root), set())
        (pathlib.Path(self.root) / f"etc/skep/{self.fs.uuid()}.conf").write_text("")
        self.chroot("dpkg", "-P", "skep")
        self.assertEqual(paths(self.root), before)

    def assert_installed(self):
        answer = call_version(self.chroot("skep", "--version").stdout)
        self.assertIn(f"_{answer}-1_", self.package.name)
        for page in PAGES:
            name, _, section = page.rpartition(".")
            self.assertIn(f"/man{section}/{page}.gz", self.chroot("man", "-w", section, name).stdout)
        for name in self.chroot("dpkg", "-L", "skep").stdout.splitlines():
            info = os.lstat(self.root + name)
            self.assertEqual((info.st_uid, info.st_gid, info.st_mode & 0o022), (0, 0, 0), name)
        for name in ("bash-completion/completions/skep", "zsh/vendor-completions/_skep",
                     "fish/vendor_completions.d/skep.fish"):
            self.assertTrue(os.path.getsize(f"{self.root}/usr/share/{name}"), name)
        self.assertRegex(self.chroot("getent", "passwd", "skep").stdout, "^skep:.*nologin$")
        self.assertEqual(self.chroot("stat", "-c", "%U %a", "/var/lib/skep").stdout, "skep 755\n")
        for unit in ("skepd@.service", "skep-once@.service", "skep-once@.timer"):
            self.assertEqual(self.chroot("systemd-analyze", "verify", f"/usr/lib/systemd/system/{unit}",
                                         check=False).stderr, "", unit)

    def run_once(self):
        self.write_pair()
        harness.command("mount", "--bind", self.fs.mnt, f"{self.root}/mnt")
        self.assertRegex(self.chroot("skep", "run", "--once", "/mnt").stdout, "freed +4.0 MiB ")
        harness.command("umount", f"{self.root}/mnt")

    def test_what_the_administrator_has_written_stays(self):
        self.chroot("dpkg", "-i", "/skep.deb")
        config = pathlib.Path(self.root, "etc/skep/skep.conf")
        config.write_text("[table]\nsize = \"2M\"\n")
        self.chroot("dpkg", "-i", "/skep.deb")
        self.chroot("dpkg", "-r", "skep")
        self.chroot("dpkg", "-i", "/skep.deb")
        self.assertEqual(config.read_text(), "[table]\nsize = \"2M\"\n")

    def test_services_go_on_after_an_upgrade_and_end_with_the_package(self):
        self.chroot("dpkg", "-i", "/skep.deb")
        harness.command("umount", f"{self.root}/proc")
        try:
            self.container.start()
        except NoContainer as error:
            skip_or_fail(str(error))
        run = self.container.run
        unit = f"skepd@{self.fs.uuid()}.service"
        link = f"/etc/systemd/system/multi-user.target.wants/{unit}"
        self.write_pair()
        used = self.fs.settled_used()
        self.container.mount(self.fs, "/mnt")
        run("systemctl", "enable", "--now", unit)
        until(lambda: self.fs.settled_used(expect=used - PIECE) == used - PIECE, "the pair is shared")
        first = run("systemctl", "show", "--property=MainPID", "--value", unit).stdout

        run("systemctl", "reload", unit)

        run("dpkg", "-i", "/skep.deb")
        self.assertEqual(run("systemctl", "is-active", unit).stdout, "active\n")
        self.assertNotEqual(run("systemctl", "show", "--property=MainPID", "--value", unit).stdout,
                            first)

        run("dpkg", "-r", "skep")
        self.assertEqual(run("systemctl", "is-active", unit, check=False).stdout, "inactive\n")
        self.assertEqual(run("pidof", "skep", check=False).stdout, "")
        self.assertEqual(run("test", "-L", link, check=False).returncode, 0)
        run("dpkg", "-P", "skep")
        self.assertEqual(run("test", "-L", link, check=False).returncode, 1)
        self.assertEqual(run("ls", "/var/lib", "/etc").stdout.count("skep"), 0)
        run("umount", "/mnt")


def call_version(text):
    return re.fullmatch(r"skep (\S+)\n", text)[1]


class Reproduction(unittest.TestCase):

    def test_one_build_gives_one_package_whenever_it_is_packed(self):
        require_tools("cpack", "dpkg-shlibdeps")
        contents = set()
        for _ in range(2):
            with tempfile.TemporaryDirectory(prefix="skep-test-") as folder:
                contents.add(packed(folder, "CPackConfig.cmake", "*.deb",
                                    SOURCE_DATE_EPOCH="1790000000").read_bytes())
        self.assertEqual(len(contents), 1)


class Tarball(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        require_tools("cpack", "cmake")
        cls.folder = temporary_folder(cls)
        cls.tarball = packed(cls.folder, "CPackSourceConfig.cmake", "*.tar.gz")

    def test_it_has_the_files_of_the_repository(self):
        if not (ROOT / ".git").exists():
            harness.skip("not in a clone")
        files = harness.command("git", "-C", ROOT, "-c", f"safe.directory={ROOT}", "ls-files")
        with tarfile.open(self.tarball) as tar:
            top = self.tarball.name.removesuffix(".tar.gz")
            packed_files = {member.name.removeprefix(top + "/") for member in tar if member.isfile()}
        self.assertLessEqual(set(files.splitlines()), packed_files)
        self.assertFalse([name for name in packed_files if name.startswith((".git/", "build/"))])

    def test_it_can_be_configured_without_a_clone(self):
        with tarfile.open(self.tarball) as tar:
            tar.extractall(self.folder)
        top = os.path.join(self.folder, self.tarball.name.removesuffix(".tar.gz"))
        done = subprocess.run(["cmake", "-S", top, "-B", f"{self.folder}/build", "-G", "Ninja"],
                              capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    harness.main()
