# SPDX-License-Identifier: MIT
"""skep-duperemove: what it makes of duperemove's options, before a skep that only tells how it is called; and,
with the real one, on a filesystem."""
import json
import os
import pathlib
import subprocess
import tempfile

from cli_harness import DONE, FAILED, UNSUPPORTED, WRONG_CALL, Answer, Refusals, harness

SHIM = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts/skep-duperemove"
STUB = """#!/usr/bin/env python3
import json, os, sys
print(json.dumps([sys.argv[1:], sys.stdin.buffer.read().decode(errors="surrogateescape")]))
sys.exit(int(os.environ.get("STUB_STATUS", "0")))
"""
NUL_LIST = ["dedupe-files", "--from", "-", "--format", "nul"]


def shim(path, *arguments, stdin="", cwd=None, **environment):
    done = subprocess.run([SHIM, *map(str, arguments)], input=stdin, capture_output=True, text=True,
                          cwd=cwd, timeout=harness.RUN_TIMEOUT_SECONDS,
                          env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}", **environment})
    return Answer(done.returncode, done.stdout, done.stderr)


class Translation(Refusals):

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="skep-test-")
        self.addCleanup(folder.cleanup)
        self.bin = pathlib.Path(folder.name, "bin")
        self.bin.mkdir()
        (self.bin / "skep").write_text(STUB)
        (self.bin / "skep").chmod(0o755)
        self.files = pathlib.Path(folder.name).resolve() / "files"
        for name in ("top", "with space", "new\nline", "sub/below", "sub/deep/deeper"):
            path = self.files / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x" * 5000)
        (self.files / "empty").write_text("")
        (self.files / "link").symlink_to("top")

    def shim(self, *arguments, **how):
        return shim(self.bin, *arguments, **how)

    def told(self, *arguments, status=DONE, stderr="", **how):
        """How skep was called: its options, and the files, below the folder, that were listed."""
        answer = self.shim(*arguments, **how)
        self.assertEqual((answer.status, answer.stderr), (status, stderr), answer.stdout)
        options, listed = json.loads(answer.stdout)
        self.assertEqual(options[:5], NUL_LIST)
        self.assertTrue(listed == "" or listed.endswith("\0"))
        return options[5:], {os.path.relpath(path, self.files) for path in listed.split("\0")[:-1]}

    def test_a_folder_means_the_files_in_it(self):
        self.assertEqual(self.told("-d", self.files),
                         (["--blocks"], {"top", "with space", "new\nline"}))

    def test_r_means_those_below_it_too(self):
        self.assertEqual(self.told("-rd", self.files), (["--blocks"], {
            "top", "with space", "new\nline", "sub/below", "sub/deep/deeper"}))

    def test_without_d_nothing_is_shared(self):
        self.assertEqual(self.told(self.files / "top"), (["--dry-run", "--blocks"], {"top"}))

    def test_what_people_type(self):
        for arguments, ignored in (("-rdh --hashfile=/tmp/x", "--hashfile=/tmp/x"),
                                   ("-dr -b 4k -A -v -x", "-b 4k"),
                                   ("-rdb4k --hashfile x --io-threads=4", "-b 4k, --hashfile=x, --io-threads=4"),
                                   ("-drh --hash=xxhash --cpu-threads 2 --skip-zeroes",
                                    "--hash=xxhash, --cpu-threads=2, --skip-zeroes")):
            with self.subTest(arguments=arguments):
                options, listed = self.told(
                    *arguments.split(), self.files,
                    stderr=f"skep-duperemove: without a meaning for skep: {ignored}\n")
                self.assertEqual((options, len(listed)), (["--blocks"], 5))

    def test_quiet_is_quiet(self):
        options, _ = self.told("-rdq", "--hashfile=x", self.files)
        self.assertEqual(options, ["--blocks", "--quiet"])

    def test_options_may_follow_files(self):
        self.assertEqual(self.told(self.files / "top", "-d"), (["--blocks"], {"top"}))
        self.assertEqual(self.told("-d", "--", self.files / "top"), (["--blocks"], {"top"}))

    def test_whole_files_alone(self):
        self.assertEqual(self.told("-d", "--dedupe-options=nosame,only_whole_files", self.files / "top"),
                         ([], {"top"}))
        self.assertEqual(self.told("-d", "--dedupe-options=partial", self.files / "top"),
                         (["--blocks"], {"top"}))

    def test_names_may_come_by_stdin(self):
        _, listed = self.told("-d", "-", stdin=f"{self.files}/top\n{self.files}/with space\n")
        self.assertEqual(listed, {"top", "with space"})

    def test_names_may_be_relative(self):
        self.assertEqual(self.told("-dr", "sub", "top", cwd=self.files)[1],
                         {"top", "sub/below", "sub/deep/deeper"})

    def test_a_link_that_is_named_is_followed_and_one_that_is_met_is_not(self):
        self.assertEqual(self.told("-d", self.files / "link")[1], {"top"})

    def test_what_is_excluded(self):
        for pattern, left in ((f"{self.files}/sub/deep", {"sub/below"}),
                              ("*/deep*", {"sub/below"}), ("*/below", {"sub/deep/deeper"}),
                              ("sub/b*", {"sub/deep/deeper"}), ("deep", {"sub/below", "sub/deep/deeper"})):
            with self.subTest(pattern=pattern):
                _, listed = self.told("-rd", f"--exclude={pattern}", self.files / "sub", cwd=self.files)
                self.assertEqual(listed, left)

    def test_small_files_are_left_out(self):
        (self.files / "small").write_text("x" * 4095)
        (self.files / "large").write_text("x" * 4096)
        self.assertEqual(self.told("-d", "-m4k", self.files / "small", self.files / "large")[1], {"large"})

    def test_fdupes_groups_are_handed_on(self):
        answer = self.shim("--fdupes", "-q", stdin="/a\n/b\n\n/c\n/d\n\n")
        self.assertEqual(answer, Answer(DONE, json.dumps(
            [["dedupe-files", "--from", "-", "--format", "fdupes", "--quiet"],
             "/a\n/b\n\n/c\n/d\n\n"]) + "\n", ""))

    def test_other_filesystems_are_not_gone_into(self):
        if os.geteuid():
            harness.skip("not root")
        folder = self.files / "sub/de*ep [x]"
        folder.mkdir()
        harness.command("mount", "-t", "tmpfs", "skep-test", folder)
        self.addCleanup(harness.command, "umount", folder)
        (folder / "other").write_text("x")
        self.assertEqual(self.told("-rd", self.files / "sub")[1], {"sub/below", "sub/deep/deeper"})
        self.assertEqual(self.told("-rd", folder)[1], {"sub/de*ep [x]/other"})

    def test_the_rest_goes_on_without_what_is_missing(self):
        answer = self.shim("-d", self.files / "nowhere", self.files / "top")
        self.assertEqual(answer.status, FAILED)
        self.assertRegex(answer.stderr, r"\A[^\n]*nowhere[^\n]*\n\Z")
        self.assertIn("top", answer.stdout)

    def test_the_exit_status_is_that_of_skep(self):
        for status in (FAILED, UNSUPPORTED):
            self.told("-d", self.files / "top", status=status, STUB_STATUS=str(status))
        self.assertEqual(self.shim("--fdupes", STUB_STATUS="3").status, UNSUPPORTED)

    def test_what_is_unknown_is_refused(self):
        self.assert_refused(self.shim("--frobnicate", self.files), WRONG_CALL, "--frobnicate")
        self.assert_refused(self.shim("-rdZ", self.files), WRONG_CALL, "Z")
        self.assert_refused(self.shim("--dedupe-options=fast", self.files), WRONG_CALL, "fast")
        self.assert_refused(self.shim("--min-filesize=big", self.files), WRONG_CALL, "big")

    def test_nothing_to_do_is_refused(self):
        self.assert_refused(self.shim("-rd"), WRONG_CALL, "no files")

    def test_there_is_no_hash_file(self):
        answer = self.shim("-L", "-q", "--hashfile=x")
        self.assertEqual((answer.status, answer.stdout), (DONE, ""))
        self.assertIn("no hash file", answer.stderr)

    def test_help(self):
        answer = self.shim("--help")
        self.assertEqual((answer.status, answer.stderr), (DONE, ""))
        self.assertTrue(answer.stdout.startswith("usage: skep-duperemove "))


