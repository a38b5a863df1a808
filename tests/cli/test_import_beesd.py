# SPDX-License-Identifier: MIT
"""What `skep import-beesd` makes of configurations of bees, and that skep takes it."""
import os
import pathlib
import re
import stat
import tempfile

from cli_harness import DONE, WRONG_CALL, Refusals, call, harness

UUID = "5d3c0ad5-bedf-463d-8235-b4d4f6f99476"


class Import(Refusals):

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="skep-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.file = self.folder / "beesd.conf"

    def convert(self, text):
        """The configuration that is made of it, which skep must take, and its settings."""
        self.file.write_bytes(text if isinstance(text, bytes) else text.encode())
        answer = call("import-beesd", self.file)
        self.assertEqual((answer.status, answer.stderr), (DONE, ""), answer)
        (self.folder / "skep.conf").write_text(answer.stdout)
        checked = call("run", "--check-config", "--config-dir", self.folder)
        self.assertEqual(checked.status, DONE, f"{checked}\n{answer.stdout}")
        settings = dict(re.findall(r"^(\w+) = (.*)$", answer.stdout, re.MULTILINE))
        for name in settings:
            self.assertIn(f".{name}", checked.stdout)
        return answer.stdout, settings

    def test_a_configuration_as_people_have_it(self):
        made, settings = self.convert(f"""\
# Which FS will be used
UUID={UUID}

# MNT_DIR="$WORK_DIR/mnt/$UUID"
WORK_DIR=/run/bees/
OPTIONS="--strip-paths --no-timestamps --thread-count 4 -g 2.5 --scan-mode=3 -a -v5"
DB_SIZE=$((1024*1024*1024)) # 1G in bytes
""")
        self.assertEqual(settings, {"size": '"512M"', "threads": "4", "load_average": "2.5"})
        self.assertIn(f"/etc/skep/{UUID}.conf", made)
        for left in ("WORK_DIR=/run/bees/", "--strip-paths", "--no-timestamps", "--scan-mode 3",
                     "--workaround-btrfs-send", "--verbose 5"):
            self.assertRegex(made, f"(?m)^# {re.escape(left)}: .")
        self.assertNotIn("MNT_DIR", made)

    def test_sizes(self):
        for size, made in (("1073741824", "512M"), ("$((64*$AL16M))", "512M"),
                           ("$((8 * ${AL128K}))", "512K"), ('"$((1024*1024))"', "512K"),
                           ("128", "8K"), ("$((1024*1024*1024*1024*2))", "1024G"),
                           ("16385000", "8192500")):
            with self.subTest(size=size):
                self.assertEqual(self.convert(f"DB_SIZE={size}\n")[1], {"size": f'"{made}"'})
        for size in ("", "0", "1G", "$((1<<30))", "$((2**30))", "-5", "99999999999999999999999"):
            with self.subTest(size=size):
                made, settings = self.convert(f"UUID={UUID}\nDB_SIZE={size}\n")
                self.assertEqual(settings, {})
                self.assertEqual("is no size" in made, size != "")

    def test_each_form_of_an_option(self):
        for options in ("-c3", "-c 3", "--thread-count 3", "--thread-count=3", "-c 9 -c 3"):
            with self.subTest(options=options):
                self.assertEqual(self.convert(f'OPTIONS="{options}"')[1], {"threads": "3"})
        self.assertEqual(self.convert('OPTIONS="-c 1000"')[1], {"threads": "64"})
        self.assertEqual(self.convert("OPTIONS='-P\n -g 4'\nOPTIONS+=\" -c 3\"\n")[1],
                         {"load_average": "4", "threads": "3"})
        for options in ("-c 0", "-c x", "-c", "-g nan", "-g -1", "--loadavg-target inf"):
            with self.subTest(options=options):
                made, settings = self.convert(f'OPTIONS="{options}"')
                self.assertEqual(settings, {})
                self.assertIn("is no ", made)

    def test_what_is_not_known_is_named(self):
        made, _ = self.convert("DB_SIZE=1048576\nFOO=bar\nOPTIONS='--new-thing -z'\n"
                               "if true; then\nUUID=nonsense\n")
        for line in ("'FOO=bar' is not known", "'--new-thing' in OPTIONS", "'-z' in OPTIONS",
                     "'if true; then' is no plain assignment", "'UUID=nonsense' is no UUID"):
            self.assertIn(f"# {line}", made)

    def test_nothing_is_executed(self):
        trap = self.folder / "trap"
        for value in (f"$(touch {trap})", f"`touch {trap}`", f'"$(touch {trap})"', f"1; touch {trap}",
                      f"1 | tee {trap}", f"x touch {trap}", f"1 >{trap}", f"1 && touch {trap}"):
            with self.subTest(value=value):
                made, settings = self.convert(f"UUID={UUID}\nDB_SIZE={value}\n")
                self.assertEqual(settings, {})
                self.assertIn("is no plain assignment", made)
                self.assertFalse(trap.exists())

    def test_odd_bytes_stay_in_comments(self):
        made, settings = self.convert(b"UUID=x\r\nFOO\xff=\x01\x1b[2J\nBAR='a\n[table]\nsize = 1'\n"
                                      b"OPTIONS='-c 3\r\n-P'\r\nBAZ='no end\nsize = 1\n")
        self.assertEqual(settings, {"threads": "3"})
        self.assertTrue(all(line.startswith(("#", "[match]", "threads")) or not line
                            for line in made.splitlines()), made)

    def test_a_file_is_made_and_never_replaced(self):
        self.file.write_text(f"UUID={UUID}\nDB_SIZE=1048576\n")
        made = self.folder / f"{UUID}.conf"
        answer = call("import-beesd", "-o", made, self.file)
        self.assertEqual(answer, (DONE, "", ""))
        self.assertEqual(made.read_text(), call("import-beesd", self.file).stdout)
        self.assertFalse(stat.S_IMODE(made.stat().st_mode) & 0o022)
        made.write_text("precious")
        self.assert_refused(call("import-beesd", self.file, "--output", made), WRONG_CALL, made,
                            "already")
        self.assertEqual(made.read_text(), "precious")

    def test_what_is_no_such_file(self):
        self.assert_refused(call("import-beesd"), WRONG_CALL, "FILE")
        self.assert_refused(call("import-beesd", self.file), WRONG_CALL, self.file, "no such file")
        self.assert_refused(call("import-beesd", self.folder), WRONG_CALL, self.folder, "directory")
        for text in (b"", b"[table]\nsize = 1\n", b"\0" * 100, b"UUID" * (1 << 19)):
            self.file.write_bytes(text)
            self.assert_refused(call("import-beesd", self.file), WRONG_CALL, self.file, "beesd")
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        self.assert_refused(call("import-beesd", fifo), WRONG_CALL, fifo)
        missing = self.folder / "missing" / "out"
        self.file.write_text("DB_SIZE=1048576\n")
        self.assert_refused(call("import-beesd", self.file, "-o", missing), WRONG_CALL, missing)
        self.assert_refused(call("import-beesd", self.file, "-o", "/proc/x"), WRONG_CALL, "/proc/x")


if __name__ == "__main__":
    harness.main()
