#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <epochcut/source/copy_binary.hpp>
#include <rapidcheck.h>

#include "support/catch.hpp"

using namespace epochcut;
namespace oid = copy_binary::oid;

namespace {

template <class T>
std::string big_endian(T value) {
  std::string bytes;
  for (int shift = static_cast<int>(sizeof(T)) * 8 - 8; shift >= 0; shift -= 8) bytes += static_cast<char>(static_cast<std::uint64_t>(value) >> shift & 0xFF);
  return bytes;
}

const std::string header = std::string("PGCOPY\n\377\r\n\0", 11) + big_endian(std::int32_t{0}) + big_endian(std::int32_t{0});
const std::string trailer = big_endian(std::int16_t{-1});
const std::string null_field = big_endian(std::int32_t{-1});

std::string field(const std::string& bytes) { return big_endian(static_cast<std::int32_t>(bytes.size())) + bytes; }
std::string tuple(std::initializer_list<std::string> fields) {
  std::string bytes = big_endian(static_cast<std::int16_t>(fields.size()));
  for (const std::string& f : fields) bytes += f;
  return bytes;
}
std::string numeric(int weight, int sign, int display_scale, std::initializer_list<int> digits) {
  std::string bytes = big_endian(static_cast<std::int16_t>(digits.size())) + big_endian(static_cast<std::int16_t>(weight)) +
                      big_endian(static_cast<std::uint16_t>(sign)) + big_endian(static_cast<std::int16_t>(display_scale));
  for (int digit : digits) bytes += big_endian(static_cast<std::int16_t>(digit));
  return bytes;
}

CopyColumn column(std::string name, std::uint32_t type) { return {std::move(name), Role::value, type, -1, false, {}}; }

/// Decodes the cells of one column that all have this type.
Relation decode(std::uint32_t type, const std::vector<std::string>& cells) {
  CopyBinaryDecoder decoder({column("c", type)});
  std::string bytes = header;
  for (const std::string& cell : cells) bytes += tuple({field(cell)});
  decoder.feed(bytes + trailer);
  decoder.finish();
  return decoder.take();
}
std::string shown(std::uint32_t type, const std::string& cell) { return to_string(decode(type, {cell}).column("c")[0]); }
Reason refusal(std::uint32_t type, const std::string& cell) {
  try {
    decode(type, {cell});
  } catch (const Failure& failure) {
    CHECK(failure.message.find("\"c\"") != std::string::npos);
    return failure.kind;
  }
  return Reason::none;
}

const std::vector<std::uint32_t> all_types = {oid::boolean, oid::int2,   oid::int4,  oid::int8, oid::float4, oid::float8,    oid::numeric,    oid::text,
                                              oid::varchar, oid::bpchar, oid::bytea, oid::uuid, oid::date,   oid::timestamp, oid::timestamptz};

std::vector<CopyColumn> columns_of_all_types() {
  std::vector<CopyColumn> columns;
  for (std::uint32_t type : all_types) columns.push_back(column("c" + std::to_string(columns.size()), type));
  return columns;
}

/// Two rows of every type and one of NULLs.
std::string stream_of_all_types() {
  std::string bytes = header;
  for (int row = 0; row < 2; ++row)
    bytes += tuple({field(std::string(1, static_cast<char>(row))), field(big_endian(std::int16_t{-2})), field(big_endian(std::int32_t{3})),
                    field(big_endian(std::int64_t{-4})), field(big_endian(std::uint32_t{0x3FC00000})), field(big_endian(std::uint64_t{0xC004000000000000})),
                    field(numeric(0, 0x4000, 2, {12, 3400})), field("text"), field(""), field("ab  "), field(std::string("\0\xFF", 2)),
                    field(std::string(16, '\x11')), field(big_endian(std::int32_t{row})), field(big_endian(std::int64_t{row})),
                    field(big_endian(std::int64_t{-1}))});
  bytes += big_endian(static_cast<std::int16_t>(all_types.size()));
  for (std::size_t i = 0; i < all_types.size(); ++i) bytes += null_field;
  return bytes + trailer;
}

/// Types all of whose bits are values: rows of such columns alone are decoded together, unless they are cut or hold a NULL.
const std::vector<std::uint32_t> plain_types = {oid::int2, oid::int4, oid::int8, oid::float4, oid::float8, oid::uuid};
std::size_t width_of(std::uint32_t type) { return type == oid::int2 ? 2 : type == oid::int4 || type == oid::float4 ? 4 : type == oid::uuid ? 16 : 8; }

/// Rows as they are sent: without the number of their fields, which stands before each.
struct PlainRows {
  std::vector<std::uint32_t> types;
  std::vector<std::string> rows;

