# SPDX-License-Identifier: MIT
"""skep status, pause and resume: run directories as an instance writes them, no filesystem."""
import copy
import fcntl
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from cli_harness import (DONE, FAILED, UNSUPPORTED, WRONG_CALL, Refusals, call, harness)

UUID = "0e7d8c9a-2b41-4e0a-9f7e-3d1c5b6a7f80"
OTHER = "1f8e9dab-3c52-4f1b-8a80-4e2d6c7b8091"
NOBODY = 65534
GIB = 1 << 30

TOTALS = dict(extents_scanned=10, bytes_scanned=3 * GIB, bytes_shared=2 * GIB, bytes_freed=GIB,
              bytes_copied=1 << 20, bytes_read=5 << 20)
STATUS = dict(
    version=1, skep_version="0.1.0", filesystem=UUID, mount="/mnt/data", pid=1, started=0,
    written=0, phase="working", **{"pass": "deep_plain"}, progress=0.4239, bytes_done=GIB,
    bytes_total=4 * GIB, seconds_left=725.0, bytes_read_per_second=1048576.0,
    bytes_scanned_per_second=2147483648.0, hold="", hold_text="", slowed=False, since_start=TOTALS,
    since_ever={**TOTALS, "bytes_freed": 7 * GIB}, generation=40, done_generation=38,
    deep_generation=30,
    table=dict(size_bytes=1 << 20, cells=83412, capacity=130560, sampling_level=2), last_error="",
    last_error_time=0, next_try=0)

# A process that the kernel calls skep, and that answers as one. It says "ready" when it can.
INSTANCE = """
import fcntl, json, os, signal, sys
folder, obedient = sys.argv[1], sys.argv[2] == "obedient"
with open("/proc/self/comm", "w") as comm:
    comm.write("skep")
lock = open(folder + "/lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
def write(hold):
    with open(folder + "/status.json") as file:
        status = json.load(file)
    status.update(hold=hold, phase="held" if hold else "idle", pid=os.getpid())
    with open(folder + "/status.json.new", "w") as file:
        json.dump(status, file)
    os.rename(folder + "/status.json.new", folder + "/status.json")
def on_signal(number, _):
    if obedient:
        write("paused" if number == signal.SIGUSR1 else "")
signal.signal(signal.SIGUSR1, on_signal)
signal.signal(signal.SIGUSR2, on_signal)
write("")
print("ready", flush=True)
while True:
    signal.pause()
"""


