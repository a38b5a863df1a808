# SPDX-License-Identifier: MIT
"""The systemd units as they are installed, before systemd's own tools. No filesystem is needed."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from service_harness import harness, install, prefix, require_tools

MAX_EXPOSURE = 2.0  # of 10
SERVICES = ("skepd@.service", "skep-once@.service")
UNITS = (*SERVICES, "skep-once@.timer")
# What the units name, or systemd adds to each. That this machine has no part in the answer, all of
# its own units are out of sight.
TARGETS = ("basic", "local-fs", "multi-user", "shutdown", "sysinit", "time-set", "time-sync",
           "timers")
# What of these one service has, the other has too.
ONLY_OF_ONE = frozenset(
    "Type ExecStart ExecReload Restart RestartSec RestartPreventExitStatus SuccessExitStatus"
    " WatchdogSec TimeoutStopSec RuntimeDirectory RuntimeDirectoryMode".split())


class Units(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        require_tools("cmake", "systemd-analyze", "systemd-sysusers", "systemd-tmpfiles")
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="skep-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        install(cls.root)
        cls.prefix = cls.root / prefix().lstrip("/")
        cls.installed = cls.prefix / "lib/systemd/system"
        # The same, but that they name the program where it is now.
        cls.units = cls.root / "units"
        cls.units.mkdir()
        for name in UNITS:
            text = (cls.installed / name).read_text()
            text = re.sub("^(ExecStart=)(?=/)", rf"\1{cls.root}", text, flags=re.MULTILINE)
            (cls.units / name).write_text(text)
        for name in TARGETS:
            (cls.units / f"{name}.target").write_text(f"[Unit]\nDescription={name}\n")

    def analyze(self, *arguments):
        """What systemd-analyze says, on either stream."""
        done = subprocess.run(["systemd-analyze", *map(str, arguments)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60,
                              env={**os.environ, "SYSTEMD_UNIT_PATH": str(self.units),
                                   "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "LC_ALL": "C.UTF-8"})
        return done.returncode, done.stdout

    def settings(self, name):
        """The lines of the [Service] section, by name."""
        section = (self.installed / name).read_text().partition("[Service]\n")[2]
        found = {}
        for line in section.partition("\n[")[0].splitlines():
            if line and not line.startswith("#"):
                key, _, value = line.partition("=")
                found.setdefault(key, []).append(value)
        return found

    def test_verify_is_silent(self):
        for name in UNITS:
            with self.subTest(unit=name):
                self.assertEqual(self.analyze("verify", "--man=no", self.units / name), (0, ""))

    def test_verify_would_not_be_silent(self):
        broken = self.units / "broken@.service"
        self.addCleanup(broken.unlink)
        for line, named in (("Bogus=1", "Bogus"), ("SystemCallFilter=no_such_call", "no_such_call"),
                            ("ExecStartPre=/no/such/program", "/no/such/program")):
            text = (self.units / "skepd@.service").read_text()
            broken.write_text(text.replace("[Service]\n", f"[Service]\n{line}\n"))
            self.assertIn(named, self.analyze("verify", "--man=no", broken)[1])

    def test_exposure(self):
        for name in SERVICES:
            with self.subTest(unit=name):
                said = self.analyze("security", "--offline=true", self.units / name)[1]
                exposure = re.search(r"Overall exposure level for .*: ([\d.]+) ", said)
                self.assertTrue(exposure, said)
                self.assertLess(float(exposure[1]), MAX_EXPOSURE, said)

    def test_units_name_the_program_that_is_installed(self):
        for name in SERVICES:
            program = self.settings(name)["ExecStart"][0].split()[0]
            path = self.root / program.lstrip("/")
            self.assertTrue(os.access(path, os.X_OK), f"{name}: {program} is not installed")
            self.assertEqual(subprocess.run([path, "--version"], capture_output=True).returncode, 0)

    def test_units_name_the_program_below_a_prefix_that_is_told_late(self):
        with tempfile.TemporaryDirectory(prefix="skep-test-") as root:
            install(root, "--prefix", "/opt/skep")
            for name in SERVICES:
                unit = pathlib.Path(root, "opt/skep/lib/systemd/system", name).read_text()
                self.assertIn("\nExecStart=/opt/skep/bin/skep run ", unit)
            self.assertTrue(os.access(f"{root}/opt/skep/bin/skep", os.X_OK))
            # Only what is not below the prefix by its nature is elsewhere.
            self.assertEqual(sorted(os.listdir(root)), ["etc", "opt"])

    def test_nothing_is_left_to_be_configured(self):
        for name in UNITS:
            self.assertNotRegex((self.installed / name).read_text(), r"@[A-Z_]+@", name)

    def test_manuals_that_units_name_are_installed(self):
        for name in UNITS:
            for page, section in re.findall(r"man:(\S+)\((\d)\)",
                                            (self.installed / name).read_text()):
                self.assertTrue(list(self.prefix.glob(f"share/man/man{section}/{page}.{section}*")),
                                f"{name} names {page}({section})")

    def test_both_services_have_the_same_sandbox(self):
        one, other = ({key: value for key, value in self.settings(name).items()
                       if key not in ONLY_OF_ONE} for name in SERVICES)
        self.assertIn("SystemCallFilter", one)
        self.assertEqual(one, other)

    def test_the_timer_is_for_the_service(self):
        self.assertIn("skep-once@.service", os.listdir(self.installed))
        when = re.search("^OnCalendar=(.*)$", (self.installed / "skep-once@.timer").read_text(),
                         re.MULTILINE)[1]
        status, said = self.analyze("calendar", when)
        self.assertEqual(status, 0, said)

    @unittest.skipIf(os.geteuid(), "users can only be made by root")
    def test_user_and_folders(self):
        for name in ("etc", "run", "var/lib"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for tool, folder in ((("systemd-sysusers",), "sysusers.d"),
                             (("systemd-tmpfiles", "--create"), "tmpfiles.d")):
            done = subprocess.run([*tool, f"--root={self.root}",
                                   self.prefix / "lib" / folder / "skep.conf"], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(done.returncode, 0, done.stdout)
            # What is told is what was made.
            for line in done.stdout.splitlines():
                self.assertRegex(line, r"^Creating (group|user) 'skep' ")
        user = next(line.split(":") for line in (self.root / "etc/passwd").read_text().splitlines()
                    if line.startswith("skep:"))
        self.assertEqual(user[4:], ["Deduplication of btrfs filesystems", "/var/lib/skep",
                                    "/usr/sbin/nologin"])
        for name in ("run/skep", "var/lib/skep"):
            made = os.stat(self.root / name)
            self.assertEqual((made.st_uid, made.st_gid, made.st_mode & 0o7777),
                             (int(user[2]), int(user[3]), 0o755), name)


if __name__ == "__main__":
    harness.main()
