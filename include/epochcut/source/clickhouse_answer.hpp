// What does a ClickHouse statement's answer say, and what does it prove?
// Layer: source; no I/O of its own: bytes come from a channel, over HTTP or out of the process. A cursor belongs to one thread.
// From Native blocks to a relation and its proof. An answer counts only when its channel ended properly AND its bytes end with a block.
// Source: docs/adapters.md "ClickHouse".
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/core/hash_words.hpp>
#include <epochcut/cut/source.hpp>
#include <epochcut/source/clickhouse_server.hpp>
#include <epochcut/source/clickhouse_sql.hpp>
#include <epochcut/source/native.hpp>

namespace epochcut::clickhouse {

inline constexpr std::size_t conflicting_ids_named_max = 5;
inline constexpr std::uint64_t small_answer_bytes_max = 64u << 20;  ///< of what is gathered whole: names and types of 10 000 columns take some megabytes

/// One answer on its way. `read` gives more of its bytes, valid until the next call, and none once it has ended properly; it throws whatever
/// else can happen. `finish` is called once after that end, `abandon` whenever nobody reads on; it does not throw.
template <class Channel>
concept AnswerChannel = requires(Channel& channel, const Control& control) {
  { channel.read(control) } -> std::same_as<std::string_view>;
  channel.finish();
  channel.abandon();
  { channel.where() } -> std::convertible_to<std::string>;
};

/// An answer that does not have the form of what was asked: something between rewrites it, or it is another server's.
inline Failure rewritten(const std::string& what, const std::string& where) {
  return Failure(Reason::incomplete, "ClickHouse at " + where + " gave an answer that is none to what was asked: " + what + "; look at what stands between")
      .at(where);
}

/// To be asked before a cell is looked at: whoever stands between may have changed columns and rows. Errors: `incomplete`.
inline void require_shape(const Relation& answer, std::initializer_list<Type> types, std::size_t rows_min, const std::string& where) {
  const bool right =
      std::equal(answer.fields.begin(), answer.fields.end(), types.begin(), types.end(), [](const Field& f, Type type) { return f.column.type() == type; });
  if (!right) throw rewritten("its columns are " + std::to_string(answer.fields.size()) + ", or of other types", where);
  if (answer.rows() < rows_min) throw rewritten("it has " + std::to_string(answer.rows()) + " rows", where);
}

/// A small answer as a whole: one relation of all its blocks. `read()` gives more bytes, none at the end.
/// Errors: those of `read`, the server's, `too_large`, and `incomplete` for an answer that ends inside a block or whose blocks have different columns.
template <class Read>
Relation collect(Read read, const std::string& sql, const std::string& where) {
  NativeDecoder decoder;
  Relation rows;
  NativeBlock block;
  const auto limit = [&](std::uint64_t bytes) {
    if (bytes > small_answer_bytes_max)
      throw Failure(Reason::too_large, "ClickHouse at " + where + " answered a question about itself with more than " + std::to_string(small_answer_bytes_max) +
                                           " bytes; look at what stands between")
          .at(where);
  };
  for (;;) {
    while (decoder.next(block)) {
      if (rows.fields.empty()) {
        for (NativeColumn& column : block.columns) rows.fields.push_back({column.name, Role::value, std::move(column.column)});
      } else {
        const bool alike =
            std::equal(rows.fields.begin(), rows.fields.end(), block.columns.begin(), block.columns.end(), [](const Field& a, const NativeColumn& b) {
              return a.name == b.name && a.column.type() == b.column.type() && a.column.scale() == b.column.scale();
            });
        if (!alike) throw rewritten("two of its blocks have different columns", where);
        for (std::size_t i = 0; i < rows.fields.size(); ++i) rows.fields[i].column.append_column(block.columns[i].column);
      }
      limit(rows.bytes());
    }
    const std::string_view bytes = read();
    if (bytes.empty()) break;
    decoder.feed(bytes);
    limit(decoder.bytes());
  }
  if (!decoder.exception().empty()) throw server_failure(decoder.exception(), sql, where);
  decoder.finish();
  return rows;
}

/// A statement's answer, block by block as it arrives.
template <AnswerChannel Channel>
class AnswerCursor final : public Cursor {
 public:
  AnswerCursor(Channel channel, Statement statement, const TableInfo& table, const Control& control)
      : channel_(std::move(channel)), statement_(std::move(statement)), path_(table.path()), control_(control), decoder_(names()) {
    proof_.server = table.server;
    if (statement_.ids) proof_.ids = Digest{};
  }
  AnswerCursor(const AnswerCursor&) = delete;
  AnswerCursor& operator=(const AnswerCursor&) = delete;
  ~AnswerCursor() override {
    if (state_ == State::running) channel_.abandon();
  }

