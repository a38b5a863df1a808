# SPDX-License-Identifier: MIT
"""What goes to stdout, what to stderr, and in which form."""
import collections
import json
import os
import pty
import re

from cli_harness import DONE, call, SharedFilesystem, harness


class Output(SharedFilesystem):

    def setUp(self):
        for name in ("one", "two"):
            self.fs.write(f"{self.id()}/{name}", harness.content(self.id(), harness.MIB))

    def test_json_is_one_object_on_stdout_and_nothing_else(self):
        answer = self.run_once("--json")
        self.assertEqual(answer.status, DONE, answer)
        report = json.loads(answer.stdout)  # refuses anything before or after the object
        self.fs.check_report(report, DONE)
        self.assertEqual(report["mount"], self.fs.mnt)
        self.assertEqual(report["result"], "done")
        self.assertTrue(answer.stdout.endswith("\n"))

    def test_json_of_a_mount_point_whose_name_is_no_text(self):
        mount = os.fsdecode(os.fsencode(self.fs.folder) + b"/mount \xff")
        os.mkdir(mount)
        harness.command("mount", "--bind", self.fs.mnt, mount)
        try:
            for words in (["run", "--once", "--state-dir", self.state()], ["estimate"],
                          ["report", "--state-dir", self.state()]):
                answer = call(*words, "--json", mount)
                self.assertEqual(answer.status, DONE, answer)
                self.assertEqual(json.loads(answer.stdout)["mount"], f"{self.fs.folder}/mount \ufffd")
        finally:
            harness.command("umount", mount)

    def test_json_and_quiet_leave_stderr_empty(self):
        answer = self.run_once("--json", "--quiet")
        self.assertEqual((answer.status, answer.stderr), (DONE, ""))
        self.fs.check_report(json.loads(answer.stdout), DONE)

    def test_quiet_prints_nothing_on_stderr(self):
        answer = self.run_once("--quiet")
        self.assertEqual((answer.status, answer.stderr), (DONE, ""))

    def test_the_summary_tells_people_what_happened(self):
        answer = self.run_once()
        self.assertEqual(answer.status, DONE, answer)
        for word in ("scanned", "duplicate", "freed", "copied"):
            self.assertIn(word, answer.stdout.lower())
        self.assertRegex(answer.stdout, r"\b1(\.0+)? ?MiB\b")
        self.assertIn("unique", answer.stdout)

    def test_verbose_adds_to_stderr_only(self):
        plain = self.run_once("--json")
        verbose = self.run_once("--json", "--verbose")
        self.assertEqual(verbose.status, DONE)
        self.assertEqual(set(json.loads(plain.stdout)), set(json.loads(verbose.stdout)))
        self.assertGreater(len(verbose.stderr), len(plain.stderr))

    def test_no_control_characters_without_a_terminal(self):
        answer = self.run_once("--verbose")
        self.assertIsNone(re.search(r"[\x00-\x09\x0b-\x1f\x7f]", answer.stdout + answer.stderr))

    def test_progress_of_a_part_never_goes_backwards_on_a_terminal(self):
        for i in range(300):
            for copy in range(2):
                self.fs.write(f"{self.id()}/{i}.{copy}", harness.content((self.id(), i), 50000))
        seen = bytearray()
        ours, theirs = pty.openpty()
        process = self.fs.start(*self.fs.skep_arguments(state=self.state()),
                                stdout=theirs, stderr=theirs, stdin=theirs)
        os.close(theirs)
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the terminal's other side is closed
                break
            if not piece:
                break
            seen += piece
        os.close(ours)
        self.assertEqual(process.wait(), DONE)
        # Each part of a run begins at nothing; how many are seen depends on how long they last.
        shares = collections.defaultdict(list)
        for part, share in re.findall(rb"\r([^\r:]+): (\d+) %", bytes(seen)):
            shares[part].append(int(share))
        for part, of_part in shares.items():
            self.assertEqual(of_part, sorted(of_part), (part, bytes(seen)))

    def test_a_closed_stdout_is_an_error_that_is_told(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            process = self.fs.start(*self.fs.skep_arguments("--json", state=self.state()),
                                    stdout=full)
            self.assertEqual(process.wait(timeout=harness.RUN_TIMEOUT_SECONDS), 1)


if __name__ == "__main__":
    harness.main()
