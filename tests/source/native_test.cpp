// The bytes of a live 18.16.1, whole, in pieces, cut and damaged: a decoder gives the rows or a Failure, and nothing else.
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "support/catch.hpp"

#include <epochcut/core/digest.hpp>
#include <epochcut/source/native.hpp>

using namespace epochcut;
using namespace std::string_literals;

namespace {

// Each answer is what the statement above it got, with FORMAT Native.

// SELECT toUInt8(255) AS a, toInt8(-5) AS b, toUInt16(65535) AS c, toInt32(-70000) AS d, toInt64(-9223372036854775808) AS e, toUInt64(18446744073709551615) AS f
const std::string integers(
    "\006\001\001a\005UInt8\377\001b\004Int8\373\001c\006UInt16\377\377\001d\005Int32\220\356\376\377\001e\005Int64\000\000\000\000\000\000\000"
    "\200\001f\006UInt64\377\377\377\377\377\377\377\377",
    75);

// SELECT toFloat32(1.5) AS a, toFloat64(-0.25) AS b, toDecimal32('-1.25', 2) AS c, toDecimal64('123456.7890', 4) AS d, toDecimal128('-99999999999999999999.00000001', 8) AS e
const std::string fractions(
    "\005\001\001a\007Float32\000\000\300\077\001b\007Float64\000\000\000\000\000\000\320\277\001c\015Decimal(9, 2)\203\377\377\377\001d\016D"
    "ecimal(18, 4)\322\002\226I\000\000\000\000\001e\016Decimal(38, 8)\377\340\365\365\236\375\332\301\2411\260\337\377\377\377\377",
    112);

// SELECT 'a' AS a, toFixedString('ab', 4) AS b, toUUID('00112233-4455-6677-8899-aabbccddeeff') AS c, toDate('2020-01-02') AS d, toDateTime('2020-01-02 03:04:05') AS e, CAST('x y' AS Enum8('x y' = -1, 'q\'t' = 2)) AS f
const std::string others(
    "\006\001\001a\006String\001a\001b\016FixedString(4)ab\000\000\001c\004UUIDwfUD3\"\021\000\377\356\335\314\273\252\231\210\001d\004DateWG"
    "\001e\010DateTime\245]\015^\001f\035Enum8('x y' = -1, 'q\\'t' = 2)\377",
    114);

// SELECT arrayJoin([toNullable(1), NULL, 3]) AS n, if(n = 1, NULL, 'one') AS s
const std::string nulls("\002\003\001n\017Nullable(UInt8)\000\001\000\001\000\003\001s\020Nullable(String)\001\001\000\003one\003one\003one", 60);

// SELECT number AS n, 'DB::Exception: Code: 1' AS s FROM system.numbers LIMIT 3 (max_block_size = 2)
const std::string two_blocks(
    "\002\002\001n\006UInt64\000\000\000\000\000\000\000\000\001\000\000\000\000\000\000\000\001s\006String\026DB::Exception: Code: 1\026DB::"
    "Exception: Code: 1\002\001\001n\006UInt64\002\000\000\000\000\000\000\000\001s\006String\026DB::Exception: Code: 1",
    133);

const std::string* const answers[] = {&integers, &fractions, &others, &nulls, &two_blocks};

std::string print(const NativeBlock& block) {
  std::string text;
  for (std::uint64_t row = 0; row < block.rows; ++row) {
    for (const NativeColumn& column : block.columns) text += to_string(column.column[static_cast<std::size_t>(row)]) + " ";
    text += "\n";
  }
  return text;
}

/// All blocks of a body that arrives `piece` bytes at a time, each taken back as soon as the decoder may not look at it any more.
std::string decode(std::string_view body, std::size_t piece, bool lent = false) {
  NativeDecoder decoder;
  NativeBlock block;
  std::string text, mine;
  for (std::size_t at = 0; at < body.size(); at += piece) {
    mine = body.substr(at, piece);
    lent ? decoder.lend(mine) : decoder.feed(mine);
    while (decoder.next(block)) text += print(block);
    mine.assign(mine.size(), '\xA5');
  }
  if (!decoder.exception().empty()) throw Failure(Reason::unknown, std::string(decoder.exception()));
  decoder.finish();
  CHECK(decoder.bytes() == body.size());
  return text;
}

Reason refusal(std::string_view body, std::size_t piece = 1'000'000) {
  try {
    decode(body, piece);
  } catch (const Failure& failure) {
    return failure.kind;
  }
  return Reason::none;
}

/// A block of one column and one row.
std::string block_of(const std::string& type, const std::string& cells, char rows = 1) {
  return "\1"s + rows + "\1x" + static_cast<char>(type.size()) + type + cells;
}

Type type_of(std::string_view name) { return parse_native_type("x", name).type; }

}  // namespace

