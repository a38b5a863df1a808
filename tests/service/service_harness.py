# SPDX-License-Identifier: MIT
"""What the tests of the systemd units share: the project installed below a folder, and a container
whose init is systemd.

Environment, besides that of tests/fs/harness.py:
  SKEP_BUILD_DIR  the build that is installed
"""
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "fs"))

import harness  # noqa: E402, found through the line above

BOOT_SECONDS = 60
COMMAND_SECONDS = 60


def required():
    return bool(os.environ.get("CI")) or os.environ.get("SKEP_REQUIRE_FS") == "1"


def skip_or_fail(reason):
    """Ends the calling test: where these tests are required it fails, elsewhere it skips."""
    if required():
        raise AssertionError(f"tests of the service are required, but: {reason}")
    raise unittest.SkipTest(reason)


def require_tools(*names):
    for name in names:
        if not shutil.which(name):
            skip_or_fail(f"{name} is not installed")


def until(condition, what, seconds=60, each=0.1):
    """Waits until the condition holds; returns what it returned."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(each)


# --- installation --------------------------------------------------------------------------------


def build_dir():
    path = os.environ.get("SKEP_BUILD_DIR")
    if not path:
        raise harness.HarnessError("SKEP_BUILD_DIR names no build: set it to the one under test")
    return os.path.abspath(path)


def prefix():
    """The prefix that the build was configured for: the units name the program below it."""
    for line in pathlib.Path(build_dir(), "CMakeCache.txt").read_text().splitlines():
        if line.startswith("CMAKE_INSTALL_PREFIX:"):
            return line.partition("=")[2]
    raise harness.HarnessError(f"{build_dir()}/CMakeCache.txt has no CMAKE_INSTALL_PREFIX")


def install(root, *options):
    """Installs the project as if `root` were /."""
    done = subprocess.run(["cmake", "--install", build_dir(), "--strip", *options],
                          capture_output=True, text=True,
                          env={**os.environ, "DESTDIR": str(root)})
    if done.returncode:
        raise harness.HarnessError(f"cmake --install: {done.stdout}{done.stderr}")


# --- container -----------------------------------------------------------------------------------


class NoContainer(Exception):
    """This machine cannot run one."""


class Container:
    """A container over a copy-on-write view of this machine's own files, or those below `base`, in
    which systemd runs up to basic.target and nothing else is started. Call start() and, whatever
    happens, destroy(). Between prepare() and start() files can be put below `root`.

    Each container has control groups of its own, and neither machined nor D-Bus is needed: commands
    enter its namespaces."""

    _numbers = itertools.count()

    def __init__(self, base="/"):
        self.base = base
        self.folder = None
        self.process = None
        self.leader = None
        self.groups = []

    def prepare(self):
        harness._live.insert(0, self)  # it goes before the filesystems that it uses
        self.name = f"skep-test-{os.getpid()}-{next(self._numbers)}"
        self.folder = os.path.join(harness.scratch_base(), self.name)
        self.root = os.path.join(self.folder, "root")
        self.log = os.path.join(self.folder, "log")
        for name in ("", "root", "upper", "work"):
            os.mkdir(os.path.join(self.folder, name), 0o755)
        options = f"lowerdir={self.base},upperdir={self.folder}/upper,workdir={self.folder}/work"
        try:
            harness.command("mount", "-t", "overlay", "-o", options, "overlay", self.root)
        except harness.HarnessError as error:
            raise NoContainer(f"no overlay of {self.base}: {error}") from None
        self.write("etc/fstab", "")
        self.write("etc/machine-id", "")
        for unit in ("dbus.service", "dbus.socket", "systemd-logind.service",
                     "systemd-networkd.service", "systemd-networkd.socket",
                     "systemd-resolved.service", "systemd-timesyncd.service",
                     "systemd-udevd.service", "systemd-udev-trigger.service", "tmp.mount",
                     "systemd-firstboot.service", "systemd-journal-flush.service"):
            self.mask(unit)
        # Whatever else this machine starts before basic.target.
        for target in ("sysinit.target", "sockets.target", "timers.target", "paths.target",
                       "local-fs.target", "basic.target"):
            wants = os.path.join(self.root, "etc/systemd/system", target + ".wants")
            if os.path.isdir(wants):
                for unit in os.listdir(wants):
                    self.mask(unit)

    def write(self, name, text):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)
        pathlib.Path(path).write_text(text)

    def mask(self, unit):
        path = os.path.join(self.root, "etc/systemd/system", unit)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink("/dev/null", path)

    def start(self):
        self._make_groups()
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--boot", "--directory", self.root,
                 "--machine", self.name, "--register=no", "--keep-unit", "--link-journal=no",
                 "--resolv-conf=off", "--timezone=off", "--console=pipe",
                 "--private-network", "--capability=all",
                 "--bind-ro=/sys/fs/btrfs",  # of /sys a container has little by itself
                 "--system-call-filter=open_by_handle_at open_tree move_mount mount_setattr",
                 "systemd.unit=basic.target"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=self._enter_groups)
        try:
            self.leader = until(self._find_leader, "systemd runs", BOOT_SECONDS)
            until(self._is_up, lambda: self.run("systemctl", "list-jobs", check=False).stdout,
                  BOOT_SECONDS)
        except (AssertionError, ProcessLookupError) as error:
            raise NoContainer(f"systemd-nspawn does not boot: {error}\n"
                              f"{pathlib.Path(self.log).read_text(errors='replace')[-2000:]}"
                              ) from None

    def _make_groups(self):
        """A group in each hierarchy that systemd itself uses."""
        mounts = [line.split() for line in harness.mount_table() if " - cgroup" in line]
        for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for fields in mounts:
                kind, options = fields[fields.index("-") + 1], fields[-1].split(",")
                if (kind == "cgroup2" and not controllers) or (
                        kind == "cgroup" and controllers == "name=systemd"
                        and controllers in options):
                    below = os.path.relpath(path, fields[3])
                    group = os.path.normpath(os.path.join(fields[4], below, self.name))
                    os.mkdir(group)
                    self.groups.append(group)
                    break

    def _enter_groups(self):
        for group in self.groups:
            with open(os.path.join(group, "cgroup.procs"), "w") as procs:
                procs.write("0")

    def _find_leader(self):
        """The container's init, by the number that it has here."""
        if self.process.poll() is not None:
            raise ProcessLookupError(f"exit status {self.process.returncode}")
        for status in pathlib.Path("/proc").glob("[0-9]*/status"):
            try:
                text = status.read_text()
            except OSError:  # ended meanwhile
                continue
            if (f"\nPPid:\t{self.process.pid}\n" in text and "\nName:\tsystemd\n" in "\n" + text
                    and "\nNSpid:" in text
                    and text.partition("\nNSpid:")[2].splitlines()[0].split()[1:] == ["1"]):
                return int(status.parent.name)
        return None

    def _is_up(self):
        if self.process.poll() is not None:
            raise ProcessLookupError(f"exit status {self.process.returncode}")
        return self.run("systemctl", "is-active", "basic.target", check=False).stdout == "active\n"

    def run(self, *arguments, check=True):
        """Runs a command as root in the container."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.leader), "--mount", "--uts", "--ipc", "--net", "--pid",
             "--", "env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
             *map(str, arguments)], cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=COMMAND_SECONDS)
        if check and done.returncode:
            raise harness.HarnessError(f"{' '.join(map(str, arguments))}: status "
                                       f"{done.returncode}: {done.stderr}{done.stdout}")
        return done

    def capabilities(self):
        """Those of its init, as bits."""
        status = pathlib.Path(f"/proc/{self.leader}/status").read_text()
        return int(status.partition("\nCapEff:")[2].split()[0], 16)

    def write_inside(self, name, text):
        """Writes a file while the container runs."""
        self.run("mkdir", "-p", os.path.dirname(f"/{name}"))
        self.run("sh", "-c", 'printf %s "$1" >"$2"', "sh", text, f"/{name}")

    def mount(self, filesystem, mount_point):
        """Mounts a LoopFilesystem in the container too."""
        node = f"/dev/{os.path.basename(filesystem.loop)}"
        number = os.stat(filesystem.loop).st_rdev
        self.run("mkdir", "-p", mount_point)
        self.run("rm", "-f", node)
        self.run("mknod", node, "b", os.major(number), os.minor(number))
        self.run("mount", "-t", "btrfs", "-o", filesystem.mount_options, node, mount_point)

    def destroy(self):
        """Ends all of it, whatever state it is in. Never raises; may be called twice."""
        if self.process and self.process.poll() is None:
            for pid in (self.leader, self.process.pid):
                try:
                    if pid:
                        os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                try:
                    self.process.wait(5)  # it takes its leftovers away
                    break
                except subprocess.TimeoutExpired:
                    pass
            self.process.wait()
        self.leader = None
        if self.folder:
            for mount_point in reversed(harness.mount_points_below(self.folder)):
                subprocess.run(["umount", mount_point], capture_output=True)
            if not os.path.ismount(self.root):
                shutil.rmtree(self.folder, ignore_errors=True)
            try:
                os.rmdir(f"/run/systemd/nspawn/propagate/{self.name}")
            except OSError:
                pass
        for group in self.groups:
            for _ in range(50):  # the kernel takes a moment to see that it is empty
                for folder, _, _ in os.walk(group, topdown=False):
                    try:
                        os.rmdir(folder)
                    except OSError:
                        pass
                if not os.path.exists(group):
                    break
                time.sleep(0.1)
        self.groups = []
        if self in harness._live:
            harness._live.remove(self)


_cannot = None  # why there is no container, once that is known


def boot():
    """A container with the project installed, or a test that skips."""
    global _cannot
    if _cannot:
        skip_or_fail(_cannot)
    harness.require_filesystem()
    require_tools("cmake", "systemd-nspawn", "nsenter")
    container = Container()
    try:
        container.prepare()
        install(container.root)
        # Only what takes long.
        container.write("etc/systemd/system/skepd@.service.d/test.conf",
                        "[Service]\nRestartSec=1s\n")
        container.start()
        return container
    except NoContainer as error:
        _cannot = str(error)
        container.destroy()
        skip_or_fail(_cannot)
    except BaseException:
        container.destroy()
        raise