  /// With `cell_by_cell` each row ends with an empty text, whose length is its own: then no two rows are decoded together.
  std::string stream(bool cell_by_cell) const {
    std::string bytes = header;
    for (const std::string& row : rows)
      bytes += big_endian(static_cast<std::int16_t>(types.size() + cell_by_cell)) + row + (cell_by_cell ? field("") : std::string());
    return bytes + trailer;
  }
  std::vector<CopyColumn> columns(bool cell_by_cell) const {
    std::vector<CopyColumn> columns;
    for (const std::uint32_t type : types) columns.push_back(column("c" + std::to_string(columns.size()), type));
    if (cell_by_cell) columns.push_back(column("end", oid::text));
    return columns;
  }
};

bool same_bits(const Column& a, const Column& b) {
  if (a.type() != b.type() || a.size() != b.size()) return false;
  for (std::size_t row = 0; row < a.size(); ++row)
    if (a.is_null(row) != b.is_null(row)) return false;
  return std::ranges::equal(a.words(), b.words()) && std::ranges::equal(a.wides(), b.wides());
}

}  // namespace

TEST_CASE("copy_binary: rows of one width are what they are cell by cell, in any pieces, with NULLs between them") {
  CHECK(rc::check("together is cell by cell", [] {
    PlainRows sent;
    sent.types = *rc::gen::container<std::vector<std::uint32_t>>(*rc::gen::inRange<std::size_t>(1, 7), rc::gen::elementOf(plain_types));
    const int rows = *rc::gen::inRange(0, 3 * static_cast<int>(copy_binary::staged_rows_max)), null_in = *rc::gen::element(0, 3, 40, 400);
    std::mt19937_64 random(*rc::gen::arbitrary<std::uint64_t>());
    for (int i = 0; i < rows; ++i) {
      std::string& row = sent.rows.emplace_back();
      for (const std::uint32_t type : sent.types) {
        std::string cell(width_of(type), '\0');
        for (char& c : cell) c = static_cast<char>(random());
        row += null_in != 0 && random() % static_cast<std::uint64_t>(null_in) == 0 ? null_field : field(cell);
      }
    }
    CopyBinaryDecoder reference(sent.columns(true));
    reference.feed(sent.stream(true));
    reference.finish();
    const Relation expected = reference.take();
    RC_ASSERT(expected.rows() == sent.rows.size());

    CopyBinaryDecoder decoder(sent.columns(false));
    const std::string bytes = sent.stream(false);
    const std::size_t piece_max = *rc::gen::element(std::size_t{1}, std::size_t{7}, std::size_t{100}, std::size_t{10'000});
    Relation all, block;
    const auto take = [&] {
      const std::size_t promised = decoder.block_rows();
      decoder.take(block);
      RC_ASSERT(block.rows() == promised);
      if (all.fields.empty())
        all = block;
      else
        all.append(block);
      RC_ASSERT(decoder.block_rows() == 0u);
    };
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t size = 1 + random() % piece_max;
      decoder.feed(std::string_view(bytes).substr(at, size));
      at += size;
      if (random() % 50 == 0) take();
    }
    decoder.finish();
    RC_ASSERT(decoder.rows() == sent.rows.size());
    take();
    for (std::size_t c = 0; c < sent.types.size(); ++c) RC_ASSERT(same_bits(all.fields[c].column, expected.fields[c].column));
  }));
}

TEST_CASE("copy_binary: a row of one width that is damaged in any bit is refused as it is cell by cell") {
  const auto answer = [](const PlainRows& sent, const std::string& bytes, bool cell_by_cell) {
    CopyBinaryDecoder decoder(sent.columns(cell_by_cell));
    Relation rows;
    try {
      decoder.feed(bytes);
      decoder.finish();
      rows = decoder.take();
    } catch (const Failure& failure) {
      return std::pair(failure.kind, Relation{});
    }
    return std::pair(Reason::none, rows);
  };
  PlainRows sent{{oid::int8, oid::int2, oid::uuid, oid::float8, oid::int4, oid::float4}, {}};
  for (int i = 0; i < 3; ++i)
    sent.rows.push_back(field(big_endian(std::int64_t{i})) + field(big_endian(static_cast<std::int16_t>(-i))) + field(std::string(16, static_cast<char>(i))) +
                        field(big_endian(std::int64_t{1} << (40 + i))) + field(big_endian(std::int32_t{-7})) + field(big_endian(std::int32_t{i})));
  const std::string whole = sent.stream(false);
  int refused = 0, other = 0;
  const std::size_t row_bytes = 2 + sent.rows[0].size(), second = header.size() + row_bytes;
  for (std::size_t bit = 0; bit < 8 * row_bytes; ++bit) {
    std::string bytes = whole;
    bytes[second + bit / 8] ^= static_cast<char>(1 << bit % 8);
    const auto [kind, rows] = answer(sent, bytes, false);
    if (bit < 16) {  // the number of fields: no row has another one
      CHECK(kind == Reason::incomplete);
      continue;
    }
    PlainRows damaged = sent;
    damaged.rows[1][bit / 8 - 2] ^= static_cast<char>(1 << bit % 8);
    const auto [wanted, expected] = answer(sent, damaged.stream(true), true);
    REQUIRE(kind == wanted);
    if (kind != Reason::none) {
      ++refused;
      continue;
    }
    ++other;
    for (std::size_t c = 0; c < sent.types.size(); ++c) REQUIRE(same_bits(rows.fields[c].column, expected.fields[c].column));
  }
  CHECK(refused == 8 * 4 * 6);                   // every bit of every length
  CHECK(other == 8 * (8 + 2 + 16 + 8 + 4 + 4));  // and of every cell
}

TEST_CASE("copy_binary: every type maps onto its logical type, exactly") {
  CopyBinaryDecoder decoder(columns_of_all_types());
  decoder.feed(stream_of_all_types());
  decoder.finish();
  const Relation rows = decoder.take();
  REQUIRE(rows.rows() == 3);
  const std::vector<std::string> expected = {"true",
                                             "-2",
                                             "3",
                                             "-4",
                                             "1.5",
                                             "-2.5",
                                             "-12.34",
                                             "text",
                                             "",
                                             "ab",
                                             std::string("\0\xFF", 2),
                                             "11111111-1111-1111-1111-111111111111",
                                             "2000-01-02",
                                             "2000-01-01T00:00:00.000001000Z",
                                             "1999-12-31T23:59:59.999999000Z"};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CHECK(to_string(rows.fields[i].column[1]) == expected[i]);
    CHECK(rows.fields[i].column[2].null);
  }
  CHECK(decoder.bytes() == stream_of_all_types().size());
}

