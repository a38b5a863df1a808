// SPDX-License-Identifier: MIT
#include "remnants.h"

#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <cerrno>

#include "skep/btrfs/status.h"
#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

absl::Status read_exactly(btrfs::Filesystem& fs, const Copy& from, std::span<std::byte> out) {
  auto file = fs.open(from.from);
  if (!file.ok()) return file.status();
  auto got = (*file)->read(from.offset, out);
  if (!got.ok()) return got.status();
  // Cut while skep ran.
  if (*got != out.size()) return errno_status(EINVAL, "pread", "victim");
  return absl::OkStatus();
}

}  // namespace

absl::Status Remnants::ensure(std::shared_ptr<btrfs::TemporaryFile>& file) {
  if (file != nullptr) return absl::OkStatus();
  auto created = fs_.create_temporary(kind_);
  if (!created.ok()) return created.status();
  file = *std::move(created);
  return absl::OkStatus();
}

absl::StatusOr<std::uint64_t> Remnants::append(const std::vector<Copy>& copies) {
  if (auto status = ensure(blocks_); !status.ok()) return status;
  const std::uint64_t begin = blocks_end_;
  std::vector<std::byte> buffer;
  for (const Copy& copy : copies) {
    for (std::uint64_t done = 0; done < copy.length;) {
      buffer.resize(std::min<std::uint64_t>(copy.length - done, limits::kCopyBuffer));
      steps_.wait();
      Copy piece{copy.from, copy.offset + done, buffer.size()};
      if (auto status = read_exactly(fs_, piece, buffer); !status.ok()) return status;
      if (auto status = blocks_->write(blocks_end_, buffer); !status.ok()) return status;
      blocks_end_ += buffer.size();
      done += buffer.size();
    }
  }
  return begin;
}

absl::StatusOr<std::uint64_t> Remnants::append_tail(const Copy& tail) {
  if (auto status = ensure(tails_); !status.ok()) return status;
  steps_.wait();
  // A whole block, so that the next tail begins at a block and nothing is read back.
  std::vector<std::byte> buffer(block_);
  auto status = read_exactly(fs_, tail, std::span(buffer).first(tail.length));
  if (!status.ok()) return status;
  const std::uint64_t number = tail_lengths_.size();
  if (status = tails_->write(tail_offset(number), buffer); !status.ok()) return status;
  tail_lengths_.push_back(static_cast<std::uint32_t>(tail.length));
  return number;
}

void Remnants::start_writeback() {
  if (blocks_ != nullptr) blocks_->start_writeback();
  if (tails_ != nullptr) tails_->start_writeback();
}

absl::Status Remnants::end_at_tail(std::uint64_t number) {
  return tails_->truncate(tail_offset(number) + tail_lengths_[number]);
}

Remnants::Layout Remnants::layout(btrfs::TemporaryFile& file, std::uint64_t blocks) {
  Layout out;
  out.places.resize(blocks);
  auto map = fs_.file_map(file.key(), 0, (blocks + 1) * block_);
  std::uint64_t known_bytes = 0;
  absl::flat_hash_set<std::uint64_t> seen;
  if (map.ok()) {
    for (const auto& item : map->extents) {
      if (item.extent_address == 0) continue;
      known_bytes += item.length;
      if (seen.insert(item.extent_address).second) out.disk_bytes += item.extent_length;
      for (std::uint64_t at = 0; at < item.length; at += block_) {
        const std::uint64_t index = block_number(item.file_offset + at);
        if (index >= blocks) continue;
        out.places[index] = {item.extent_address + item.extent_offset + at, item.extent_address,
                             item.compression != 0};
      }
    }
  }
  // What has no extent yet will have one.
  out.disk_bytes += blocks * block_ - std::min(known_bytes, blocks * block_);
  return out;
}

}  // namespace skep::dedupe
