# SPDX-License-Identifier: MIT
"""The services under a real systemd: they start, work in their sandbox, and end."""
import json
import os
import time

from service_harness import boot, harness, until

PAIRS = 4
PIECE = 2 * harness.MIB
CAP_SYS_RESOURCE = 1 << 24


class Services(harness.FilesystemTest):
    """One container for all; each test has a filesystem, and so an instance, of its own."""

    @classmethod
    def setUpClass(cls):
        cls.container = boot()
        cls.addClassCleanup(cls.container.destroy)

    def setUp(self):
        super().setUp()
        self.run_in = self.container.run
        self.uuid = self.fs.uuid()
        self.unit = f"skepd@{self.uuid}.service"
        self.once = f"skep-once@{self.uuid}.service"
        self.mount_point = f"/mnt/{self.uuid}"
        self.config = f"etc/skep/{self.uuid}.conf"
        self.addCleanup(self.release)

    def tearDown(self):
        for unit in (self.unit, self.once):
            self.run_in("systemctl", "stop", unit)
        self.release()
        super().tearDown()

    def release(self):
        """Ends what uses the filesystem in the container, in whatever state it is."""
        for unit in (self.unit, self.once):
            self.run_in("systemctl", "kill", "--signal=KILL", unit, check=False)
            self.run_in("systemctl", "stop", unit, check=False)
        self.run_in("umount", self.mount_point, check=False)

    def mount(self):
        self.container.mount(self.fs, self.mount_point)

    def drop_in(self, *lines, section="Service"):
        """Settings for this instance alone."""
        self.container.write_inside(f"run/systemd/system/{self.unit}.d/instance.conf",
                                    "\n".join((f"[{section}]", *lines, "")))
        self.run_in("systemctl", "daemon-reload")

    def show(self, name, unit=None):
        return self.run_in("systemctl", "show", "--property", name, "--value",
                           unit or self.unit).stdout.strip()

    def journal(self, *options, unit=None):
        return self.run_in("journalctl", "--quiet", "--output=cat", "--unit", unit or self.unit,
                           *options).stdout

    def start(self):
        done = self.run_in("systemctl", "start", self.unit, check=False)
        self.assertEqual(done.returncode, 0, done.stderr + self.journal())
        self.assertEqual(self.run_in("systemctl", "is-active", self.unit).stdout, "active\n")

    def stop(self):
        began = time.monotonic()
        self.run_in("systemctl", "stop", self.unit)
        self.assertLess(time.monotonic() - began, 30)
        self.assertEqual((self.show("ActiveState"), self.show("Result"),
                          self.show("ExecMainStatus")), ("inactive", "success", "0"))

    def main_pid(self):
        return int(self.show("MainPID"))

    def status(self):
        """The run directory's status.json."""
        return json.loads(self.run_in("cat", f"/run/skep/{self.uuid}/status.json").stdout)

    def text(self):
        return self.show("StatusText")

    def wait_for_text(self, part, seconds=60):
        until(lambda: part in self.text(), lambda: f"{part!r} in {self.text()!r}; journal:\n"
              + self.journal(), seconds)

    def write_pairs(self, name):
        """Files each of which is there twice. Returns the bytes that can be freed."""
        for i in range(PAIRS):
            for copy in ("first", "second"):
                self.fs.write(f"{name}/{copy}{i}", harness.content(f"{name} {i}", PIECE))
        return PAIRS * PIECE

    def wait_for_used(self, expected):
        until(lambda: self.fs.settled_used(expect=expected) == expected,
              lambda: f"{expected} bytes used, but {self.fs.used()}; {self.text()}; journal:\n"
              + self.journal())

    def assert_frees(self, name, act):
        """Duplicates that are written before `act` are shared after it; nothing else changes."""
        freed = self.write_pairs(name)
        used = self.fs.settled_used()
        before = harness.snapshot(self.fs.mnt)
        act()
        self.wait_for_used(used - freed)
        self.assert_same_contents(before, harness.snapshot(self.fs.mnt))

    def assert_no_complaint(self, unit=None):
        """Neither skep nor systemd has anything to say about the unit that is not fine."""
        self.assertEqual(self.journal("--priority=warning", unit=unit), "")

    def test_it_dedupes_what_is_there_and_what_comes(self):
        self.mount()
        self.assert_frees("there", self.start)
        self.wait_for_text("Nothing to do; 8.0 MiB freed")
        self.assert_frees("later", lambda: None)
        self.wait_for_text("Nothing to do; 16 MiB freed")
        self.assertEqual(self.show("NRestarts"), "0")
        self.stop()
        self.assert_no_complaint()
        self.assertIn("freed 8.0 MiB", self.journal())

    def test_it_runs_as_its_user_with_its_capabilities_alone(self):
        self.mount()
        self.start()
        process = self.run_in("cat", f"/proc/{self.main_pid()}/status").stdout
        fields = dict(line.split(":\t", 1) for line in process.splitlines() if ":\t" in line)
        user, group = self.run_in("getent", "passwd", "skep").stdout.split(":")[2:4]
        self.assertNotEqual(user, "0")
        self.assertEqual(fields["Uid"].split(), [user] * 4)
        self.assertEqual(fields["Gid"].split(), [group] * 4)
        allowed = sum(1 << number for number in (2, 3, 21))  # DAC_READ_SEARCH, FOWNER, SYS_ADMIN
        for kind in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(fields[kind], 16), allowed, kind)
        self.assertEqual((fields["NoNewPrivs"], fields["Seccomp"]), ("1", "2"))
        for parent, mode in (("/var/lib/skep", "700"), ("/run/skep", "755")):
            folder = f"{parent}/{self.uuid}"
            self.assertEqual(self.run_in("stat", "-c", "%U:%G %a", folder).stdout.strip(),
                             f"skep:skep {mode}", folder)
        self.stop()

    def test_it_waits_for_the_mount(self):
        self.start()
        self.wait_for_text("Not mounted; waiting")
        # Its mount namespace is made; what is mounted later has to get there.
        self.assert_frees("there", self.mount)
        self.stop()
        self.assert_no_complaint()

    def test_unmounting_while_it_has_nothing_to_do(self):
        self.mount()
        self.assert_frees("there", self.start)
        self.wait_for_text("Nothing to do")
        self.run_in("umount", self.mount_point)
        self.wait_for_text("Not mounted; waiting")
        self.stop()
        self.assert_no_complaint()

    def test_it_is_started_again_after_a_kill(self):
        self.mount()
        self.assert_frees("there", self.start)
        killed = self.main_pid()
        self.run_in("kill", "-KILL", killed)
        until(lambda: self.show("ActiveState") == "active" and self.main_pid() not in (0, killed),
              lambda: self.run_in("systemctl", "status", self.unit, check=False).stdout)
        self.assertEqual(self.show("NRestarts"), "1")
        self.assert_frees("later", lambda: None)
        self.stop()

    def test_a_kill_in_the_middle_of_work(self):
        for i in range(12):  # whatever it is doing then
            self.fs.write(f"many/{i}", harness.content(i % 3, 8 * harness.MIB))
        used = self.fs.settled_used()
        before = harness.snapshot(self.fs.mnt)
        self.mount()
        for delay in (0, 0.1, 0.3):
            self.run_in("systemctl", "reset-failed", self.unit, check=False)
            self.start()
            time.sleep(delay)
            self.run_in("systemctl", "kill", "--signal=KILL", self.unit)
            until(lambda: self.show("NRestarts") == "1" and self.show("ActiveState") == "active",
                  lambda: self.run_in("systemctl", "status", self.unit, check=False).stdout)
            self.run_in("systemctl", "stop", self.unit)
        self.start()
        self.wait_for_used(used - 9 * 8 * harness.MIB)
        self.assert_same_contents(before, harness.snapshot(self.fs.mnt))
        self.stop()

    def test_reload(self):
        self.mount()
        self.start()
        self.wait_for_text("Nothing to do")
        main = self.main_pid()
        # An hour that is not now, whatever the time zone.
        now = int(self.run_in("date", "+%H").stdout)
        hours = f"{(now + 6) % 24:02}:00-{(now + 7) % 24:02}:00"
        self.container.write_inside(self.config, f'[throttle]\nhours = "{hours}"\n')
        self.run_in("systemctl", "reload", self.unit)
        self.wait_for_text("Waiting: ")
        self.assertEqual(self.status()["hold"], "hours")
        self.container.write_inside(self.config, "[throttle]\nhours = 1\n")
        self.run_in("systemctl", "reload", self.unit)
        until(lambda: "the settings stay as they were" in self.journal("--priority=err"),
              self.journal)
        self.assertEqual(self.status()["hold"], "hours")
        self.container.write_inside(self.config, "")
        self.run_in("systemctl", "reload", self.unit)
        self.wait_for_text("Nothing to do")
        self.assert_frees("later", lambda: None)
        self.assertEqual(self.main_pid(), main)
        self.stop()

    def test_a_stop_in_the_middle_of_work(self):
        for i in range(12):
            self.fs.write(f"many/{i}", harness.content(i % 3, 8 * harness.MIB))
        self.mount()
        self.start()
        self.stop()
        self.assert_no_complaint()
        self.start()
        self.stop()

    def test_a_wrong_configuration_is_not_tried_again(self):
        self.mount()
        self.container.write_inside(self.config, "[throttle]\nhours = 1\n")
        self.assertNotEqual(self.run_in("systemctl", "start", self.unit, check=False).returncode, 0)
        self.assertEqual((self.show("ActiveState"), self.show("ExecMainStatus"),
                          self.show("NRestarts")), ("failed", "2", "0"))
        self.assertIn(self.config, self.journal())
        self.container.write_inside(self.config, "")

    def test_metrics_as_the_manual_has_them(self):
        folder = f"srv/{self.uuid}"
        self.run_in("install", "--directory", "--owner=skep", f"/{folder}")
        self.drop_in(f"ReadWritePaths=/{folder}")
        self.container.write_inside(self.config, f'[metrics]\ndir = "/{folder}"\n')
        self.mount()
        self.start()
        until(lambda: self.run_in("ls", f"/{folder}").stdout.endswith(".prom\n"), self.journal)
        self.stop()
        self.assert_no_complaint()

    def test_locked_memory_as_the_manual_has_it(self):
        if not self.container.capabilities() & CAP_SYS_RESOURCE:
            self.skipTest("no limit can be raised here")
        self.drop_in("LimitMEMLOCK=infinity")
        self.container.write_inside(self.config, "[service]\nlock_memory = true\n")
        self.mount()
        self.assert_frees("there", self.start)
        locked = self.run_in("grep", "VmLck", f"/proc/{self.main_pid()}/status").stdout.split()[1]
        self.assertGreater(int(locked), 0)
        self.stop()
        self.assert_no_complaint()

    def test_locked_memory_that_is_not_permitted(self):
        self.drop_in("LimitMEMLOCK=64K", "Restart=no")
        self.container.write_inside(self.config, "[service]\nlock_memory = true\n")
        self.assertNotEqual(self.run_in("systemctl", "start", self.unit, check=False).returncode, 0)
        self.assertEqual(self.show("ExecMainStatus"), "1")
        self.assertIn("LimitMEMLOCK", self.journal("--priority=err"))

    def test_bound_to_a_mount_unit_as_the_manual_has_it(self):
        self.mount()
        unit = self.run_in("systemd-escape", "--path", "--suffix=mount",
                           self.mount_point).stdout.strip()
        until(lambda: self.show("ActiveState", unit) == "active", f"{unit} is active")
        self.drop_in(f"BindsTo={unit}", f"After={unit}", section="Unit")
        self.assert_frees("there", self.start)
        self.run_in("systemctl", "stop", unit)
        until(lambda: self.show("ActiveState") == "inactive", lambda: self.show("ActiveState"))
        self.assertEqual(self.show("Result"), "success")
        self.assertNotEqual(
            self.run_in("mountpoint", "--quiet", self.mount_point, check=False).returncode, 0)

    def test_no_haste_where_sysfs_is_out_of_sight(self):
        self.drop_in("InaccessiblePaths=/sys/fs/btrfs")
        self.mount()
        self.start()
        time.sleep(3)
        user, system = self.run_in("cat", f"/proc/{self.main_pid()}/stat").stdout.split()[13:15]
        self.assertLess((int(user) + int(system)) / os.sysconf("SC_CLK_TCK"), 1)

    def test_status_pause_and_resume_from_outside(self):
        self.mount()
        self.start()
        self.wait_for_text("Nothing to do")
        self.assertIn(self.uuid, self.run_in("skep", "status").stdout)
        self.run_in("setpriv", "--reuid=65534", "--clear-groups", "skep", "status")
        self.run_in("skep", "pause", self.uuid)
        self.wait_for_text("Waiting: paused")
        self.run_in("skep", "resume", self.uuid)
        self.wait_for_text("Nothing to do")
        self.stop()

    def test_once(self):
        self.mount()
        self.assert_frees("there", lambda: self.run_in("systemctl", "start", self.once))
        self.assertEqual((self.show("Result", self.once), self.show("ExecMainStatus", self.once)),
                         ("success", "0"))
        self.assert_no_complaint(self.once)
        # Both use one state: each ends the other.
        self.start()
        self.run_in("systemctl", "start", self.once)
        self.assertEqual(self.show("ActiveState"), "inactive")
        self.assertEqual(self.show("Result"), "success")

    def test_timer(self):
        timer = f"skep-once@{self.uuid}.timer"
        self.run_in("systemctl", "start", timer)
        self.assertEqual(self.show("ActiveState", timer), "active")
        self.assertEqual(self.show("Unit", timer), self.once)
        self.assertTrue(self.show("NextElapseUSecRealtime", timer))
        self.run_in("systemctl", "stop", timer)


if __name__ == "__main__":
    harness.main()