TEST_CASE("copy_binary: a count is unsigned") {
  CopyBinaryDecoder decoder({{"n", Role::value, oid::int8, -1, true, {}}});
  decoder.feed(header + tuple({field(big_endian(std::int64_t{7}))}));
  CHECK(decoder.take().column("n").type() == Type::uint64);
  CHECK_THROWS_AS(decoder.feed(tuple({field(big_endian(std::int64_t{-7}))})), Failure);
}

TEST_CASE("copy_binary: numerics keep their value, whatever their scale") {
  CHECK(shown(oid::numeric, numeric(0, 0, 0, {})) == "0");
  CHECK(shown(oid::numeric, numeric(0, 0, 2, {1, 5000})) == "1.50");
  CHECK(shown(oid::numeric, numeric(-1, 0, 8, {0, 1})) == "0.00000001");  // a leading group of zero is not what PostgreSQL sends, but the value is plain
  CHECK(shown(oid::numeric, numeric(-2, 0, 8, {1})) == "0.00000001");
  CHECK(shown(oid::numeric, numeric(5, 0, 0, {1})) == "100000000000000000000");
  CHECK(shown(oid::numeric, numeric(1, 0x4000, 4, {1, 0, 1})) == "-10000.0001");
  CHECK(shown(oid::numeric, numeric(0, 0, 38, {1})) == "1." + std::string(38, '0'));
  CHECK(shown(oid::numeric, numeric(9, 0, 0, {99, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999, 9999})) == std::string(38, '9'));
  CHECK(shown(oid::numeric, numeric(-10, 0, 40, {100})) == "0." + std::string(37, '0') + "1");
  // Trailing zeros that PostgreSQL never sends must not overflow either.
  CHECK(shown(oid::numeric, numeric(0, 0, 0, {7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})) == "7");

  const Relation mixed = decode(oid::numeric, {numeric(0, 0, 0, {1}), numeric(0, 0, 2, {1, 5000}), numeric(-2, 0, 8, {1})});
  CHECK(mixed.column("c").scale() == 8);
  CHECK(mixed.column("c")[0].as_decimal() == Decimal{1, 0});

  CHECK(refusal(oid::numeric, numeric(0, 0xC000, 0, {})) == Reason::overflow);
  CHECK(refusal(oid::numeric, numeric(0, 0xD000, 0, {})) == Reason::overflow);
  CHECK(refusal(oid::numeric, numeric(0, 0xF000, 0, {})) == Reason::overflow);
  CHECK(refusal(oid::numeric, numeric(9, 0, 0, {100, 0, 0, 0, 0, 0, 0, 0, 0, 0})) == Reason::overflow);  // 10^38 has 39 digits
  CHECK(refusal(oid::numeric, numeric(-10, 0, 40, {1})) == Reason::overflow);
  CHECK(refusal(oid::numeric, numeric(32767, 0, 0, {1})) == Reason::overflow);
  CHECK(refusal(oid::numeric, numeric(-32768, 0, 0, {1})) == Reason::overflow);
  CHECK(refusal(oid::numeric, numeric(0, 0, 0, {10000})) == Reason::incomplete);
  CHECK(refusal(oid::numeric, numeric(0, 0, 0, {-1})) == Reason::incomplete);
  CHECK(refusal(oid::numeric, numeric(0, 0x1234, 0, {1})) == Reason::incomplete);
  CHECK(refusal(oid::numeric, numeric(0, 0, 0, {1}) + "x") == Reason::incomplete);
}

