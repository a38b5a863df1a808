# SPDX-License-Identifier: MIT
"""skep report: the figures, the page as a browser shows it, where it goes, and what is refused."""
import collections
import html.parser
import json
import os
import re
import shutil
import struct
import subprocess
import tempfile
import zlib

from cli_harness import DONE, FAILED, UNSUPPORTED, WRONG_CALL, Refusals, SharedFilesystem, call, harness

MIB = harness.MIB
NOBODY = 65534
UUID = "0e7d8c9a-2b41-4e0a-9f7e-3d1c5b6a7f80"  # of no filesystem
MARK = "<!DOCTYPE html>\n<!-- skep report -->\n"
VOID = {"meta", "link", "br", "img", "input"}
PAGE, ACCENT = 0, 1  # colours of the page and of its charts
SCHEMES = {"light": ((0xf6, 0xf6, 0xf3), (0x24, 0x68, 0xc4)),
           "dark": ((0x13, 0x13, 0x12), (0x5b, 0x9b, 0xec))}


class Outline(html.parser.HTMLParser):
    """What a page consists of; fails where an element is not closed, or closed by another."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.urls, self.elements = [], [], [], collections.Counter()
        self.text = collections.defaultdict(str)
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.elements[tag] += 1
        attributes = dict(attributes)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        self.urls += [attributes[name] for name in ("src", "href", "srcset", "action", "data")
                      if name in attributes]
        assert not any(name.startswith("on") for name in attributes), attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.open)

    def handle_data(self, data):
        if self.open:
            self.text[self.open[-1]] += data


def pixels(png):
    """The picture's rows, of bytes RGB. Chromium writes 8 bits a channel, without interlace."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed = 8, b""
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        if kind == b"IHDR":
            width, height, depth, colours, _, _, interlace = struct.unpack_from(">IIBBBBB", png, at + 8)
        if kind == b"IDAT":
            packed += png[at + 8:at + 8 + length]
        at += 12 + length
    assert (depth, interlace) == (8, 0) and colours in (2, 6)
    size = 3 if colours == 2 else 4
    data, stride = zlib.decompress(packed), width * size
    before, rows = bytearray(stride), []
    for y in range(height):
        start = y * (stride + 1)
        row = unfiltered(data[start], bytearray(data[start + 1:start + 1 + stride]), before, size)
        rows.append(row)
        before = row
    return [[tuple(row[x:x + 3]) for x in range(0, stride, size)] for row in rows]


