# SPDX-License-Identifier: MIT
"""Help, version, and calls that are wrong whatever filesystem they name."""
import tempfile

from cli_harness import DONE, WRONG_CALL, Refusals, call, harness

RUN_OPTIONS = ("--once", "--table-size", "--state-dir", "--depth", "--fingerprint", "--nodatasum",
               "--threads", "--min-run", "--max-copy-ratio", "--json", "--quiet", "--verbose", "--help")


class Help(Refusals):

    def test_skep_help_names_the_commands_and_options(self):
        answer = call("--help")
        self.assertEqual((answer.status, answer.stderr), (DONE, ""))
        for word in ("run", "table", "status", "pause", "resume", "--help", "--version"):
            self.assertIn(word, answer.stdout)

    def test_run_help_names_every_option(self):
        answer = call("run", "--help")
        self.assertEqual((answer.status, answer.stderr), (DONE, ""))
        for option in RUN_OPTIONS:
            self.assertIn(option, answer.stdout)
        self.assertIn("MOUNT", answer.stdout)

    def test_help_fits_a_terminal(self):
        for arguments in (("--help",), ("run", "--help"), ("table", "--help"),
                          ("table", "show", "--help"), ("table", "resize", "--help"),
                          ("status", "--help"), ("pause", "--help"), ("resume", "--help")):
            for line in call(*arguments).stdout.splitlines():
                self.assertLessEqual(len(line), 100, line)

    def test_help_has_no_control_characters(self):
        for arguments in (("--help",), ("run", "--help")):
            self.assertNotRegex(call(*arguments).stdout, r"[\x00-\x09\x0b-\x1f\x7f]")

    def test_version_is_name_and_number(self):
        answer = call("--version")
        self.assertEqual((answer.status, answer.stderr), (DONE, ""))
        self.assertRegex(answer.stdout, r"\Askep \d+\.\d+\.\d+\S*\n\Z")


class WrongCalls(Refusals):

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="skep-test-")
        self.addCleanup(folder.cleanup)
        self.state = folder.name + "/state"

    def run_with(self, *options):
        return call("run", "--once", "--state-dir", self.state, *options, "/")

    def test_no_command(self):
        self.assert_refused(call(), WRONG_CALL)

    def test_an_unknown_command(self):
        self.assert_refused(call("frobnicate"), WRONG_CALL, "frobnicate")

    def test_an_unknown_option(self):
        self.assert_refused(call("--frobnicate"), WRONG_CALL, "--frobnicate")

    def test_an_unknown_option_of_run(self):
        self.assert_refused(self.run_with("--frobnicate"), WRONG_CALL, "--frobnicate")

    def test_run_without_a_mount_point(self):
        self.assert_refused(call("run", "--once"), WRONG_CALL, "MOUNT")

    def test_more_than_one_mount_point(self):
        self.assert_refused(call("run", "--once", "/", "/proc"), WRONG_CALL, "/proc")

    def test_table_sizes_that_are_no_sizes(self):
        for value in ("abc", "", "-4M", "4Q", "4M4", "1e6", "0x1000", "4 M", ".", "M",
                      "99999999999999999999", "18446744073709551615T"):
            with self.subTest(value=value):
                self.assert_refused(self.run_with(f"--table-size={value}"), WRONG_CALL,
                                    "--table-size")

    def test_shortest_runs_that_are_no_sizes(self):
        for value in ("abc", "", "-4K", "4Q", "nan", "99999999999999999999"):
            with self.subTest(value=value):
                self.assert_refused(self.run_with(f"--min-run={value}"), WRONG_CALL, "--min-run")

    def test_thread_counts_that_are_none(self):
        for value in ("abc", "", "0", "-1", "1.5", "99999999999999999999", "1000000"):
            with self.subTest(value=value):
                self.assert_refused(self.run_with(f"--threads={value}"), WRONG_CALL, "--threads")

    def test_copy_ratios_that_are_none(self):
        for value in ("abc", "", "-0.5", "nan", "inf", "1,5"):
            with self.subTest(value=value):
                self.assert_refused(self.run_with(f"--max-copy-ratio={value}"), WRONG_CALL,
                                    "--max-copy-ratio")

    def test_depths_that_are_none(self):
        for value in ("abc", "", "0", "1", "Deep", "quick,deep"):
            with self.subTest(value=value):
                self.assert_refused(self.run_with(f"--depth={value}"), WRONG_CALL, "--depth")

    def test_fingerprints_that_are_none(self):
        for value in ("abc", "", "1", "2", "crc32c", "csum,data"):
            with self.subTest(value=value):
                self.assert_refused(self.run_with(f"--fingerprint={value}"), WRONG_CALL,
                                    "--fingerprint")

    def test_what_has_to_be_read_together_with_a_depth_that_reads_nothing(self):
        for option in ("--nodatasum", "--fingerprint=data"):
            with self.subTest(option=option):
                self.assert_refused(self.run_with("--depth", "quick", option), WRONG_CALL,
                                    "--depth quick", option.replace("=", " "))
                self.assert_refused(self.run_with(option, "--depth=quick"), WRONG_CALL,
                                    "--depth quick", option.replace("=", " "))

    def test_quiet_and_verbose_together(self):
        self.assert_refused(self.run_with("--quiet", "--verbose"), WRONG_CALL, "--quiet",
                            "--verbose")

    def test_an_option_without_its_value(self):
        self.assert_refused(call("run", "--once", "/", "--table-size"), WRONG_CALL,
                            "--table-size")


if __name__ == "__main__":
    harness.main()
