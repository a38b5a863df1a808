# SPDX-License-Identifier: MIT
"""What is run on each kernel: one check a row of the table.

A check runs one of the files of tests/fs, whole or some of its tests, or a program of its own. The core is what
fits into a few minutes under emulation, where all is some twenty times slower.
"""
import dataclasses
import posixpath

CLONE = "/payload/clone"  # where the guest has the parts of the clone that it needs
SKEP = f"{CLONE}/build/release/skep"
FREED = "same bytes freed"
KERNEL_LOG = "kernel log"
DEMO = "README's demo"
CHECK_SECONDS = 900  # far above what any check takes; reaching it means a hang
CORE_CHECK_SECONDS = 600  # the daemon waits for minutes on kernels that do not tell of commits


@dataclasses.dataclass(frozen=True)
class Check:
    """A row of the table. `tests` names what of the file is run, None for all of it; `core`, where it differs, what
    is run with --core, nothing when it is empty."""
    name: str
    file: str
    tests: tuple | None = None
    core: tuple | None = None

    def plan(self, core):
        """What the guest is told, or None."""
        tests = self.core if core and self.core is not None else self.tests
        if tests == ():
            return None
        arguments = tests or ()
        if self.name == DEMO:
            arguments = (SKEP,)
        return {"name": self.name,
                "folder": posixpath.join(CLONE, posixpath.dirname(self.file)),
                "command": ["python3", "-B", posixpath.basename(self.file), *arguments],
                "seconds": CORE_CHECK_SECONDS if core else CHECK_SECONDS}


def fs(name, file, **choice):
    return Check(name, f"tests/fs/test_{file}.py", **choice)


def of(group, *tests):
    """Names of tests of a class."""
    return tuple(f"{group}.test_{test}" for test in tests)


def compressed(algorithm):
    return fs(f"compressed, {algorithm}", "compressed", tests=(algorithm.capitalize(),),
              core=of(algorithm.capitalize(), "a_quick_run_shares_what_is_compressed_alike",
                      "what_is_copied_of_a_compressed_extent_is_compressed_again", "an_extent_of_zeros_becomes_a_hole"))


def checksum(kind):
    return fs(f"csum {kind}", "checksums", tests=(kind.capitalize(),),
              core=of(kind.capitalize(), "parts_are_shared_at_any_block_offset"))


# Two run at a time; those that take longest come first.
CHECKS = (
    fs("kernel facts", "kernel_facts"),
    compressed("zlib"),
    compressed("lzo"),
    compressed("zstd"),
    fs("daemon, following", "daemon_following",
       core=of("Following", "new_duplicates_are_freed_soon_after_each_commit")),
    fs("daemon, letting go", "daemon_administration",
       core=of("Administration", "unmounting_and_mounting_again", "subvolumes_are_deleted_beside_it")),
    fs("daemon, deleted files", "daemon_deletions", core=()),
    fs("daemon, failing", "daemon_failing", core=()),
    fs("features it may lack", "kernel_features"),
    checksum("crc32c"),
    checksum("xxhash"),
    checksum("sha256"),
    checksum("blake2"),
    fs("references", "references",
       core=of("References", "128_references", "partial_references_at_many_offsets")),
    fs("snapshots, subvolumes", "subvolumes",
       core=(*of("Snapshots", "data_in_read_only_snapshots_is_freed_for_all_of_them",
                 "snapshots_that_went_their_own_ways_stay_different"),
             *of("MountedSubvolume", "any_mount_point_serves_for_the_whole_filesystem"))),
    fs("partial overlaps", "partial_overlaps",
       core=(*of("Alignments", "both_may_begin_and_end_anywhere"),
             *of("Interleaving", "every_other_stretch_is_shared_and_the_rest_copied_once"))),
    fs("plain copies", "plain_copies",
       core=of("PlainCopies", "two_equal_files_take_the_space_of_one", "many_pairs_of_small_files_are_shared",
               "a_lone_block_is_shared_too")),
    fs("tails", "tails", core=("WithoutTheNoHolesFeature",)),
    fs("zeros and holes", "zeros_and_holes",
       core=(*of("Zeros", "a_file_of_zeros_becomes_a_hole", "zeros_inside_data_become_holes_and_the_data_stays"),
             *of("Holes", "a_sparse_and_a_full_copy_end_up_the_same"))),
    fs("nodatasum", "nodatasum",
       core=(*of("NocowFiles", "parts_are_shared_at_any_block_offset_and_the_rest_copied"),
             *of("Preallocated", "a_reservation_that_is_partly_written_keeps_its_place"))),
    fs("find-new", "find_new",
       core=(*of("KindsOfExtents", "each_kind_of_extent"), *of("NamesAndPlaces", "each_kind_of_name"))),
    fs("estimate, tune", "estimate", core=of("Estimate", "a_run_frees_what_was_estimated")),
    fs("explain", "explain",
       core=(*of("Verdicts", "of_two_new_copies_one_stays_and_one_goes_as_in_the_run"),
             *of("References", "they_are_found_in_all_subvolumes_by_their_paths"))),
    fs("forgotten devices", "harness", tests=("ForgottenDevices",)),
    Check(FREED, "tests/kernels/same_bytes_freed.py"),
    Check(DEMO, "scripts/lib/demo.py", core=()),
)