def unfiltered(kind, row, above, size):
    for x in range(len(row)) if kind else ():
        left = row[x - size] if x >= size else 0
        up, corner = above[x], above[x - size] if x >= size else 0
        if kind == 4:
            guess = left + up - corner
            distances = abs(guess - left), abs(guess - up), abs(guess - corner)
            add = (left, up, corner)[distances.index(min(distances))]
        else:
            add = (left, up, (left + up) // 2)[kind - 1]
        row[x] = row[x] + add & 255
    return row


class Reports(SharedFilesystem):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.fs.write("alone", harness.content(2, 40_000))
        cls.made = os.path.join(cls.fs.folder, "made")
        answer = call("run", "--once", "--json", "--state-dir", cls.made, cls.fs.mnt)
        assert answer.status == DONE, answer
        cls.ran = json.loads(answer.stdout)

    def report(self, *options, name=None, state=None):
        answer = call("report", "--state-dir", state or self.made, "--run-dir", self.fs.folder, *options,
                      name or self.fs.mnt)
        self.assertEqual((answer.status, answer.stderr), (DONE, ""), answer)
        return answer.stdout

    def figures(self, **how):
        return json.loads(self.report("--json", **how))

    def folder(self):
        folder = tempfile.TemporaryDirectory(prefix="skep-test-")
        self.addCleanup(folder.cleanup)
        return folder.name


class Figures(Reports):

    def test_they_are_those_of_the_run_and_of_the_filesystem(self):
        found = self.figures()
        self.assertEqual((found["version"], found["filesystem"], found["mount"]),
                         (1, self.fs.uuid(), self.fs.mnt))
        self.assertEqual(found["totals"]["bytes_freed"], MIB)
        self.assertEqual(found["data_used"], self.ran["data_used_after"])
        self.assertEqual(found["left"], self.ran["left"])
        self.assertEqual(found["table"]["cells"], self.ran["table"]["cells"])
        self.assertIsNone(found["instance"])
        self.assertEqual([row["bytes_freed"] for row in found["history"]], [0, MIB, MIB])
        counted = [{one["least_bytes"]: one["extents"] for one in found[when]["classes"]
                    if one["extents"]} for when in ("sizes_before", "sizes_now")]
        self.assertEqual(counted, [{32 << 10: 1, MIB: 2}, {32 << 10: 1, MIB: 1}])

    def test_without_the_filesystem_the_state_tells(self):
        mounted = self.figures()
        self.fs.unmount()
        try:
            found = self.figures(name=self.fs.uuid())
        finally:
            self.fs.mount()
        self.assertEqual(found["mount"], "")
        for name in ("totals", "data_used", "left", "table"):
            self.assertEqual(found[name], mounted[name])
        self.assertEqual(found["sizes_now"]["classes"], mounted["sizes_now"]["classes"])

    def test_nothing_is_written(self):
        before = {name: os.stat(os.path.join(self.made, name)).st_mtime_ns
                  for name in os.listdir(self.made)}
        self.report()
        self.assertEqual({name: os.stat(os.path.join(self.made, name)).st_mtime_ns
                          for name in os.listdir(self.made)}, before)

    def test_a_state_from_before_there_was_a_history_serves(self):
        state = shutil.copytree(self.made, self.state())
        os.unlink(os.path.join(state, "history.json"))
        found = self.figures(state=state)
        self.assertEqual(found["totals"]["bytes_freed"], MIB)
        self.assertEqual(len(found["history"]), 1)
        Outline(self.report(state=state))

    def test_a_damaged_history_is_done_without(self):
        state = shutil.copytree(self.made, self.state())
        with open(os.path.join(state, "history.json"), "w", encoding="utf-8") as file:
            file.write("{")
        self.assertEqual(len(self.figures(state=state)["history"]), 1)

    def test_an_instance_that_runs_tells_of_its_throttle(self):
        run_dir, state = self.state() + "-run", shutil.copytree(self.made, self.state())
        process = self.fs.start(harness.skep_binary(), "run", "--run-dir", run_dir, "--config-dir",
                                self.fs.folder, "--state-dir", state, self.fs.mnt)
        try:
            self.wait_for_status(run_dir)
            self.assertTrue(json.loads(call("status", "--run-dir", run_dir, "--json").stdout)["running"])
            self.assertEqual(call("pause", "--run-dir", run_dir).status, DONE)
            found = json.loads(call("report", "--json", "--state-dir", state, "--run-dir", run_dir,
                                    self.fs.mnt).stdout)
            page = call("report", "--state-dir", state, "--run-dir", run_dir, self.fs.mnt).stdout
        finally:
            process.terminate()
            process.wait()
        self.assertEqual((found["instance"]["running"], found["instance"]["hold"]), (True, "paused"))
        self.assertIn("paused; &#39;skep resume&#39; lets it go on", page)

    def wait_for_status(self, run_dir):
        for _ in range(100):
            if call("status", "--run-dir", run_dir).status == DONE:
                return
        self.fail("no status")


class Places(Reports):

    def test_the_page_goes_to_stdout_or_to_a_file(self):
        path = os.path.join(self.folder(), "report.html")
        self.assertEqual(self.report("-o", path), "")
        self.assertTrue(harness.read_whole(path).decode().startswith(MARK))
        self.assertTrue(self.report().startswith(MARK))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o644)

    def test_a_page_is_written_over_and_other_files_are_not(self):
        folder = self.folder()
        path, other = os.path.join(folder, "report.html"), os.path.join(folder, "thesis.html")
        self.report("-o", path)
        self.report("-o", path)
        with open(other, "w", encoding="utf-8") as file:
            file.write("<!DOCTYPE html>\n<h1>Bees</h1>\n")
        before = harness.read_whole(other)
        self.assert_refused(call("report", "--state-dir", self.made, "-o", other, self.fs.mnt),
                            WRONG_CALL, other, "--force")
        self.assertEqual(harness.read_whole(other), before)
        self.report("-o", other, "--force")
        self.assertTrue(harness.read_whole(other).decode().startswith(MARK))
        self.assertEqual(sorted(os.listdir(folder)), ["report.html", "thesis.html"])

    def test_a_link_stays_one(self):
        folder = self.folder()
        path, link = os.path.join(folder, "report.html"), os.path.join(folder, "latest.html")
        os.symlink("report.html", link)
        self.report("-o", link)
        self.report("-o", link)
        self.assertTrue(os.path.islink(link))
        self.assertTrue(harness.read_whole(path).decode().startswith(MARK))

    def test_what_is_no_file_is_refused(self):
        for path in ("/dev/null", self.folder(), "/no/folder/report.html"):
            self.assert_refused(call("report", "--state-dir", self.made, "--force", "-o", path,
                                     self.fs.mnt), WRONG_CALL, path)

    def test_a_name_that_looks_like_html_does_no_harm(self):
        name = "<img src=x onerror=alert(1)>&\"'\x07\udcff\u00e9"
        mount = os.path.join(self.folder(), name)
        os.mkdir(mount)
        harness.command("mount", "--bind", self.fs.mnt, mount)
        try:
            page = Outline(self.report(name=mount))
        finally:
            harness.command("umount", mount)
        self.assertEqual(page.elements["img"], 0)
        self.assertIn("<img src=x onerror=alert(1)>&\"'\ufffd\ufffd\u00e9", page.text["h1"])