TEST_CASE("copy_binary: a declared scale is taken over, and never costs a digit") {
  const auto modifier = [](int precision, int scale) { return (precision << 16 | (scale & 0x7FF)) + 4; };
  CHECK(copy_binary::declared_scale(modifier(38, 8)) == 8);
  CHECK(copy_binary::declared_scale(modifier(76, 38)) == 0);  // 10^20 would not fit at scale 38
  CHECK(copy_binary::declared_scale(modifier(5, -3)) == 0);
  CHECK(copy_binary::declared_scale(modifier(2, 5)) == 0);
  CHECK(copy_binary::declared_scale(-1) == 0);
}

TEST_CASE("copy_binary: a numeric is the same value by the short way and by the long one") {
  // Written here from its decimal digits, as PostgreSQL stores them: groups of four from the point, none that is zero at an end.
  const auto encode = [](Int128 unscaled, int scale) {
    const bool negative = unscaled < 0;
    std::string digits = to_string(Decimal{negative ? -unscaled : unscaled, 0});
    if (digits == "0") digits.clear();
    if (static_cast<int>(digits.size()) < scale) digits.insert(0, static_cast<std::size_t>(scale) - digits.size(), '0');
    std::string whole = digits.substr(0, digits.size() - static_cast<std::size_t>(scale)), part = digits.substr(whole.size());
    whole.insert(0, (4 - whole.size() % 4) % 4, '0'), part.append((4 - part.size() % 4) % 4, '0');
    std::vector<int> groups;
    for (std::size_t i = 0; i + 4 <= whole.size() + part.size(); i += 4) groups.push_back(std::stoi((whole + part).substr(i, 4)));
    int weight = static_cast<int>(whole.size() / 4) - 1;
    while (!groups.empty() && groups.front() == 0) groups.erase(groups.begin()), --weight;
    while (!groups.empty() && groups.back() == 0) groups.pop_back();
    if (groups.empty()) weight = 0;
    std::string bytes = big_endian(static_cast<std::int16_t>(groups.size())) + big_endian(static_cast<std::int16_t>(weight)) +
                        big_endian(static_cast<std::uint16_t>(negative && !groups.empty() ? 0x4000 : 0)) + big_endian(static_cast<std::int16_t>(scale));
    for (const int group : groups) bytes += big_endian(static_cast<std::int16_t>(group));
    return bytes;
  };
  std::mt19937_64 random(3);
  for (int round = 0; round < 4'000; ++round) {
    const int declared = static_cast<int>(random() % 20), precision = declared + 1 + static_cast<int>(random() % static_cast<std::uint64_t>(38 - declared));
    CopyColumn declared_column = column("c", oid::numeric);
    declared_column.modifier = (precision << 16 | declared) + 4;
    CopyBinaryDecoder decoder({declared_column});
    std::string bytes = header;
    std::vector<std::string> expected;
    for (int row = 0; row < 5; ++row) {
      Int128 unscaled = static_cast<Int128>(static_cast<Uint128>(random()) << 64 | random()) %
                        power_of_ten(1 + static_cast<int>(random() % static_cast<std::uint64_t>(precision)));
      if (random() % 4 == 0) unscaled -= unscaled % power_of_ten(static_cast<int>(random() % 12));
      bytes += tuple({field(encode(unscaled, declared))});
      expected.push_back(to_string(Decimal{unscaled, declared}));
    }
    decoder.feed(bytes + trailer);
    decoder.finish();
    const Relation rows = decoder.take();
    REQUIRE(rows.fields[0].column.scale() == declared);
    for (std::size_t row = 0; row < expected.size(); ++row) REQUIRE(to_string(rows.fields[0].column[row]) == expected[row]);
  }
  // Digits behind the scale that is shown are digits all the same.
  CopyColumn money = column("c", oid::numeric);
  money.modifier = (10 << 16 | 2) + 4;
  CopyBinaryDecoder decoder({money});
  decoder.feed(header + tuple({field(numeric(0, 0, 2, {1, 2345}))}) + tuple({field(numeric(0, 0, 2, {1, 2300}))}) + trailer);
  const Relation rows = decoder.take();
  CHECK(to_string(rows.fields[0].column[0]) == "1.2345");
  CHECK(to_string(rows.fields[0].column[1]) == "1.2300");
}

