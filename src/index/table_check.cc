// SPDX-License-Identifier: MIT
#include <algorithm>
#include <span>

#include "skep/index/table_file.h"
#include "table_map.h"

namespace skep::index {
namespace {

// What is wrong with one bucket; see TableCheck.
class BucketCheck {
 public:
  BucketCheck(const Bucket& bucket, std::uint32_t level, TableCheck& out)
      : bucket_(bucket), level_(level), out_(out) {}

  bool damaged() {
    for (std::size_t at = 0; at < kCells; ++at) {
      if (bucket_.cells[at] != 0) look_at(at);
    }
    return damaged_;
  }

 private:
  void look_at(std::size_t at) {
    const Cell cell = bucket_.cells[at];
    const auto before = std::span(bucket_.line(at / kLineCells)).first(at % kLineCells);
    count(std::find(before.begin(), before.end(), Cell{0}) != before.end(), out_.behind_gap);
    count(!reached(line_of(tag_of_cell(cell)), at / kLineCells), out_.unreachable);
    count(!sampled_at(tag_of_cell(cell), level_), out_.unsampled);
    count((cell & kAddressMask) == 0, out_.no_address);
  }
  // All lines from home up to the one before are full.
  bool reached(std::size_t home, std::size_t line) const {
    for (; home % kLines != line; ++home) {
      const auto at = bucket_.line(home);
      if (std::find(at.begin(), at.end(), Cell{0}) != at.end()) return false;
    }
    return true;
  }
  void count(bool wrong, std::uint64_t& counter) {
    counter += wrong;
    damaged_ |= wrong;
  }

  const Bucket& bucket_;
  const std::uint32_t level_;
  TableCheck& out_;
  bool damaged_ = false;
};

}  // namespace

absl::StatusOr<TableCheck> check_table(const std::string& path) {
  auto table = open_table_file(path, TableAccess::kRead);
  if (!table.ok()) return table.status();
  TableCheck out;
  out.filesystem = table->header().filesystem;
  out.buckets = table->buckets().size();
  for (const Bucket& bucket : table->buckets()) {
    out.damaged_buckets += BucketCheck(bucket, table->header().level, out).damaged();
  }
  return out;
}

}  // namespace skep::index
