// Text that stands for a value, a type's name as a user or a server writes it: nothing is guessed or rounded, and what prints reads back.
// Input: 1 byte which property; the rest is read as that property says.
#include <bit>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include <epochcut/core/parse.hpp>
#include <epochcut/source/native.hpp>

#include "fuzz/copy_bodies.hpp"
#include "fuzz/native_bodies.hpp"

using namespace epochcut;
using fuzz::Input;
using fuzz::require;

namespace {

constexpr Type types[] = {Type::boolean, Type::int64, Type::uint64, Type::decimal, Type::float64, Type::text, Type::uuid, Type::timestamp_ns, Type::date};

/// The number in a text of digits, a sign before them and a point among them; nothing for any other text.
std::optional<fuzz::Digits> digits_in(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const std::size_t point = std::min(text.find('.'), text.size());
  const std::string digits = std::string(text.substr(0, point)) + std::string(text.substr(std::min(point + 1, text.size())));
  const bool empty_side = point == 0 || (point != text.size() && point + 1 == text.size());
  if (empty_side || digits.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
  return fuzz::Digits::of(negative, digits, static_cast<long>(point));
}

/// Seconds since 1970 of `YYYY-MM-DD`, by the C library's calendar.
std::optional<std::int64_t> days_in(std::string_view text) {
  int year = 0, month = 0, day = 0, end = -1;
  const std::string copy(text);
  if (std::sscanf(copy.c_str(), "%d-%2d-%2d%n", &year, &month, &day, &end) != 3 || end != static_cast<int>(copy.size())) return std::nullopt;
  std::tm broken_down{};
  broken_down.tm_year = year - 1900, broken_down.tm_mon = month - 1, broken_down.tm_mday = day;
  const std::time_t seconds = timegm(&broken_down);
  if (broken_down.tm_mday != day || broken_down.tm_mon != month - 1) return std::nullopt;  // no such day: it was carried over
  return seconds / 86'400 - (seconds % 86'400 < 0);
}

void check_meaning(Type type, std::string_view text, const Value& value) {
  require(!value.null, "no text is NULL", text);
  switch (type) {
    case Type::boolean: return require(text == (value.word != 0 ? "true" : "false"), "a boolean is one of two words", text);
    case Type::int64:
    case Type::uint64:
    case Type::decimal: return require(digits_in(text) == fuzz::digits_of(value.as_decimal()), "a number keeps every digit", text, value);
    case Type::float64: {
      const std::string copy(text);
      char* end = nullptr;
      const double other = std::strtod(copy.c_str(), &end);
      require(end == copy.c_str() + copy.size(), "a double is all of its text", text);
      return require(canonical_float(other) == canonical_float(value.as_float64()), "a double is the nearest one", text, value);
    }
    case Type::text: return require(value.text == text, "a text is itself", text);
    case Type::uuid: {
      std::string lower(text);
      for (char& c : lower) c = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
      return require(to_string(value) == lower, "a uuid is its digits", text);
    }
    case Type::date: return require(days_in(text) == value.as_int64(), "a date is its day", text, value);
    case Type::timestamp_ns: break;
  }
  const auto days = days_in(text.substr(0, text.size() < 10 ? 0 : 10));
  int hours = 0, minutes = 0, seconds = 0, end = -1;
  const std::string clock(text.substr(10));
  require(days && std::sscanf(clock.c_str() + 1, "%2d:%2d:%2d%n", &hours, &minutes, &seconds, &end) == 3 && hours < 24 && minutes < 60 && seconds < 60,
          "a time has a clock's", text);
  std::string fraction = clock.substr(static_cast<std::size_t>(end) + 1);
  require(fraction.ends_with('Z'), "a time is in UTC", text);
  fraction.pop_back();
  require(fraction.empty() || (fraction[0] == '.' && fraction.size() > 1 && fraction.size() <= 10), "a fraction has up to nine digits", text);
  fraction = (fraction + "000000000").substr(!fraction.empty(), 9);
  const Int128 ns = Int128{*days * 86'400 + hours * 3'600 + minutes * 60 + seconds} * 1'000'000'000 + std::stoll(fraction);
  require(ns == value.as_int64(), "a time is its nanosecond", text, value);
}

std::optional<std::string> reread(Type type, std::string_view text) {
  Column column(type);
  try {
    append_parsed(column, text);
  } catch (const Failure& failure) {
    require(failure.kind == Reason::schema || failure.kind == Reason::overflow, "a refusal says why", failure.message);
    require(column.size() == 0, "a refusal leaves nothing behind");
    return std::nullopt;
  }
  require(column.size() == 1, "one text is one value");
  check_meaning(type, text, column[0]);
  return to_string(column[0]);
}

/// Any text.
void check_text(Type type, std::string_view text) {
  const auto printed = reread(type, text);
  if (printed) require(reread(type, *printed) == printed, "what prints reads back", text, *printed);
}

/// Any value: its text is the type's.
void check_value(Type type, Input& input) {
  const std::uint64_t word = input.number(8);
  Value value;
  std::string text;
  switch (type) {
    case Type::boolean: value = Value((word & 1) != 0); break;
    case Type::int64: value = Value(static_cast<std::int64_t>(word)); break;
    case Type::uint64: value = Value(word); break;
    case Type::decimal: {
      const auto wide = static_cast<Int128>(Uint128{word} << 64 | input.number(8));
      value = Value(Decimal{wide % power_of_ten(38), static_cast<int>(input.below(39))});
      break;
    }
    case Type::float64: value = Value(std::bit_cast<double>(word)); break;
    case Type::text: text = input.rest(), value = Value(text); break;
    case Type::uuid: value = Value(to_uuid(Uint128{word} << 64 | input.number(8))); break;
    case Type::timestamp_ns: value = Value(Timestamp{static_cast<std::int64_t>(word)}); break;
    case Type::date: value = Value(Date{static_cast<std::int32_t>(word)});
  }
  Column column(type);
  try {
    append_parsed(column, to_string(value));
  } catch (const Failure& failure) {
    fuzz::broken("what prints is read", to_string(value) + ": " + failure.message);
  }
  require(compare(column[0], value) == 0, "what prints is read as itself", value, column[0]);
}

/// A type's name: taken only if it is one, and then for what it is.
void check_type(std::string_view name) {
  NativeType type;
  try {
    type = parse_native_type("c", name);
  } catch (const Failure& failure) {
    require(failure.kind == Reason::schema, "a refusal says why", failure.message);
    return;
  }
  const auto wire = fuzz::wire_of(std::string(name));
  require(wire.has_value(), "only a type is one", name);
  require(type.nullable == wire->nullable && type.low_cardinality == wire->low_cardinality && type.width == wire->bytes && type.type == wire->type(),
          "a type is what its name says", name);
  require(type.type == Type::text || type.scale == wire->scale, "a scale is what its name says", name);
  require(type.names.size() == wire->names.size(), "an enum has its names", name);
  for (std::size_t i = 0; i < type.names.size(); ++i)
    require(type.names[i].first == wire->names[i].first && type.names[i].second == wire->names[i].second, "an enum's names are its own", name);
}

/// A sound type, wrapped as servers wrap them, is taken.
void check_sound_type(Input& input) {
  const std::size_t wrap = input.below(4);
  std::string name;
  switch (input.below(3)) {
    case 0: name = fuzz::native_types[input.below(std::size(fuzz::native_types))]; break;
    case 1: {
      const std::size_t precision = 1 + input.below(76);
      name = "Decimal(" + std::to_string(precision) + ", " + std::to_string(input.below(std::min<std::size_t>(precision, 38) + 1)) + ")";
      break;
    }
    default: {
      name = "Enum16(";
      const std::size_t names = 1 + input.below(5);
      for (std::size_t i = 0; i < names; ++i) {
        name += i == 0 ? "'" : ", '";
        for (const char c : input.text()) {
          if (c == '\'' || c == '\\') name += '\\';
          name += c;
        }
        name += "' = " + std::to_string(static_cast<std::int16_t>(input.number(2)));
      }
      name += ")";
    }
  }
  if (wrap & 1) name = "Nullable(" + name + ")";
  if (wrap & 2) name = "LowCardinality(" + name + ")";
  NativeType type;
  try {
    type = parse_native_type("c", name);
  } catch (const Failure& failure) {
    fuzz::broken("a sound type is taken", failure.message);
  }
  require(type.nullable == ((wrap & 1) != 0) && type.low_cardinality == ((wrap & 2) != 0), "it is wrapped as it is", name);
  check_type(name);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const std::size_t which = input.byte();
  const Type type = types[which / 4 % std::size(types)];
  switch (which % 4) {
    case 0: check_text(type, input.rest()); break;
    case 1: check_value(type, input); break;
    case 2: check_type(input.rest()); break;
    default: check_sound_type(input);
  }
  return 0;
}
