// A PostgreSQL database and a ClickHouse database of a test's own, with the program's tables, as the roles that will use them see them.
#pragma once

#include <cstdlib>
#include <string>
#include <unistd.h>

#include "exchange/clickhouse_writer.hpp"
#include "exchange/postgres_writer.hpp"
#include "recon_engine/log.hpp"

namespace recon_live {

class Stores {
 public:
  explicit Stores(const std::string& test) : name_("t_" + test + "_" + std::to_string(getpid())) {
    drop();
    exchange::PostgresWriter(variable("EPOCHCUT_POSTGRES")).execute("CREATE DATABASE " + name_);
    exchange::ClickhouseWriter(variable("EPOCHCUT_CLICKHOUSE")).execute("CREATE DATABASE " + name_);
  }
  ~Stores() {
    try {
      drop();
    } catch (...) {  // a test that broke its server has failed already
    }
  }
  const std::string& name() const { return name_; }
  std::string postgres() const { return in("EPOCHCUT_POSTGRES"); }
  std::string reader() const { return in("EPOCHCUT_POSTGRES_RECON"); }
  std::string writer() const { return in("EPOCHCUT_POSTGRES_LOG"); }
  std::string clickhouse() const { return variable("EPOCHCUT_CLICKHOUSE"); }

  static std::string variable(const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set");
    return value;
  }

 private:
  std::string in(const char* variable_name) const { return variable(variable_name) + " dbname=" + name_; }  // the last one counts
  void drop() {
    exchange::PostgresWriter owner(variable("EPOCHCUT_POSTGRES"));
    owner.execute("SET client_min_messages = warning");
    owner.execute("DROP DATABASE IF EXISTS " + name_ + " WITH (FORCE)");
    exchange::ClickhouseWriter(variable("EPOCHCUT_CLICKHOUSE")).execute("DROP DATABASE IF EXISTS " + name_);
  }

  const std::string name_;
};

}  // namespace recon_live
