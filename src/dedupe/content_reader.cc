// SPDX-License-Identifier: MIT
#include "skep/dedupe/content_reader.h"

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
  piece.cached = piece.file->read_cached(piece.file_offset, piece.bytes);
  if (piece.cached < piece.length) {
    piece.file->readahead(piece.file_offset + piece.cached, piece.length - piece.cached);
  }
}

void ContentReader::finish(Piece& piece, CachePolicy policy) {
  const std::uint64_t asked = piece.length;
  ahead_bytes_ -= asked;
  if (piece.file == nullptr) {
    ++counters_.contents_unreadable;
    return;
  }
  counters_.bytes_read_asked += asked;
  counters_.bytes_read_contents += asked;
  std::size_t got = piece.cached;
  if (got < asked) {
    auto rest = piece.file->read(piece.file_offset + got, std::span(piece.bytes).subspan(got));
    if (policy == CachePolicy::kDrop) {
      piece.file->drop_cached(piece.file_offset + got, asked - got);
    }
    if (!rest.ok()) {
      ++counters_.contents_unreadable;
      return;
    }
    got += *rest;
  }
  // Behind the end of its file a block reads as zeros; blocks wholly behind it are nobody's.
  std::fill(piece.bytes.begin() + static_cast<std::ptrdiff_t>(got), piece.bytes.end(),
            std::byte{0});
  auto& out = piece.extent->blocks;
  for (std::uint64_t at = 0; at < got; at += block_) {
    out[piece.first + at / block_] = fingerprinter_.from_block(
        std::span(piece.bytes).subspan(at, block_), piece.extent->kind.nodatasum);
  }
}

void ContentReader::read(std::span<const ToRead> extents, CachePolicy policy,
                         absl::FunctionRef<bool()> stop) {
  std::deque<Piece> waiting, started;
  ahead_bytes_ = 0;
  std::size_t next = 0;
  while (!stop()) {
    while (waiting.empty() && next < extents.size()) cut(extents[next++], waiting);
    if (!waiting.empty() && (started.empty() || ahead_bytes_ < limits::kContentAheadBytes)) {
      start(waiting.front());
      started.push_back(std::move(waiting.front()));
      waiting.pop_front();
    } else if (!started.empty()) {
      finish(started.front(), policy);
      started.pop_front();
    } else {
      return;
    }
  }
}

}  // namespace skep::dedupe
