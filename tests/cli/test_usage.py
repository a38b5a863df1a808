# SPDX-License-Identifier: MIT
"""Help, version, and calls that are wrong whatever filesystem they name."""
import re
import tempfile

from cli_harness import DONE, WRONG_CALL, Refusals, call, harness

RUN_OPTIONS = ("--once", "--table-size", "--state-dir", "--depth", "--fingerprint", "--nodatasum",
               "--threads", "--min-run", "--max-copy-ratio", "--include-subvol", "--exclude-subvol",
               "--read-only-subvols", "--include", "--exclude", "--min-file-size", "--max-file-size",
               "--min-extent-size", "--max-extent-size", "--json", "--quiet", "--verbose", "--help")


def all_commands(path=()):
    """Every command that the help leads to."""
    yield path
    commands = call(*path, "--help").stdout.partition("ubcommands:")[2]
    for name in re.findall(r"^  ([\w-]+)", commands, re.MULTILINE):
        yield from all_commands((*path, name))


class Help(Refusals):

    def test_skep_help_names_the_commands_and_options(self):
        answer = call("--help")
        self.assertEqual((answer.status, answer.stderr), (DONE, ""))
        for word in ("run", "table", "status", "pause", "resume", "dedupe-files", "--help",
                     "--version"):
            self.assertIn(word, answer.stdout)

    def test_run_help_names_every_option(self):
        answer = call("run", "--help")
        self.assertEqual((answer.status, answer.stderr), (DONE, ""))
        for option in RUN_OPTIONS:
            self.assertIn(option, answer.stdout)
        self.assertIn("MOUNT", answer.stdout)

    def test_help_fits_a_terminal(self):
        for path in all_commands():
            with self.subTest(path=path):
                lines = call(*path, "--help").stdout.splitlines()
                self.assertLessEqual(len(lines), 50)
                self.assertLessEqual(max(map(len, lines)), 80)

    def test_help_is_laid_out_in_columns(self):
        self.assertEqual(call("table", "resize", "--help").stdout, """\
Give a table another size, and keep what fits
Usage: skep table resize [OPTIONS] [MOUNT|UUID|FILE] [SIZE]

Positionals:
  MOUNT|UUID|FILE          A mount point, the filesystem's UUID, or the file
  SIZE                     The new size, such as 64M

Options:
  -h,--help                Print this help message and exit
  --state-dir DIR          Where the table is kept (default: /var/lib/skep/UUID)
""")

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

    def test_a_command_that_is_none(self):
        for given, meant in (("estimat", "estimate"), ("RUN", "run"), ("dedup-file", "dedupe-files")):
            with self.subTest(given=given):
                self.assert_refused(call(given, "/mnt"), WRONG_CALL,
                                    f"'{given}' is no command; did you mean '{meant}'?")
        self.assert_refused(call("frobnicate"), WRONG_CALL, "'frobnicate' is no command; see 'skep --help'")

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

    def test_patterns_that_are_none(self):
        for option in ("--include", "--exclude", "--include-subvol", "--exclude-subvol"):
            for value in ("a[b", "a\\", "a//b", "../a", "!a"):
                with self.subTest(option=option, value=value):
                    self.assert_refused(self.run_with(f"{option}={value}"), WRONG_CALL, option)

    def test_sizes_that_leave_nothing(self):
        for of in ("file", "extent"):
            self.assert_refused(self.run_with(f"--min-{of}-size=2M", f"--max-{of}-size=1M"),
                                WRONG_CALL, f"--min-{of}-size", f"--max-{of}-size")

    def test_dedupe_files_without_files_and_with_both(self):
        self.assert_refused(call("dedupe-files"), WRONG_CALL, "FILE", "--from")
        self.assert_refused(call("dedupe-files", "--from", "-", "/"), WRONG_CALL, "--from")

    def test_dedupe_files_with_a_shortest_run_and_no_blocks(self):
        self.assert_refused(call("dedupe-files", "--min-run", "64K", "/"), WRONG_CALL, "--blocks")

    def test_formats_that_are_none(self):
        self.assert_refused(call("dedupe-files", "--format", "xml", "--from", "-"), WRONG_CALL,
                            "--format", "xml")

    def test_lists_that_are_none(self):
        self.assert_refused(call("dedupe-files", "--from", "/missing"), WRONG_CALL, "/missing")
        self.assert_refused(call("dedupe-files", "--from", "/"), WRONG_CALL, "/")
        wrong = self.state + ".list"
        with open(wrong, "w", encoding="utf-8") as file:
            file.write('{"matchSets": [')
        self.assert_refused(call("dedupe-files", "--from", wrong), WRONG_CALL, wrong, "JSON",
                            "--format")

    def test_quiet_and_verbose_together(self):
        self.assert_refused(self.run_with("--quiet", "--verbose"), WRONG_CALL, "--quiet",
                            "--verbose")

    def test_an_option_without_its_value(self):
        self.assert_refused(call("run", "--once", "/", "--table-size"), WRONG_CALL,
                            "--table-size")


if __name__ == "__main__":
    harness.main()
