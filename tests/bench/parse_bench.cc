// SPDX-License-Identifier: MIT
//
// One full buffer of the extent tree, as the crawl gets it from a call of the kernel.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "item_builder.h"
#include "skep/btrfs/parse.h"

namespace skep::bench {
namespace {

constexpr std::size_t kBufferBytes = 256 << 10;
constexpr std::uint8_t kMetadataItem = 169;

struct Totals {
  std::uint64_t extents = 0, bytes = 0, references = 0;
  bool operator==(const Totals&) const = default;
};

struct Buffer {
  std::vector<std::byte> bytes;
  std::uint32_t items = 0;
  Totals expected;
};

// Mostly extents with one reference, 4 KiB to 512 KiB long; some have two or three inline, some are
// in snapshots' shared leaves, and there are tree blocks between them.
Buffer realistic_buffer() {
  using namespace skep::testing;  // NOLINT: the builders read better without a prefix
  std::mt19937_64 random(1);
  Buffer out;
  std::uint64_t address = 1ULL << 30;
  for (;;) {
    const std::uint64_t kind = random() % 32;
    btrfs::Item item;
    item.transid = 1000;
    item.key.objectid = address;
    Totals more;
    ItemBuilder data;
    if (kind == 0) {
      item.key.type = kMetadataItem;
      item.key.offset = 0;  // the level
      data = extent_item(1, 900, kTreeBlockFlag).u8(kTreeBlockRef).u64(256);
      address += 16384;
    } else {
      item.key.type = kExtentItem;
      item.key.offset = std::uint64_t{4096} << (random() % 8);
      const std::uint64_t references = kind < 4 ? kind : 1;
      data = extent_item(references, 900, kDataFlag);
      for (std::uint64_t i = 0; i < references; ++i) {
        data.append(data_ref(256 + i, 257 + random() % 100'000, 0, 1).bytes());
      }
      if (kind == 4) data.u8(kSharedDataRef).u64(1ULL << 31).u32(1);
      more = {1, item.key.offset, references};
      address += item.key.offset;
    }
    item.data = data.bytes();
    const ItemBuilder built = search_item(item);
    if (out.bytes.size() + built.bytes().size() > kBufferBytes) return out;
    out.bytes.insert(out.bytes.end(), built.bytes().begin(), built.bytes().end());
    ++out.items;
    out.expected.extents += more.extents;
    out.expected.bytes += more.bytes;
    out.expected.references += more.references;
  }
}

void parse_extent_buffer(benchmark::State& state) {
  const Buffer buffer = realistic_buffer();
  bool right = true;
  for (auto _ : state) {
    Totals totals;
    const auto status =
        btrfs::parse_search_items(buffer.bytes, buffer.items, [&](const btrfs::Item& item) {
          if (const auto extent = btrfs::parse_extent_item(item)) {
            ++totals.extents;
            totals.bytes += extent->length;
            totals.references += extent->data_refs.size();
          }
          return true;
        });
    right = right && status.ok() && totals == buffer.expected;
  }
  state.SetItemsProcessed(state.iterations() * std::int64_t{buffer.items});
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(buffer.bytes.size()));
  if (!right || buffer.expected.extents == 0) state.SkipWithError("extents are not as they were");
}
BENCHMARK(parse_extent_buffer);

}  // namespace
}  // namespace skep::bench