class Pages(Reports):

    def test_it_is_well_formed_and_needs_nothing_else(self):
        text = self.report()
        page = Outline(text)
        self.assertEqual(len(page.ids), len(set(page.ids)))
        self.assertEqual(page.urls, ["data:,"])
        self.assertEqual(page.elements["script"], 0)
        self.assertNotIn("@import", text)
        self.assertNotIn("url(", text)

    def test_each_chart_has_a_title_a_description_and_a_table(self):
        text = self.report()
        charts = re.findall(r'<svg viewBox="[^"]*" role="img" aria-labelledby="(\S+) (\S+)">(.*?)</svg>',
                            text, re.DOTALL)
        self.assertEqual(len(charts), 4)
        for title, description, chart in charts:
            self.assertRegex(chart, rf'<title id="{title}">[^<]+</title>')
            self.assertRegex(chart, rf'<desc id="{description}">[^<]+</desc>')
        for title in ("Savings over time", "Extents by length"):
            section = re.search(rf"<h2>{title}</h2>(.*?)</section>", text, re.DOTALL)[1]
            self.assertIn("<table>", section)

    def test_it_holds_the_figures(self):
        page = Outline(self.report())
        self.assertIn(self.fs.mnt, page.text["h1"])
        self.assertIn("1.0 MiB", page.text["dd"])
        self.assertIn(f"{self.ran['table']['cells']} of", page.text["td"])
        self.assertIn("the copy that stays", page.text["th"])
        self.assertIn("Not running", page.text["p"])


