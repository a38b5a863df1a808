// SPDX-License-Identifier: MIT
#include "skep/dedupe/fingerprint_stage.h"

#include <algorithm>
#include <utility>

#include "csum_reader.h"

namespace skep::dedupe {
namespace {

// Of the batches of a quick pass so many, one is probed.
constexpr std::uint64_t kSampleBatches = 16;
constexpr std::uint64_t kLoadBlocks = 256;
static_assert(kLoadBlocks % index::ContentCache::kPieceBlocks == 0);

}  // namespace

bool FingerprintStage::may_have_to_be_read(const FingerprintedExtent& extent,
                                           bool look_for_compressed) const {
  if (p_.fingerprinter.kind() == index::FingerprintKind::kData) return true;
  if (extent.blocks.empty()) return p_.options.nodatasum;
  // What is compressed takes at least a block less than it unpacks to.
  return look_for_compressed && extent.extent.length < btrfs::kMaxCompressedContent;
}

void FingerprintStage::apply_probe(const ProbedExtent& probed, FingerprintedExtent& out) const {
  if (probed.preallocated || probed.encoded) return;  // the plan stage says why it is left
  if (probed.compression != 0) {
    out.kind.compression = probed.compression;
    out.stored = std::exchange(out.blocks, {});
    out.read = true;
  } else if (out.blocks.empty()) {
    out.kind.nodatasum = out.read = p_.options.nodatasum;
  } else {
    out.read = p_.fingerprinter.kind() == index::FingerprintKind::kData;
  }
  const std::uint64_t length = out.compressed()
                                   ? std::min(probed.content_length, btrfs::kMaxCompressedContent)
                                   : out.extent.length;
  if (out.read) out.blocks.assign((length + block_ - 1) / block_, index::kNoFingerprint);
}

// Snapshots alone refer to it: the extent item names a tree block, not a file.
ProbedExtent FingerprintStage::search(const btrfs::Extent& extent) {
  Resolved resolved = p_.resolver.resolve(extent, Resolver::Excluded::kDrop);
  ProbedExtent out;
  out.known = resolved.verdict == Verdict::kFreed;
  out.compression = resolved.kind.compression;
  out.content_length = resolved.content_length;
  out.references = std::move(resolved.references);
  return out;
}

absl::Status FingerprintStage::describe(std::vector<btrfs::Extent> extents, bool search_references,
                                        std::vector<FingerprintedExtent>& out,
                                        std::vector<ToRead>& to_read, bool look_for_compressed) {
  to_read.clear();
  auto status = read_csums(p_.fs, p_.fingerprinter, std::move(extents), out);
  if (!status.ok()) return status;
  std::vector<btrfs::Extent> asked;
  std::vector<std::size_t> of_asked;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (!may_have_to_be_read(out[i], look_for_compressed)) continue;
    asked.push_back(out[i].extent);
    of_asked.push_back(i);
  }
  if (asked.empty()) return absl::OkStatus();
  const bool all_references =
      p_.options.nodatasum || p_.fingerprinter.kind() == index::FingerprintKind::kData;
  auto probed = probe_.probe(asked, all_references);
  bool refreshed = false;
  for (std::size_t i = 0; i < asked.size(); ++i) {
    FingerprintedExtent& extent = out[of_asked[i]];
    if (!probed[i].known && search_references) {
      if (!refreshed) status = p_.resolver.refresh();
      if (!status.ok()) return status;
      refreshed = true;
      probed[i] = search(asked[i]);
    }
    if (!probed[i].known) continue;
    apply_probe(probed[i], extent);
    if (extent.read) to_read.push_back({&extent, std::move(probed[i].references)});
  }
  return absl::OkStatus();
}

