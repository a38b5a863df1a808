# SPDX-License-Identifier: MIT
"""Runs over a filesystem that skep has been at before."""
import os
import random
import shutil

import harness
from harness import KIB, MIB, FilesystemTest, content


class RepeatedRuns(FilesystemTest):

    def populate(self):
        """Duplicates of all sorts: whole, partial, with tails, with zeros, under a snapshot."""
        pick = random.Random(3)
        pool = [content(("pool", i), 64 * KIB) for i in range(40)]
        self.fs.subvolume("data")
        for i in range(60):
            parts = [pool[pick.randrange(40)] for _ in range(6)]
            parts.insert(3, bytes(pick.randrange(0, 9) * 8 * KIB))
            parts.append(content(("own", i), pick.randrange(0, 50000)))
            self.fs.write(f"data/{i}", b"".join(parts))
        self.fs.snapshot_subvolume("data", "frozen")

    def assert_nothing_done(self, report):
        self.assertEqual((report["bytes_freed"], report["bytes_copied"], report["extents_freed"]),
                         (0, 0, 0), report)

    def test_the_same_run_again_frees_nothing_and_copies_nothing(self):
        self.populate()
        self.assertGreater(self.dedupe()["bytes_freed"], 10 * MIB)
        again = self.dedupe()
        self.assert_nothing_done(again)
        self.assertLess(again["seconds"], 5 * harness.SLOWDOWN)

    def test_with_a_new_state_folder_it_frees_nothing_and_copies_nothing(self):
        self.populate()
        self.assertGreater(self.dedupe()["bytes_freed"], 10 * MIB)
        self.assert_nothing_done(self.dedupe(state=self.fs.state + ".new"))

    def test_new_duplicates_of_old_data_are_found(self):
        self.fs.write("first", content(1, MIB))
        self.assertEqual(self.dedupe()["bytes_freed"], 0)
        self.fs.write("second", content(1, MIB))
        self.assertEqual(self.dedupe()["bytes_freed"], MIB)
        self.assert_shared("first", "second")

    def test_old_duplicates_are_found_when_the_state_is_lost(self):
        self.fs.write("first", content(1, MIB))
        self.dedupe()
        shutil.rmtree(self.fs.state)
        self.fs.write("second", content(1, MIB))
        self.assertEqual(self.dedupe()["bytes_freed"], MIB)

    def test_data_replaced_between_runs_is_not_taken_for_what_it_was(self):
        data = content(1, MIB)
        self.fs.write("file", data)
        self.dedupe()
        self.fs.unlink("file")
        self.fs.sync()
        self.fs.write("file", content(2, MIB))  # perhaps at the same place
        self.fs.write("old content", data)
        self.assertEqual(self.dedupe()["bytes_freed"], 0)

    def test_the_state_folder_holds_table_and_state(self):
        self.fs.write("file", content(1, MIB))
        self.dedupe("--table-size", "4M")
        self.assertEqual(sorted(name for name in os.listdir(self.fs.state)
                                if name in ("table", "state.json")), ["state.json", "table"])
        self.assertLessEqual(os.path.getsize(os.path.join(self.fs.state, "table")), 4 * MIB)

    def test_a_table_of_another_size_goes_on(self):
        self.fs.write("first", content(1, MIB))
        self.dedupe("--table-size", "1M")
        self.fs.write("second", content(1, MIB))
        self.assertEqual(self.dedupe("--table-size", "8M")["bytes_freed"], MIB)
        self.fs.write("third", content(1, MIB))
        self.assertEqual(self.dedupe("--table-size", "1M")["bytes_freed"], MIB)

    def test_a_table_resized_between_runs_still_finds_what_was_there(self):
        # In files of 64 KiB, so that hits must come from the table, not from their surroundings.
        length, count = 64 * KIB, 1000
        for i in range(count):
            self.fs.write(f"first/{i}", content(i, length), flush=i % 100 == 99)
        self.assertEqual(self.dedupe("--table-size", "64M")["bytes_freed"], 0)
        table = os.path.join(self.fs.state, "table")
        for size in ("128K", "64M"):
            harness.command(harness.skep_binary(), "table", "resize", table, size)
        order = list(range(count))
        random.Random(1).shuffle(order)
        for i in order:
            self.fs.write(f"second/{i}", content(i, length), flush=i % 100 == 99)
        report = self.dedupe()
        self.assertGreaterEqual(report["bytes_freed"], count * length * 95 // 100, report)

    def test_a_damaged_table_costs_no_data(self):
        for spoil in ("header", "inside", "cut short", "emptied"):
            with self.subTest(spoil=spoil):
                self.fresh_filesystem()
                self.fs.write("first", content(1, MIB))
                self.dedupe()
                table = os.path.join(self.fs.state, "table")
                size = os.path.getsize(table)
                with open(table, "r+b") as file:
                    if spoil == "cut short":
                        file.truncate(size // 2 + 123)
                    elif spoil == "emptied":
                        file.truncate(0)
                    else:
                        file.seek(0 if spoil == "header" else 4096)
                        file.write(content("noise", 4096 if spoil == "header" else size - 4096))
                self.fs.write("second", content(1, MIB))
                self.dedupe()
                self.dedupe(state=self.fs.state + ".new")
                self.assertEqual(self.fs.settled_used(), MIB)

    def test_a_small_table_finds_what_lies_together(self):
        for copy in range(2):
            for i in range(16):
                self.fs.write(f"{copy}/{i}", content(i, 4 * MIB))
        report = self.dedupe("--table-size", "64K")
        self.assertGreaterEqual(report["bytes_freed"], 60 * MIB)

    def test_thread_counts_do_not_matter(self):
        for threads in ("1", "2", "8"):
            with self.subTest(threads=threads):
                self.fresh_filesystem()
                self.populate()
                self.dedupe("--threads", threads)
                self.assert_nothing_done(self.dedupe("--threads", threads))


if __name__ == "__main__":
    harness.main()
