# SPDX-License-Identifier: MIT
"""Blocks that cannot be read, because the device flipped bits below the filesystem. The checksums
still tell that they were duplicates once; the kernel finds out when it compares."""
import os

import harness
from harness import BLOCK, KIB, MIB, FilesystemTest, content


class DamagedBlock(FilesystemTest):

    def readable_blocks(self, name, data):
        """Numbers of the blocks that still read as they were written; wrong bytes fail."""
        good = []
        with open(self.fs.path(name), "rb", buffering=0) as file:
            for block in range(len(data) // BLOCK):
                try:
                    got = os.pread(file.fileno(), BLOCK, block * BLOCK)
                except OSError:
                    continue
                self.assertEqual(got, data[block * BLOCK:(block + 1) * BLOCK],
                                 f"{name}: block {block} reads as something else")
                good.append(block)
        return good

    def check(self, damaged, block, blocks=256):
        """Two equal files, one of which cannot be read at one block, and an equal pair beside."""
        data = content(1, blocks * BLOCK)
        for name in ("first", "second"):
            self.fs.write(name, data)
            self.fs.write(f"sound {name}", content(2, MIB))
        sound = "second" if damaged == "first" else "first"
        self.fs.damage(damaged, block * BLOCK)
        others = [number for number in range(blocks) if number != block]
        self.assertEqual(self.readable_blocks(damaged, data), others)
        self.fs.remount()
        report = self.dedupe()
        self.assertGreaterEqual(report["bytes_freed"], MIB, report)
        self.assertEqual(self.readable_blocks(sound, data), list(range(blocks)))
        self.assertEqual(self.readable_blocks(damaged, data), others)
        self.assert_shared("sound first", "sound second")

    def test_damage_in_the_middle_of_the_first_copy_does_not_spread(self):
        self.check("first", 100)

    def test_damage_in_the_middle_of_the_second_copy_does_not_spread(self):
        self.check("second", 100)

    def test_damage_in_the_first_block_does_not_spread(self):
        self.check("second", 0)

    def test_damage_in_the_last_block_does_not_spread(self):
        self.check("first", 255)

    def test_a_damaged_block_that_would_have_to_be_copied_stays_where_it_is(self):
        data = content(1, MIB)
        own = data[:960 * KIB] + content(2, 64 * KIB)
        self.fs.write("first", data + content(3, MIB))
        self.fs.write("second", own)
        self.fs.damage("second", 250 * BLOCK)  # among the blocks that only this file has
        report = self.dedupe()
        self.assertEqual(self.readable_blocks("second", own),
                         [number for number in range(256) if number != 250])
        self.assertEqual(report["bytes_freed"], 0)

    def test_damage_in_a_block_of_zeros_does_not_become_a_hole(self):
        path = self.fs.write("zeros", bytes(MIB))
        self.fs.damage("zeros", 77 * BLOCK)
        self.dedupe()
        self.assertIn(77, harness.block_addresses(path))
        self.assertEqual(self.readable_blocks("zeros", bytes(MIB)),
                         [number for number in range(256) if number != 77])

    def test_the_report_names_what_could_not_be_shared(self):
        for name in ("first", "second"):
            self.fs.write(name, content(1, MIB))
        self.fs.damage("first", 0)
        self.assert_left(self.dedupe(), "failed")


if __name__ == "__main__":
    harness.main()
