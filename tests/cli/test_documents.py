# SPDX-License-Identifier: MIT
"""The manual pages and the README say what the program has, all of it, and nothing else."""
import json
import os
import pathlib
import re
import shlex
import shutil
import struct
import subprocess
import tempfile
import time
import unittest

from cli_harness import DONE, SharedFilesystem, call, harness

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGES = sorted((ROOT / "man").glob("*.scd"))


def source(name):
    """A page's source, with the escapes of its names taken away."""
    return (ROOT / "man" / name).read_text(encoding="utf-8").replace("\\_", "_")


def section(page, title):
    """The text below a heading of a page's source, to the next one of its level or above."""
    level = len(title.split(" ", 1)[0])
    found = re.search(rf"^{re.escape(title)}\n(.*?)(?=^#{{1,{level}}} |\Z)", page,
                      re.MULTILINE | re.DOTALL)
    assert found, f"no section {title}"
    return found[1]


def terms(text):
    """The names that definition lists explain: what is bold in lines that an indented one follows."""
    lists = re.findall(r"^(\*.*)\n\t", text, re.MULTILINE)
    return [term for line in lists for term in re.findall(r"\*([^*]+)\*", line)]


def names_in_counters_cc():
    """The verdicts and the counters, as src/dedupe/counters.cc names them."""
    code = (ROOT / "src/dedupe/counters.cc").read_text(encoding="utf-8")
    verdicts = re.search(r"kNames\[\] = \{(.*?)\};", code, re.DOTALL)[1]
    return set(re.findall(r'"(\w+)"', verdicts)), set(re.findall(r'visit\("(\w+)"', code))


