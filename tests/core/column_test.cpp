#include <epochcut/core/column.hpp>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "testing/tables.hpp"

using namespace epochcut;
using tables::refusal;

TEST_CASE("NULLs are kept bit by bit, across the word boundaries of the validity bits") {
  // A vector of optionals is what a column must behave like; the patterns start the NULLs early, late and at the 64th row.
  for (int pattern : {1, 2, 3, 63, 64, 65, 127, 128, 200}) {
    Column column(Type::int64);
    std::vector<std::optional<std::int64_t>> model;
    for (int i = 0; i < 300; ++i) {
      const bool null = i % pattern == pattern - 1 || i == 299;
      model.push_back(null ? std::nullopt : std::optional<std::int64_t>(i * 7 - 1000));
      null ? column.append_null() : column.append(Value(std::int64_t{i * 7 - 1000}));
    }
    REQUIRE(column.size() == model.size());
    CHECK(column.has_nulls());
    for (std::size_t i = 0; i < model.size(); ++i) {
      INFO("pattern " << pattern << ", row " << i);
      REQUIRE(column.is_null(i) == !model[i]);
      REQUIRE(column[i].null == !model[i]);
      REQUIRE(column.words()[i] == static_cast<std::uint64_t>(model[i].value_or(0)));  // NULL cells hold zero: blocks compare as memory
    }
  }
}

TEST_CASE("a column without NULLs says so, and a cleared one is as new") {
  Column column(Type::text);
  column.append(Value("a"));
  CHECK_FALSE(column.has_nulls());
  column.append_null();
  column.clear();
  CHECK(column.size() == 0);
  CHECK_FALSE(column.has_nulls());
  for (int i = 0; i < 70; ++i) column.append(Value("x"));
  for (std::size_t i = 0; i < 70; ++i) REQUIRE_FALSE(column.is_null(i));
}

TEST_CASE("text keeps every byte, '' is not NULL") {
  Column column(Type::text);
  const std::string bytes("a\0|b\xFF", 5);
  column.append(Value(""));
  column.append(Value(std::string_view(bytes)));
  column.append_null();
  column.append(Value(""));
  column.append(Value("last"));
  CHECK(column[0].text.empty());
  CHECK_FALSE(column[0].null);
  CHECK(column[1].text == bytes);
  CHECK(column[2].null);
  CHECK_FALSE(column[3].null);
  CHECK(column[4].text == "last");
}

