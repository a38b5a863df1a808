# SPDX-License-Identifier: MIT
"""Extents that many files refer to. One call of the kernel takes 127 targets; extents with a few
thousand references are common where files are cloned."""
import harness
from harness import KIB, MIB, FilesystemTest, content


class References(FilesystemTest):

    def clones(self, name, data, count):
        """A file and its reflinks: `count` references to one extent."""
        first = self.fs.write(f"{name}/0", data)
        for i in range(1, count):
            harness.clone_range(first, self.fs.path(f"{name}/{i}"))

    def check_equal_counts(self, count):
        data = content(1, 128 * KIB)
        self.clones("one", data, count)
        self.clones("two", data, count)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], len(data), report)
        self.assertEqual(report["bytes_copied"], 0)
        self.assert_shared("one/0", f"two/{count - 1}")

    def test_1_reference(self):
        self.check_equal_counts(1)

    def test_2_references(self):
        self.check_equal_counts(2)

    def test_126_references(self):
        self.check_equal_counts(126)

    def test_127_references(self):
        self.check_equal_counts(127)

    def test_128_references(self):
        self.check_equal_counts(128)

    def test_255_references(self):
        self.check_equal_counts(255)

    def test_3000_references_and_a_single_copy(self):
        data = content(1, 64 * KIB)
        self.clones("many", data, 3000)
        self.fs.write("single", data)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], len(data), report)
        self.assertEqual(report["bytes_copied"], 0)
        self.assert_shared("single", "many/2999")

    def test_3000_references_and_a_copy_with_3000_more(self):
        data = content(1, 16 * KIB)
        self.clones("one", data, 3000)
        self.clones("two", data, 3000)
        report = self.dedupe()
        if report["bytes_freed"]:
            self.assertEqual(report["bytes_freed"], len(data))
            self.assert_shared("one/0", "two/2999")
        else:
            self.assertTrue(report["left"].keys() & {"too_many_references", "metadata_price"},
                            report)

    def test_one_file_may_refer_to_an_extent_many_times(self):
        data = content(1, 64 * KIB)
        for name in ("one", "two"):
            path = self.fs.write(name, data)
            for i in range(1, 200):
                harness.clone_range(path, path, 0, len(data), i * len(data))
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], len(data))
        self.assert_shared("one", "two")

    def test_partial_references_at_many_offsets(self):
        data = content(1, MIB)
        for name in ("one", "two"):
            path = self.fs.write(f"{name}/whole", data)
            for i in range(100):
                at = (i * 9 % 240) * 4 * KIB
                harness.clone_range(path, self.fs.path(f"{name}/{i}"), at, 60 * KIB,
                                    (i % 3) * 4 * KIB)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], MIB)
        self.assertEqual(report["bytes_copied"], 0)

    def test_remnants_of_an_extent_with_many_references_are_copied_once(self):
        data = content(1, 512 * KIB)
        self.clones("one", data, 150)
        self.clones("two", data[:448 * KIB] + content(2, 64 * KIB), 150)
        report = self.dedupe()
        self.assertEqual(report["bytes_freed"], 448 * KIB)
        self.assertEqual(report["bytes_copied"], 64 * KIB)
        self.assert_shared("two/0", "two/149")


if __name__ == "__main__":
    harness.main()
