// Would a comparison notice?
// Layer: verdict. Wraps a follower and changes ONE value of what it answers by one unit, after the store and before the diff: nothing is written
// anywhere, and whatever a real difference would pass through, this one passes through too. For the negative control of a gate.
// Not synchronised: one thread per object.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include <epochcut/cut/evaluate.hpp>
#include <epochcut/diff/difference.hpp>

namespace epochcut {

/// Refers to its source, which must outlive it.
template <Follower Source>
class Planted {
 public:
  /// `row`: which of the rows is changed, counted round and round.
  explicit Planted(Source& source, std::uint64_t row = 0) : source_(&source), row_(row) {}

  /// Errors: as the source's; `schema` when a row has no number to change.
  AnyCursor open(const QueryPlan& plan, const AsOf& as_of, Form form, const Control& control) {
    auto&& source = readable(*source_);
    auto [rows, proof] = collect(source.open(plan, as_of, form, control), control);
    plant_.reset();
    if (rows.rows() > 0) change(rows, static_cast<std::size_t>(row_ % rows.rows()));
    return AnyCursor(new RelationCursor(std::move(rows), std::move(proof)));
  }
  Visible visible(const std::string& relation, const AsOf& as_of, const Control& control) {
    auto&& source = readable(*source_);
    return source.visible(relation, as_of, control);
  }
  FollowerInfo about(const std::string& relation, const Control& control) {
    auto&& source = readable(*source_);
    return source.about(relation, control);
  }

  /// What the newest answer differs in: `left` is the truth, `right` was answered. Nothing: there was no row.
  const std::optional<Difference>& plant() const { return plant_; }

 private:
  void change(Relation& rows, std::size_t at) {
    for (Field& field : rows.fields) {
      if (field.role == Role::key || family(field.column.type()) != Family::number || field.column.is_null(at)) continue;
      const Value was = field.column[at];
      Decimal number = was.as_decimal();
      number.unscaled += number.unscaled > 0 ? -1 : 1;  // towards zero, so that it fits whatever its type
      Column changed(field.column.type(), field.column.scale());
      for (std::size_t row = 0; row < field.column.size(); ++row) changed.append(row == at ? Value(number) : field.column[row]);
      Difference d{DifferenceKind::changed, {}, {}, {}};
      for (const Field& key : rows.fields)
        if (key.role == Role::key) d.key.push_back({key.name, Literal(key.column[at])});
      d.left.push_back({field.name, Literal(was)});
      d.right.push_back({field.name, Literal(changed[at])});
      plant_ = std::move(d);
      field.column = std::move(changed);
      return;
    }
    throw Failure(Reason::schema, "no difference can be planted: the row has no number among its values; let the control read a relation that has");
  }

  Source* source_;
  std::uint64_t row_;
  std::optional<Difference> plant_;
};

}  // namespace epochcut
