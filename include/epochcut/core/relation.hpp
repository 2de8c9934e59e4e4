// What does one block of rows look like, whichever engine it came from?
// Layer: core. Not synchronised. A schema (name, key or value) beside one column each; all columns have the same size.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/core/column.hpp>
#include <epochcut/core/failure.hpp>

namespace epochcut {

enum class Role : std::uint8_t { key, value };

/// A named column. Key columns say which row is meant, in the order in which they stand; value columns are what is compared.
struct Field {
  std::string name;
  Role role = Role::value;
  Column column;
};

/// Shape: `rows()` rows by `fields.size()` columns.
struct Relation {
  std::vector<Field> fields;

  std::size_t rows() const { return fields.empty() ? 0 : fields.front().column.size(); }

  const Field* find(std::string_view name) const {
    for (const Field& field : fields)
      if (field.name == name) return &field;
    return nullptr;
  }

  /// Errors: `schema` when there is no such column; the sentence names those that there are.
  const Column& column(std::string_view name) const {
    if (const Field* field = find(name)) return field->column;
    std::string names;
    for (const Field& field : fields) names += (names.empty() ? "" : ", ") + field.name;
    throw Failure(Reason::schema, "there is no column \"" + std::string(name) + "\"; the columns are: " + names).statement({});
  }

  Field& add(std::string name, Role role, Type type, int scale = 0) { return fields.emplace_back(Field{std::move(name), role, Column(type, scale)}); }

  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Field& field : fields) sum += field.column.bytes();
    return sum;
  }

  /// The same columns without rows.
  Relation empty_copy() const {
    Relation copy;
    for (const Field& field : fields) copy.add(field.name, field.role, field.column.type(), field.column.scale());
    return copy;
  }

  /// The same names and roles in the same order, and types that compare.
  bool same_shape(const Relation& other) const {
    if (fields.size() != other.fields.size()) return false;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      const Field &a = fields[i], &b = other.fields[i];
      if (a.name != b.name || a.role != b.role || family(a.column.type()) != family(b.column.type())) return false;
    }
    return true;
  }

  /// Precondition: same_shape(from).
  void append_row(const Relation& from, std::size_t row) {
    for (std::size_t i = 0; i < fields.size(); ++i) fields[i].column.append(from.fields[i].column[row]);
  }

  /// Errors: `schema` when the shape is another one; `overflow` as Column::append.
  void append(const Relation& from) {
    if (!same_shape(from)) throw Failure(Reason::schema, "rows of one reading came with different columns; its source must keep to one shape");
    for (std::size_t i = 0; i < fields.size(); ++i) fields[i].column.append_column(from.fields[i].column);
  }
};

}  // namespace epochcut
