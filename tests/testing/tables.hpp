// What the unit tests share: short ways to write a table down, and to ask with which reason something is refused.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/core/failure.hpp>
#include <epochcut/core/relation.hpp>
#include <epochcut/core/status.hpp>
#include <epochcut/cut/source.hpp>

#include "support/catch.hpp"

namespace Catch {
template <>
struct StringMaker<epochcut::Status> {
  static std::string convert(epochcut::Status s) { return std::string(epochcut::to_string(s)); }
};
template <>
struct StringMaker<epochcut::Reason> {
  static std::string convert(epochcut::Reason r) { return std::string(epochcut::to_string(r)); }
};
template <>
struct StringMaker<epochcut::Digest> {
  static std::string convert(const epochcut::Digest& d) { return epochcut::to_string(d); }
};
}  // namespace Catch

namespace tables {

using namespace epochcut;

/// The reason with which `act` is refused; `none` if it is not.
template <class Act>
Reason refusal(Act act) {
  try {
    act();
  } catch (const Failure& failure) {
    return failure.kind;
  }
  return Reason::none;
}

/// The sentence with which `act` is refused; empty if it is not.
template <class Act>
std::string sentence(Act act) {
  try {
    act();
  } catch (const Failure& failure) {
    return failure.message;
  }
  return {};
}

inline bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

struct Head {
  const char* name;
  Role role;
  Type type;
  int scale = 0;
};

inline Relation table(std::initializer_list<Head> heads, std::initializer_list<std::initializer_list<Value>> rows = {}) {
  Relation relation;
  for (const Head& h : heads) relation.add(h.name, h.role, h.type, h.scale);
  for (const auto& row : rows) {
    std::size_t i = 0;
    for (const Value& cell : row) relation.fields.at(i++).column.append(cell);
  }
  return relation;
}

/// A relation as text, one line a row: what tests compare whole tables by.
inline std::vector<std::string> lines(const Relation& relation) {
  std::vector<std::string> out;
  for (std::size_t row = 0; row < relation.rows(); ++row) {
    std::string line;
    for (const Field& f : relation.fields) line += (&f == relation.fields.data() ? "" : " ") + to_string(f.column[row]);
    out.push_back(line);
  }
  return out;
}
using Lines = std::vector<std::string>;

inline Decimal money(std::int64_t cents) { return {cents, 2}; }

/// A cursor over given blocks: one that can be wrong in every way.
class BlockCursor final : public Cursor {
 public:
  explicit BlockCursor(std::vector<Relation> blocks, Proof proof = {}) : blocks_(std::move(blocks)), proof_(std::move(proof)) {}
  bool next(Relation& block) override {
    if (at_ == blocks_.size()) return false;
    block = blocks_[at_++];
    return true;
  }
  Proof proof() const override { return proof_; }

 private:
  std::vector<Relation> blocks_;
  Proof proof_;
  std::size_t at_ = 0;
};

}  // namespace tables
