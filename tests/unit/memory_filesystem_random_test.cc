// SPDX-License-Identifier: MIT
//
// Random operations against plain byte vectors: whatever is written, shared, cut or snapshotted,
// files read as they should, and every invariant holds.
#include <algorithm>
#include <atomic>
#include <map>
#include <string>
#include <thread>

#include "testing.h"

namespace skep::btrfs {
namespace {

using namespace skep::testing;  // NOLINT: helpers read better without a prefix

class Churn {
 public:
  explicit Churn(std::uint64_t seed, const MemoryOptions& options) : fs_(options), random_(seed) {}

  void step() {
    switch (below(10)) {
      case 0:
        return create();
      case 1:
      case 2:
        return write();
      case 3:
        return reflink();
      case 4:
        return punch();
      case 5:
        return truncate();
      case 6:
        return fallocate();
      case 7:
        return below(8) == 0 ? snapshot() : remove();
      default:
        return dedupe();
    }
  }
  void verify() {
    REQUIRE(fs_.files().size() == shadow_.size());
    for (const auto& [key, bytes] : shadow_) REQUIRE((fs_.read_all(key) == bytes));
    const auto status = fs_.check();
    INFO(status);
    REQUIRE(status.ok());
  }
  void remove_everything() {
    while (!shadow_.empty()) {
      REQUIRE(fs_.remove(shadow_.begin()->first).ok());
      shadow_.erase(shadow_.begin());
    }
    REQUIRE(fs_.sync().ok());
    CHECK(fs_.data_used() == 0);
    CHECK(fs_.extent_count() == 0);
    verify();
  }
  MemoryFilesystem& filesystem() { return fs_; }
  std::uint64_t shared_bytes() const { return shared_bytes_; }

 private:
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  // Few letters, so that equal blocks are common.
  Bytes some_bytes() {
    std::string letters;
    for (std::uint64_t i = 1 + below(6); i > 0; --i) letters += "AB"[below(2)];
    Bytes out = blocks(letters);
    if (below(2) == 0) out.resize(out.size() - below(kBlock));
    return out;
  }
  FileKey some_file() {
    if (shadow_.empty()) create();
    auto at = shadow_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(below(shadow_.size())));
    return at->first;
  }
  std::uint64_t some_root() {
    const auto subvolumes = *fs_.subvolumes();
    return subvolumes[below(subvolumes.size())].root;
  }

