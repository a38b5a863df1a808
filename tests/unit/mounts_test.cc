// SPDX-License-Identifier: MIT
#include "skep/service/mounts.h"

#include "catch.h"

namespace skep::service {

TEST_CASE("mounts: those of btrfs alone, with device and flags", "[mounts]") {
  const auto mounts = parse_btrfs_mounts(
      "25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24683656k\n"
      "43 27 0:39 / /mnt/data rw,noatime shared:7 master:2 - btrfs /dev/sda1 rw,subvol=/\n"
      "44 27 0:39 /sub /mnt/sub ro,noatime - btrfs /dev/sda1 rw,subvol=/sub\n"
      "45 27 0:40 / /mnt/ro ro - btrfs /dev/sdb ro,ssd\n");
  REQUIRE(mounts.size() == 3);
  CHECK(mounts[0].path == "/mnt/data");
  CHECK(mounts[0].device == "0:39");
  CHECK_FALSE(mounts[0].read_only);
  CHECK_FALSE(mounts[0].filesystem_read_only);
  CHECK(mounts[1].read_only);
  CHECK_FALSE(mounts[1].filesystem_read_only);
  CHECK(mounts[2].filesystem_read_only);
}

TEST_CASE("mounts: paths with blanks, newlines and backslashes", "[mounts]") {
  const auto mounts =
      parse_btrfs_mounts("43 27 0:39 / /mnt/a\\040b\\012c\\134d rw - btrfs /dev/sda1 rw\n");
  REQUIRE(mounts.size() == 1);
  CHECK(mounts[0].path == "/mnt/a b\nc\\d");
}

TEST_CASE("mounts: lines that are cut short are passed by", "[mounts]") {
  CHECK(parse_btrfs_mounts("43 27 0:39 / /mnt rw - btrfs\n43 27\n\n- btrfs a b\n").empty());
}

TEST_CASE("mounts: a change that was polled for is told once", "[mounts]") {
  MountWatch watch;
  watch.changed();
  watch.note_change();
  CHECK(watch.changed());
  CHECK_FALSE(watch.changed());
}

}  // namespace skep::service
