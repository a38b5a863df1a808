// SPDX-License-Identifier: MIT
//
// Runs a fuzz target without libFuzzer: INPUTS buffers, each a mutated seed input or noise, from
// SEED. The same arguments give the same buffers. Each input is a heap block of its exact size, so
// that a sanitizer sees a read past its end.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>

#include "fuzz_target.h"

namespace {

using Input = std::vector<std::uint8_t>;

class Generator {
 public:
  Generator(std::uint64_t seed, std::vector<Input> seeds)
      : random_(seed), seeds_(std::move(seeds)) {}

  Input next() {
    if (below(10) == 0) return noise(below(512));
    Input input = seeds_[below(seeds_.size())];
    for (std::uint64_t i = below(6); i > 0; --i) mutate(input);
    return input;
  }

 private:
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  std::uint8_t byte() { return static_cast<std::uint8_t>(random_()); }

  Input noise(std::size_t size) {
    Input out(size);
    for (std::uint8_t& b : out) b = byte();
    return out;
  }

  void mutate(Input& input) {
    if (input.empty()) return;
    const std::size_t at = below(input.size());
    const auto here = input.begin() + static_cast<std::ptrdiff_t>(at);
    switch (below(6)) {
      case 0:
        *here ^= static_cast<std::uint8_t>(1U << below(8));
        return;
      case 1:
        *here = byte();
        return;
      case 2:
        input.resize(at);
        return;
      case 3:
        input.insert(here, byte());
        return;
      case 4:
        input.erase(here);
        return;
      default:
        overwrite_number(input, at);
    }
  }

  // Numbers at the edges are what lengths and offsets lie with.
  void overwrite_number(Input& input, std::size_t at) {
    constexpr std::uint64_t kEdges[] = {0,          1,          24,    0x7fffffff,
                                        0xffffffff, 1ULL << 63, ~0ULL, ~0ULL - 4095};
    const std::uint64_t value = kEdges[below(std::size(kEdges))];
    const std::size_t width = std::min<std::size_t>(std::size_t{1} << below(4), input.size() - at);
    std::memcpy(input.data() + at, &value, width);
  }

  std::mt19937_64 random_;
  const std::vector<Input> seeds_;
};

void run(const Input& input) {
  const std::unique_ptr<std::uint8_t[]> copy(new std::uint8_t[input.size()]);
  if (!input.empty()) std::memcpy(copy.get(), input.data(), input.size());
  LLVMFuzzerTestOneInput(copy.get(), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t inputs = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100000;
  const std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  std::printf("%ju inputs, seed %ju\n", static_cast<std::uintmax_t>(inputs),
              static_cast<std::uintmax_t>(seed));
  const auto seeds = skep::fuzz::seed_inputs();
  for (const Input& input : seeds) {
    run(input);
    for (std::size_t size = 0; size < input.size(); size += 1 + size / 256) {
      run({input.begin(), input.begin() + static_cast<std::ptrdiff_t>(size)});
    }
  }
  Generator generator(seed, seeds);
  for (std::uint64_t i = 0; i < inputs; ++i) run(generator.next());
  return 0;
}