class Real(harness.FilesystemTest):
    """With the skep under test, in all subvolumes of a filesystem."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="skep-test-")
        self.addCleanup(folder.cleanup)
        os.symlink(harness.skep_binary(), f"{folder.name}/skep")
        self.bin = folder.name
        self.fs.subvolume("volume")
        for name in ("folder/first", "volume/second"):
            self.fs.write(name, harness.content(1, harness.MIB))
        self.used = self.fs.settled_used()
        self.before = harness.snapshot(self.fs.mnt)

    def assert_freed(self, answer, freed):
        self.assertEqual((answer.status, answer.stderr), (DONE, ""))
        self.assertEqual(self.fs.settled_used(expect=self.used - freed), self.used - freed)
        self.assertEqual(harness.differences(self.before, harness.snapshot(self.fs.mnt)), [])

    def test_it_shares_with_d_alone(self):
        self.assert_freed(shim(self.bin, "-rh", self.fs.mnt), 0)
        self.assert_freed(shim(self.bin, "-rdh", self.fs.mnt), harness.MIB)

    def test_it_shares_groups_as_fdupes_prints_them(self):
        groups = "".join(f"{self.fs.path(name)}\n" for name in ("folder/first", "volume/second"))
        self.assert_freed(shim(self.bin, "--fdupes", stdin=groups + "\n"), harness.MIB)


if __name__ == "__main__":
    harness.main()