TEST_CASE("copy_binary: a block that is handed back is filled as a new one") {
  const std::string bytes = stream_of_all_types(), rows = bytes.substr(header.size(), bytes.size() - header.size() - trailer.size());
  CopyBinaryDecoder decoder(columns_of_all_types());
  Relation block;
  decoder.feed(header);
  for (int i = 0; i < 3; ++i) {
    decoder.feed(rows);
    decoder.take(block);
    REQUIRE(block.rows() == 3);
    for (std::size_t c = 0; c < block.fields.size(); ++c) {
      CHECK(block.fields[c].name == "c" + std::to_string(c));
      CHECK(block.fields[c].column.size() == 3);
      CHECK(block.fields[c].column[2].null);
      CHECK_FALSE(block.fields[c].column[1].null);
    }
    if (i == 1) block = decode(oid::text, {"of another shape"});
  }
}

TEST_CASE("copy_binary: times and dates beyond their logical type are overflow") {
  CHECK(shown(oid::timestamptz, big_endian(std::int64_t{7'909'052'236'854'775})) == "2250-08-17T22:57:16.854775000Z");
  CHECK(refusal(oid::timestamp, big_endian(std::int64_t{8'300'000'000'000'000})) == Reason::overflow);
  CHECK(refusal(oid::timestamp, big_endian(std::int64_t{-211'810'204'800'000'000})) == Reason::overflow);  // 4713 BC
  CHECK(refusal(oid::timestamp, big_endian(INT64_MAX)) == Reason::overflow);
  CHECK(refusal(oid::timestamptz, big_endian(INT64_MIN)) == Reason::overflow);
  CHECK(refusal(oid::date, big_endian(INT32_MAX)) == Reason::overflow);
  CHECK(refusal(oid::date, big_endian(INT32_MIN)) == Reason::overflow);
  CHECK(shown(oid::date, big_endian(std::int32_t{-10'957})) == "1970-01-01");
}

TEST_CASE("copy_binary: an unsupported type is named together with its column") {
  try {
    CopyBinaryDecoder({{"payload", Role::value, 3802, -1, false, "jsonb"}});
    FAIL();
  } catch (const Failure& failure) {
    CHECK(failure.kind == Reason::schema);
    CHECK(failure.message.find("\"payload\" is jsonb") != std::string::npos);
  }
}

TEST_CASE("copy_binary: bytea counts its zero bytes, which a FixedString pads with; an oid means nothing elsewhere") {
  CHECK(decode(oid::bytea, {std::string("a\0", 2)}).column("c").scale() == text_bytes);
  CHECK(decode(oid::text, {"a"}).column("c").scale() == text_plain);
  CHECK(to_string(decode(oid::bytea, {std::string("a\0", 2)}).column("c")[0]) == std::string("a\0", 2));
  CHECK_FALSE(copy_binary::type_of(26));
}

TEST_CASE("copy_binary: the bytes may be cut anywhere") {
  const std::string bytes = stream_of_all_types();
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    CopyBinaryDecoder decoder(columns_of_all_types());
    decoder.feed(std::string_view(bytes).substr(0, cut));
    decoder.feed(std::string_view(bytes).substr(cut));
    decoder.finish();
    CHECK(decoder.rows() == 3);
  }
  CopyBinaryDecoder decoder(columns_of_all_types());
  for (const char& byte : bytes) decoder.feed({&byte, 1});
  decoder.finish();
  CHECK(decoder.take().rows() == 3);
}

TEST_CASE("copy_binary: truncated at any byte it is an error, and so is a byte too many") {
  const std::string bytes = stream_of_all_types();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CopyBinaryDecoder decoder(columns_of_all_types());
    decoder.feed(std::string_view(bytes).substr(0, size));
    REQUIRE_THROWS_AS(decoder.finish(), Failure);
  }
  CopyBinaryDecoder decoder(columns_of_all_types());
  REQUIRE_THROWS_AS(decoder.feed(bytes + "x"), Failure);
  CopyBinaryDecoder late(columns_of_all_types());
  late.feed(bytes);
  late.finish();
  REQUIRE_THROWS_AS(late.feed("x"), Failure);
}

TEST_CASE("copy_binary: headers and rows that PostgreSQL never sends") {
  const auto refused = [](const std::string& bytes) {
    CopyBinaryDecoder decoder({column("c", oid::int4)});
    try {
      decoder.feed(bytes);
    } catch (const Failure& failure) {
      return failure.kind;
    }
    return Reason::none;
  };
  std::string with_oids = header;
  with_oids[12] = 1;
  CHECK(refused("PGDUMP") == Reason::incomplete);
  CHECK(refused(with_oids) == Reason::incomplete);
  CHECK(refused(header.substr(0, 15) + big_endian(std::int32_t{-1})) == Reason::incomplete);
  CHECK(refused(header.substr(0, 15) + big_endian(std::int32_t{3}) + "abc" + trailer) == Reason::none);
  CHECK(refused(header + tuple({field("1234"), field("1234")})) == Reason::incomplete);
  CHECK(refused(header + tuple({})) == Reason::incomplete);
  CHECK(refused(header + big_endian(std::int16_t{-2})) == Reason::incomplete);
  CHECK(refused(header + tuple({big_endian(std::int32_t{-2})})) == Reason::incomplete);
  CHECK(refused(header + tuple({field("12345")})) == Reason::incomplete);
  CHECK(refused(header + tuple({big_endian(std::int32_t{INT32_MAX})})) == Reason::too_large);
}

TEST_CASE("copy_binary: damaged bytes give a failure or other values, never a crash") {
  const std::string whole = stream_of_all_types();
  std::mt19937_64 random(7);
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = whole;
    for (std::uint64_t change = random() % 4; change < 4; ++change) {
      const std::size_t at = random() % bytes.size();
      if (random() % 4 == 0)
        bytes.erase(at, random() % 8);
      else if (random() % 4 == 0)
        bytes.insert(at, 1 + random() % 8, static_cast<char>(random()));
      else
        bytes[at] = static_cast<char>(random());
    }
    CopyBinaryDecoder decoder(columns_of_all_types());
    try {
      for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t size = 1 + random() % 200;
        decoder.feed(std::string_view(bytes).substr(at, size));
        at += size;
      }
      decoder.finish();
      for (const Field& f : decoder.take().fields)
        for (std::size_t row = 0; row < f.column.size(); ++row) (void)f.column[row];
    } catch (const Failure&) {
      ++refused;
    }
  }
  CHECK(refused > 5'000);
}