void FingerprintStage::read_contents(std::span<ToRead> extents, ContentReader::CachePolicy policy,
                                     absl::FunctionRef<bool()> stop, const Steps& steps) {
  for (ToRead& one : extents) {
    std::erase_if(one.references,
                  [&](const Reference& reference) { return p_.resolver.excludes(reference.file); });
  }
  reader_.read(extents, policy, stop, steps);
  for (const ToRead& one : extents) {
    const FingerprintedExtent& e = *one.extent;
    if (e.unreadable) continue;  // else it would not be read again
    const std::uint64_t end = std::min<std::uint64_t>(one.end, e.blocks.size());
    p_.contents.insert({e.extent.address, e.extent.length, e.blocks.size() * block_,
                        e.extent.generation, e.extent.refs, e.kind},
                       one.first, std::span(e.blocks).subspan(one.first, end - one.first));
  }
}

bool FingerprintStage::load(std::uint64_t address, std::uint64_t block) {
  auto extent = p_.fs.extent_at(address);
  load_errors_ += !extent.ok();
  if (!extent.ok() || !*extent) return false;
  if (!p_.options.filter.extent_bytes.contains((*extent)->length)) return false;
  std::vector<FingerprintedExtent> found;
  std::vector<ToRead> to_read;
  auto status = describe({**std::move(extent)}, true, found, to_read);
  load_errors_ += !status.ok();
  if (!status.ok() || to_read.empty()) return false;
  const std::uint64_t blocks = found.front().blocks.size();
  if (block >= blocks) return false;
  // All of a compressed extent, 1 MiB of a longer one.
  to_read.front().first = block / kLoadBlocks * kLoadBlocks;
  to_read.front().end = std::min(blocks, to_read.front().first + kLoadBlocks);
  ++p_.counters.contents_loaded;
  read_contents(to_read, ContentReader::CachePolicy::kKeep, [] { return false; });
  return true;
}

bool FingerprintStage::take_from_cache(FingerprintedExtent& extent) const {
  for (std::size_t i = 0; i < extent.blocks.size(); ++i) {
    if (!p_.contents.contains(extent.extent.address, i)) return false;
    extent.blocks[i] = p_.contents.at(extent.extent.address, i);
  }
  return true;
}

// To look for compressed extents costs a search or two a batch, for nothing on filesystems without.
// Where the superblock does not tell, a sample does; what is taken for uncompressed until then is
// found out by the plan stage, and left to the deep passes.
absl::Status FingerprintStage::run_quick(std::vector<btrfs::Extent> extents, Batch& batch) {
  const bool look = compressed_seen_ || batches_++ % kSampleBatches == 0;
  std::vector<ToRead> to_read;
  auto status = describe(std::move(extents), false, batch.fingerprinted, to_read, look);
  for (const ToRead& one : to_read) {
    compressed_seen_ = compressed_seen_ || one.extent->compressed();
  }
  return status;
}

absl::Status FingerprintStage::run(Batch& batch, PassKind pass, const ContentMarks& marks,
                                   std::uint64_t reach, Unjudged& unjudged, const Steps& steps) {
  auto extents = std::exchange(batch.extents, {});
  if (pass != PassKind::kQuick) {
    std::erase_if(extents, [&](const btrfs::Extent& extent) {
      return !marks.near(extent.address, extent.length, reach);
    });
  }
  std::vector<ToRead> to_read;
  if (pass == PassKind::kQuick) return run_quick(std::move(extents), batch);
  auto status = describe(std::move(extents), true, batch.fingerprinted, to_read);
  if (!status.ok()) return status;
  const auto other_pass = [&](const FingerprintedExtent& extent) {
    return (extent.kind != btrfs::ExtentKind{}) != (pass == PassKind::kDeepRead);
  };
  std::erase_if(to_read, [&](const ToRead& one) {
    return other_pass(*one.extent) || take_from_cache(*one.extent);
  });
  read_contents(
      to_read, ContentReader::CachePolicy::kKeep, [] { return false; }, steps);
  std::erase_if(batch.fingerprinted, other_pass);
  for (const auto& extent : batch.fingerprinted) {
    if (batch.revisit || !extent.read) continue;
    unjudged.extents -= std::min<std::uint64_t>(unjudged.extents, 1);
    unjudged.bytes -= std::min(unjudged.bytes, extent.extent.length);
  }
  return absl::OkStatus();
}

}  // namespace skep::dedupe
