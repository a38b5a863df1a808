// SPDX-License-Identifier: MIT
#include "skep/btrfs/crc32c.h"

#include "catch.h"
#include "testing.h"

namespace skep::btrfs {
namespace {

using testing::Bytes;
using testing::bytes_of;

// RFC 3720, appendix B.4.
TEST_CASE("crc32c gives the published values") {
  CHECK(crc32c({}) == 0);
  CHECK(crc32c(bytes_of("123456789")) == 0xe3069283);
  CHECK(crc32c(Bytes(32)) == 0x8a9136aa);
  CHECK(crc32c(Bytes(32, std::byte{0xff})) == 0x62a8ab43);
  Bytes rising(32), falling(32);
  for (std::size_t i = 0; i < 32; ++i) {
    rising[i] = static_cast<std::byte>(i);
    falling[i] = static_cast<std::byte>(31 - i);
  }
  CHECK(crc32c(rising) == 0x46dd794e);
  CHECK(crc32c(falling) == 0x113fdb5c);
}

TEST_CASE("crc32c of every length equals the bit by bit definition") {
  const Bytes data = testing::random_bytes(1, 67);
  for (std::size_t size = 0; size <= data.size(); ++size) {
    std::uint32_t slow = ~0U;
    for (std::size_t i = 0; i < size; ++i) {
      slow ^= std::to_integer<std::uint32_t>(data[i]);
      for (int bit = 0; bit < 8; ++bit) slow = (slow >> 1) ^ (slow & 1 ? 0x82f63b78 : 0);
    }
    CHECK(crc32c(std::span(data).first(size)) == ~slow);
  }
}

}  // namespace
}  // namespace skep::btrfs
