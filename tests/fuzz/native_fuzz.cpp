// ClickHouse's Native format, from any bytes: in any pieces the same as whole, cut off never whole, and what was decoded encodes to the bytes.
// Input: 1 byte how it is cut; 1 byte even: the rest is an answer as it stands, odd: the rest describes a sound one.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/source/native.hpp>

#include "fuzz/native_bodies.hpp"

using namespace epochcut;
using fuzz::Body;
using fuzz::require;
using fuzz::Wire;

namespace {

struct Answer {
  enum { whole, exception, refused, cut } end = whole;
  Reason reason = Reason::none;
  std::string message{}, text{};  ///< of a refusal; of an exception
  std::vector<NativeBlock> blocks{};
};

/// `lent`: pieces are not copied, and gone as soon as the decoder may not look at them any more.
Answer decode(std::string_view body, std::uint8_t pieces, bool lent = false) {
  Answer answer;
  NativeDecoder decoder;
  std::size_t memory = 0;
  const auto pull = [&] {
    for (NativeBlock block; decoder.next(block);) {
      for (const NativeColumn& column : block.columns) {
        require(column.column.size() == block.rows, "every column has the block's rows");
        memory += column.column.bytes();
        // An enum's cell is a byte or two, and its name as long as its type says; everything else takes at most 8 bytes for one.
        if (column.type_name.find("Enum") != std::string::npos) memory -= column.column.bytes();
      }
      answer.blocks.push_back(std::move(block));
    }
  };
  try {
    fuzz::in_pieces(body, pieces, [&](std::string_view piece) {
      const std::string mine(piece);
      lent ? decoder.lend(mine) : decoder.feed(mine);
      pull();
    });
    require(decoder.bytes() == body.size(), "it counts what it was fed");
    if (decoder.exception().empty()) {
      decoder.finish();
    } else {
      answer.end = Answer::exception;
      answer.text = decoder.exception().substr(0, native_exception_bytes_max);
    }
  } catch (const Failure& failure) {
    const bool cut = failure.message.find("ends in the middle") != std::string::npos;
    answer.end = cut ? Answer::cut : Answer::refused;
    answer.reason = failure.kind, answer.message = failure.message;
    require(failure.kind == Reason::incomplete || failure.kind == Reason::schema || failure.kind == Reason::too_large || failure.kind == Reason::overflow,
            "a refusal says why", failure.message);
  }
  require(memory <= 8 * body.size() + 64, "memory is bounded by the input");
  return answer;
}

void require_same(const Answer& a, const Answer& b) {
  require(a.end == b.end && a.reason == b.reason && a.message == b.message && a.text == b.text && a.blocks.size() == b.blocks.size(),
          "in pieces as whole: the end", a.message, b.message);
  for (std::size_t i = 0; i < a.blocks.size(); ++i) {
    const NativeBlock &x = a.blocks[i], &y = b.blocks[i];
    require(x.rows == y.rows && x.columns.size() == y.columns.size(), "in pieces as whole: the shape");
    for (std::size_t c = 0; c < x.columns.size(); ++c) {
      require(x.columns[c].name == y.columns[c].name && x.columns[c].type_name == y.columns[c].type_name, "in pieces as whole: the names");
      for (std::size_t row = 0; row < x.rows; ++row) require(compare(x.columns[c].column[row], y.columns[c].column[row]) == 0, "in pieces as whole: the cells");
    }
  }
}

std::uint64_t take_varint(std::string_view& bytes) {
  std::uint64_t number = 0;
  for (int shift = 0;; shift += 7) {
    require(!bytes.empty(), "a length ends");
    const auto byte = static_cast<unsigned char>(bytes[0]);
    bytes.remove_prefix(1);
    number |= std::uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return number;
  }
}

std::string_view take(std::string_view& bytes, std::uint64_t size) {
  require(size <= bytes.size(), "nothing comes from behind the end");
  const std::string_view taken = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return taken;
}

void require_encodes(const NativeBlock& block, std::string_view& bytes) {
  require(take_varint(bytes) == block.columns.size() && take_varint(bytes) == block.rows, "columns and rows are the bytes'");
  for (const NativeColumn& column : block.columns) {
    require(take(bytes, take_varint(bytes)) == column.name && take(bytes, take_varint(bytes)) == column.type_name, "name and type are the bytes'");
    const std::optional<Wire> wire = fuzz::wire_of(column.type_name);
    require(wire && !wire->low_cardinality, "a type is one", column.type_name);
    require(wire->type() == column.column.type(), "a type is what it is here", column.type_name);
    const std::string_view nulls = wire->nullable ? take(bytes, block.rows) : std::string_view();
    for (std::size_t row = 0; row < block.rows; ++row) {
      const Value value = column.column[row];
      const bool null = wire->nullable && nulls[row] != 0;
      require(value.null == null, "NULL is what the bytes say", column.type_name);
      if (wire->kind == Wire::string) {
        const std::string_view text = take(bytes, take_varint(bytes));
        require(null || text == value.text, "a text is its bytes");
        continue;
      }
      const std::string_view cell = take(bytes, wire->bytes);
      if (null) continue;
      if (wire->kind == Wire::boolean) {
        require(value.word == (cell[0] != 0), "anything but zero is true");
      } else if (wire->kind == Wire::enumeration) {
        int number = static_cast<signed char>(cell[0]);
        if (wire->bytes == 2) number = static_cast<std::int16_t>(static_cast<unsigned char>(cell[0]) | static_cast<unsigned char>(cell[1]) << 8);
        const auto named = std::find_if(wire->names.begin(), wire->names.end(), [&](const auto& pair) { return pair.first == number; });
        require(named != wire->names.end() && named->second == value.text, "an enum's name is its type's", column.type_name);
      } else if (wire->kind == Wire::floating && value.as_float64() != value.as_float64()) {
        const unsigned exponent = wire->bytes == 4 ? 0x7F80 : 0x7FF0;  // all ones in a NaN, whatever its payload
        const unsigned high = static_cast<unsigned char>(cell[wire->bytes - 1]) * 256u + static_cast<unsigned char>(cell[wire->bytes - 2]);
        require((high & exponent) == exponent, "NaN is NaN");
      } else {
        const std::optional<std::string> encoded = fuzz::native_cell(*wire, value);
        require(encoded && *encoded == cell, "a value encodes to its bytes", column.type_name, value, cell);
      }
    }
  }
}

void require_holds(const Body& body, const Answer& answer) {
  require(answer.end == Answer::whole && answer.blocks.size() == body.blocks.size(), "a sound answer is decoded", answer.message);
  for (std::size_t i = 0; i < body.blocks.size(); ++i)
    for (std::size_t c = 0; c < body.blocks[i].size(); ++c)
      for (std::size_t row = 0; row < body.blocks[i][c].cells.size(); ++row) {
        const Value sent = body.blocks[i][c].cells[row].value, got = answer.blocks[i].columns[c].column[row];
        require(sent.type == got.type && compare(sent, got) == 0, "a sound value arrives", sent, got);
      }
}

void check(std::string_view body, std::uint8_t pieces) {
  const Answer answer = decode(body, 0);
  require_same(answer, decode(body, pieces));
  require_same(answer, decode(body, 1));
  require_same(answer, decode(body, 0, true));
  require_same(answer, decode(body, pieces, true));
  if (answer.end != Answer::whole) return;
  // Every block's end, and nothing between two of them, may be the end of an answer: that the transport ended there is not for a decoder to know.
  std::vector<std::size_t> ends{0};
  std::string_view left = body;
  const auto skip_empty = [&] {  // a block of nothing is no block
    for (std::string_view ahead = left; !ahead.empty() && take_varint(ahead) == 0 && take_varint(ahead) == 0; left = ahead)
      ends.push_back(body.size() - ahead.size());
  };
  for (const NativeBlock& block : answer.blocks) {
    skip_empty();
    require_encodes(block, left);
    ends.push_back(body.size() - left.size());
  }
  skip_empty();
  require(left.empty(), "nothing is left over");
  const std::size_t step = body.size() / 8 + 1;  // other pieces, other places
  for (std::size_t size = pieces % step; size < body.size(); size += step) {
    const bool whole = decode(body.substr(0, size), 0).end == Answer::whole;
    require(whole == (std::find(ends.begin(), ends.end(), size) != ends.end()), "an answer that was cut off is not whole", size);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const std::uint8_t pieces = input.byte();
  if (input.byte() % 2 == 0) {
    check(input.rest(), pieces);
  } else {
    const Body body = fuzz::any_body(input);
    require_holds(body, decode(body.bytes, pieces));
    check(body.bytes, pieces);
  }
  return 0;
}
