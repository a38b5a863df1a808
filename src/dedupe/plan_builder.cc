// SPDX-License-Identifier: MIT
#include "plan_builder.h"

#include <algorithm>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {

PlanBuilder::PlanBuilder(const Match& match, const std::vector<Reference>& references,
                         KeeperCatalog& catalog, Roles& roles, const index::Table& table,
                         const index::Fingerprinter& fingerprinter, std::uint64_t block,
                         std::uint64_t min_run_bytes)
    : match_(match),
      references_(references),
      catalog_(catalog),
      roles_(roles),
      table_(table),
      fingerprinter_(fingerprinter),
      block_(block),
      min_run_bytes_(min_run_bytes),
      sources_(match.victim.blocks.size()),
      needed_(match.victim.blocks.size()) {}

std::optional<PlanBuilder::Span> PlanBuilder::span_of(const Reference& reference) const {
  const std::uint64_t first = reference.extent_offset / block_;
  const std::uint64_t blocks = reference.length / block_;
  if (first + blocks > sources_.size() || reference.file_offset >= reference.file_size) {
    return std::nullopt;
  }
  Span span;
  span.first = static_cast<std::uint32_t>(first);
  const std::uint64_t in_file = reference.file_size - reference.file_offset;
  if (in_file >= reference.length) {
    span.end = static_cast<std::uint32_t>(first + blocks);
    return span;
  }
  // Whole blocks past the end of the file (fallocate keeps them) cannot be shared away.
  if ((in_file + block_ - 1) / block_ != blocks) return std::nullopt;
  span.end = static_cast<std::uint32_t>(first + in_file / block_);
  span.tail_length = static_cast<std::uint32_t>(in_file % block_);
  return span;
}

void PlanBuilder::find_needed() {
  for (const Span& span : spans_) {
    std::fill(needed_.begin() + span.first, needed_.begin() + span.end, true);
  }
}

void PlanBuilder::source_runs() {
  for (const Run& run : match_.runs) {
    const bool whole = run.blocks == sources_.size();
    if (run.blocks * block_ < min_run_bytes_ && !whole) {
      had_short_runs_ = true;
      continue;
    }
    for (std::uint32_t at = 0; at < run.blocks;) {
      const std::uint64_t address = run.source + at * block_;
      const auto source = catalog_.find(run.keeper, address, (run.blocks - at) * block_);
      if (!source) {
        if (dead_keepers_.empty() || dead_keepers_.back().address != run.keeper.address) {
          dead_keepers_.push_back(run.keeper);
        }
        ++at;
        continue;
      }
      for (std::uint64_t done = 0; done < source->length; done += block_, ++at) {
        sources_[run.first + at] = {true, SourceKind::kFile, source->file, source->offset + done};
      }
    }
  }
}

void PlanBuilder::source_zeros() {
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (fingerprinter_.is_zero(match_.victim.blocks[i]) && !sources_[i].set) {
      sources_[i] = {true, SourceKind::kZero, {}, 0};
    }
  }
}

// Every needed block without a source is copied, once, from the first reference that holds it.
void PlanBuilder::copy_rest(ReplacementPlan& plan) {
  std::uint64_t copied = 0;
  for (std::size_t r = 0; r < references_.size(); ++r) {
    const Reference& reference = references_[r];
    const std::uint32_t first = spans_[r].first;
    for (std::uint32_t i = first; i < spans_[r].end; ++i) {
      if (sources_[i].set) continue;
      const std::uint64_t offset = reference.file_offset + (i - first) * block_;
      sources_[i] = {true, SourceKind::kCopy, {}, copied};
      plan.copy_fingerprints.push_back(match_.victim.blocks[i]);
      if (!plan.copies.empty() && plan.copies.back().from == reference.file &&
          plan.copies.back().offset + plan.copies.back().length == offset) {
        plan.copies.back().length += block_;
      } else {
        plan.copies.push_back({reference.file, offset, block_});
      }
      copied += block_;
    }
  }
  plan.copied_bytes += copies_on_disk(copied);
}

// A part is taken to compress as well as the whole did.
std::uint64_t PlanBuilder::copies_on_disk(std::uint64_t content_bytes) const {
  if (!match_.victim.compressed()) return content_bytes;
  const std::uint64_t bytes = match_.victim.disk_bytes(content_bytes / block_);
  return std::min(content_bytes, (bytes + block_ - 1) / block_ * block_);
}