class RunDirs(Refusals):
    """Run directories below one folder, as /run/skep has them."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="skep-test-")
        self.addCleanup(folder.cleanup)
        self.base = folder.name
        self.locks = {}

    def write(self, uuid=UUID, **fields):
        """Writes a status; returns its folder."""
        folder = os.path.join(self.base, uuid)
        os.makedirs(folder, exist_ok=True)
        now = int(time.time())
        status = {**copy.deepcopy(STATUS), "filesystem": uuid, "started": now - 7300,
                  "written": now, **fields}
        with open(os.path.join(folder, "status.json"), "w", encoding="utf-8") as file:
            json.dump(status, file)
        return folder

    def hold_lock(self, folder):
        if folder not in self.locks:
            lock = open(os.path.join(folder, "lock"), "w", encoding="ascii")
            self.addCleanup(lock.close)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.locks[folder] = lock

    def running(self, uuid=UUID, **fields):
        folder = self.write(uuid, **fields)
        self.hold_lock(folder)
        return folder

    def status(self, *arguments, **how):
        return call("status", "--run-dir", self.base, *arguments, **how)

    def text(self, *arguments):
        answer = self.status(*arguments)
        self.assertEqual((answer.status, answer.stderr), (DONE, ""), answer)
        return answer.stdout

    def json(self, *arguments):
        return json.loads(self.text("--json", *arguments))


class Names(RunDirs):

    def test_a_name_that_is_none(self):
        self.assert_refused(self.status("/no/mount"), WRONG_CALL, "/no/mount")
        self.assert_refused(self.status("/usr/lib"), WRONG_CALL, "/usr/lib", "mount point")
        self.assert_refused(self.status("/proc"), UNSUPPORTED, "/proc", "btrfs")
        self.assert_refused(self.status("--watch", "/no/mount"), WRONG_CALL, "/no/mount")

    def test_a_folder_that_is_none(self):
        self.assert_refused(call("status", "--run-dir", "/no/folder"), WRONG_CALL, "/no/folder")

    def test_more_than_one_name(self):
        self.assert_refused(self.status(UUID, OTHER), WRONG_CALL, OTHER)

    def test_an_unknown_option(self):
        for command in ("status", "pause", "resume"):
            self.assert_refused(call(command, "--frobnicate"), WRONG_CALL, "--frobnicate")

    def test_no_instance(self):
        self.assert_refused(self.status(), FAILED, self.base, "no skep is running")
        self.assert_refused(self.status(UUID), FAILED, UUID, "no skep is running")
        self.assert_refused(call("status", UUID), FAILED, f"/run/skep/{UUID}")

    def test_no_instance_is_an_empty_array(self):
        answer = self.status("--json")
        self.assertEqual((answer.status, answer.stdout), (FAILED, "[]\n"))
        self.assertIn("no skep is running", answer.stderr)

    def test_an_instance_that_has_no_status_yet(self):
        folder = os.path.join(self.base, UUID)
        os.mkdir(folder)
        self.hold_lock(folder)
        self.assert_refused(self.status(UUID), FAILED, folder, "just started")
        self.assert_refused(self.status(), FAILED, self.base, "no skep is running")

    def test_one_by_uuid_in_either_case_and_by_its_own_folder(self):
        folder = self.running()
        self.running(OTHER)
        for arguments in (("--run-dir", self.base, UUID), ("--run-dir", self.base, UUID.upper()),
                          ("--run-dir", folder), ("--run-dir", folder, UUID)):
            answer = call("status", "--json", *arguments)
            self.assertEqual((answer.status, answer.stderr), (DONE, ""))
            self.assertEqual(json.loads(answer.stdout)["filesystem"], UUID)

    def test_the_folder_of_another_filesystem_is_refused(self):
        folder = self.running()
        self.assert_refused(call("status", "--run-dir", folder, OTHER), WRONG_CALL, folder,
                            "belongs to filesystem", UUID)

    def test_all_in_order(self):
        self.running(OTHER)
        self.running()
        self.assertEqual([one["filesystem"] for one in self.json()], [UUID, OTHER])
        self.assertEqual(len(self.json(UUID)) > 10, True)

    def test_a_damaged_status_is_named_and_the_others_shown(self):
        self.running()
        folder = self.running(OTHER)
        path = os.path.join(folder, "status.json")
        with open(path, "w", encoding="ascii") as file:
            file.write('{"version": 1')
        answer = self.status()
        self.assertEqual(answer.status, FAILED)
        self.assertRegex(answer.stderr, r"\A[^\n]+\n\Z")
        self.assertIn(path, answer.stderr)
        self.assertIn(UUID, answer.stdout)
        self.assert_refused(self.status(OTHER), FAILED, path, "no status of skep")

    def test_a_later_version_is_named(self):
        self.running(version=2)
        self.assert_refused(self.status(UUID), FAILED, "version 2", "knows version 1")


class Text(RunDirs):

    def test_one_instance_with_all_its_figures(self):
        self.running(last_error="/mnt/data: FIDEDUPERANGE: Input/output error",
                     last_error_time=int(time.time()) - 300)
        lines = self.text().splitlines()
        self.assertEqual(lines[:13], [
            f"{UUID}  /mnt/data",
            "  state        working: deep, plain data; 12 min 5 s left",
            "  progress     42.3 %, 1.0 GiB of 4.0 GiB",
            "  speed        2.0 GiB/s scanned, 1.0 MiB/s read",
            "  totals        since start    since ever",
            "  scanned           3.0 GiB       3.0 GiB",
            "  shared            2.0 GiB       2.0 GiB",
            "  freed             1.0 GiB       7.0 GiB",
            "  copied            1.0 MiB       1.0 MiB",
            "  read              5.0 MiB       5.0 MiB",
            "  table        1.0 MiB; 83,412 of 130,560 cells in use, 63.9 %; level 2",
            "  generation   40; looked at up to 38, what has to be read up to 30",
            "  process      1, skep 0.1.0, started 2 hours ago"])
        self.assertEqual(lines[13:], ["  last error   5 minutes ago: /mnt/data: FIDEDUPERANGE: "
                                      "Input/output error"])

    def test_several_in_a_few_lines_each(self):
        self.running()
        self.running(OTHER, phase="idle", **{"pass": ""}, bytes_total=0, seconds_left=None,
                     mount="")
        self.assertEqual(self.text(), f"""\
{UUID}  /mnt/data
  state        working: deep, plain data; 12 min 5 s left
  progress     42.3 %, 1.0 GiB of 4.0 GiB
  freed        1.0 GiB since it started, 7.0 GiB since ever
{OTHER}
  state        idle: everything is looked at
  freed        1.0 GiB since it started, 7.0 GiB since ever
