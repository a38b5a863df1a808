// SPDX-License-Identifier: MIT
#include "skep/btrfs/filesystem_uuid.h"

#include <cerrno>
#include <string>

#include "skep/btrfs/status.h"
#include "testing.h"

namespace skep::btrfs {
namespace {

TEST_CASE("a UUID that is written is read, in either case of letters") {
  const std::string text = "0e7d8c9a-2b41-4e0a-9f7e-3d1c5b6a7f80";
  const auto uuid = parse_uuid(text);
  REQUIRE(uuid);
  CHECK(to_string(*uuid) == text);
  CHECK(parse_uuid("0E7D8C9A-2B41-4E0A-9F7E-3D1C5B6A7F80") == uuid);
}

TEST_CASE("what is no UUID is none") {
  for (const char* text :
       {"", "0e7d8c9a", "0e7d8c9a-2b41-4e0a-9f7e-3d1c5b6a7f8",
        "0e7d8c9a-2b41-4e0a-9f7e-3d1c5b6a7f800", "0e7d8c9a02b41-4e0a-9f7e-3d1c5b6a7f80",
        "0e7d8c9a-2b41-4e0a-9f7e-3d1c5b6a7fg0", "0e7d8c9-a2b41-4e0a-9f7e-3d1c5b6a7f80",
        "/e7d8c9a-2b41-4e0a-9f7e-3d1c5b6a7f80"}) {
    INFO(text);
    CHECK_FALSE(parse_uuid(text));
  }
}

TEST_CASE("what is not on btrfs has no UUID of a filesystem") {
  CHECK(errno_of(filesystem_uuid("/proc").status()) == ENOTTY);
  CHECK(errno_of(filesystem_uuid("/proc/nothing").status()) == ENOENT);
}

}  // namespace
}  // namespace skep::btrfs
