// Plays every file of the folders given through a harness, as it is and with bytes changed: the inputs that a fuzzer found worth keeping, and their
// neighbours, are plain tests for every compiler. The same ones in every run.
// A folder that is not there may be missing (no input has ever failed); one that is there and empty has proved nothing, and fails.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/input.hpp"

namespace {

constexpr int neighbours = 200;  // per file: a fuzzer keeps one input for each branch, and a wrong value takes the same branch as a right one

void play(const std::string& bytes) { LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()); }

/// Up to three bytes become others, most often ones that mean something to somebody.
std::string changed(std::string bytes, std::uint64_t& state) {
  constexpr std::string_view telling{"\0\1\x7F\x80\xFF'\"`\\%@/#.,-+ 059aZ", 23};
  const auto random = [&](std::size_t limit) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::size_t>(state >> 33) % limit;
  };
  for (std::size_t changes = 1 + random(3); changes > 0 && !bytes.empty(); --changes)
    bytes[random(bytes.size())] = random(4) == 0 ? static_cast<char>(random(256)) : telling[random(telling.size())];
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t played = 0;
  std::uint64_t state = 1;
  for (int i = 1; i < argc; ++i) {
    if (i > 1 && !std::filesystem::exists(argv[i])) continue;  // the first is the corpus, which must be there
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const std::filesystem::path& file : files) {
      std::ifstream in(file, std::ios::binary);
      const std::string bytes{std::istreambuf_iterator<char>(in), {}};
      if (!in) {
        std::printf("%s can't be read\n", file.c_str());
        return 1;
      }
      std::fprintf(stderr, "%s\n", file.c_str());  // the last one printed is the one that failed
      play(bytes);
      for (int n = 0; n < neighbours; ++n) play(changed(bytes, state));
    }
    if (files.empty()) {
      std::printf("%s is empty\n", argv[i]);
      return 1;
    }
    played += files.size();
  }
  std::printf("%zu inputs\n", played);
  return played == 0;
}
