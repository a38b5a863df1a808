# SPDX-License-Identifier: MIT
"""Completion in the real shells, of everything that the help shows."""
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import tempfile
import time
import unittest

from cli_harness import DONE, WRONG_CALL, Refusals, call, harness

# A terminal's answer takes milliseconds; a shell may take seconds to start on a busy machine.
SECONDS = 60


def help_of(path):
    """What `skep PATH --help` lists: options, and commands."""
    answer = call(*path, "--help")
    assert answer.status == DONE, answer
    options = {name for start in re.findall(r"^ +(-[^ ]*)", answer.stdout, re.MULTILINE)
               for name in re.findall(r"(?<![\w-])--?[\w-]+", start)}
    commands = re.findall(r"^  ([\w-]+)", answer.stdout.partition("ubcommands:")[2], re.MULTILINE)
    return options, set(commands)


def all_commands(path=()):
    """Every command that the help leads to, with what it lists."""
    options, commands = help_of(path)
    yield path, options, commands
    for command in sorted(commands):
        yield from all_commands((*path, command))


def choices(path):
    """Options of a command that take one of a few words."""
    return re.findall(r"^ +(?:-\w,)?(--[\w-]+) ([a-z|-]+\|[a-z|-]+)\b", call(*path, "--help").stdout,
                      re.MULTILINE)


class Terminal:
    """A shell that somebody types at."""

    def __init__(self, *command, **environment):
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            os.execvpe(command[0], command, {**os.environ, "TERM": "dumb", "LC_ALL": "C.UTF-8",
                                             "COLUMNS": "500", **environment})
        self.seen = ""

    def type(self, text):
        os.write(self.terminal, text.encode())

    def read_until(self, pattern):
        """Reads on until what is seen, with what came since the last call, matches."""
        end = time.monotonic() + SECONDS
        while not re.search(pattern, re.sub(".\x08", "", self.seen)):
            wait = end - time.monotonic()
            if wait < 0 or not select.select([self.terminal], [], [], wait)[0]:
                raise AssertionError(f"no {pattern!r} in {self.seen!r}")
            self.seen += os.read(self.terminal, 65536).decode(errors="replace")
        self.seen = ""

    def close(self):
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