  void create() {
    const Bytes bytes = some_bytes();
    if (below(8) == 0) {
      const Bytes small = head(bytes, 1 + below(2000));
      shadow_[fs_.create_inline(some_root(), small)] = small;
      return;
    }
    const std::uint8_t compression = below(3) == 0 ? 3 : 0;
    const std::uint64_t flags = below(6) == 0 ? kInodeNodatacow | kInodeNodatasum : 0;
    shadow_[fs_.create(some_root(), bytes, flags, compression)] = bytes;
  }
  void write() {
    const FileKey key = some_file();
    Bytes& shadow = shadow_[key];
    std::uint64_t at = below(shadow.size() + 2 * kBlock);
    if (below(2) == 0) at -= at % kBlock;
    const Bytes bytes = some_bytes();
    REQUIRE(fs_.write(key, at, bytes, below(4) == 0 ? 1 : 0).ok());
    shadow.resize(std::max<std::size_t>(shadow.size(), at + bytes.size()));
    std::copy(bytes.begin(), bytes.end(), shadow.begin() + static_cast<std::ptrdiff_t>(at));
  }
  void reflink() {
    const FileKey from = some_file(), to = some_file();
    const Bytes source = shadow_[from];
    Bytes& target = shadow_[to];
    const std::uint64_t at = below(source.size() / kBlock + 1) * kBlock;
    const std::uint64_t to_at = below(target.size() / kBlock + 2) * kBlock;
    std::uint64_t length = source.size() - at;
    if (below(2) == 0) length = below(length / kBlock + 1) * kBlock;
    if (length == 0 || !fs_.reflink(from, at, length, to, to_at).ok()) return;
    target.resize(std::max<std::size_t>(target.size(), to_at + length));
    std::copy_n(source.begin() + static_cast<std::ptrdiff_t>(at), length,
                target.begin() + static_cast<std::ptrdiff_t>(to_at));
  }
  void punch() {
    const FileKey key = some_file();
    Bytes& shadow = shadow_[key];
    if (shadow.empty()) return;
    const std::uint64_t at = below(shadow.size());
    const std::uint64_t length = 1 + below(shadow.size() - at);
    REQUIRE(fs_.punch(key, at, length).ok());
    std::fill_n(shadow.begin() + static_cast<std::ptrdiff_t>(at), length, std::byte{0});
  }
  void truncate() {
    const FileKey key = some_file();
    Bytes& shadow = shadow_[key];
    const std::uint64_t size = below(shadow.size() + 2 * kBlock);
    REQUIRE(fs_.truncate(key, size).ok());
    shadow.resize(size);
  }
  void fallocate() {
    const FileKey key = some_file();
    Bytes& shadow = shadow_[key];
    const std::uint64_t at = below(shadow.size() + 1), length = 1 + below(3 * kBlock);
    REQUIRE(fs_.fallocate(key, at, length).ok());
    shadow.resize(std::max<std::size_t>(shadow.size(), at + length));
  }
  void snapshot() {
    if (fs_.subvolumes()->size() > 6) return;
    const std::uint64_t root = some_root(), copy = fs_.snapshot(root, false);
    std::map<FileKey, Bytes> copies;
    for (const auto& [key, bytes] : shadow_) {
      if (key.root == root) copies[{copy, key.inode}] = bytes;
    }
    shadow_.merge(copies);
  }
  void remove() {
    const FileKey key = some_file();
    REQUIRE(fs_.remove(key).ok());
    shadow_.erase(key);
  }
  void dedupe() {
    const FileKey from = some_file(), to = some_file();
    const std::uint64_t source_size = shadow_[from].size(), target_size = shadow_[to].size();
    const std::uint64_t at = below(source_size / kBlock + 1) * kBlock;
    const std::uint64_t to_at = below(target_size / kBlock + 1) * kBlock;
    std::uint64_t length = std::min(source_size - std::min(source_size, at),
                                    target_size - std::min(target_size, to_at));
    if (length > 0 && below(2) == 0) length = 1 + below(length);
    // Whatever it answers, no byte may change.
    shared_bytes_ += dedupe_one(fs_, from, at, length, to, to_at).bytes;
  }

  MemoryFilesystem fs_;
  std::mt19937_64 random_;
  std::map<FileKey, Bytes> shadow_;
  std::uint64_t shared_bytes_ = 0;
};

TEST_CASE("random operations read back, and break no invariant") {
  MemoryOptions options;
  options.max_extent_length = 4 * kBlock;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    INFO("seed " << seed);
    Churn churn(seed, options);
    for (int i = 0; i < 150; ++i) {
      INFO("step " << i);
      churn.step();
      if (i % 7 == 0) REQUIRE(churn.filesystem().sync().ok());
      if (i % 5 == 0) churn.verify();
    }
    churn.verify();
    CHECK(churn.shared_bytes() > 0);
    churn.remove_everything();
  }
}

TEST_CASE("several threads work at once") {
  MemoryFilesystem fs;
  std::vector<FileKey> files;
  for (int i = 0; i < 8; ++i) files.push_back(fs.create(kTopLevelRoot, blocks("ABCD")));
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (std::size_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < 200; ++i) {
        auto source = fs.open(FileHandle(files[(i + t) % files.size()]));
        auto target = fs.open(FileHandle(files[(i * 3 + t + 1) % files.size()]));
        auto file = fs.create_temporary({});
        if (!source.ok() || !target.ok() || !file.ok()) {
          ++failures;
          continue;
        }
        const DedupeTarget to{*target, 0};
        failures += !fs.dedupe(**source, 0, 4 * kBlock, {&to, 1}).ok();
        failures += !(*file)->write(0, blocks("AB")).ok();
        (*file)->start_writeback();
        failures += !fs.sync().ok();
        failures += !fs.extents(0, kEverything, 4096).ok();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == 0);
  REQUIRE(fs.sync().ok());
  CHECK(fs.check().ok());
  for (const FileKey key : files) CHECK((fs.read_all(key) == blocks("ABCD")));
}

}  // namespace
}  // namespace skep::btrfs
