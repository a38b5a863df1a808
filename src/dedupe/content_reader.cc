// SPDX-License-Identifier: MIT
#include "skep/dedupe/content_reader.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

constexpr std::uint64_t kPieceBytes = 1ULL << 20;

}  // namespace

// Cuts an extent's content into pieces, each from the first reference that has it.
void ContentReader::cut(const ToRead& wanted, std::deque<Piece>& pieces) const {
  const std::uint64_t blocks = std::min<std::uint64_t>(wanted.end, wanted.extent->blocks.size());
  std::uint64_t covered = wanted.first;  // of the content, up to here
  std::vector<Reference> references = wanted.references;
  std::sort(references.begin(), references.end(), [](const Reference& a, const Reference& b) {
    return a.extent_offset < b.extent_offset;
  });
  for (const Reference& reference : references) {
    std::uint64_t at = std::max(covered, reference.extent_offset / block_);
    const std::uint64_t end =
        std::min(blocks, (reference.extent_offset + reference.length) / block_);
    for (std::uint64_t next = 0; at < end; at = next) {
      next = std::min(end, at + kPieceBytes / block_);
      Piece piece;
      piece.extent = wanted.extent;
      piece.key = reference.file;
      piece.file_offset = reference.file_offset + (at * block_ - reference.extent_offset);
      piece.first = at;
      piece.length = (next - at) * block_;
      pieces.push_back(std::move(piece));
    }
    covered = std::max(covered, end);
  }
}

void ContentReader::start(Piece& piece) {
  ahead_bytes_ += piece.length;
  auto file = fs_.open(piece.key);
  if (!file.ok()) return;
  piece.file = *std::move(file);
  piece.bytes.resize(piece.length);
  piece.cached = piece.file->cached_pages(piece.file_offset, piece.length);
  const bool all = !piece.cached.empty() &&
                   std::find(piece.cached.begin(), piece.cached.end(), false) == piece.cached.end();
  if (!all) piece.file->readahead(piece.file_offset, piece.length);
}

// What was not there before goes, stretch by stretch.
void ContentReader::drop(const Piece& piece) const {
  static const auto kPage = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  for (std::size_t first = 0; first < piece.cached.size();) {
    std::size_t end = first + 1;
    while (end < piece.cached.size() && piece.cached[end] == piece.cached[first]) ++end;
    if (!piece.cached[first]) {
      piece.file->drop_cached(piece.file_offset + first * kPage, (end - first) * kPage);
    }
    first = end;
  }
}

void ContentReader::finish(Piece& piece, CachePolicy policy) {
  const std::uint64_t asked = piece.length;
  ahead_bytes_ -= asked;
  if (piece.file == nullptr) {
    ++counters_.contents_unreadable;
    piece.extent->unreadable = true;
    return;
  }
  counters_.bytes_read_asked += asked;
  counters_.bytes_read_contents += asked;
  auto read = piece.file->read(piece.file_offset, piece.bytes);
  if (policy == CachePolicy::kDrop) drop(piece);
  if (!read.ok()) {
    ++counters_.contents_unreadable;
    piece.extent->unreadable = true;
    return;
  }
  const std::size_t got = *read;
  // Behind the end of its file a block reads as zeros; blocks wholly behind it are nobody's.
  std::fill(piece.bytes.begin() + static_cast<std::ptrdiff_t>(got), piece.bytes.end(),
            std::byte{0});
  auto& out = piece.extent->blocks;
  for (std::uint64_t at = 0; at < got; at += block_) {
    out[piece.first + at / block_] = fingerprinter_.from_block(
        std::span(piece.bytes).subspan(at, block_), piece.extent->kind.nodatasum);
  }
}

// A block in which one file ends may go on in another that refers to it: as it is stored, not as
// the first file reads it, it meets its like.
void ContentReader::complete_tail(const ToRead& wanted) {
  auto& blocks = wanted.extent->blocks;
  std::vector<std::byte> bytes(block_);
  for (const Reference& reference : wanted.references) {
    const std::uint64_t last = (reference.extent_offset + reference.length) / block_ - 1;
    for (const Reference& other : wanted.references) {
      const std::uint64_t at = last * block_;
      if (&other == &reference || at < other.extent_offset || last >= blocks.size() ||
          at + block_ > other.extent_offset + other.length) {
        continue;
      }
      auto file = fs_.open(other.file);
      if (!file.ok()) continue;
      auto got = (*file)->read(other.file_offset + at - other.extent_offset, bytes);
      if (!got.ok() || *got < block_) continue;
      blocks[last] = fingerprinter_.from_block(bytes, wanted.extent->kind.nodatasum);
      break;
    }
  }
}

void ContentReader::read(std::span<const ToRead> extents, CachePolicy policy,
                         absl::FunctionRef<bool()> stop, const Steps& steps) {
  std::deque<Piece> waiting, started;
  ahead_bytes_ = 0;
  std::size_t next = 0;
  while (!stop()) {
    const std::uint64_t most_ahead = std::min(limits::kContentAheadBytes, steps.ahead_bytes());
    while (waiting.empty() && next < extents.size()) cut(extents[next++], waiting);
    if (!waiting.empty() && (started.empty() || ahead_bytes_ < most_ahead)) {
      start(waiting.front());
      started.push_back(std::move(waiting.front()));
      waiting.pop_front();
    } else if (!started.empty()) {
      steps.wait();
      finish(started.front(), policy);
      started.pop_front();
    } else {
      break;
    }
  }
  for (const ToRead& extent : extents) {
    if (extent.references.size() > 1) complete_tail(extent);
  }
}

}  // namespace skep::dedupe
