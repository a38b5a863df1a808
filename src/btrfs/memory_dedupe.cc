// SPDX-License-Identifier: MIT
//
// FIDEDUPERANGE, in the order in which the kernel decides (vfs_dedupe_file_range,
// btrfs_remap_file_range_prep, generic_remap_file_range_prep). Anomalies are the kernel's own.
#include <algorithm>
#include <cerrno>

#include "memory_store.h"
#include "skep/btrfs/memory_filesystem.h"
#include "skep/btrfs/status.h"

namespace skep::btrfs {
namespace {

DedupeResult failed(int error) { return {DedupeResult::Outcome::kError, error, 0}; }

// What the kernel checks before it compares; 0 when nothing is wrong.
int refusal(const MemoryInode& source, std::uint64_t offset, std::uint64_t length,
            const MemoryInode& target, std::uint64_t target_offset, std::uint64_t block) {
  if ((source.inode.flags ^ target.inode.flags) & kInodeNodatasum) return EINVAL;
  if (target.inode.flags & kInodeImmutable) return EPERM;
  if (offset % block != 0 || target_offset % block != 0) return EINVAL;
  if (target_offset + length < length || target_offset + length > target.inode.size) return EINVAL;
  if (&source == &target && target_offset < offset + length && offset < target_offset + length) {
    return EINVAL;
  }
  return 0;
}

}  // namespace

absl::StatusOr<std::vector<DedupeResult>> MemoryFilesystem::dedupe(
    File& source, std::uint64_t offset, std::uint64_t length,
    std::span<const DedupeTarget> targets) {
  ++sharing_;
  if (resolving_ > 0) overlapped_ = true;
  begin("dedupe");
  std::vector<DedupeResult> results;
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    const FileKey key = source.key();
    status = fault("dedupe");
    if (status.ok() && targets.size() > kMaxDedupeTargets) {
      status = errno_status(ENOMEM, "FIDEDUPERANGE", "too many targets");
    }
    const std::uint64_t size = store_->find(key)->inode.size;
    if (status.ok() && (offset + length < length || offset + length > size)) {
      status = errno_status(EINVAL, "FIDEDUPERANGE", "source range");
    }
    for (const DedupeTarget& target : targets) {
      if (!status.ok()) break;
      results.push_back(dedupe_one(key, offset, length, target.file->key(), target.offset));
    }
  }
  --sharing_;
  if (!status.ok()) return status;
  return results;
}

DedupeResult MemoryFilesystem::dedupe_one(FileKey source, std::uint64_t offset,
                                          std::uint64_t length, FileKey target,
                                          std::uint64_t target_offset) {
  const FaultPlan& plan = faults_.plan();
  if (faults_.strikes(plan.try_again)) return failed(EAGAIN);
  if (faults_.strikes(plan.invalid)) return failed(EINVAL);
  if (faults_.strikes(plan.not_permitted)) return failed(EPERM);
  if (faults_.strikes(plan.no_space)) return failed(ENOSPC);
  if (faults_.strikes(plan.empty_answer)) return {DedupeResult::Outcome::kSame, 0, 0};
  if (faults_.strikes(plan.false_differs)) return {DedupeResult::Outcome::kDiffers, 0, 0};

  store_->flush(source);
  store_->flush(target);
  const MemoryInode& from = *store_->find(source);
  const MemoryInode& to = *store_->find(target);
  if (length == 0) return {DedupeResult::Outcome::kSame, 0, 0};
  if (int error = refusal(from, offset, length, to, target_offset, info_.block_size)) {
    return failed(error);
  }
  std::uint64_t claimed = length;
  if (length > info_.block_size && faults_.strikes(plan.short_answer)) {
    const std::uint64_t blocks = (length - 1) / info_.block_size;
    claimed = length = info_.block_size * (1 + faults_.below(blocks));
  }
  // A part of a block is shared only where both files end in it; else it is cut off, is not even
  // compared, and the answer still claims all that was asked for.
  const bool both_end =
      offset + length == from.inode.size && target_offset + length == to.inode.size;
  if (!both_end) length = store_->align_down(length);
  if (length == 0) return {DedupeResult::Outcome::kSame, 0, claimed};

  Bytes source_bytes(length), target_bytes(length);
  store_->read(source, offset, source_bytes);
  store_->read(target, target_offset, target_bytes);
  if (source_bytes != target_bytes) return {DedupeResult::Outcome::kDiffers, 0, 0};
  auto status = store_->clone(source, offset, store_->align_up(length), target, target_offset);
  if (!status.ok()) return failed(errno_of(status));
  return {DedupeResult::Outcome::kSame, 0, claimed};
}

}  // namespace skep::btrfs