bool PlanBuilder::is_own(const Source& source) const {
  return std::any_of(references_.begin(), references_.end(), [&](const Reference& reference) {
    return reference.file == source.file && source.offset >= reference.file_offset &&
           source.offset < reference.file_offset + reference.length;
  });
}

// A keeper's tail that ends at the same byte; kind kTailCopy when there is none.
PlanBuilder::Tail PlanBuilder::find_tail(std::uint32_t block, std::uint32_t length) {
  Tail tail{block, length, {}};
  tail.source.kind = SourceKind::kTailCopy;
  std::optional<Source> found;
  for (const Run& run : match_.runs) {
    if (block < run.first || block >= run.first + run.blocks) continue;
    found = catalog_.find_tail(run.keeper, run.source + (block - run.first) * block_, length);
  }
  const auto fingerprint = index::tail_fingerprint(match_.victim.blocks[block], length);
  if (!found) {
    for (const std::uint64_t address : table_.find(fingerprint)) {
      found = catalog_.find_tail(address, length);
      // What the catalog remembers may be the victim's own tail, or one that is going itself.
      if (found && (is_own(*found) || !roles_.pin(found->extent_address))) found.reset();
      if (found) pinned_.push_back(found->extent_address);
      if (found) break;
    }
  }
  if (found) {
    tail.source.kind = SourceKind::kFile;
    tail.source.source = found->file;
    tail.source.source_offset = found->offset;
  }
  return tail;
}

const PlanBuilder::Tail& PlanBuilder::tail_for(const Reference& reference, std::uint32_t block,
                                               std::uint32_t length, ReplacementPlan& plan) {
  for (const Tail& tail : tails_) {
    if (tail.block == block && tail.length == length) return tail;
  }
  Tail tail = find_tail(block, length);
  if (tail.source.kind == SourceKind::kTailCopy) {
    tail.source.source_offset = plan.tails.size();
    plan.tails.push_back({reference.file, reference.file_size - length, length});
    plan.tail_fingerprints.push_back(index::tail_fingerprint(match_.victim.blocks[block], length));
    plan.copied_bytes += block_;
  }
  tails_.push_back(tail);
  return tails_.back();
}

void PlanBuilder::share_reference(const Reference& reference, const Span& span,
                                  ReplacementPlan& plan) {
  const auto add = [&](const BlockSource& source, std::uint64_t offset, std::uint64_t length) {
    if (!plan.shares.empty()) {
      Share& last = plan.shares.back();
      const bool follows =
          last.kind == source.kind && last.target == reference.file &&
          last.target_offset + last.length == offset &&
          (source.kind == SourceKind::kZero ||
           (last.source == source.file && last.source_offset + last.length == source.offset));
      if (follows && source.kind != SourceKind::kTailCopy) {
        last.length += length;
        return;
      }
    }
    plan.shares.push_back(
        {source.kind, source.file, source.offset, reference.file, offset, length});
  };
  for (std::uint32_t i = span.first; i < span.end; ++i) {
    add(sources_[i], reference.file_offset + (i - span.first) * block_, block_);
  }
  if (span.tail_length != 0) {
    const Tail& tail = tail_for(reference, span.end, span.tail_length, plan);
    add({true, tail.source.kind, tail.source.source, tail.source.source_offset},
        reference.file_size - span.tail_length, span.tail_length);
  }
}

bool PlanBuilder::build(ReplacementPlan& plan) {
  plan.victim = match_.victim.extent;
  plan.kind = match_.victim.kind;
  for (const Reference& reference : references_) {
    const auto span = span_of(reference);
    if (!span) return false;
    spans_.push_back(*span);
  }
  find_needed();
  source_runs();
  source_zeros();
  std::uint64_t zero_blocks = 0;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (!sources_[i].set || !needed_[i]) continue;
    ++shared_blocks_;
    if (sources_[i].kind == SourceKind::kZero) ++zero_blocks;
  }
  plan.zero_bytes = match_.victim.disk_bytes(zero_blocks);
  copy_rest(plan);
  for (std::size_t r = 0; r < references_.size(); ++r) {
    share_reference(references_[r], spans_[r], plan);
  }
  for (const Tail& tail : tails_) {
    if (tail.source.kind == SourceKind::kFile) ++shared_blocks_;
  }
  plan.duplicate_bytes = match_.victim.disk_bytes(shared_blocks_);
  plan.fragments = plan.shares.size() - std::min(plan.shares.size(), references_.size());
  return true;
}

}  // namespace skep::dedupe
