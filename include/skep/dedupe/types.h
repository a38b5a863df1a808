// SPDX-License-Identifier: MIT
//
// What the stages hand to each other: Extent -> FingerprintedExtent -> Match -> ReplacementPlan ->
// Outcome, each in a Batch. Offsets named `block` count blocks of the filesystem from the start of
// an extent; everything else is in bytes. Plain values, moved along the graph; no thread rules.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "skep/btrfs/types.h"
#include "skep/dedupe/filter_options.h"
#include "skep/index/fingerprint.h"

namespace skep::dedupe {

// One for every way an extent can leave the pipeline. man/skep-run.1 explains each.
enum class Verdict : std::uint8_t {
  kFreed,              // planned to go; settled as freed once its extent item is gone
  kUnique,             // nothing of it is stored elsewhere
  kKeeper,             // others were, or will be, shared with it
  kNoChecksum,         // nodatasum, or preallocated and not yet written
  kCompressed,         // no other is compressed alike, and it was not looked into
  kPreallocated,       // in part
  kNodatasum,          // NOCOW or nodatasum file
  kImmutable,          // a file with the immutable flag
  kEncoded,            // encrypted, or an encoding nobody knows
  kSystem,             // referenced by a tree that is not a subvolume
  kExcluded,           // a file that refers to it, or to all that equals it, is left out
  kTooManyReferences,  // over Limits::victim_references
  kUnreferenced,       // nobody refers to it any more: it is going by itself
  kShortRuns,          // only runs below --min-run
  kTailOnly,           // all that is stored elsewhere is a tail that ends differently
  kCopyRatio,          // too much would have to be copied to free it
  kMetadataPrice,      // metadata would grow by more than is freed
  kChanged,            // its files changed while it was looked at
  kDiffers,            // the data turned out to differ
  kBusy,               // swap file, or a send is running
  kFailed,             // an error of the kernel
  kCount
};
std::string_view name_of(Verdict verdict);

// Offsets and block numbers of an extent are those of its content: what it unpacks to when it is
// compressed, what lies on disk otherwise.
struct FingerprintedExtent {
  btrfs::Extent extent;
  // One for each block of its content; empty when nothing of it is known.
  std::vector<index::Fingerprint> blocks;
  btrfs::ExtentKind kind;
  bool read = false;  // `blocks` come from reading the data, or are to: until then without value
  bool unreadable = false;                 // some of them without value: the data could not be read
  std::vector<index::Fingerprint> stored;  // of a compressed extent: of its blocks on disk

  bool compressed() const { return kind.compression != 0; }
  // Where the table says that block `i` lies: a compressed extent is named as a whole.
  std::uint64_t cell_address(std::uint64_t i, std::uint64_t block_size) const {
    return compressed() ? extent.address : extent.address + i * block_size;
  }
  // What of the extent's length on disk so many blocks of its content stand for.
  std::uint64_t disk_bytes(std::uint64_t content_blocks) const {
    return blocks.empty() ? 0 : extent.length * content_blocks / blocks.size();
  }
};

// The extent that stays, as the match stage saw it.
struct Keeper {
  std::uint64_t address = 0;
  std::uint64_t length = 0;       // of its content
  std::uint64_t disk_length = 0;  // less when it is compressed
  btrfs::ExtentKind kind;

