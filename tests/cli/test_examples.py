# SPDX-License-Identifier: MIT
"""Every example of every manual page is run, as it stands there.

Each block between ``` in a section EXAMPLES is a test of its own: shell commands, which must end with status 0; a
configuration file; or an expression for Prometheus. Commands run as root in a copy-on-write view of this
machine, in which

- /mnt, and any other folder below /mnt, /home or /srv that an example names, is a mount point of one small
  btrfs; names with an extension, and those called file, are files in it,
- the working folder is /mnt; photos, images and the other FOLDERS are in it, and files for patterns such as
  images/*.iso,
- UUIDs that are written out are that filesystem's,
- state folders hold what a run has left there,
- a skep follows the filesystem where the example talks to one,
- what would not end by itself (--watch, run without --once) is ended after a second,
- systemd's commands do nothing, and a command that is not installed reads its input to the end.

A new page is met without a change here."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from cli_harness import DONE, call, harness

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
A_UUID = r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
SECONDS = 60
FOLDERS = ("backup", "documents", "images", "music", "photos", "projects", "videos")

PRELUDE = """set -euo pipefail
skep() {
    case " $* " in
        *' --watch '*) timeout --preserve-status --signal=INT 1 skep "$@" ;;
        *' --once '* | *' --check-config '*) command skep "$@" ;;
        ' run '*) timeout --preserve-status --signal=TERM 1 skep "$@" ;;
        *) command skep "$@" ;;
    esac
}
sudo() { "$@"; }
systemctl() { :; }
journalctl() { :; }
cd /mnt
command_not_found_handle() {
    # Not skep, nor skep misspelt.
    [[ $1 != *skep* && $1 =~ [^skepd] ]] || { printf 'no command %s\\n' "$1" >&2; return 127; }
    [[ -t 0 ]] || cat >/dev/null
}
"""
FOLLOW = """
command skep run --quiet /mnt &
for ((i = 0; i < 300; i++)); do
    ls /run/skep/*/status.json >/dev/null 2>&1 && break
    sleep 0.1
done
"""


def examples():
    """(page, number, block) of each one."""
    for page in sorted((ROOT / "man").glob("*.scd")):
        text = page.read_text(encoding="utf-8")
        found = re.search(r"^# EXAMPLES\n(.*?)(?=^# )", text, re.MULTILINE | re.DOTALL)
        for number, block in enumerate(
                re.findall(r"^```\n(.*?)^```$", found[1] if found else "", re.MULTILINE | re.DOTALL)):
            yield page.stem, number, block


def is_configuration(block):
    return re.match(r"\[\w+\]$", block.splitlines()[0]) is not None


def is_metric(block):
    return "skep_" in block and "skep " not in block


def commands():
    for page, number, block in examples():
        if is_configuration(block) or is_metric(block):
            continue
        yield page, number, block


class Commands(harness.FilesystemTest):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="skep-test-", dir=harness.scratch_base())
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        for name in ("root", "upper", "work"):
            os.mkdir(os.path.join(self.folder, name))
        for name in ("first", "second"):
            self.fs.write(name, harness.content(1, harness.MIB))

    def prepared(self, block):
        """The lines that make what a block names."""
        for folder in FOLDERS:
            if re.search(rf"(?<![\w/.-]){folder}\b", block):
                endings = {"jpg", *re.findall(rf"{folder}/\*\.(\w+)", block)}
                yield f"mkdir {folder}"
                for ending in sorted(endings):
                    yield f"cp first {folder}/one.{ending}; cp second {folder}/two.{ending}"
        written = re.findall(r"(?:-o|>>?) ?(/\S+)", block)
        for path in sorted(set(re.findall(r"(?<![\w/.@])/(?:mnt|home|srv)(?:/[\w.@-]+)*", block))):
            inside = path.removeprefix("/mnt").strip("/")
            if path in written:
                yield f"mkdir -p {os.path.dirname(path)}"
            elif re.search(r"\.\w+$|/file$", path):
                yield f"mkdir -p {os.path.dirname(path)}; cp /mnt/first {path}"
            elif f"--state-dir {path}" in block:
                yield f"mkdir -p {path}"
            elif path != "/mnt":
                yield f"mkdir -p $(dirname /mnt/{inside}) {path}"
                yield f"[[ -e /mnt/{inside}/more ]] || btrfs -q subvolume create /mnt/{inside}.v"
                yield f"cp /mnt/first /mnt/{inside}.v/more; mount --bind /mnt/{inside}.v {path}"
        for path in re.findall(r"import-beesd (/\S+)", block):
            yield f"mkdir -p {os.path.dirname(path)}; echo UUID={self.fs.uuid()} > {path}"
        for state in {f"/var/lib/skep/{self.fs.uuid()}", *re.findall(r"--state-dir[ =](/\S+)", block)}:
            yield f"command skep run --once --quiet --state-dir {state} /mnt >/dev/null"
        if re.search(r"\bskep (?:status|pause|resume)\b", block):
            yield FOLLOW

    def run_block(self, block):
        """Runs it in a namespace of its own, with which all that it mounts and starts ends."""
        block = re.sub(A_UUID, self.fs.uuid(), block)
        script = PRELUDE + "\n".join(self.prepared(block)) + "\n" + block
        # What is started in the background ends before the last command does.
        script += "\n[[ -z $(jobs -p) ]] || { kill $(jobs -p) 2>/dev/null || :; wait || :; }\n"
        pathlib.Path(self.folder, "example").write_text(script)
        outer = f"""set -e
            # The namespace begins with the mounts of other tests, which would last as long as it does. One goes
            # by itself when its folder is removed.
            awk '$5 ~ "/skep-test-" {{ print $5 }}' /proc/self/mountinfo | tac | while read -r point; do
                umount --lazy "$(printf %b "$point")" 2>/dev/null || :
            done
            cd {self.folder}
            mount -t overlay -o lowerdir=/,upperdir=$PWD/upper,workdir=$PWD/work overlay root
            cp example root/example
            mkdir -p root/usr/local/bin root/mnt root/etc/skep
            touch root/usr/local/bin/skep
            mount --bind {harness.skep_binary()} root/usr/local/bin/skep
            install {ROOT}/scripts/skep-duperemove root/usr/local/bin
            mount -t proc proc root/proc
            mount --rbind /dev root/dev
            mount --rbind /sys root/sys
            for empty in run srv home var/lib var/cache tmp; do mount -t tmpfs tmpfs root/$empty; done
            mkdir -p root/run/skep root/var/lib/skep
            mount -t btrfs {self.fs.loop} root/mnt
            exec chroot root env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=C.UTF-8 \\
                bash --norc /example"""
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
             "bash", "-c", outer],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)


class Others(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="skep-test-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def test_configurations_are_right(self):
        blocks = [block for _, _, block in examples() if is_configuration(block)]
        self.assertGreater(len(blocks), 1)
        for block in blocks:
            with self.subTest(block=block):
                pathlib.Path(self.folder, "skep.conf").write_text(block)
                answer = call("run", "--check-config", "--config-dir", self.folder)
                self.assertEqual((answer.status, answer.stderr), (DONE, ""))

    def test_expressions_for_prometheus_are_right(self):
        if not shutil.which("promtool"):
            harness.skip("promtool is not installed")
        for block in (block for _, _, block in examples() if is_metric(block)):
            with self.subTest(block=block):
                rules = pathlib.Path(self.folder, "rules.yml")
                rules.write_text("groups: [{name: skep, rules: [{alert: Skep, expr: "
                                 f"'{block.strip()}'" "}]}]\n")
                done = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stderr + done.stdout)

    def test_each_page_of_a_command_has_examples(self):
        of_commands = {page.stem for page in (ROOT / "man").glob("*-*.1.scd")}
        self.assertEqual(of_commands - {page for page, _, _ in examples()}, set())


def add_test(page, number, block):
    def test(self):
        done = self.run_block(block)
        self.assertEqual(done.returncode, 0, f"{block}\n{done.stdout}{done.stderr}")

    name = re.sub(r"\W", "_", page)
    setattr(Commands, f"test_{name}_example_{number + 1}", test)


for example in commands():
    add_test(*example)

if __name__ == "__main__":
    harness.main()
