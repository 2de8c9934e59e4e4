// What has to be done to a database, once and in order?
// The files of migrations/, compiled in, so that the program needs none of them where it runs. Made by CMake.
#pragma once

#include <string_view>
#include <vector>

namespace recon_engine {

struct Migration {
  std::string_view name;  ///< the file's, without folder: NNN_name.sql
  std::string_view sql;
};

/// By name.
const std::vector<Migration>& all_migrations();

}  // namespace recon_engine
