// The entry of the live tests: without servers nothing is tested, and 77 tells CTest so. tests/run.sh counts that as a failure.
#define CATCH_CONFIG_RUNNER
#include <cstdio>
#include <cstdlib>

#include "support/catch.hpp"

int main(int argc, char** argv) {
  for (const char* name : {"EPOCHCUT_POSTGRES", "EPOCHCUT_CLICKHOUSE"})
    if (std::getenv(name) == nullptr) {
      std::printf("skipped: %s is not set; sh tests/run.sh starts servers and sets it\n", name);
      return 77;
    }
  return Catch::Session().run(argc, argv);
}
