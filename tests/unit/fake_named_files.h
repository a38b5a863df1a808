// SPDX-License-Identifier: MIT
//
// NamedFiles in memory: files of blocks, a place for each block, and calls that can be made to
// fail.
#pragma once

#include <absl/functional/function_ref.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "skep/btrfs/named_files.h"
#include "skep/btrfs/status.h"
#include "testing.h"

namespace skep::testing {

class FakeNamedFiles final : public btrfs::NamedFiles {
 public:
  struct Content {
    btrfs::NamedFileInfo info;
    Bytes bytes;
    std::vector<std::uint64_t> places;  // of each block; 0: a hole
    bool shared = false;                // with somebody who is not here
    bool packed = false;
    int read_error = 0;
  };
  struct Call {
    std::string source;
    std::uint64_t offset = 0, length = 0;
    std::vector<std::string> targets;
  };

  Content& add(const std::string& path, Bytes bytes) {
    auto content = std::make_shared<Content>();
    content->info.device = 1;
    content->info.inode = ++inodes_;
    content->info.size = bytes.size();
    content->info.frees_whole_extents = true;
    for (std::size_t at = 0; at < bytes.size(); at += kBlock) {
      content->places.push_back(next_place_ += kBlock);
    }
    next_place_ += kBlock;  // extents of two files do not touch
    content->bytes = std::move(bytes);
    files_[path] = content;
    return *content;
  }
  void link(const std::string& path, const std::string& name) { files_[name] = files_.at(path); }
  Content& at(const std::string& path) { return *files_.at(path); }
  bool stored_once(const std::string& one, const std::string& other) {
    return at(one).places == at(other).places;
  }

  absl::StatusOr<std::unique_ptr<btrfs::NamedFile>> open(const std::string& path) override {
    const auto found = files_.find(path);
    if (found == files_.end()) return errno_status(ENOENT, "open", path);
    return std::make_unique<Open>(path, found->second);
  }
  absl::StatusOr<std::vector<btrfs::DedupeResult>> dedupe(
      btrfs::NamedFile& source, std::uint64_t offset, std::uint64_t length,
      std::span<const btrfs::RangeTarget> targets) override {
    Call call{dynamic_cast<Open&>(source).path, offset, length, {}};
    for (const auto& target : targets) {
      call.targets.push_back(dynamic_cast<Open&>(*target.file).path);
    }
    calls.push_back(call);
    if (const int error = fail_call ? fail_call(call) : 0; error != 0) {
      return errno_status(error, "FIDEDUPERANGE", call.source);
    }
    std::vector<btrfs::DedupeResult> results;
    for (const auto& target : targets) {
      const auto fault = fault_of ? fault_of(dynamic_cast<Open&>(*target.file).path) : std::nullopt;
      results.push_back(fault ? *fault : share(source, offset, length, target));
    }
    return results;
  }

  std::vector<Call> calls;
  std::function<int(const Call&)> fail_call;  // an errno, or 0
  std::function<std::optional<btrfs::DedupeResult>(const std::string&)> fault_of;
  std::uint64_t most_bytes = ~0ULL;  // that one call shares

 private:
  struct Open final : btrfs::NamedFile {
    Open(std::string name, std::shared_ptr<Content> of)
        : path(std::move(name)), content(std::move(of)) {}
    const btrfs::NamedFileInfo& info() const override { return content->info; }
    absl::StatusOr<std::size_t> read(std::uint64_t offset, std::span<std::byte> out) override {
      if (content->read_error != 0) return errno_status(content->read_error, "pread", path);
      const std::size_t size = content->bytes.size();
      const std::size_t count = std::min<std::size_t>(out.size(), size - std::min(offset, size));
      std::copy_n(content->bytes.begin() + static_cast<std::ptrdiff_t>(std::min(offset, size)),
                  count, out.begin());
      return count;
    }
    void readahead(std::uint64_t, std::uint64_t) override {}
    absl::StatusOr<btrfs::ExtentMap> map() override {
      btrfs::ExtentMap out;
      for (std::size_t i = 0; i < content->places.size(); ++i) {
        if (content->places[i] == 0) continue;
        out.push_back({i * kBlock, content->places[i], kBlock, content->shared, content->packed});
      }
      return out;
    }
    const std::string path;
    const std::shared_ptr<Content> content;
  };

  btrfs::DedupeResult share(btrfs::NamedFile& source, std::uint64_t offset, std::uint64_t length,
                            const btrfs::RangeTarget& target) const {
    using Outcome = btrfs::DedupeResult::Outcome;
    const Content& from = *dynamic_cast<Open&>(source).content;
    Content& to = *dynamic_cast<Open&>(*target.file).content;
    if (!to.info.may_be_target) return {Outcome::kError, EPERM, 0};
    length = std::min(length, most_bytes);
    for (std::uint64_t i = 0; i < length; ++i) {
      if (from.bytes.at(offset + i) != to.bytes.at(target.offset + i)) {
        return {Outcome::kDiffers, 0, 0};
      }
    }
    for (std::uint64_t at = 0; at < length; at += kBlock) {
      to.places.at((target.offset + at) / kBlock) = from.places.at((offset + at) / kBlock);
    }
    return {Outcome::kSame, 0, length};
  }

  std::map<std::string, std::shared_ptr<Content>> files_;
  std::uint64_t inodes_ = 0, next_place_ = 1 << 20;
};

}  // namespace skep::testing
