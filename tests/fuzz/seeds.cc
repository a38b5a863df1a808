// SPDX-License-Identifier: MIT
//
// libFuzzer's targets write the inputs to start from to the folder SKEP_SEEDS, and end, when it is
// set. scripts/fuzz uses it.
#include <fstream>
#include <string>

#include "fuzz_target.h"

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  const char* folder = std::getenv("SKEP_SEEDS");
  if (folder == nullptr) return 0;
  int number = 0;
  for (const auto& input : skep::fuzz::seed_inputs()) {
    std::ofstream file(std::string(folder) + "/seed-" + std::to_string(number++), std::ios::binary);
    file.write(reinterpret_cast<const char*>(input.data()),
               static_cast<std::streamsize>(input.size()));
    if (!file.flush()) std::exit(1);
  }
  std::exit(0);
}