  // What of its length on disk so many bytes of its content stand for.
  std::uint64_t disk_bytes(std::uint64_t content_bytes) const {
    return length == disk_length ? content_bytes : content_bytes * disk_length / length;
  }
};

// Staying wins over going when it frees as much within 1/32: large extents stay large. In any one
// unit.
constexpr bool going_frees_more(std::uint64_t going, std::uint64_t staying) {
  return going > staying + staying / 32;
}

// `blocks` blocks of the victim from `first` equal those at `source`: the keeper's address plus the
// offset in its content.
struct Run {
  std::uint32_t first = 0;
  std::uint32_t blocks = 0;
  std::uint64_t source = 0;
  Keeper keeper;
  bool lone = false;  // a single block, which its neighbours do not confirm
};

struct Match {
  FingerprintedExtent victim;
  std::vector<Run> runs;          // ascending, not overlapping
  std::uint32_t zero_blocks = 0;  // outside the runs
  // Bytes on disk that others would free by going to this one, did it stay: going must free more.
  std::uint64_t staying_frees_bytes = 0;
  std::vector<std::uint64_t> keepers;  // pinned, each once
  // kFreed: go on to plan. Everything else: why it is left alone.
  Verdict verdict = Verdict::kUnique;
};

// A file range that uses part of an extent.
struct Reference {
  btrfs::FileHandle file;
  std::uint64_t file_offset = 0;
  std::uint64_t extent_offset = 0;
  std::uint64_t length = 0;
  std::uint64_t file_size = 0;
};

// Where a share takes its bytes from.
enum class SourceKind : std::uint8_t { kFile, kZero, kCopy, kTailCopy };

// One range to share. For kCopy, source_offset counts from the start of the plan's copies; for
// kTailCopy it is the number of the tail in the plan.
struct Share {
  SourceKind kind = SourceKind::kFile;
  btrfs::FileHandle source;
  std::uint64_t source_offset = 0;
  btrfs::FileHandle target;
  std::uint64_t target_offset = 0;
  std::uint64_t length = 0;
};

// A file range to copy so that the victim can go.
struct Copy {
  btrfs::FileHandle from;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

// A block that the table is to have: one that skep wrote, or of a victim that stays.
struct NewBlock {
  index::Fingerprint fingerprint = 0;
  std::uint64_t address = 0;  // of its extent, where that is compressed
};

// Replaces every reference to one victim.
struct ReplacementPlan {
  btrfs::Extent victim;
  btrfs::ExtentKind kind;  // of the victim, and of its copies
  std::vector<Share> shares;
  std::vector<Copy> copies;  // whole blocks, laid one after another
  std::vector<Copy> tails;   // each ends its file: a length below a block
  // Of each copied block and tail, for the table.
  std::vector<index::Fingerprint> copy_fingerprints;
  std::vector<index::Fingerprint> tail_fingerprints;
  std::vector<NewBlock> victim_blocks;  // for the table, should the victim stay
  std::vector<std::uint64_t> keepers;   // extents it shares with, pinned until it is settled
  // What all blocks have that are shared with keepers; kNoFingerprint where they have several.
  index::Fingerprint only_fingerprint = index::kNoFingerprint;
  std::uint64_t copied_bytes = 0;  // on disk, as estimated where they are compressed
  // Most of the victim that may be copied, by the gain rule; for ranges that turn out to differ.
  std::uint64_t most_copied_bytes = ~0ULL;
  std::uint64_t duplicate_bytes = 0;
  std::uint64_t zero_bytes = 0;   // of them, those that become holes
  std::uint64_t fragments = 0;    // file extents more than now, at least
  std::uint64_t price_bytes = 0;  // estimated growth of metadata, as on disk
};

// The references through which a new extent can be read: what the plan shared it with.
struct NewReference {
  std::uint64_t address = 0;
  std::uint64_t extent_address = 0;  // of the extent that holds it
  Reference reference;
};

struct Outcome {
  btrfs::Extent victim;
  Verdict verdict = Verdict::kFreed;
  bool begun = true;  // false: dropped untouched, because a stop was asked for
  std::uint64_t copied_bytes = 0;
  std::uint64_t duplicate_bytes = 0;
  std::uint64_t zero_bytes = 0;
  std::uint64_t fragments = 0;
  std::uint64_t price_bytes = 0;
  std::vector<std::uint64_t> keepers;
  std::vector<NewBlock> victim_blocks;
};

// An extent that stays, with what its references taught.
struct Left {
  btrfs::Extent extent;
  Verdict verdict = Verdict::kUnique;
};

// A stretch of the crawl, passed whole from stage to stage. Each stage takes what the one before
// it left and fills its own field.
struct Batch {
  std::uint64_t number = 0;
  std::uint32_t tier = 0;
  std::uint64_t next_address = 0;  // the crawl goes on here
  std::uint64_t bytes = 0;         // extents' lengths, for the progress
  std::vector<btrfs::Extent> extents;
  std::vector<FingerprintedExtent> fingerprinted;
  std::vector<Match> matches;
  std::vector<ReplacementPlan> plans;
  std::vector<Outcome> outcomes;
  std::vector<Left> left;
  std::vector<NewBlock> new_blocks;
  std::vector<NewReference> new_references;
  bool revisit = false;  // its extents were in a batch before
  bool dropped = false;  // not all of its plans were carried out: a stop was asked for
};
using BatchPtr = std::shared_ptr<Batch>;

// What a pass looks at.
enum class PassKind : std::uint8_t {
  kQuick,        // every extent, by its stored checksums: compressed ones match as a whole, or not
  kContentScan,  // reads those that have to be read, for the table; frees nothing
  kDeepPlain,    // those neither compressed nor without checksums, which may equal what was read
  kDeepRead,     // compressed ones and those without checksums
};

std::string_view name_of(PassKind kind);

// How far compressed extents are looked into.
enum class Depth : std::uint8_t { kQuick, kDeep };

// What the user chose.
struct Options {
  Depth depth = Depth::kDeep;
  bool nodatasum = false;     // read extents without checksums, and match them among themselves
  std::uint32_t threads = 2;  // sharing at a time
  std::uint64_t min_run_bytes = 4096;
  double max_copy_ratio = 1.0;  // bytes copied for each byte freed, at most
  bool skim = false;            // long stretches that match nothing are only skimmed (RunFinder)
  FilterOptions filter;
};

}  // namespace skep::dedupe