""")

    def test_a_status_that_a_kill_has_left(self):
        folder = self.write(written=int(time.time()) - 180)
        for _ in range(2):
            text = self.text(UUID)
            self.assertIn("  state        not running; last heard of 3 minutes ago\n", text)
            self.assertNotIn("progress", text)
            self.assertNotIn("speed", text)
            self.assertIs(self.json(UUID)["running"], False)
            self.hold_lock(folder)
            self.locks.pop(folder).close()  # there, and free

    def test_why_it_waits_in_words(self):
        for hold, text, words in (
                ("paused", "", "held         paused; 'skep resume' lets it go on"),
                ("hours", "", "held         outside its hours"),
                ("io_pressure", "storage: 12 % > 5 %", "held         storage: 12 % > 5 %"),
                ("moonlight", "", "held         moonlight")):
            self.running(phase="held", hold=hold, hold_text=text, seconds_left=None)
            self.assertIn(f"  {words}\n", self.text())
        self.running(hold="cpu_pressure", slowed=True)
        self.assertIn("  slowed       others wait for processors\n", self.text())

    def test_what_fails_and_when_it_is_tried_again(self):
        error = "/mnt/data: FIDEDUPERANGE: Input/output error"
        self.running(phase="failing", last_error=error, last_error_time=1, next_try=45296, seconds_left=None,
                     bytes_total=0, **{"pass": ""})
        at = time.strftime("%H:%M:%S", time.localtime(45296))
        self.assertIn(f"  state        failing: {error}\n  next try     at {at}\n", self.text())
        self.assertEqual(self.text().count(error), 1)

    def test_100_percent_only_when_all_is_done(self):
        self.running(progress=0.99999)
        self.assertIn(" 99.9 %", self.text())
        self.running(progress=1)
        self.assertIn(" 100.0 %", self.text())

    def test_figures_that_make_no_sense_do_no_harm(self):
        self.running(progress=-1e300, bytes_scanned_per_second=-1, seconds_left=0, started=-5,
                     table=dict(size_bytes=0, cells=0, capacity=0, sampling_level=0))
        self.assertIn(" 0.0 %", self.text())

    def test_names_and_messages_cannot_steer_the_terminal(self):
        self.running(mount="/mnt/\x1b[2J\n", last_error="\x07\x1b]0;title", hold_text="\x1b[31m",
                     hold="load")
        self.assertNotRegex(self.text(), r"[\x00-\x09\x0b-\x1f\x7f]")

    def test_a_screen_holds_it(self):
        self.running(hold="load", last_error="something", last_error_time=1)
        lines = self.text().splitlines()
        self.assertLessEqual(len(lines), 24)
        self.assertLessEqual(max(map(len, lines)), 80)


class Json(RunDirs):

    def test_an_object_is_the_status_and_whether_it_runs(self):
        folder = self.running()
        with open(os.path.join(folder, "status.json"), encoding="utf-8") as file:
            written = json.load(file)
        shown = self.json(UUID)
        self.assertEqual(list(shown), [*written, "running"])
        self.assertEqual(shown, {**written, "running": True})
        self.assertEqual(self.json(), [shown])


class Readers(RunDirs):

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            harness.skip("needs root, to be somebody else")
        os.chmod(self.base, 0o755)
        self.binary = shutil.copy(harness.skep_binary(), os.path.join(self.base, "skep"))
        os.chmod(self.binary, 0o755)
        self.nobody = dict(binary=self.binary, user=NOBODY, group=NOBODY, extra_groups=[])

    def test_everybody_may_see_the_status(self):
        folder = self.running()
        os.chmod(os.path.join(folder, "lock"), 0o600)
        # The process of the status is no skep.
        answer = self.status("--json", UUID, **self.nobody)
        self.assertEqual((answer.status, answer.stderr), (DONE, ""))
        self.assertIs(json.loads(answer.stdout)["running"], False)
        instance = Control.start(self, OTHER)
        os.chmod(os.path.join(self.base, OTHER, "lock"), 0o600)
        answer = self.status("--json", OTHER, **self.nobody)
        self.assertIs(json.loads(answer.stdout)["running"], True, answer)
        self.assert_refused(call("pause", "--run-dir", self.base, OTHER, **self.nobody),
                            UNSUPPORTED, OTHER, "no permission", instance.pid)


class Watch(RunDirs):

    def start(self, *arguments, **how):
        process = subprocess.Popen([harness.skep_binary(), "status", "--run-dir", self.base,
                                    "--watch", *arguments], text=True, stdin=subprocess.DEVNULL,
                                   **how)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_json_each_second_a_line_until_it_is_stopped(self):
        self.running()
        process = self.start("--json", UUID, stdout=subprocess.PIPE)
        with process.stdout:
            begin = time.monotonic()
            self.assertEqual(json.loads(process.stdout.readline())["progress"], 0.4239)
            self.write(progress=0.5)
            self.assertEqual(json.loads(process.stdout.readline())["progress"], 0.5)
            self.assertGreater(time.monotonic() - begin, 0.9)
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(timeout=10), DONE)

    def test_on_a_terminal_it_draws_over_what_it_drew(self):
        self.running()
        controller, terminal = pty.openpty()
        with open(controller, "rb", buffering=0) as screen:
            process = self.start(stdout=terminal)
            os.close(terminal)
            drawn = b""
            while drawn.count(b"\x1b[H") < 2:
                drawn += screen.read(65536)
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(timeout=10), DONE)
        self.assertEqual(drawn.count(b"\x1b[2J"), 1)
        self.assertIn(b"[############..................] 42.3 %", drawn)

    def test_it_waits_for_an_instance_that_is_not_there_yet(self):
        process = self.start(UUID, stdout=subprocess.PIPE)
        with process.stdout:
            self.assertIn("no skep is running", process.stdout.readline())
            self.running()
            self.assertEqual(process.stdout.readline(), "\n")
            self.assertEqual(process.stdout.readline(), f"{UUID}  /mnt/data\n")
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(timeout=10), DONE)


class Control(RunDirs):

    def start(self, uuid=UUID, manner="obedient"):
        folder = self.write(uuid)
        process = subprocess.Popen([sys.executable, "-c", INSTANCE, folder, manner],
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), "ready\n")
        return process

    def control(self, command, *arguments):
        return call(command, "--run-dir", self.base, *arguments)

    def test_pause_and_resume_wait_until_the_status_shows_it(self):
        process = self.start()
        for _ in range(2):  # also when it pauses, or goes on, already
            self.assertEqual(self.control("pause", UUID),
                             (DONE, f"/mnt/data ({UUID}): paused\n", ""))
            self.assertEqual(self.json(UUID)["hold"], "paused")
        self.assertIn("held         paused", self.text())
        for _ in range(2):
            self.assertEqual(self.control("resume", UUID),
                             (DONE, f"/mnt/data ({UUID}): goes on\n", ""))
            self.assertEqual(self.json(UUID)["hold"], "")
        self.assertIsNone(process.poll())

    def test_all_that_run(self):
        self.start()
        self.start(OTHER)
        self.write("2" + UUID[1:])  # left by a kill
        self.assertEqual(self.control("pause"), (DONE, f"/mnt/data ({UUID}): paused\n"
                                                 f"/mnt/data ({OTHER}): paused\n", ""))

    def test_no_instance(self):
        for command in ("pause", "resume"):
            self.assert_refused(self.control(command), FAILED, self.base, "no skep is running")
            self.assert_refused(self.control(command, UUID), FAILED, UUID, "no skep is running")
            self.assert_refused(self.control(command, "/no/mount"), WRONG_CALL, "/no/mount")

    def test_a_process_of_another_name_is_never_signalled(self):
        other = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        for pid in (other.pid, 0, -1, 1 << 40):
            self.running(pid=pid)
            self.assert_refused(self.control("pause", UUID), FAILED, pid, "no skep")
        self.assertIsNone(other.poll())

    def test_a_status_that_a_kill_has_left(self):
        process = self.start()
        process.kill()
        process.wait()
        self.assert_refused(self.control("pause", UUID), FAILED, UUID, "no skep is running")
        self.assert_refused(self.control("pause"), FAILED, "no skep is running")

    def test_an_instance_that_does_not_answer(self):
        self.start(manner="deaf")
        begin = time.monotonic()
        self.assert_refused(self.control("pause", UUID), FAILED, UUID, "does not say", "2 s")
        self.assertGreater(time.monotonic() - begin, 1.9)


if __name__ == "__main__":
    harness.main()
