// PostgreSQL's COPY … (FORMAT binary), from any bytes: in any pieces the same as whole, cut off never whole, and what was decoded encodes to the bytes.
// Input: 1 byte how it is cut; 1 byte even: a byte how many columns, each column's type, the stream as it stands; odd: the rest describes a sound one.
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/source/copy_binary.hpp>

#include "fuzz/copy_bodies.hpp"

using namespace epochcut;
using fuzz::CopyBody;
using fuzz::require;

namespace {

struct Answer {
  bool whole = false;
  Reason reason = Reason::none;
  std::string message{};
  std::vector<Relation> blocks{};
  std::uint64_t rows = 0;
};

/// `pieces` also says when the rows that there are get taken out.
Answer decode(const std::vector<CopyColumn>& columns, std::string_view body, std::uint8_t pieces) {
  Answer answer;
  try {
    CopyBinaryDecoder decoder(columns);
    std::size_t fed = 0, memory = 0, calls = 0;
    fuzz::in_pieces(body, pieces, [&](std::string_view piece) {
      decoder.feed(piece);
      fed += piece.size();
      answer.rows = decoder.rows();
      if (pieces > 1 && ++calls % 3 == 0) {
        memory += decoder.block().bytes();
        answer.blocks.push_back(decoder.take());
      }
      require(memory + decoder.block().bytes() <= 8 * fed + 64 * columns.size() * (1 + calls), "memory is bounded by the input");
    });
    require(decoder.bytes() == body.size(), "it counts what it was fed");
    answer.blocks.push_back(decoder.take());
    answer.whole = decoder.finished();
    decoder.finish();
  } catch (const Failure& failure) {
    answer.reason = failure.kind, answer.message = failure.message;
    require(failure.kind == Reason::incomplete || failure.kind == Reason::schema || failure.kind == Reason::too_large || failure.kind == Reason::overflow,
            "a refusal says why", failure.message);
  }
  require(answer.whole == (answer.reason == Reason::none), "it is whole, or there is a reason");
  return answer;
}

std::vector<std::vector<Value>> rows_of(const Answer& answer, std::size_t columns) {
  std::vector<std::vector<Value>> rows;
  for (const Relation& block : answer.blocks) {
    require(block.fields.size() == columns, "every block has all columns");
    for (std::size_t row = 0; row < block.rows(); ++row) {
      auto& cells = rows.emplace_back();
      for (const Field& field : block.fields) cells.push_back(field.column[row]);
    }
  }
  return rows;
}

void require_same(const Answer& a, const Answer& b, std::size_t columns) {
  // One column's decimals that don't fit 38 digits together may fit in blocks of their own.
  if (a.reason == Reason::overflow || b.reason == Reason::overflow) return;
  require(a.whole == b.whole && a.reason == b.reason && (!a.whole || a.rows == b.rows), "in pieces as whole: the end", a.message, b.message);
  if (!a.whole) return;  // nothing of it is used
  const auto x = rows_of(a, columns), y = rows_of(b, columns);
  require(x.size() == y.size(), "in pieces as whole: the rows");
  for (std::size_t row = 0; row < x.size(); ++row)
    for (std::size_t c = 0; c < columns; ++c) require(compare(x[row][c], y[row][c]) == 0, "in pieces as whole: the cells");
}

std::string_view take(std::string_view& bytes, std::uint64_t size) {
  require(size <= bytes.size(), "nothing comes from behind the end");
  const std::string_view taken = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return taken;
}

std::uint32_t take_number(std::string_view& bytes, std::size_t size) {
  std::uint32_t number = 0;
  for (const char c : take(bytes, size)) number = number << 8 | static_cast<unsigned char>(c);
  return number;
}

void require_encodes(const std::vector<CopyColumn>& columns, const Answer& answer, std::string_view bytes) {
  require(take(bytes, 11) == std::string_view("PGCOPY\n\377\r\n\0", 11) && take_number(bytes, 4) < 0x10000, "the header is one");
  take(bytes, take_number(bytes, 4));
  const auto rows = rows_of(answer, columns.size());
  require(columns.empty() || rows.size() == answer.rows, "it counts its rows");
  for (std::uint64_t row = 0; row < answer.rows; ++row) {
    require(take_number(bytes, 2) == columns.size(), "a row has every column");
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const std::uint32_t size = take_number(bytes, 4);
      const Value& value = rows[row][c];
      require(value.null == (size == 0xFFFFFFFF), "NULL is what the bytes say");
      if (value.null) continue;
      std::string_view cell = take(bytes, size);
      const std::uint32_t type = columns[c].type;
      if (type == copy_binary::oid::numeric) {
        require(fuzz::digits_of_numeric(cell) == fuzz::digits_of({value.wide, value.scale}), "a numeric keeps every digit", value, cell);
        continue;
      }
      if (type == copy_binary::oid::bpchar)
        while (cell.ends_with(' ')) cell.remove_suffix(1);
      if (type == copy_binary::oid::float4 && value.as_float64() != value.as_float64()) {
        require((static_cast<unsigned char>(cell[0]) & 0x7F) == 0x7F && (static_cast<unsigned char>(cell[1]) & 0x80) != 0, "NaN is NaN");
        continue;
      }
      require(fuzz::copy_cell(type, value) == cell, "a value encodes to its bytes", type, value, cell);
    }
  }
  require(bytes == "\377\377", "only the trailer is left over");
}

void check(const std::vector<CopyColumn>& columns, std::string_view body, std::uint8_t pieces) {
  const Answer answer = decode(columns, body, 0);
  require_same(answer, decode(columns, body, pieces), columns.size());
  require_same(answer, decode(columns, body, 1), columns.size());
  if (!answer.whole) return;
  require_encodes(columns, answer, body);
  const std::size_t step = body.size() / 8 + 1;  // other pieces, other places
  for (std::size_t size = pieces % step; size < body.size(); size += step)
    require(!decode(columns, body.substr(0, size), 0).whole, "an answer that was cut off is not whole", size);
  require(decode(columns, std::string(body) + '\0', pieces).reason == Reason::incomplete, "nothing follows the trailer");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const std::uint8_t pieces = input.byte();
  if (input.byte() % 2 == 0) {
    std::vector<CopyColumn> columns(input.below(6));
    for (CopyColumn& column : columns) column = fuzz::any_column(input);
    check(columns, input.rest(), pieces);
  } else {
    const CopyBody body = fuzz::any_copy(input);
    const Answer answer = decode(body.columns, body.bytes, pieces);
    require(answer.whole, "a sound stream is decoded", answer.message);
    const auto rows = rows_of(answer, body.columns.size());
    require(rows.size() == body.rows.size(), "every row arrives");
    for (std::size_t row = 0; row < rows.size(); ++row)
      for (std::size_t c = 0; c < body.columns.size(); ++c) {
        const Value &sent = body.rows[row][c].value, &got = rows[row][c];
        require(sent.type == got.type && compare(sent, got) == 0, "a sound value arrives", sent, got);
      }
    check(body.columns, body.bytes, pieces);
  }
  return 0;
}