class Browser(Reports):
    """The page in a headless Chromium."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.page = os.path.join(cls.fs.folder, "report.html")
        answer = call("report", "--state-dir", cls.made, "-o", cls.page, cls.fs.mnt)
        assert answer.status == DONE, answer

    def setUp(self):
        if not shutil.which("chromium"):
            harness.skip("chromium is not installed")

    def browse(self, page, *options):
        """What Chromium prints; and the lines of its log that the page caused."""
        with tempfile.TemporaryDirectory(prefix="skep-test-") as profile:
            done = subprocess.run(
                ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--hide-scrollbars", "--disable-dev-shm-usage", "--enable-logging=stderr", "--v=0",
                 f"--user-data-dir={profile}", *options, f"file://{page}"],
                capture_output=True, text=True, timeout=60, env={**os.environ, "HOME": profile})
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    def test_a_request_would_be_refused_and_seen(self):
        other = os.path.join(self.folder(), "other.html")
        with open(other, "w", encoding="utf-8") as file:
            file.write(harness.read_whole(self.page).decode().replace(
                "</main>", '<img src="http://127.0.0.1:9/"><script>1</script></main>'))
        _, console = self.browse(other, "--dump-dom")
        self.assertEqual(sum("Content Security Policy" in line for line in console), 2, console)

    def check(self, scheme, *options):
        path = os.path.join(self.folder(), "shot.png")
        shown, console = self.browse(self.page, "--dump-dom", f"--screenshot={path}",
                                     "--window-size=640,1000", *options)
        # Its policy forbids all requests, and a try is an error.
        self.assertEqual(console, [])
        for text in (self.fs.mnt, "Freed since ever", "1.0 MiB", "the copy that stays", "</svg>"):
            self.assertIn(text, shown)
        self.check_picture(scheme, pixels(harness.read_whole(path)))

    def check_picture(self, scheme, rows):
        page, accent = SCHEMES[scheme]
        self.assertEqual((len(rows), len(rows[0])), (1000, 640))
        self.assertEqual({rows[0][0], rows[0][-1], rows[-1][0]}, {page})
        # The header, the tiles, and the first chart: text and lines are drawn in many shades.
        for top, bottom in ((0, 150), (150, 400), (400, 700), (700, 1000)):
            colours = collections.Counter(colour for row in rows[top:bottom] for colour in row)
            self.assertGreater(len(colours), 12, (top, colours.most_common(5)))
        everywhere = collections.Counter(colour for row in rows for colour in row)
        self.assertGreater(everywhere[accent], 400)
        other = SCHEMES["dark" if scheme == "light" else "light"]
        self.assertEqual(everywhere[other[PAGE]], 0)

    def test_it_is_seen_in_the_light_scheme_and_asks_for_nothing(self):
        self.check("light", "--blink-settings=preferredColorScheme=1")

    def test_it_is_seen_in_the_dark_scheme_and_asks_for_nothing(self):
        self.check("dark", "--blink-settings=preferredColorScheme=0")


class WrongCalls(Refusals):

    def test_no_name(self):
        self.assert_refused(call("report"), WRONG_CALL, "MOUNT|UUID")

    def test_a_filesystem_without_state(self):
        self.assert_refused(call("report", UUID), FAILED, UUID, f"/var/lib/skep/{UUID}", "skep run --once")
        self.assert_refused(call("report", "--json", "--state-dir", "/no/folder", UUID), FAILED,
                            "/no/folder", "skep run --once")

    def test_json_and_a_file(self):
        self.assert_refused(call("report", "--json", "-o", "/tmp/x", UUID), WRONG_CALL, "--json")

    def test_force_without_a_file(self):
        self.assert_refused(call("report", "--force", UUID), WRONG_CALL, "--force")

    def test_no_btrfs(self):
        self.assert_refused(call("report", "/proc"), UNSUPPORTED, "/proc", "btrfs")

    def test_no_mount_point(self):
        self.assert_refused(call("report", "/usr/lib"), WRONG_CALL, "/usr/lib", "mount")


class Foreign(Reports):

    def test_the_state_of_another_filesystem(self):
        self.assert_refused(call("report", "--state-dir", self.made, UUID), WRONG_CALL, self.made,
                            self.fs.uuid())

    def test_a_state_that_may_not_be_read(self):
        state = shutil.copytree(self.made, self.state())
        os.chmod(os.path.join(state, "state.json"), 0o600)
        binary = shutil.copy(harness.skep_binary(), os.path.join(self.fs.folder, "skep"))
        os.chmod(binary, 0o755)
        self.assert_refused(call("report", "--state-dir", state, self.fs.uuid(), binary=binary,
                                 user=NOBODY, group=NOBODY, extra_groups=[]), UNSUPPORTED, state,
                            "permission denied")


if __name__ == "__main__":
    harness.main()
