// In which words do two engines write a row down, so that both hash it alike?
// Layer: diff; values only, thread-safe. Each side says what its columns are, and `agree` says how each cell is written: as text that is one for equal
// values and another for different ones. Where an engine can't write a type so, it is a `schema` failure that says to stream.
// Source: docs/bisection.md "The text of a row".
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <epochcut/core/failure.hpp>
#include <epochcut/core/relation.hpp>
#include <epochcut/cut/digest_side.hpp>
#include <epochcut/diff/diff.hpp>

namespace epochcut {

inline constexpr int scale_shortest = -1;        ///< both sides hold as many digits as a value needs: without trailing zeros
inline constexpr int seconds_scale_default = 6;  ///< PostgreSQL's microseconds

/// The same columns as a relation without rows, to be matched like any two sides of a diff.
inline Relation shape_of(std::span<const DigestColumn> columns) {
  Relation shape;
  for (const DigestColumn& c : columns) shape.add(c.name, c.role, c.type, c.type == Type::timestamp_ns ? 0 : c.scale);
  return shape;
}

/// Errors: `schema` for what has no partner, does not compare, or can't be written alike; `configuration` for a rule that names no column.
inline DigestForm agree(std::span<const DigestColumn> left, std::span<const DigestColumn> right, bool same_engine, std::span<const Rule> rules) {
  diffing::match(shape_of(left), shape_of(right), rules);
  DigestForm form{.cells = {}, .same_engine = same_engine};
  for (const DigestColumn& l : left) {
    const DigestColumn& r = *std::find_if(right.begin(), right.end(), [&](const DigestColumn& c) { return c.name == l.name && c.role == l.role; });
    form.same_engine = form.same_engine && l.native_type == r.native_type;
    for (const DigestColumn* c : {&l, &r})
      if (!c->why_refused.empty())
        throw Failure(Reason::schema, "column \"" + c->name + "\" is " + c->native_type + ", " + c->why_refused +
                                          ", so its rows can't be hashed alike in both engines; leave it out of the query, or stream");
    AgreedCell cell{l.name};
    switch (family(l.type)) {
      case Family::number: cell.scale = l.any_scale && r.any_scale ? scale_shortest : std::max(l.any_scale ? 0 : l.scale, r.any_scale ? 0 : r.scale); break;
      case Family::float64: cell.form = CellForm::bits; break;
      case Family::text: cell.form = l.scale == text_bytes || r.scale == text_bytes ? CellForm::hex : CellForm::text; break;
      case Family::boolean: cell.form = CellForm::boolean; break;
      case Family::uuid: cell.form = CellForm::uuid; break;
      case Family::date: cell.form = CellForm::days; break;
      case Family::timestamp: cell.form = CellForm::seconds, cell.scale = std::max({l.scale, r.scale, seconds_scale_default}); break;
    }
    form.cells.push_back(std::move(cell));
  }
  return form;
}

/// `.` and `scale` zeros: what a whole number lacks.
inline std::string zeros_after_point(int scale) { return scale <= 0 ? "" : "." + std::string(static_cast<std::size_t>(scale), '0'); }

}  // namespace epochcut
