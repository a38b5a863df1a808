// SPDX-License-Identifier: MIT
//
// A limit on everything, each with its reason: memory does not follow the filesystem. All of them
// reached come to some 5 MiB, beside the table, the locality cache (locality_cache.h) and, where
// something has to be read, the content cache (content_cache.h). Constants; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

namespace skep::dedupe::limits {

// A batch ends at whichever comes first. 256 small extents take some 20 ms to share, so a stop is
// prompt; 16 MiB of small extents or one large extent keeps fingerprints under 256 KiB.
inline constexpr std::size_t kBatchExtents = 256;
inline constexpr std::uint64_t kBatchBytes = 16ULL << 20;
// Tiers that together have no more extents are gathered in one walk and sorted; 104 bytes each.
inline constexpr std::uint64_t kGatherExtents = 16'384;
// Batches between crawl and settle: readahead runs that far ahead of sharing.
inline constexpr std::size_t kBatchesInFlight = 6;

// References of a victim; more are not worth replacing one by one.
inline constexpr std::size_t kVictimReferences = 10'000;
// References of a keeper that are looked at to find one that covers a block.
inline constexpr std::size_t kKeeperReferences = 64;
// A keeper with more is passed over when there is another copy: LOGICAL_INO took 38 ms on extents
// with thousands.
inline constexpr std::uint64_t kKeeperCrowded = 2'000;
// LOGICAL_INO calls a keeper, for blocks that its known references do not cover.
inline constexpr int kKeeperSearches = 8;
// Resolved keepers that are remembered; about 300 bytes each.
inline constexpr std::size_t kResolvedKeepers = 2'048;

// Tail blocks that skep wrote and whose files it remembers; about 160 bytes each.
inline constexpr std::size_t kRememberedBlocks = 16'384;

// Content of compressed extents that is being read ahead of its fingerprinting.
inline constexpr std::uint64_t kContentAheadBytes = 8ULL << 20;
// A lone block meets a stranger with an equal checksum so often, or more seldom, that it is
// believed: the compare in the kernel then finds out one in a thousand.
inline constexpr double kStrangersFrequent = 1e-3;
// Fingerprints that blocks had which differ; 17 bytes each.
inline constexpr std::size_t kStrangers = 4'096;

// Candidates that are extended for one block.
inline constexpr std::size_t kCandidates = 12;
// Extents of the pass remembered as keepers; 18 bytes each.
inline constexpr std::size_t kRememberedKeepers = 1 << 14;
// Extents that are looked at once more after a commit; 45 bytes each.
inline constexpr std::size_t kDeferred = 1 << 14;
// Rounds of that after a pass.
inline constexpr int kRevisits = 4;
// Extents that could not be shared even then, and are looked at so many times more; 16 bytes each,
// and as many in the state. A daemon does so after 10 seconds, and after twice as long each time:
// for ten minutes in all. A balance is done with a block group of 1 GiB before.
inline constexpr std::size_t kRetries = 1'024;
inline constexpr std::uint32_t kRetryTries = 6;
// Extents with late checksums that are looked at together; fewer than are deferred, 130 bytes each.
inline constexpr std::size_t kLateExtents = 4'096;
// Smaller extents that a larger one replaces, taken up at once.
inline constexpr std::size_t kSwaps = 256;

// One FIDEDUPERANGE call, unless a pace asks for less; the kernel itself works in pieces of 16 MiB,
// and a stop waits for one.
inline constexpr std::uint64_t kShareBytes = 16ULL << 20;
// Readahead runs so far ahead of sharing within a batch, counting sources and targets; the first of
// it is asked for while earlier batches are shared. At most kBatchesInFlight times this is in the
// page cache for skep's sake alone. One call's length times its targets is no more either: the
// resolving phase waits for calls to end.
inline constexpr std::uint64_t kReadAheadBytes = 2 * kShareBytes;
// A range of zeros is compared with a sparse file of this size.
inline constexpr std::uint64_t kZeroBytes = 1ULL << 20;
// Remnants are copied through a buffer of this size.
inline constexpr std::size_t kCopyBuffer = 1 << 20;

// Victims whose end is not yet verified; 40 bytes each. Reached, the transaction is committed.
inline constexpr std::size_t kUnverified = 8'192;
// Growth of metadata, by estimate, before it is compared with what is seen.
inline constexpr std::uint64_t kPriceUnverified = 16ULL << 20;
// Leaves that are known to be no longer shared between snapshots.
inline constexpr std::size_t kUnsharedLeaves = 1 << 16;
// A `--once` run ends after so many passes over its own copies, whatever they freed.
inline constexpr int kPasses = 8;

// Files and folders whose verdict the filter remembers: about 32 and 150 bytes each. Nothing
// without a filter.
inline constexpr std::size_t kFilterFiles = 16'384;
inline constexpr std::size_t kFilterFolders = 4'096;
// Folders in which a file lies. Paths of programs end at 4096 bytes.
inline constexpr std::size_t kFilterDepth = 4'096;
// Extents of which it is known for the same second whether they may go or stay; 20 bytes each.
inline constexpr std::size_t kFilterExtents = 32'768;

}  // namespace skep::dedupe::limits