TEST_CASE("a decimal column takes every value exactly, with all the digits that its engine gave while they fit") {
  Column column(Type::decimal, 2);
  column.append(Value(Decimal{150, 2}));
  column.append(Value(Decimal{15'000, 4}));  // 1.5000 would fit scale 2, but a ledger prints what it stores
  CHECK(column.scale() == 4);
  column.append(Value(7));
  column.append(Value(UINT64_MAX));
  column.append_null();
  column.append(Value(Decimal{15'001, 4}));
  const char* expected[] = {"1.5000", "1.5000", "7.0000", "18446744073709551615.0000", "NULL", "1.5001"};
  for (std::size_t i = 0; i < 6; ++i) CHECK(to_string(column[i]) == expected[i]);
}

TEST_CASE("trailing zeros that would overflow their neighbours are let go") {
  Column column(Type::decimal, 2);
  column.append(Value(Decimal{power_of_ten(38), 2}));
  column.append(Value(Decimal{1'500, 4}));
  CHECK(column.scale() == 2);
  CHECK(to_string(column[1]) == "0.15");
}

TEST_CASE("zeros that an engine printed never cost a later value its place") {
  Column column(Type::decimal, 0);
  column.append(Value(Decimal{power_of_ten(37), 37}));  // 1.000…
  CHECK(column.scale() == 37);
  column.append(Value(Decimal{power_of_ten(20), 0}));
  CHECK(to_string(column[0]) == "1");
  CHECK(to_string(column[1]) == "1" + std::string(20, '0'));
}

TEST_CASE("what does not fit is refused: never rounded, never wrapped") {
  Column decimal(Type::decimal, 2), narrow(Type::int64), natural(Type::uint64);
  decimal.append(Value(Decimal{power_of_ten(38), 2}));
  CHECK(refusal([&] { decimal.append(Value(Decimal{1, 38})); }) == Reason::overflow);
  Column fine(Type::decimal, 10);
  fine.append(Value(Decimal{1, 10}));
  CHECK(refusal([&] { fine.append(Value(Decimal{power_of_ten(38), 0})); }) == Reason::overflow);
  CHECK(to_string(fine[0]) == "0.0000000001");
  CHECK(refusal([&] { narrow.append(Value(std::uint64_t{1} << 63)); }) == Reason::overflow);
  CHECK(refusal([&] { narrow.append(Value(Decimal{15, 1})); }) == Reason::overflow);
  CHECK(refusal([&] { natural.append(Value(-1)); }) == Reason::overflow);
  CHECK(refusal([&] { natural.append(Value(Decimal{Int128{1} << 64, 0})); }) == Reason::overflow);
  narrow.append(Value(std::uint64_t{INT64_MAX}));
  narrow.append(Value(Decimal{Int128{INT64_MIN} * 100, 2}));
  natural.append(Value(INT64_MAX));
  natural.append(Value(Decimal{Int128{UINT64_MAX}, 0}));
  CHECK(to_string(narrow[1]) == "-9223372036854775808");
  CHECK(to_string(natural[1]) == "18446744073709551615");
}

TEST_CASE("families do not mix, not even where the bits would fit") {
  CHECK(refusal([] { Column(Type::int64).append(Value(true)); }) == Reason::schema);
  CHECK(refusal([] { Column(Type::int64).append(Value(1.0)); }) == Reason::schema);
  CHECK(refusal([] { Column(Type::float64).append(Value(1)); }) == Reason::schema);
  CHECK(refusal([] { Column(Type::text).append(Value(1)); }) == Reason::schema);
  CHECK(refusal([] { Column(Type::timestamp_ns).append(Value(Date{1})); }) == Reason::schema);
  CHECK(refusal([] { Column(Type::uuid).append(Value(Decimal{1, 0})); }) == Reason::schema);
  CHECK(refusal([] { Column(Type::int64).append(Value::null_of(Type::text)); }) == Reason::none);  // a NULL has no bits
}

TEST_CASE("each type keeps its value") {
  const Value values[] = {
      Value(true),          Value(-3),      Value(UINT64_MAX), Value(Decimal{-15, 1}), Value(-0.5), Value("t"), Value(to_uuid(Uint128{9} << 100)),
      Value(Timestamp{-5}), Value(Date{-5})};
  for (const Value& v : values) {
    Column column(v.type, v.scale);
    column.append(v);
    CHECK(column[0].type == v.type);
    CHECK((compare(column[0], v) == 0));
    CHECK(column.bytes() > 0);
  }
}

TEST_CASE("many cells at once are what one at a time are") {
  // Blocks of every small size, so that they begin and end at all places of the validity bits' words.
  std::mt19937_64 random(11);
  for (const Type type : {Type::int64, Type::decimal, Type::text}) {
    for (const int nulls_of_10 : {0, 1, 9}) {
      for (int round = 0; round < 40; ++round) {
        INFO(to_string(type) << ", " << nulls_of_10 << " of 10 are NULL, round " << round);
        Column single(type, 2), bulk(type, 2), joined(type, 2), taken(type, 2);
        for (int block = 0; block < 6; ++block) {
          const std::size_t rows = random() % 150;
          std::string nulls;
          std::vector<std::uint64_t> cells;
          std::vector<std::string> texts;
          for (std::size_t i = 0; i < rows; ++i) {
            nulls += static_cast<char>(static_cast<int>(random() % 10) < nulls_of_10 ? 1 + random() % 200 : 0);
            cells.push_back(random());
            texts.emplace_back(random() % 40, static_cast<char>('a' + random() % 26));
          }
          Column part(type, 2);
          for (std::size_t i = 0; i < rows; ++i)
            for (Column* column : {&single, &part}) {
              if (nulls[i] != 0)
                column->append_null();
              else if (type == Type::text)
                column->append_text(texts[i]);
              else if (type == Type::decimal)
                column->append_wide(static_cast<Int128>(cells[i]) << 40);
              else
                column->append_word(cells[i]);
            }
          joined.append_column(part);
          const char* given = nulls_of_10 == 0 && round % 2 == 0 ? nullptr : nulls.data();
          if (round % 3 == 0) bulk.reserve(rows, rows * 20);
          if (type == Type::text)
            CHECK(bulk.append_texts(
                      rows, [&](std::size_t i) { return std::string_view(texts[i]); }, given) == rows);
          else if (type == Type::decimal)
            bulk.append_wides(
                rows, [&](std::size_t i) { return static_cast<Int128>(cells[i]) << 40; }, given);
          else
            bulk.append_words(
                rows, [&](std::size_t i) { return cells[i]; }, given);
          // And what was appended and taken back was never there.
          for (std::size_t i = 0; i < rows; ++i) {
            taken.append(part[i]);
            for (int more = 0; more < 3; ++more) taken.append(part[(i * 7 + static_cast<std::size_t>(more)) % rows]);
            for (int more = 0; more < 3; ++more) taken.drop_last();
          }
        }
        for (const Column* column : {&bulk, &joined, &taken}) {
          REQUIRE(column->size() == single.size());
          CHECK(std::ranges::equal(column->words(), single.words()));
          CHECK(std::ranges::equal(column->wides(), single.wides()));
          CHECK(std::ranges::equal(column->ends(), single.ends()));
          CHECK(std::ranges::equal(column->characters(), single.characters()));
          CHECK(std::ranges::equal(column->valid(), single.valid()));
          CHECK(column->has_nulls() == single.has_nulls());
        }
      }
    }
  }
}

TEST_CASE("texts end where their source does, and columns of two scales are joined by value") {
  Column column(Type::text);
  CHECK(column.append_texts(5, [](std::size_t i) { return i < 2 ? std::string_view("ab") : std::string_view(); }) == 2);
  CHECK(column.size() == 2);
  CHECK(column[1].text == "ab");
  Column fine(Type::decimal, 4), coarse(Type::decimal, 1), whole(Type::int64);
  fine.append(Value(Decimal{15'001, 4}));
  coarse.append(Value(Decimal{15, 1}));
  whole.append(Value(-7));
  whole.append_null();
  coarse.append_column(fine);
  coarse.append_column(whole);
  const char* expected[] = {"1.5000", "1.5001", "-7.0000", "NULL"};
  for (std::size_t i = 0; i < 4; ++i) CHECK(to_string(coarse[i]) == expected[i]);
  CHECK(refusal([&] { whole.append_column(fine); }) == Reason::overflow);
}
