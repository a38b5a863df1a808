// SPDX-License-Identifier: MIT
#include "skep/btrfs/handle_cache.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "catch.h"

namespace skep::btrfs {
namespace {

class StubFile final : public File {
 public:
  StubFile(FileKey key, std::atomic<int>& closed) : key_(key), closed_(closed) {}
  ~StubFile() override { ++closed_; }
  FileKey key() const override { return key_; }
  absl::StatusOr<std::size_t> read(std::uint64_t, std::span<std::byte>) override { return 0; }
  std::vector<bool> cached_pages(std::uint64_t, std::uint64_t) override { return {}; }
  void readahead(std::uint64_t, std::uint64_t) override {}
  void drop_cached(std::uint64_t, std::uint64_t) override {}

 private:
  const FileKey key_;
  std::atomic<int>& closed_;
};

constexpr auto kMostAge = std::chrono::hours(1);
constexpr auto kInstant = std::chrono::nanoseconds(1);

struct HandlesFixture {
  std::atomic<int> closed{0};
  HandleCache cache{2, kMostAge};
  const HandleCache::Clock::time_point start = HandleCache::Clock::now();
  FileHandle key(std::uint64_t inode) const { return FileHandle({5, inode}, 7); }
  std::shared_ptr<File> add(std::uint64_t inode) {
    auto file = std::make_shared<StubFile>(key(inode), closed);
    cache.insert(key(inode), file, start);
    return file;
  }
};

TEST_CASE_METHOD(HandlesFixture, "HandleCache finds what was inserted") {
  const auto file = add(257);
  CHECK(cache.find(key(257)) == file);
  CHECK(cache.find(key(258)) == nullptr);
  CHECK(cache.find(FileHandle({256, 257}, 7)) == nullptr);
  CHECK(cache.find(FileHandle({5, 257})) == file);  // whichever it is
  CHECK(cache.size() == 1);
}

TEST_CASE_METHOD(HandlesFixture, "HandleCache keeps apart who had a number one after the other") {
  const auto first = add(257);
  const FileHandle later({5, 257}, 8);
  CHECK(cache.find(later) == nullptr);
  const auto second = std::make_shared<StubFile>(later, closed);
  cache.insert(later, second, start);
  CHECK(cache.find(later) == second);
  CHECK(cache.find(key(257)) == nullptr);
  CHECK(cache.find(FileHandle({5, 257})) == second);
  CHECK(cache.size() == 1);
}

TEST_CASE_METHOD(HandlesFixture,
                 "HandleCache gives what is not known to be the file to nobody who asks for it") {
  const FileHandle unknown({5, 257});
  const auto file = std::make_shared<StubFile>(unknown, closed);
  cache.insert(unknown, file, start);
  CHECK(cache.find(unknown) == file);
  CHECK(cache.find(key(257)) == nullptr);
}

TEST_CASE_METHOD(HandlesFixture,
                 "HandleCache closes the least recently used file past its capacity") {
  add(257);
  add(258);
  cache.find(key(257));  // now 258 is the oldest
  add(259);
  CHECK(cache.size() == 2);
  CHECK(closed == 1);
  CHECK(cache.find(key(258)) == nullptr);
  CHECK(cache.find(key(257)) != nullptr);
  CHECK(cache.find(key(259)) != nullptr);
}

TEST_CASE_METHOD(HandlesFixture, "HandleCache leaves a file open while somebody uses it") {
  auto used = add(257);
  add(258);
  add(259);
  CHECK(cache.find(key(257)) == nullptr);
  CHECK(closed == 0);
  used.reset();
  CHECK(closed == 1);
}

TEST_CASE_METHOD(HandlesFixture, "HandleCache keeps the first of two files of one key") {
  const auto first = add(257);
  add(257);
  CHECK(cache.find(key(257)) == first);
  CHECK(cache.size() == 1);
  CHECK(closed == 1);  // the second
}

TEST_CASE_METHOD(HandlesFixture, "HandleCache::clear closes everything") {
  add(257);
  add(258);
  cache.clear();
  CHECK(cache.size() == 0);
  CHECK(closed == 2);
  CHECK(cache.find(key(257)) == nullptr);
}

TEST_CASE_METHOD(HandlesFixture, "HandleCache lets go of old files, however much they are used") {
  add(257);
  CHECK(cache.find(key(257), start + kMostAge - kInstant) != nullptr);
  CHECK(cache.find(key(257), start + kMostAge) == nullptr);
  CHECK(closed == 1);
  CHECK(cache.size() == 0);
}

TEST_CASE_METHOD(HandlesFixture, "HandleCache::close_old closes those that nobody asks for") {
  add(257);
  cache.insert(key(258), std::make_shared<StubFile>(key(258), closed), start + kInstant);
  cache.close_old(start + kMostAge - kInstant);
  CHECK(closed == 0);
  cache.close_old(start + kMostAge);
  CHECK(closed == 1);
  CHECK(cache.find(key(258), start + kMostAge) != nullptr);
}

TEST_CASE("HandleCache of capacity 0 keeps nothing") {
  std::atomic<int> closed{0};
  HandleCache cache(0, kMostAge);
  cache.insert(FileHandle({5, 257}), std::make_shared<StubFile>(FileKey{5, 257}, closed));
  CHECK(cache.size() == 0);
  CHECK(closed == 1);
}

TEST_CASE("HandleCache bears several threads") {
  constexpr std::size_t kCapacity = 8;
  std::atomic<int> closed{0}, opened{0}, wrong{0};
  HandleCache cache(kCapacity, kMostAge);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (std::uint64_t i = 0; i < 2000; ++i) {
        const FileHandle key({5, 257 + i * 7 % 16}, 7);
        if (auto file = cache.find(key)) {
          wrong += file->key() != key;
        } else {
          ++opened;
          cache.insert(key, std::make_shared<StubFile>(key, closed));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(cache.size() == kCapacity);
  CHECK(opened - closed == static_cast<int>(kCapacity));
}

}  // namespace
}  // namespace skep::btrfs
