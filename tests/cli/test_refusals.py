# SPDX-License-Identifier: MIT
"""What skep refuses to work on: with which status, in one line, and before it changes anything."""
import os
import shutil
import signal
import stat
import time

from cli_harness import (DONE, FAILED, UNSUPPORTED, WRONG_CALL, SharedFilesystem, call, harness)

NOBODY = 65534


class Targets(SharedFilesystem):

    def tearDown(self):
        """Whatever was refused, nothing was shared."""
        for name in ("first", "second"):
            for extent in harness.extents(self.fs.path(f"folder/{name}")):
                self.assertFalse(extent.flags & harness.FIEMAP_EXTENT_SHARED)

    def test_no_such_path(self):
        path = self.fs.path("missing")
        self.assert_refused(self.run_once(target=path), WRONG_CALL, path)

    def test_a_folder_that_is_no_mount_point(self):
        path = self.fs.path("folder")
        self.assert_refused(self.run_once(target=path), WRONG_CALL, path, "mount")

    def test_a_folder_in_a_subvolume(self):
        path = os.path.join(self.fs.subvolume("outer"), "folder")
        os.mkdir(path)
        self.assert_refused(self.run_once(target=path), WRONG_CALL, path, "mount")

    def test_a_subvolume_that_is_no_mount_point_and_is_to_be_followed(self):
        path = self.fs.subvolume("volume")
        answer = call("run", "--state-dir", self.state(), path)
        self.assert_refused(answer, WRONG_CALL, path, "--once", "--include-subvol")

    def test_a_scan_of_nothing(self):
        self.assert_refused(call("scan"), WRONG_CALL, "scan --help")
        path = self.fs.path("folder")
        self.assert_refused(call("scan", "--state-dir", self.state(), path), WRONG_CALL, path)

    def test_a_file(self):
        path = self.fs.path("folder/first")
        self.assert_refused(self.run_once(target=path), WRONG_CALL, path)

    def test_a_device(self):
        self.assert_refused(self.run_once(target=self.fs.loop), WRONG_CALL, self.fs.loop)

    def test_an_empty_name(self):
        self.assertEqual(self.run_once("", target="").status, WRONG_CALL)

    def test_another_kind_of_filesystem(self):
        self.assert_refused(self.run_once(target="/proc"), UNSUPPORTED, "/proc", "btrfs")

    def test_a_filesystem_mounted_read_only(self):
        self.fs.remount("noatime,ro")
        try:
            self.assert_refused(self.run_once(), UNSUPPORTED, self.fs.mnt, "read-only")
        finally:
            self.fs.remount()

    def test_a_kernel_known_to_be_bad(self):
        answer = self.run_once(prefix=("setarch", "--uname-2.6"))
        self.assert_refused(answer, UNSUPPORTED, "kernel", "2.6")

    def test_no_privilege(self):
        binary = shutil.copy(harness.skep_binary(), os.path.join(self.fs.folder, "skep"))
        os.chmod(binary, 0o755)
        state = self.state()
        os.mkdir(state)
        os.chown(state, NOBODY, NOBODY)
        answer = self.run_once(binary=binary, state=state, user=NOBODY, group=NOBODY,
                               extra_groups=[])
        self.assert_refused(answer, UNSUPPORTED, "root")

    def test_each_capability_is_needed(self):
        for capability in ("sys_admin", "dac_read_search"):
            with self.subTest(capability=capability):
                answer = self.run_once(prefix=("setpriv", f"--bounding-set=-{capability}"))
                self.assert_refused(answer, UNSUPPORTED, f"cap_{capability}")


class TableSizes(SharedFilesystem):

    def test_no_table_at_all(self):
        self.assert_refused(self.run_once("--table-size", "0"), WRONG_CALL, "table", "0")

    def test_a_table_that_holds_no_page(self):
        self.assert_refused(self.run_once("--table-size", "1K"), WRONG_CALL, "table", "1K")

    def test_a_table_larger_than_the_room_for_it(self):
        state = self.state()
        os.mkdir(state)
        answer = self.run_once("--table-size", "1000000T", state=state)
        self.assert_refused(answer, WRONG_CALL, "table")
        self.assertEqual(os.listdir(state), [])