class Shell:
    """What the shells have in common. `offered` asks a shell for what can follow some words."""

    @classmethod
    def setUpClass(cls):
        if not shutil.which(cls.shell):
            harness.skip(f"{cls.shell} is not installed")
        folder = tempfile.TemporaryDirectory(prefix="skep-test-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        answer = call("completion", cls.shell)
        assert answer.status == DONE, answer
        cls.script = cls.folder / "_skep"
        cls.script.write_text(answer.stdout)
        (cls.folder / "plain file").write_text("")
        (cls.folder / "a folder").mkdir()
        (cls.folder / "bin").mkdir()
        (cls.folder / "bin/skep").symlink_to(harness.skep_binary())

    def test_every_command_and_option_of_the_help_is_offered_and_nothing_else(self):
        for path, options, commands in all_commands():
            with self.subTest(path=path):
                line = " ".join(("skep", *path, ""))
                if commands:
                    self.assertEqual(self.offered(line), commands)
                self.assertEqual(self.offered(line + "--"),
                                 {name for name in options if name.startswith("--")})

    def test_the_words_that_an_option_takes_are_offered(self):
        tried = 0
        for path, _, commands in all_commands():
            for option, words in () if commands else choices(path):
                line = " ".join(("skep", *path, option, ""))
                self.assertEqual(self.offered(line), set(words.split("|")), line)
                tried += 1
        self.assertGreaterEqual(tried, 2)

    def test_what_follows_the_value_of_an_option_is_no_value(self):
        self.assertNotIn("quick", self.offered("skep run --depth quick "))

    def test_mount_points_are_folders(self):
        found = self.offered(f"skep run --once {self.folder}/")
        self.assertIn("a folder", " ".join(found).replace("\\", ""))
        self.assertNotIn("plain", " ".join(found))

    def test_tables_are_files_too(self):
        found = " ".join(self.offered(f"skep table show {self.folder}/")).replace("\\", "")
        self.assertIn("a folder", found)
        self.assertIn("plain file", found)

    def test_filesystems_are_offered_by_uuid(self):
        harness.require_filesystem()
        with harness.LoopFilesystem(size=128 * harness.MIB) as filesystem:
            uuid = filesystem.uuid()
            self.assertIn(uuid, self.offered(f"skep status {uuid[:8]}"))
            filesystem.finish()

    def test_where_nothing_can_be_offered_nothing_is(self):
        self.assertEqual(self.offered("skep run --table-size "), set())


class Bash(Shell, unittest.TestCase):
    shell = "bash"

    def offered(self, line):
        words = line.split(" ")
        done = subprocess.run(
            ["bash", "--norc", "--noprofile", "-c",
             'cd "$1"; source ./_skep; COMP_WORDS=("${@:2}"); COMP_CWORD=$(($# - 2))\n'
             'compopt() { :; }; _skep; printf "%s\\n" "${COMPREPLY[@]}"', "bash", self.folder, *words],
            capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return set(done.stdout.splitlines()) - {""}

    def test_the_value_may_follow_an_equals_sign(self):
        self.assertEqual(self.offered("skep run --depth = "), {"quick", "deep"})
        self.assertEqual(self.offered("skep run --depth ="), {"quick", "deep"})

    def test_it_loads_when_somebody_types(self):
        loader = "/usr/share/bash-completion/bash_completion"
        if not os.path.exists(loader):
            harness.skip("bash-completion is not installed")
        home = self.folder / "share/bash-completion/completions"
        home.mkdir(parents=True)
        shutil.copy(self.script, home / "skep")
        terminal = Terminal("bash", "--norc", "--noprofile", "-i", PS1="> ", HISTFILE="/dev/null",
                            PATH=f"{self.folder}/bin:{os.environ['PATH']}",
                            BASH_COMPLETION_USER_DIR=str(home.parent))
        self.addCleanup(terminal.close)
        terminal.type(f"source {loader}; bind 'set enable-bracketed-paste off'; echo rea''dy\n")
        terminal.read_until("\nready")
        terminal.type("skep tab\tsh\t--js\t")
        terminal.read_until("skep table show --json ")
        terminal.type("\x15skep run --de\tqu\t--on\t")
        terminal.read_until("skep run --depth quick --once ")


class Zsh(Shell, unittest.TestCase):
    shell = "zsh"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Instead of the terminal's list, what the completion system was told.
        (cls.folder / "zshrc").write_text(
            f"cd {cls.folder}; PS1='> '; setopt no_beep; unsetopt prompt_cr prompt_sp\n"
            f"path=({cls.folder}/bin $path); fpath=({cls.folder} $fpath)\n"
            f"autoload -U compinit; compinit -u -d {cls.folder}/dump\n"
            "zstyle ':completion:*' verbose no\n"
            "zstyle ':completion:*' list-grouped no\n"
            "zstyle ':completion:*' list-separator ''\n"
            "compadd() {\n"
            "  local -a found given=(\"$@\")\n"
            "  [[ \" $* \" == *' -O '* || \" $* \" == *' -D '* || \" $* \" == *' -A '* ]] || {\n"
            "    builtin compadd -O found \"$@\"; print -rl -- ${(q)found} >>$OFFERED }\n"
            "  builtin compadd \"$@\"\n"
            "}\n"
            "complete-or-list() { zle list-choices; print -r -- end >>$OFFERED }\n"
            "zle -N complete-or-list; bindkey '^T' complete-or-list; bindkey '^U' kill-whole-line\n"
            "echo rea''dy\n")
        cls.answers = cls.folder / "offered"
        cls.terminal = Terminal("zsh", "-f", "-i", OFFERED=str(cls.answers))
        cls.addClassCleanup(cls.terminal.close)
        cls.terminal.type(f"source {cls.folder}/zshrc\n")
        cls.terminal.read_until("\nready")

    def offered(self, line):
        self.answers.write_text("")
        self.terminal.type("\x15" + line + "\x14")
        end = time.monotonic() + SECONDS
        while not (text := self.answers.read_text()).endswith("end\n"):
            self.assertLess(time.monotonic(), end, self.terminal.seen)
            time.sleep(0.01)
        return {word for word in text.splitlines()[:-1]} - {"", "''"}

    def test_it_loads_when_somebody_types(self):
        self.terminal.type("\x15skep tab\tsh\t--js\t; skep run --de\tqu\t--on\t")
        self.terminal.read_until("skep table show --json; skep run --depth=quick --once")


class Fish(Shell, unittest.TestCase):
    shell = "fish"

    def offered(self, line):
        done = subprocess.run(["fish", "--no-config", "-c",
                               f"cd {self.folder}; source _skep; complete -C '{line}'"],
                              capture_output=True, text=True,
                              env={**os.environ, "HOME": str(self.folder),
                                   "PATH": f"{self.folder}/bin:{os.environ['PATH']}"})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return {found.split("\t")[0] for found in done.stdout.splitlines()}

    def test_the_value_may_follow_an_equals_sign(self):
        self.assertEqual(self.offered("skep run --depth=q"), {"--depth=quick"})


class Command(Refusals):

    def test_other_shells_are_refused(self):
        self.assert_refused(call("completion", "tcsh"), WRONG_CALL, "bash|zsh|fish")
        self.assert_refused(call("completion"), WRONG_CALL, "bash|zsh|fish")


if __name__ == "__main__":
    harness.main()
