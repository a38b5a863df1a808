# SPDX-License-Identifier: MIT
"""The history in the state directory: when it gets a row, what is in it, and that no run fails for it."""
import json
import os
import time

import harness
from daemon_harness import DaemonTest
from harness import MIB, content


class HistoryTest(DaemonTest):

    def history_path(self):
        return os.path.join(self.fs.state, "history.json")

    def rows(self):
        with open(self.history_path(), encoding="utf-8") as file:
            history = json.load(file)
        self.assertEqual((history["version"], history["filesystem"]), (1, self.fs.uuid()))
        return history["rows"]

    def write_copies(self):
        self.fs.write("first", content(1, 3 * MIB))
        self.fs.write("second", content(1, 3 * MIB))
        self.fs.write("alone", content(2, 20_000))
        self.fs.sync()

    def extents_counted(self, row):
        return [(size_class, count) for size_class, (count, _) in enumerate(row["sizes"]) if count]


class OfRuns(HistoryTest):

    def test_the_first_run_tells_of_before_and_after(self):
        self.write_copies()
        used = self.fs.settled_used()
        began = int(time.time())
        report = self.dedupe()
        before, after = self.rows()
        self.assertTrue(began <= before["time"] <= after["time"] <= time.time())
        self.assertEqual((before["runs"], before["bytes_freed"], before["left"]), (0, 0, {}))
        self.assertEqual((before["data_used"], after["data_used"]),
                         (used, report["data_used_after"]))
        self.assertEqual((after["runs"], after["bytes_freed"], after["bytes_read"]),
                         (1, 3 * MIB, report["bytes_read"]))
        self.assertEqual(after["left"], {name: [left["extents"], left["bytes"]]
                                         for name, left in report["left"].items()})
        # 20,000 bytes and twice 3 MiB; then once.
        self.assertEqual(self.extents_counted(before), [(2, 1), (9, 2)])
        self.assertEqual(self.extents_counted(after), [(2, 1), (9, 1)])

    def test_later_runs_add_to_it(self):
        self.write_copies()
        self.dedupe()
        self.fs.write("third", content(1, 3 * MIB))
        self.fs.write("other", content(3, 20_000))
        self.dedupe()
        before, first, second = self.rows()
        self.assertEqual([row["bytes_freed"] for row in (before, first, second)],
                         [0, 3 * MIB, 6 * MIB])
        self.assertEqual(second["runs"], 2)
        self.assertEqual([row["left"]["unique"][0] for row in (first, second)], [1, 2])
        # Counting all extents again is for another day.
        self.assertNotIn("sizes", second)

    def test_one_that_is_damaged_is_set_aside_with_a_line(self):
        self.write_copies()
        os.mkdir(self.fs.state)
        with open(self.history_path(), "w", encoding="utf-8") as file:
            file.write("{")
        process = self.fs.start_skep()
        _, stderr = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0)
        lines = [line for line in stderr.splitlines() if "history" in line]
        self.assertEqual(len(lines), 1, stderr)
        self.assertIn("history.json.old", lines[0])
        self.assertEqual(harness.read_whole(self.history_path() + ".old"), b"{")
        self.assertEqual(len(self.rows()), 2)

    def test_one_that_cannot_be_written_is_no_failure(self):
        self.write_copies()
        os.makedirs(self.history_path())  # a folder
        process = self.fs.start_skep()
        _, stderr = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0)
        self.assertEqual(len([line for line in stderr.splitlines() if "history" in line]), 1, stderr)

    def test_what_a_filter_by_length_leaves_out_is_counted_all_the_same(self):
        self.write_copies()
        self.dedupe("--min-extent-size", "1M")
        self.assertEqual(self.extents_counted(self.rows()[0]), [(2, 1), (9, 2)])


class OfOneThatStays(HistoryTest):

    def test_a_row_when_everything_is_looked_at_and_none_for_each_change(self):
        self.write_copies()
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        before, after = self.rows()
        self.assertEqual((before["bytes_freed"], after["bytes_freed"]), (0, 3 * MIB))
        self.assertEqual(self.extents_counted(after), [(2, 1), (9, 1)])
        written = os.stat(self.history_path()).st_ino
        self.fs.write("third", content(1, 3 * MIB))
        daemon.wait_until_looked_at()
        self.wait_until_used(self.fs.used())
        # The next one is due in an hour.
        self.assertEqual(os.stat(self.history_path()).st_ino, written)
        daemon.end()

    def test_an_old_row_is_followed_by_one_when_something_has_changed(self):
        self.write_copies()
        self.dedupe()
        with open(self.history_path(), "r+", encoding="utf-8") as file:
            history = json.load(file)
            for row in history["rows"]:
                row["time"] -= 7200
            file.seek(0)
            json.dump(history, file)
            file.truncate()
        daemon = self.daemon()
        daemon.wait_until_looked_at()
        self.assertEqual(len(self.rows()), 2)
        self.fs.write("third", content(1, 3 * MIB))
        daemon.wait_until_looked_at()
        self.assertEqual([row["bytes_freed"] for row in self.rows()], [0, 3 * MIB, 6 * MIB])
        daemon.end()


if __name__ == "__main__":
    harness.main()
