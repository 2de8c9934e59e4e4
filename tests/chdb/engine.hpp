// A ClickHouse in this process for one test: its own folder, a session that writes, and the source that is tested.
// A process has one engine, so a test program has one of these at a time.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>

#include <epochcut/source/chdb.hpp>

namespace live {

class Engine {
 public:
  Engine() : writer_(path, {}) {
    execute("CREATE DATABASE test");
    execute("USE test");
  }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// On the writer's session: settings that are SET stay there. Errors: Failure.
  std::string query(const std::string& sql, const std::string& format = "TSV") {
    const epochcut::chdb::Result result(chdb_query_n(writer_.get(), sql.data(), sql.size(), format.data(), format.size()));
    if (!result.error().empty()) throw epochcut::clickhouse::server_failure(result.error(), sql, path);
    return std::string(result.bytes());
  }
  void execute(const std::string& sql) { query(sql); }
  /// `rows`: tab-separated text.
  void insert(const std::string& table, const std::string& rows) { execute("INSERT INTO " + table + " FORMAT TSV\n" + rows); }

  /// A source on the database "test".
  epochcut::Chdb source(epochcut::ChdbOptions options = {}) const {
    options.database = "test";
    return epochcut::Chdb(path, std::move(options));
  }

 private:
  /// Removed after the last session on it is closed.
  struct Folder {
    Folder() {
      if (mkdtemp(name.data()) == nullptr) throw epochcut::Failure(epochcut::Reason::configuration, "can't make the folder " + name);
    }
    ~Folder() { std::filesystem::remove_all(name); }
    std::string name = (std::filesystem::temp_directory_path() / "epochcut-chdb.XXXXXX").string();
  } folder_;

 public:
  const std::string& path = folder_.name;

 private:
  epochcut::chdb::Connection writer_;
};

}  // namespace live
