// SPDX-License-Identifier: MIT
#include "verdict_text.h"

namespace skep::cli {

using dedupe::Verdict;

const char* explain(Verdict verdict) {
  switch (verdict) {
    case Verdict::kUnique:
      return "next to nothing of it is stored elsewhere";
    case Verdict::kKeeper:
      return "the copy that stays";
    case Verdict::kNoChecksum:
      return "no checksums: nodatasum, or preallocated";
    case Verdict::kCompressed:
      return "compressed, and not looked into (--depth quick)";
    case Verdict::kPreallocated:
      return "partly preallocated";
    case Verdict::kNodatasum:
      return "in a file without copy-on-write or checksums";
    case Verdict::kImmutable:
      return "in an immutable file";
    case Verdict::kEncoded:
      return "encrypted, or of an unknown encoding";
    case Verdict::kSystem:
      return "belongs to btrfs itself";
    case Verdict::kExcluded:
      return "it or its copies are in files that are left out";
    case Verdict::kTooManyReferences:
      return "too many references";
    case Verdict::kUnreferenced:
      return "no file uses it any more";
    case Verdict::kShortRuns:
      return "only runs below --min-run";
    case Verdict::kTailOnly:
      return "ends of files that end differently";
    case Verdict::kCopyRatio:
      return "too much would have to be copied";
    case Verdict::kMetadataPrice:
      return "would not pay: metadata would grow by more";
    case Verdict::kChanged:
      return "changed meanwhile";
    case Verdict::kDiffers:
      return "the data differed after all";
    case Verdict::kBusy:
      return "in use: swap, or being sent";
    case Verdict::kFailed:
      return "errors";
    case Verdict::kFreed:
    case Verdict::kCount:
      break;
  }
  return "";
}

}  // namespace skep::cli
