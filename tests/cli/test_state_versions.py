# SPDX-License-Identifier: MIT
"""State of other versions, older or newer, or damaged, from its file's first byte to its last: it is set
aside, in one line that says so, and everything is found all the same."""
import json
import os
import struct

from cli_harness import DONE, SharedFilesystem, harness

TABLE_VERSION, STATE_VERSION = 2, 1


class Versions(SharedFilesystem):

    def path(self, name):
        return os.path.join(self.state(), name)

    def setUp(self):
        """A state that has seen one of two equal files."""
        self.fs.write(self.id() + ".1", harness.content(self.id(), harness.MIB))
        self.assertEqual(self.run_once().status, DONE)
        self.fs.write(self.id() + ".2", harness.content(self.id(), harness.MIB))

    def check_set_aside(self, name, reason):
        with open(self.path(name), "rb") as file:
            before = file.read()
        answer = self.run_once("--json")
        self.assertEqual(answer.status, DONE, answer)
        lines = [line for line in answer.stderr.splitlines() if f"{name}.old" in line]
        self.assertEqual(len(lines), 1, answer.stderr)
        self.assertIn(self.path(name), lines[0])
        self.assertIn(reason, lines[0])
        self.assertEqual(json.loads(answer.stdout)["bytes_freed"], harness.MIB)
        self.assertEqual(harness.read_whole(self.path(name + ".old")), before)
        answer = self.run_once()
        self.assertNotIn("set aside", answer.stderr)

    def change_state(self, **fields):
        with open(self.path("state.json"), encoding="utf-8") as file:
            state = json.load(file)
        state.update(fields)
        with open(self.path("state.json"), "w", encoding="utf-8") as file:
            json.dump(state, file)

    def change_table(self, offset, data):
        with open(self.path("table"), "r+b") as file:
            file.seek(offset)
            file.write(data)

    def test_a_newer_checkpoint(self):
        self.change_state(version=STATE_VERSION + 1, pass_="of another kind")
        self.check_set_aside("state.json", f"version {STATE_VERSION + 1}")

    def test_an_older_checkpoint(self):
        self.change_state(version=STATE_VERSION - 1)
        self.check_set_aside("state.json", f"version {STATE_VERSION - 1}")

    def test_a_damaged_checkpoint(self):
        os.truncate(self.path("state.json"), 100)
        self.check_set_aside("state.json", "damaged")

    def test_a_newer_table(self):
        self.change_table(8, struct.pack("<I", TABLE_VERSION + 1))
        self.check_set_aside("table", f"version {TABLE_VERSION + 1}")

    def test_an_older_table(self):
        self.change_table(8, struct.pack("<I", TABLE_VERSION - 1))
        self.check_set_aside("table", f"version {TABLE_VERSION - 1}")

    def test_a_table_with_a_damaged_header(self):
        self.change_table(50, b"\xff")
        self.check_set_aside("table", "damaged")

    def test_a_table_that_was_cut(self):
        os.truncate(self.path("table"), 8192)
        self.check_set_aside("table", "")

    def test_a_table_whose_cells_are_damaged_is_used(self):
        size = os.path.getsize(self.path("table"))
        self.change_table(4096, os.urandom(size - 4096))
        answer = self.run_once("--json")
        self.assertEqual(answer.status, DONE, answer)
        self.assertNotIn("set aside", answer.stderr)
        self.run_once("--json")  # what is written now finds its like, whatever the cells held
        for copy in "34":
            self.fs.write(f"{self.id()}.{copy}", harness.content(self.id() + "new", harness.MIB))
        freed = json.loads(self.run_once("--json").stdout)["bytes_freed"]
        self.assertEqual(freed, harness.MIB)

    def test_members_that_are_unknown_are_ignored(self):
        self.change_state(invented="later")
        answer = self.run_once("--json")
        self.assertNotIn("set aside", answer.stderr)
        self.assertEqual(json.loads(answer.stdout)["bytes_freed"], harness.MIB)


if __name__ == "__main__":
    harness.main()