  bool next(Relation& block) override {
    if (state_ == State::failed) throw unfinished();
    try {
      while (state_ == State::running) {
        if (decoder_.next(native_)) {
          accept(block);
          if (block.rows() > 0) return given_ = true;
          continue;
        }
        const std::string_view bytes = channel_.read(control_);
        if (bytes.empty())
          complete();
        else
          decoder_.lend(bytes);
      }
    } catch (Failure& failure) {
      if (failure.sql.empty()) failure.sql = statement_.sql;
      if (failure.where.empty()) failure.where = channel_.where();
      fail();
      throw;
    } catch (...) {
      fail();
      throw;
    }
    block = statement_.shape.empty_copy();
    return !std::exchange(given_, true);  // no rows at all are one block without rows
  }

  Proof proof() const override {
    if (state_ != State::complete) throw unfinished();
    return proof_;
  }

 private:
  enum class State : std::uint8_t { running, failed, complete };

  /// What a message calls each column of the answer: by the user's names, not by the statement's aliases.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const Output& o : statement_.outputs) {
      const bool of_field = o.use == Output::Use::field || o.use == Output::Use::sum_cells || o.use == Output::Use::sum_magnitude;
      names.push_back(of_field ? statement_.shape.fields[o.field].name : o.alias);
    }
    return names;
  }

  /// What was read before a failure is worth nothing, also to a caller who goes on after it.
  Failure unfinished() const {
    return Failure(Reason::incomplete, "a cursor on ClickHouse table " + path_ + " was used after it failed or before it ended; open it again")
        .retry()
        .at(channel_.where());
  }

  void fail() {
    if (std::exchange(state_, State::failed) == State::running) channel_.abandon();
  }

  void complete() {
    if (!decoder_.exception().empty()) throw server_failure(decoder_.exception(), statement_.sql, channel_.where());
    decoder_.finish();
    std::sort(conflicting_.begin(), conflicting_.end());
    for (const std::uint64_t id : conflicting_) proof_.conflicting_ids += (proof_.conflicting_ids.empty() ? "" : ", ") + std::to_string(id);
    proof_.bytes = decoder_.bytes();
    if constexpr (requires { channel_.wire_bytes(); }) proof_.bytes = channel_.wire_bytes();  // compressed they are fewer
    channel_.finish();
    state_ = State::complete;
  }

  /// Checks one block against what was asked for, takes the proof's columns out of it and puts the rows that the filters let through into `block`.
  /// What memory that held goes round: to the decoder, and back here with a later block.
  void accept(Relation& block) {
    const auto& outputs = statement_.outputs;
    NativeBlock& native = native_;
    if (native.columns.size() != outputs.size()) throw changed();
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const NativeColumn& column = native.columns[i];
      const Field* field = outputs[i].use == Output::Use::field ? &statement_.shape.fields[outputs[i].field] : nullptr;
      const Type type = field != nullptr ? field->column.type() : outputs[i].use == Output::Use::sum_magnitude ? Type::float64 : Type::uint64;
      if (column.name != outputs[i].alias || column.column.type() != type || (field != nullptr && column.column.scale() != field->column.scale()))
        throw changed();
    }
    const std::size_t rows = static_cast<std::size_t>(native.rows);
    proof_.rows += rows;
    std::span<const std::uint64_t> matched;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const std::span<const std::uint64_t> words = native.columns[i].column.words();
      switch (outputs[i].use) {
        case Output::Use::matched: matched = words; break;
        case Output::Use::event_id: *proof_.ids += digest_of_event_ids(words); break;
        case Output::Use::ids_count:
          for (const std::uint64_t n : words) proof_.ids->count += n;
          break;
        case Output::Use::ids_low:
          for (const std::uint64_t n : words) proof_.ids->sum_low += n;
          break;
        case Output::Use::ids_high:
          for (const std::uint64_t n : words) proof_.ids->sum_high += n;
          break;
        case Output::Use::conflicts:
          for (std::size_t row = 0; row < rows; ++row)
            if (words[row] != 0) proof_.conflicts += words[row], name_conflict(native.columns[i + 1].column.words()[row]);
          break;
        case Output::Use::field:
          if (outputs[i].also_ids) *proof_.ids += digest_of_event_ids(words);
          break;
        case Output::Use::sum_cells:
        case Output::Use::sum_magnitude:
        case Output::Use::conflicting_id: break;
      }
    }
    const auto kept = [&](std::size_t row) { return matched.empty() || matched[row] != 0; };
    check_magnitudes(native, kept);
    const bool all_kept = std::all_of(matched.begin(), matched.end(), [](std::uint64_t n) { return n != 0; });
    if (!fits(block)) block = statement_.shape.empty_copy();
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i].use != Output::Use::field) continue;
      Column& out = block.fields[outputs[i].field].column;
      Column& in = native.columns[i].column;
      const bool nulls = i + 1 < outputs.size() && outputs[i + 1].use == Output::Use::sum_cells;
      if (all_kept && !nulls) {
        std::swap(out, in);
        continue;
      }
      out.clear();
      for (std::size_t row = 0; row < rows; ++row)
        if (kept(row)) nulls&& native.columns[i + 1].column.words()[row] == 0 ? out.append_null() : out.append(in[row]);
    }
    control_.check_size(rows_ += block.rows(), bytes_ += block.bytes());
  }

  /// Is it a block as this cursor gives them, to be filled again?
  bool fits(const Relation& block) const {
    const auto& shape = statement_.shape.fields;
    return std::equal(block.fields.begin(), block.fields.end(), shape.begin(), shape.end(), [](const Field& a, const Field& b) {
      return a.name == b.name && a.role == b.role && a.column.type() == b.column.type() && a.column.scale() == b.column.scale();
    });
  }

  template <class Kept>
  void check_magnitudes(const NativeBlock& native, Kept kept) const {
    for (std::size_t i = 0; i < statement_.outputs.size(); ++i) {
      if (statement_.outputs[i].use != Output::Use::sum_magnitude) continue;
      const Field& sum = statement_.shape.fields[statement_.outputs[i].field];
      const double limit = sum_magnitude_max / static_cast<double>(power_of_ten(sum.column.scale()));
      for (std::size_t row = 0; row < native.rows; ++row)
        if (kept(row) && !(native.columns[i].column[row].as_float64() < limit))
          throw Failure(Reason::overflow, "sum(\"" + sum.name + "\") on ClickHouse table " + path_ + " does not fit 38 digits; sum smaller groups");
    }
  }

  void name_conflict(std::uint64_t id) {
    conflicting_.insert(std::lower_bound(conflicting_.begin(), conflicting_.end(), id), id);
    if (conflicting_.size() > conflicting_ids_named_max) conflicting_.pop_back();
  }

  Failure changed() const { return Failure(Reason::schema, "the columns of ClickHouse table " + path_ + " changed while it was read; ask again").retry(); }

  Channel channel_;
  Statement statement_;
  std::string path_;
  Control control_;
  NativeDecoder decoder_;
  NativeBlock native_;
  Proof proof_;
  std::vector<std::uint64_t> conflicting_;
  std::uint64_t rows_ = 0, bytes_ = 0;
  bool given_ = false;
  State state_ = State::running;
};

}  // namespace epochcut::clickhouse