class StateFolders(SharedFilesystem):

    def test_the_state_of_another_filesystem(self):
        state = self.state()
        with harness.LoopFilesystem() as other:
            self.assertEqual(self.run_once(target=other.mnt, state=state).status, DONE)
        before = {name: harness.read_whole(os.path.join(state, name))
                  for name in ("table", "state.json")}
        self.assert_refused(self.run_once(state=state), WRONG_CALL, state, "filesystem")
        self.assertEqual(before, {name: harness.read_whole(os.path.join(state, name))
                                  for name in ("table", "state.json")})

    def test_the_table_of_another_filesystem_is_set_aside(self):
        state = self.state()
        with harness.LoopFilesystem() as other:
            self.assertEqual(self.run_once(target=other.mnt, state=state).status, DONE)
        os.unlink(os.path.join(state, "state.json"))
        table = harness.read_whole(os.path.join(state, "table"))
        answer = self.run_once(state=state)
        self.assertEqual(answer.status, DONE)
        self.assertIn("it belongs to filesystem", answer.stderr)
        self.assertEqual(harness.read_whole(os.path.join(state, "table.old")), table)

    def test_a_file_in_the_place_of_the_state_folder(self):
        state = self.state()
        with open(state, "w", encoding="utf-8") as file:
            file.write("precious")
        self.assert_refused(self.run_once(state=state), WRONG_CALL, state)
        self.assertEqual(harness.read_whole(state), b"precious")

    def check_on_tmpfs(self, options, status, *named):
        state = self.state()
        os.mkdir(state)
        harness.command("mount", "-t", "tmpfs", "-o", options, "tmpfs", state)
        try:
            self.assert_refused(self.run_once(state=state), status, state, "--state-dir", *named)
            self.assertEqual(os.listdir(state), [])
        finally:
            harness.command("umount", state)

    def test_a_state_folder_that_is_read_only(self):
        self.check_on_tmpfs("ro", FAILED, "read-only", "make it writable")

    def test_a_state_folder_without_room_for_a_table(self):
        self.check_on_tmpfs("size=64k", WRONG_CALL, "no room", "smaller size")

    def test_a_missing_state_folder_is_made_and_kept_private(self):
        state = os.path.join(self.state(), "with", "parents")
        self.assertEqual(self.run_once(state=state).status, DONE)
        for name in ("table", "state.json"):
            mode = stat.S_IMODE(os.stat(os.path.join(state, name)).st_mode)
            self.assertFalse(mode & 0o022, f"{name}: mode {mode:o}")


class Locking(SharedFilesystem):

    def check(self, first_state, second_state):
        """While one run is halted half-way, a second one is refused; then the first goes on."""
        first = self.fs.start_skep(state=first_state)
        table = os.path.join(first_state, "table")
        while not os.path.exists(table) and first.poll() is None:
            time.sleep(0.0005)
        first.send_signal(signal.SIGSTOP)
        if first.poll() is None:
            answer = self.run_once(state=second_state)
        first.send_signal(signal.SIGCONT)
        self.fs.finish_skep(first)
        self.assert_refused(answer, FAILED, self.fs.mnt, "another skep")
        self.assertEqual(self.run_once(state=second_state).status, DONE)

    def setUp(self):
        for i in range(200):
            for copy in range(4):
                self.fs.write(f"{self.id()}/{i}.{copy}", harness.content((self.id(), i), 20000))

    def test_a_second_skep_with_the_same_state_folder(self):
        self.check(self.state(), self.state())

    def test_a_second_skep_with_another_state_folder(self):
        self.check(self.state(), self.state() + ".other")

    def test_a_lock_left_by_a_killed_skep_is_none(self):
        state = self.state()
        first = self.fs.start_skep(state=state)
        time.sleep(0.05)
        first.kill()
        first.communicate()
        self.assertEqual(self.run_once(state=state).status, DONE)


if __name__ == "__main__":
    harness.main()