TEST_CASE("every type is decoded as the server means it") {
  CHECK(decode(integers, 1'000) == "255 -5 65535 -70000 -9223372036854775808 18446744073709551615 \n");
  CHECK(decode(fractions, 1'000) == "1.5 -0.25 -1.25 123456.7890 -99999999999999999999.00000001 \n");
  CHECK(decode(others, 1'000) == "a ab 00112233-4455-6677-8899-aabbccddeeff 2020-01-02 2020-01-02T03:04:05Z x y \n");
  CHECK(decode(nulls, 1'000) == "1 NULL \nNULL NULL \n3 one \n");
  CHECK(decode(two_blocks, 1'000) == "0 DB::Exception: Code: 1 \n1 DB::Exception: Code: 1 \n2 DB::Exception: Code: 1 \n");
  CHECK(decode("", 1).empty());
}

TEST_CASE("a piece that is lent is as good as one that is copied, cut anywhere") {
  std::string all;
  for (std::size_t i = 0; i < 400; ++i) all += *answers[i % std::size(answers)];
  const std::string small = all;
  // A text longer than what is copied of a piece at a time, and one that ends with its piece.
  all += "\1\2\1s\6String"s + "\xC0\x9A\x0C" + std::string(200'000, 'x') + "\0"s + small;
  const std::string expected = decode(all, all.size());
  for (const std::size_t piece : {1u, 2u, 3u, 7u, 64u, 100u, 4095u, 4096u, 4097u, 9000u, 300'000u}) {
    INFO(piece);
    CHECK(decode(all, piece, true) == expected);
  }
  for (std::size_t cut = 0; cut < 100; ++cut) REQUIRE_THROWS_AS(decode(all.substr(0, all.size() - 1 - cut * 2'500), 1 + cut * 37 % 5'000, true), Failure);
}

TEST_CASE("the types of later servers") {
  CHECK(decode(block_of("Bool", "\1"), 100) == "true \n");
  CHECK(decode(block_of("Date32", "\xFF\xFF\xFF\xFF"), 100) == "1969-12-31 \n");
  CHECK(decode(block_of("DateTime64(3, 'UTC')", "\xE8\3\0\0\0\0\0\0"s), 100) == "1970-01-01T00:00:01Z \n");
  CHECK(decode(block_of("DateTime64(9)", "\1\0\0\0\0\0\0\0"s), 100) == "1970-01-01T00:00:00.000000001Z \n");
  CHECK(refusal(block_of("DateTime64(0)", "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F")) == Reason::overflow);
  CHECK(decode(block_of("Nullable(Enum16('a' = 300))", "\0\x2C\1"s), 100) == "a \n");
  CHECK(refusal(block_of("Enum8('a' = 1)", "\2")) == Reason::incomplete);
}

TEST_CASE("wide integers and decimals: exact up to 38 digits, overflow beyond, and nothing in between") {
  const auto wide = [](Int128 low, Int128 high) {
    std::string bytes(32, '\0');
    std::memcpy(bytes.data(), &low, 16);
    std::memcpy(bytes.data() + 16, &high, 16);
    return bytes;
  };
  const Int128 most = power_of_ten(38) - 1;
  const std::string nines(38, '9');
  for (const char* type : {"Int128", "UInt128", "Int256", "UInt256", "Decimal(76, 0)", "Nullable(Int256)"}) {
    INFO(type);
    const std::string name = type;
    const bool is_signed = name.find("UInt") == std::string::npos;
    const std::size_t width = name.ends_with("Int128") ? 16 : 32;
    const auto body = [&](Int128 low, Int128 high) { return block_of(name, (name[0] == 'N' ? std::string(1, '\0') : "") + wide(low, high).substr(0, width)); };
    CHECK(decode(body(most, 0), 7) == nines + " \n");
    CHECK(decode(body(0, 0), 7) == "0 \n");
    CHECK(refusal(body(most + 1, 0)) == Reason::overflow);
    CHECK(refusal(body(static_cast<Int128>(~Uint128{0} >> 1), 0)) == Reason::overflow);
    if (is_signed) {
      CHECK(decode(body(-most, -1), 7) == "-" + nines + " \n");
      CHECK(decode(body(-1, -1), 7) == "-1 \n");
      CHECK(refusal(body(-most - 1, -1)) == Reason::overflow);
    } else {
      CHECK(refusal(body(-1, 0)) == Reason::overflow);  // 2^128 - 1
      CHECK(refusal(body(-1, -1)) == Reason::overflow);
    }
    if (width == 32) {
      CHECK(refusal(body(7, 1)) == Reason::overflow);   // 2^128 + 7
      CHECK(refusal(body(0, -1)) == Reason::overflow);  // -2^128, or what that is unsigned
      if (is_signed) CHECK(refusal(body(-1, 0)) == Reason::overflow);
    }
  }
  CHECK(decode(block_of("Decimal(76, 38)", wide(-15, -1)), 7) == "-0.00000000000000000000000000000000000015 \n");
  CHECK(parse_native_type("x", "LowCardinality(Int128)").is_wide());
  CHECK_FALSE(parse_native_type("x", "Decimal(38, 2)").is_wide());
}

TEST_CASE("messages call a column as its reader does") {
  NativeDecoder decoder({"amount"});
  NativeBlock block;
  decoder.feed(block_of("Int128", std::string(15, '\xFF') + "\x7F"));
  try {
    decoder.next(block);
    FAIL("accepted");
  } catch (const Failure& failure) {
    CHECK(failure.kind == Reason::overflow);
    CHECK(failure.message.find("\"amount\"") != std::string::npos);
  }
}

TEST_CASE("types are read as they are written, and others are refused by name") {
  CHECK(type_of("DateTime('Europe/Berlin')") == Type::timestamp_ns);
  CHECK(type_of("Decimal(38,38)") == Type::decimal);
  CHECK(parse_native_type("x", "LowCardinality(Nullable(String))").low_cardinality);
  CHECK(parse_native_type("x", "FixedString(4)").column_scale() == text_padded);
  CHECK(parse_native_type("x", "String").column_scale() == text_plain);
  for (const char* name : {"",
                           "Array(UInt8)",
                           "Tuple(UInt8)",
                           "Nothing",
                           "Nullable(Nothing)",
                           "Nullable(Nullable(UInt8))",
                           "Nullable(UInt8",
                           "Int512",
                           "Decimal(77, 2)",
                           "Decimal(76, 39)",
                           "Decimal(5, 6)",
                           "Decimal(5)",
                           "Decimal(0, 0)",
                           "FixedString(0)",
                           "FixedString(-1)",
                           "FixedString(99999999999)",
                           "Enum8('a' = 128)",
                           "Enum8('a')",
                           "Enum8('a",
                           "Enum8(",
                           "Enum16('a' = 1))",
                           "DateTime64(10)",
                           "DateTime(3)",
                           "AggregateFunction(sum, UInt8)",
                           "uint8",
                           "Nullable(LowCardinality(String))"}) {
    INFO(name);
    try {
      parse_native_type("amount", name);
      FAIL("accepted");
    } catch (const Failure& failure) {
      CHECK(failure.kind == Reason::schema);
      CHECK(failure.message.find("\"amount\"") != std::string::npos);
      CHECK(failure.message.find(name) != std::string::npos);
    }
  }
}

TEST_CASE("pieces of any size make the same rows") {
  for (const std::string* answer : answers) {
    const std::string whole = decode(*answer, answer->size());
    for (std::size_t piece = 1; piece < answer->size(); ++piece) CHECK(decode(*answer, piece) == whole);
  }
}

TEST_CASE("an answer cut at any byte but a block's end is incomplete") {
  int whole = 0;
  for (const std::string* answer : answers)
    for (std::size_t cut = 1; cut < answer->size(); ++cut) {
      const Reason reason = refusal(answer->substr(0, cut));
      if (reason == Reason::none)
        ++whole;
      else
        CHECK(reason == Reason::incomplete);
    }
  CHECK(whole == 1);  // only the transport knows that two_blocks has a second one
}

TEST_CASE("an exception's text after a block is an exception, and inside of a value it is data") {
  const std::string text = "Code: 395, e.displayText() = DB::Exception: Value passed to 'throwIf' function is non zero, e.what() = DB::Exception\n";
  for (std::size_t piece : {1u, 2u, 7u, 1000u}) {
    NativeDecoder decoder;
    NativeBlock block;
    int blocks = 0;
    const std::string body = two_blocks + text;
    for (std::size_t at = 0; at < body.size(); at += piece) {
      decoder.feed(std::string_view(body).substr(at, piece));
      while (decoder.next(block)) ++blocks;
    }
    CHECK(blocks == 2);
    CHECK(decoder.exception() == text);
    CHECK_THROWS_AS(decoder.finish(), Failure);
  }
  CHECK(refusal(text.substr(0, 4)) == Reason::incomplete);
  NativeDecoder decoder;
  NativeBlock block;
  decoder.feed("Code: 1");
  CHECK(!decoder.next(block));
  for (int i = 0; i < 100; ++i) decoder.feed(std::string(10'000, 'x'));
  CHECK(decoder.exception().size() <= native_exception_bytes_max);
}

TEST_CASE("an exception that is cut is the server's sentence, however long the pieces before it were and whichever way they came") {
  const std::string text = "Code: 241, e.displayText() = DB::Exception: Memory limit (for query) exceeded, e.what() = DB::Exception";
  std::string blocks;
  for (int i = 0; i < 200; ++i) blocks += two_blocks;
  const std::string body = blocks + text;
  // The first piece ends inside a block, so that its rest is copied together with the next one; the second ends inside the exception.
  for (const std::size_t first : {std::size_t{1}, std::size_t{50}, std::size_t{132}})
    for (const std::size_t shown : {std::size_t{1}, std::size_t{6}, std::size_t{50}})
      for (int way = 0; way < 8; ++way) {
        INFO(first << " " << shown << " " << way);
        NativeDecoder decoder;
        NativeBlock block;
        int seen = 0;
        const std::size_t cuts[] = {0, first, blocks.size() + shown, body.size()};
        for (int i = 0; i < 3; ++i) {
          std::string piece = body.substr(cuts[i], cuts[i + 1] - cuts[i]);
          (way >> i & 1) != 0 ? decoder.feed(piece) : decoder.lend(piece);
          while (decoder.next(block)) ++seen;
          piece.assign(piece.size(), '\xA5');
        }
        CHECK(seen == 400);
        CHECK(decoder.exception() == text);
      }
}

TEST_CASE("the names of a block's columns are counted too") {
  const std::string length = "\x80\x80\x80\x01";  // 2^21, the longest name
  std::string body = "\x28\x00"s;                 // 40 columns, no rows
  for (int i = 0; i < 40; ++i) body += length + std::string(1u << 21, 'n') + "\5UInt8";
  CHECK(refusal(body, 1u << 20) == Reason::too_large);
}

TEST_CASE("sizes are limits and never allocations") {
  const std::string huge = "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", beyond = "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F";
  CHECK(refusal(huge + huge) == Reason::incomplete);                      // columns
  CHECK(refusal("\1" + huge) == Reason::too_large);                       // rows
  CHECK(refusal("\1\1" + huge) == Reason::incomplete);                    // a name
  CHECK(refusal("\1\1\1x" + huge) == Reason::incomplete);                 // a type
  CHECK(refusal(block_of("String", huge)) == Reason::too_large);          // a text
  CHECK(refusal(block_of("String", beyond)) == Reason::incomplete);       // a length of 70 bits
  CHECK(refusal("\1\xFF\xFF\xFF\x1F\1x\6UInt64") == Reason::incomplete);  // 67 million rows promised and none there
  CHECK(refusal("\0\1"s) == Reason::incomplete);                          // rows of no columns
  CHECK(refusal("\0\0"s) == Reason::none);
}

TEST_CASE("damaged bytes give rows or a Failure") {
  std::uint64_t state = 1;
  const auto random = [&](std::uint64_t n) { return mix(state += 0x9E3779B97F4A7C15u) % n; };
  int refused = 0;
  for (int round = 0; round < 40'000; ++round) {
    std::string body = *answers[random(std::size(answers))];
    for (std::uint64_t i = 1 + random(4); i > 0; --i) body[random(body.size())] = static_cast<char>(random(256));
    if (random(4) == 0) body.erase(random(body.size()), 1 + random(3));
    if (random(4) == 0) body.insert(random(body.size()), 1 + random(3), static_cast<char>(random(256)));
    refused += refusal(body, 1 + random(body.size())) != Reason::none;
  }
  CHECK(refused > 1'000);
}
