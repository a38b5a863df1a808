// SPDX-License-Identifier: MIT
#include "skep/btrfs/paths.h"

#include <algorithm>
#include <string>
#include <vector>

#include "catch.h"
#include "skep/btrfs/memory_filesystem.h"
#include "testing.h"

namespace skep::btrfs {
namespace {

constexpr std::uint64_t kTop = kTopLevelRoot, kFirst = kFirstFreeObjectid;

std::vector<std::string> paths_of(MemoryFilesystem& fs, FileKey file) {
  auto out = Paths(fs).of(file);
  INFO(out.status());
  REQUIRE(out.ok());
  std::sort(out->begin(), out->end());
  return *std::move(out);
}

TEST_CASE("a path goes through folders and subvolumes") {
  MemoryFilesystem fs;
  const std::uint64_t root = fs.add_subvolume();
  const std::uint64_t outer = fs.create_folder(kTop, {kFirst, "outer"});
  REQUIRE(fs.move_subvolume(root, kTop, {outer, "home"}).ok());
  const std::uint64_t folder = fs.create_folder(root, {kFirst, "folder"});
  const FileKey file = fs.create(root);
  REQUIRE(fs.rename(file, {folder, "file"}).ok());
  CHECK(paths_of(fs, file) == std::vector<std::string>{"outer/home/folder/file"});
}

TEST_CASE("each hard link is a path of the file") {
  MemoryFilesystem fs;
  const std::uint64_t folder = fs.create_folder(kTop, {kFirst, "folder"});
  const FileKey file = fs.create(kTop);
  REQUIRE(fs.rename(file, {kFirst, "a"}).ok());
  REQUIRE(fs.link(file, {folder, "b"}).ok());
  CHECK(paths_of(fs, file) == std::vector<std::string>{"a", "folder/b"});
}

TEST_CASE("a file of a snapshot has the snapshot's path") {
  MemoryFilesystem fs;
  const std::uint64_t root = fs.add_subvolume();
  const FileKey file = fs.create(root);
  REQUIRE(fs.rename(file, {kFirst, "file"}).ok());
  const std::uint64_t snapshot = fs.snapshot(root);
  CHECK(paths_of(fs, {snapshot, file.inode}) ==
        std::vector<std::string>{"subvolume-" + std::to_string(snapshot) + "/file"});
}

TEST_CASE("what is not there has no path") {
  MemoryFilesystem fs;
  CHECK(absl::IsNotFound(Paths(fs).of({kTop, 9999}).status()));
  CHECK(absl::IsNotFound(Paths(fs).of({77'777, kFirst}).status()));
}

}  // namespace
}  // namespace skep::btrfs