class Pages(unittest.TestCase):

    def setUp(self):
        if not shutil.which("scdoc"):
            harness.skip("scdoc is not installed")
        folder = tempfile.TemporaryDirectory(prefix="skep-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_there_is_a_page_for_each_command_and_subject(self):
        named = set()
        for page in PAGES:
            line = section(page.read_text(encoding="utf-8"), "# NAME").strip()
            self.assertRegex(line, rf"\A{page.stem.rpartition('.')[0]}(, [\w-]+)* - [^\n]+\Z", page)
            named |= set(line.partition(" - ")[0].split(", "))
        commands = re.findall(r"^  ([\w-]+)", call("--help").stdout.partition("ubcommands:")[2], re.MULTILINE)
        self.assertGreater(len(commands), 4)
        self.assertLessEqual({"skep", "skep-duperemove", "skep.conf", "skep-state", "skepd",
                              *(f"skep-{name}" for name in commands)}, named)

    def test_pages_render_without_warnings(self):
        for page in PAGES:
            with self.subTest(page=page.name):
                rendered = self.folder / page.stem
                done = subprocess.run(["scdoc"], input=page.read_bytes(), capture_output=True)
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                rendered.write_bytes(done.stdout)
                # A system without manual pages may have a man that only says so.
                if not shutil.which("man") or not shutil.which("groff"):
                    continue
                shown = subprocess.run(["man", "--local-file", "--warnings", "-Tutf8", rendered],
                                       capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
                self.assertEqual((shown.returncode, shown.stderr), (0, b""))
                self.assertIn(b"NAME", re.sub(rb".\x08", b"", shown.stdout))

    def test_pages_name_themselves_and_pages_that_exist(self):
        own = {page.stem.rsplit(".", 1)[0] for page in PAGES}
        for page in PAGES:
            with self.subTest(page=page.name):
                text = page.read_text(encoding="utf-8")
                name, number = page.stem.rsplit(".", 1)
                self.assertTrue(text.startswith(f"{name}({number})\n"))
                self.assertIn("; SPDX-License-Identifier: MIT\n", text)
                for other, other_number in re.findall(r"\*(skep[a-z.-]*)\*\((\d)\)", text):
                    self.assertIn(other, own)
                    self.assertTrue((ROOT / "man" / f"{other}.{other_number}.scd").exists(), other)


class Options(unittest.TestCase):

    def check(self, page, heading, *calls):
        described = section(source(page), heading)
        option = r"(?<![\w-])--?[a-z0][a-z-]*"
        printed = set()
        for arguments in calls:
            answer = call(*arguments, "--help")
            self.assertEqual(answer.status, DONE, answer)
            # In the help, options begin their lines; elsewhere they are only spoken of.
            printed |= {name for start in re.findall(r"^ +(-[^ ]*)", answer.stdout, re.MULTILINE)
                        for name in re.findall(option, start)}
        self.assertGreater(len(printed), 1)
        listed = {name for term in terms(described) for name in re.findall(option, term)}
        self.assertEqual(printed, listed)

    def test_run_has_the_options_that_its_page_describes(self):
        self.check("skep-run.1.scd", "# OPTIONS", ("run",))

    def test_estimate_and_tune_have_the_options_that_their_pages_describe(self):
        for command in ("estimate", "tune"):
            self.check(f"skep-{command}.1.scd", "# OPTIONS", (command,))

    def test_table_has_the_options_that_its_page_describes(self):
        self.check("skep-table.1.scd", "# OPTIONS", *(("table", action) for action in
                                                      ("show", "resize", "check")))

    def test_status_has_the_options_that_its_page_describes(self):
        self.check("skep-status.1.scd", "# OPTIONS", ("status",))

    def test_report_has_the_options_that_its_page_describes(self):
        self.check("skep-report.1.scd", "# OPTIONS", ("report",))

    def test_explain_has_the_options_that_its_page_describes(self):
        self.check("skep-explain.1.scd", "# OPTIONS", ("explain",))

    def test_pause_and_resume_have_the_options_that_their_page_describes(self):
        for command in ("pause", "resume"):
            self.check("skep-pause.1.scd", "# OPTIONS", (command,))

    def test_dedupe_files_has_the_options_that_its_page_describes(self):
        self.check("skep-dedupe-files.1.scd", "# OPTIONS", ("dedupe-files",))
    def test_scan_has_the_options_that_its_page_describes(self):
        self.check("skep-scan.1.scd", "# OPTIONS", ("scan",))

    def test_dedup_vol_has_the_options_of_run(self):
        run, dedup_vol = call("run", "--help").stdout, call("dedup-vol", "--help").stdout
        self.assertEqual(dedup_vol.split("\nPositionals:")[1], run.split("\nPositionals:")[1])

    def test_import_beesd_has_the_options_that_its_page_describes(self):
        self.check("skep-import-beesd.1.scd", "# OPTIONS", ("import-beesd",))

    def test_find_new_has_the_options_that_its_page_describes(self):
        self.check("skep-find-new.1.scd", "# OPTIONS", ("find-new",))

    def test_skep_has_the_options_that_its_page_describes(self):
        self.check("skep.1.scd", "# OPTIONS", ())

    def test_skep_has_the_commands_that_its_page_describes(self):
        self.check_commands("skep.1.scd")

    def test_table_has_the_commands_that_its_page_describes(self):
        self.check_commands("skep-table.1.scd", "table")

    def check_commands(self, page, *arguments):
        answer = call(*arguments, "--help")
        printed = [name for names in re.findall(r"^  ([\w-]+(?:, [\w-]+)*) ",
                                                answer.stdout.split("ubcommands:")[1], re.MULTILINE)
                   for name in names.split(", ")]
        self.assertEqual(printed, terms(section(source(page), "# COMMANDS")))


class ExitStatuses(unittest.TestCase):

    def test_the_page_lists_the_contract(self):
        header = (ROOT / "include/skep/service/exit_status.h").read_text(encoding="utf-8")
        statuses = re.findall(r"int kExit\w+ = (\d+);", header)
        self.assertEqual(statuses, ["0", "1", "2", "3", "4"])
        self.assertEqual(terms(section(source("skep.1.scd"), "# EXIT STATUS")), statuses)


class Names(unittest.TestCase):

    def test_every_reason_is_explained_once(self):
        verdicts, _ = names_in_counters_cc()
        explained = terms(section(source("skep-run.1.scd"), "# EXTENTS LEFT ALONE"))
        self.assertEqual(sorted(verdicts - {"freed"}), sorted(explained))
        self.assertEqual(set(explained), harness.REASONS)

    def test_every_counter_is_explained_once(self):
        _, counters = names_in_counters_cc()
        explained = terms(section(source("skep-run.1.scd"), "## Counters"))
        self.assertEqual(sorted(counters), sorted(explained))


    def test_every_field_of_the_status_is_explained_once(self):
        code = (ROOT / "src/service/status.cc").read_text(encoding="utf-8")
        fields, members = {"version", "running"}, re.findall(r'visit\(at \+ "/(\w+)"', code)
        self.assertEqual(len(members), 6)
        for pointer in re.findall(r'(?:visit\(|for_each_total\(s.*, )"/([\w/]+)"', code):
            fields.add(pointer.split("/")[0])
            members += pointer.split("/")[1:]
        described = section(source("skep-status.1.scd"), "# JSON")
        self.assertEqual(sorted(fields), sorted(terms(described)))
        for name in members:
            self.assertIn(f"*{name}*", described)

    def test_every_metric_is_explained_once(self):
        code = (ROOT / "src/service/metrics.cc").read_text(encoding="utf-8")
        metrics = re.findall(r'(?:head|gauge|counter)\(\s*"(skep_\w+)"', code)
        self.assertGreater(len(metrics), 20)
        self.assertEqual(sorted(metrics),
                         sorted(terms(section(source("skep-status.1.scd"), "# METRICS"))))


class Report(SharedFilesystem):
    """What a run really prints and writes is what the pages describe."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = os.path.join(cls.fs.folder, "report-state")
        answer = call("run", "--once", "--json", "--table-size", "64K", "--state-dir", cls.folder,
                      cls.fs.mnt)
        assert answer.status == DONE, answer
        cls.report = json.loads(answer.stdout)

    def test_every_field_of_the_json_is_described(self):
        page = section(source("skep-run.1.scd"), "# JSON")
        fields = terms(page.split("## Counters")[0])
        # This one appears only when the run was stopped.
        self.assertEqual(set(self.report) | {"stop_reason"}, set(fields))
        for field in ("table", "totals"):
            for member in self.report[field]:
                self.assertIn(f"*{member}*", page)

    def test_every_reason_and_counter_of_the_json_is_described(self):
        page = source("skep-run.1.scd")
        self.assertLessEqual(set(self.report["left"]),
                             set(terms(section(page, "# EXTENTS LEFT ALONE"))))
        self.assertEqual(set(self.report["counters"]), set(terms(section(page, "## Counters"))))

    def test_every_line_of_the_summary_is_described(self):
        answer = self.run_once()
        described = terms(section(source("skep-run.1.scd"), "# OUTPUT"))
        lines = re.findall(r"^  (\w+(?: \w+)*)  +", answer.stdout, re.MULTILINE)
        self.assertIn("left alone", lines)
        # This one appears only where something had to be read.
        self.assertEqual(lines, [name for name in described if name != "deep"])

    def test_every_field_of_an_estimate_s_json_is_described(self):
        for command in ("estimate", "tune"):
            report = json.loads(call(command, "--json", self.fs.mnt).stdout)
            described = section(source(f"skep-{command}.1.scd"), "# JSON")
            self.assertEqual(list(report), terms(described))
            for field in report.values():
                parts = field if isinstance(field, list) else [field]
                for member in (name for part in parts if isinstance(part, dict) for name in part):
                    self.assertIn(f"*{member}*", described)

    def test_every_line_of_an_estimate_is_described(self):
        answer = call("estimate", self.fs.mnt)
        lines = re.findall(r"^  (\w+(?: \w+)*)  +", answer.stdout, re.MULTILINE)
        described = terms(section(source("skep-estimate.1.scd"), "# OUTPUT"))
        self.assertIn("whole extents", lines)
        self.assertLessEqual(set(lines), set(described))

    def test_every_field_of_the_state_is_described(self):
        state = json.loads(harness.read_whole(os.path.join(self.folder, "state.json")))
        described = terms(section(source("skep-state.5.scd"), "# STATE.JSON"))
        # What has been read today is told apart from the members that are always there.
        self.assertEqual(set(state) - {"today"} | {"pass"}, set(described))

    def test_every_field_of_the_history_is_described(self):
        history = json.loads(harness.read_whole(os.path.join(self.folder, "history.json")))
        described = set(terms(section(source("skep-state.5.scd"), "# HISTORY.JSON")))
        rows = {name for row in history["rows"] for name in row}
        self.assertEqual(set(history) | rows, described)

    def test_every_field_of_a_report_s_json_is_described(self):
        answer = call("report", "--json", "--state-dir", self.folder, self.fs.mnt)
        report = json.loads(answer.stdout)
        described = section(source("skep-report.1.scd"), "# JSON")
        self.assertEqual(list(report), terms(described))
        parts = [report["totals"], report["history"][0], report["sizes_now"],
                 report["sizes_now"]["classes"][0], report["table"]]
        for member in (name for part in parts for name in part):
            self.assertIn(f"*{member}*", described)

    def test_every_field_of_an_explanation_s_json_is_described(self):
        answer = call("explain", "--json", "--state-dir", self.folder, self.fs.path("folder/first"))
        found = json.loads(answer.stdout)
        described = section(source("skep-explain.1.scd"), "# JSON")
        self.assertEqual(list(found), terms(described))
        for member in found["extents"][0]:
            self.assertIn(f"*{member}*", described)

    def test_a_program_that_knows_only_the_page_reads_the_table(self):
        table = harness.read_whole(os.path.join(self.folder, "table"))
        (magic, version, page_bytes, filesystem, block_bytes, fingerprints, checksums, level,
         buckets, created, *former, _) = struct.unpack_from("<8sII16sIIIIQQ6QQ", table)
        self.assertEqual((magic, version, page_bytes), (b"skeptab\n", 2, 4096))
        self.assertAlmostEqual(created, time.time(), delta=600)
        self.assertEqual(former, [0] * 6)
        self.assertEqual(filesystem.hex(), self.fs.uuid().replace("-", ""))
        self.assertEqual((block_bytes, fingerprints, checksums, level),
                         (harness.BLOCK, 1, 0, 0))
        self.assertEqual(len(table), (buckets + 1) * 4096)
        self.assertFalse(any(table[120:4096]))
        self.assertGreater(self.report["table"]["cells"], 0)
        cells = struct.unpack_from(f"<{buckets * 512}Q", table, 4096)
        self.assertEqual(sum(cell != 0 for cell in cells), self.report["table"]["cells"])
        # One of the two copies went; the other one's blocks must all be found.
        self.assertEqual(self.count_found(cells, [buckets]), harness.MIB // harness.BLOCK)

    def test_a_program_that_knows_only_the_page_reads_a_table_that_was_resized(self):
        table = shutil.copy(os.path.join(self.folder, "table"), self.state())
        for size in ("92K", "40K", "1M"):
            self.assertEqual(call("table", "resize", table, size).status, DONE)
        data = harness.read_whole(table)
        buckets, _, *former = struct.unpack_from("<QQ6Q", data, 48)
        self.assertEqual((former, buckets), ([15, 22, 9, 0, 0, 0], 255))
        cells = struct.unpack_from(f"<{buckets * 512}Q", data, 4096)
        self.assertEqual(self.count_found(cells, [15, 22, 9, 255]), harness.MIB // harness.BLOCK)
        self.assertLess(self.count_found(cells, [255]), 20)

    def test_every_field_of_the_table_s_json_is_described(self):
        page = source("skep-table.1.scd")
        for action in ("show", "check"):
            answer = call("table", action, "--json", "--state-dir", self.folder)
            report = json.loads(answer.stdout)
            described = section(page, f"## Of {action}")
            self.assertEqual(list(report), terms(described))
            for field in report.values():
                for member in field if isinstance(field, dict) else ():
                    self.assertIn(f"*{member}*", described)

    def test_every_line_of_the_table_s_text_is_described(self):
        table = shutil.copy(os.path.join(self.folder, "table"), self.state())
        self.assertEqual(call("table", "resize", table, "1M").status, DONE)
        answer = call("table", "show", table)
        lines = re.findall(r"^  (\w+(?: \w+)*)  +", answer.stdout, re.MULTILINE)
        self.assertEqual(lines, terms(section(source("skep-table.1.scd"), "# OUTPUT")))

    def count_found(self, cells, sizes):
        return sum(self.find(cells, sizes, block, address)
                   for block, address in self.blocks("folder/first"))

    def blocks(self, name):
        data = harness.read_whole(self.fs.path(name))
        for number, address in harness.block_addresses(self.fs.path(name)).items():
            yield data[number * harness.BLOCK:(number + 1) * harness.BLOCK], address

    def find(self, cells, sizes, block, address):
        """In the bucket of each size that the table had, moved to the last one, which it has."""
        fingerprint = block_fingerprint(crc32c(block))
        tag = fingerprint & (1 << 22) - 1
        for first in range(len(sizes)):
            bucket = (fingerprint >> 32) * sizes[first] >> 32
            for before, after in zip(sizes[first:], sizes[first + 1:]):
                bucket = (bucket * 256 + (mix(tag) >> 56)) * after // before >> 8
            if self.find_in_bucket(cells, bucket * 512, tag, address):
                return True
        return False

    def find_in_bucket(self, cells, bucket, tag, address):
        for step in range(512):
            cell = cells[bucket + ((tag >> 16) * 8 + step) % 512]
            if cell == 0:
                return False
            if cell == tag << 42 | address // harness.BLOCK:
                return True
        return False


class DedupeFiles(SharedFilesystem):
    """What `skep dedupe-files` does and prints is what its page describes."""

    page = source("skep-dedupe-files.1.scd")

    def setUp(self):
        for name in ("images/one.iso", "images/two.iso", "photos/one", "photos/two"):
            self.fs.write(f"{self.id()}/{name}", harness.content(name[:6], 2 * harness.MIB))
        for name in ("one", "two"):
            self.fs.write(f"{self.id()}/images/{name}.img",
                          harness.content(name, harness.BLOCK) + harness.content(1, harness.MIB))
        self.folder = self.fs.path(self.id())

    def test_every_example_works(self):
        for tool in ("fdupes", "jdupes", "rmlint"):
            if not shutil.which(tool):
                harness.skip(f"{tool} is not installed")
        path = f"{os.path.dirname(harness.skep_binary())}:{os.environ['PATH']}"
        examples = re.findall(r"^```\n(.*?)^```", section(self.page, "# EXAMPLES"),
                              re.MULTILINE | re.DOTALL)
        self.assertGreater(len(examples), 4)
        for example in examples:
            done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", example], cwd=self.folder,
                                  env={**os.environ, "PATH": path}, capture_output=True, text=True,
                                  timeout=harness.RUN_TIMEOUT_SECONDS)
            self.assertEqual(done.returncode, DONE, (example, done))
            self.assertRegex(done.stdout, r"(?m)^\d+ groups?, [1-9]\d* files: ", example)
        for folder, names in (("images", ("one.iso", "two.iso")), ("images", ("one.img", "two.img")),
                              ("photos", ("one", "two"))):
            one, two = (harness.block_addresses(os.path.join(self.folder, folder, name))
                        for name in names)
            self.assertEqual({**one, 0: 0}, {**two, 0: 0}, names)

    def test_every_field_of_the_json_is_described(self):
        answer = call("dedupe-files", "--json", "images/one.iso", "images/two.iso", "\udcff",
                      cwd=self.folder)
        report = json.loads(answer.stdout)
        described = section(self.page, "# JSON")
        self.assertEqual(set(report), set(terms(described)) - {"lists"})
        group, = report["groups"]
        problem, = report["problems"]
        for member in (*group, *group["files"][0], *problem):
            self.assertIn(f"*{member}*", described)

    def test_every_fate_is_described(self):
        code = (ROOT / "src/cli/dedupe_files_report.cc").read_text(encoding="utf-8")
        names = re.findall(r'return "(\w+)";', code.split("name_of(FileFate")[1].split("\n}\n")[0])
        self.assertEqual(len(names), 6)
        self.assertEqual(names, terms(section(self.page, "# OUTPUT")))

    def test_every_format_is_described(self):
        formats = re.search(r"--format (\S+)", call("dedupe-files", "--help").stdout)[1]
        self.assertEqual(formats.split("|"),
                         ["auto"] + terms(section(self.page, "# LISTS")))


def crc32c(data):
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder = CRC32C[(remainder ^ byte) & 0xFF] ^ remainder >> 8
    return remainder ^ 0xFFFFFFFF


def crc32c_of_byte(byte):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


CRC32C = [crc32c_of_byte(byte) for byte in range(256)]


def mix(x):
    mask = (1 << 64) - 1
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask
    x = (x ^ x >> 27) * 0x94D049BB133111EB & mask
    return x ^ x >> 31


def block_fingerprint(checksum):
    return mix(checksum + 0x9E3779B97F4A7C15 & (1 << 64) - 1) or 1


class Readme(unittest.TestCase):

    def setUp(self):
        self.text = (ROOT / "README.md").read_text(encoding="utf-8")

    def commands(self):
        for block in re.findall(r"^```sh\n(.*?)^```", self.text, re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                yield shlex.split(line, comments=True)

    def test_the_two_commands_come_first(self):
        first = [words for words in self.commands()][:2]
        self.assertEqual(first, [["sudo", "scripts/demo"], ["sudo", "scripts/test"]])

    def test_every_script_that_is_named_can_be_run(self):
        scripts = {word for words in self.commands() for word in words
                   if word.startswith("scripts/")}
        for script in scripts:
            self.assertTrue(os.access(ROOT / script, os.X_OK), script)

    def test_every_folder_that_is_named_exists(self):
        folders = re.findall(r"^\| `((?:src|include|man|scripts|tests)[\w/]*)` \|", self.text,
                             re.MULTILINE)
        self.assertGreater(len(folders), 8)
        for folder in folders:
            self.assertTrue((ROOT / folder).is_dir(), folder)

    def test_every_link_leads_to_a_heading(self):
        headings = {re.sub(r"[^\w -]", "", title).replace(" ", "-").lower()
                    for title in re.findall(r"^#+ (.*)$", self.text, re.MULTILINE)}
        links = re.findall(r"\]\(#([^)]*)\)", self.text)
        self.assertGreater(len(links), 3)
        self.assertLessEqual(set(links), headings)

    def test_every_preset_that_is_named_exists(self):
        presets = {preset["name"] for preset in
                   json.loads((ROOT / "CMakePresets.json").read_text())["buildPresets"]}
        named = re.search(r"^CMake presets: (.*?)\. ", self.text, re.MULTILINE | re.DOTALL)[1]
        self.assertEqual(set(re.findall(r"`(\w+)`", named)), presets)


if __name__ == "__main__":
    harness.main()
