// How are the values of one column held?
// Layer: core. Not synchronised: one thread writes, or many read. Contiguous, so that equal blocks compare as memory.
// Three storage shapes serve all types: 8-byte words, 16-byte wides, and bytes with end offsets.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/core/failure.hpp>
#include <epochcut/core/value.hpp>

namespace epochcut {

/// Shape: `size()` cells of one type; NULL cells hold zero. A decimal column has one scale and widens it when a value needs more digits;
/// a text column's scale says what its trailing zero bytes are (text_plain and its like).
class Column {
 public:
  Column() = default;
  explicit Column(Type type, int scale = 0) : type_(type), scale_(static_cast<std::uint8_t>(scale)) {}

  Type type() const { return type_; }
  int scale() const { return scale_; }
  std::size_t size() const { return size_; }
  bool has_nulls() const { return nulls_ != 0; }
  bool is_null(std::size_t row) const { return nulls_ != 0 && (valid_[row / 64] >> (row % 64) & 1) == 0; }

  /// The raw cells, for loops that know the type: words for 8-byte types, wides for decimal (unscaled) and uuid (big endian).
  std::span<const std::uint64_t> words() const { return words_; }
  std::span<const Int128> wides() const { return wides_; }
  /// Of text: where each cell ends in `characters()`; it begins where the one before ends.
  std::span<const std::uint64_t> ends() const { return ends_; }
  std::span<const char> characters() const { return bytes_; }
  std::string_view text(std::size_t row) const {
    const std::uint64_t begin = row == 0 ? 0 : ends_[row - 1];
    return {bytes_.data() + begin, static_cast<std::size_t>(ends_[row] - begin)};
  }
  /// One bit a row, 1 = not NULL, and ones behind the last row; empty while there is no NULL.
  std::span<const std::uint64_t> valid() const { return valid_; }
  std::size_t bytes() const { return words_.size() * 8 + wides_.size() * 16 + bytes_.size() + ends_.size() * 8 + valid_.size() * 8; }

  Value operator[](std::size_t row) const {
    Value v = Value::null_of(type_);
    v.scale = scale_;
    if (is_null(row)) return v;
    v.null = false;
    if (is_text())
      v.text = text(row);
    else if (is_wide())
      v.wide = wides_[row];
    else
      v.word = words_[row];
    return v;
  }

  void append_word(std::uint64_t word) { words_.push_back(word), append_valid(); }
  void append_wide(Int128 wide) { wides_.push_back(wide), append_valid(); }
  void append_text(std::string_view text) {
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    ends_.push_back(bytes_.size());
    append_valid();
  }

  void append_null() {
    if (is_text())
      ends_.push_back(bytes_.size());
    else if (is_wide())
      wides_.push_back(0);
    else
      words_.push_back(0);
    append_invalid();
  }

  /// Takes the last cell back. Precondition: size() != 0.
  void drop_last() {
    if (is_null(size_ - 1)) valid_[(size_ - 1) / 64] |= std::uint64_t{1} << ((size_ - 1) % 64), --nulls_;
    --size_;
    if (is_text())
      ends_.pop_back(), bytes_.resize(size_ == 0 ? 0 : ends_.back());
    else if (is_wide())
      wides_.pop_back();
    else
      words_.pop_back();
    if (nulls_ == 0) valid_.clear();
    if (valid_.size() > (size_ + 63) / 64) valid_.pop_back();
  }

  /// Appends exactly: a decimal of more digits widens the column's scale first, to all of its digits if they fit and else to those that are not
  /// trailing zeros. Errors: `overflow` when 128 bits don't hold that.
  void append_decimal(const Decimal& value) {
    if (value.scale > scale_ && !widen(value.scale)) {
      const int needed = value.shortest().scale;
      if (needed > scale_ && !widen(needed))
        throw Failure(Reason::overflow, "one column holds decimals that need more than 38 digits together: scale " + std::to_string(needed) + " is needed");
    }
    auto fitted = value.at_scale(scale_);
    if (!fitted) {
      narrow(value.shortest().scale);
      fitted = value.at_scale(scale_);
    }
    if (!fitted) throw Failure(Reason::overflow, "the decimal " + to_string(value) + " does not fit 38 digits at scale " + std::to_string(scale_));
    append_wide(fitted->unscaled);
  }

  /// Appends any value of the column's family. Errors: `schema` for another family, `overflow` when it does not fit the type.
  void append(const Value& value) {
    if (value.null) return append_null();
    if (family(value.type) != family(type_))
      throw Failure(Reason::schema, "a " + std::string(to_string(value.type)) + " value does not belong in a " + std::string(to_string(type_)) + " column");
    if (is_text()) return append_text(value.text);
    if (type_ == Type::decimal) return append_decimal(value.as_decimal());
    if (type_ == Type::uuid) return append_wide(value.wide);
    if (value.type == type_) return append_word(value.word);
    const auto whole = value.as_decimal().at_scale(0);
    const bool fits = whole && (type_ == Type::int64 ? whole->unscaled >= INT64_MIN && whole->unscaled <= INT64_MAX
                                                     : whole->unscaled >= 0 && whole->unscaled <= Int128{UINT64_MAX});
    if (!fits) throw Failure(Reason::overflow, "the value " + to_string(value) + " does not fit " + std::string(to_string(type_)));
    append_word(static_cast<std::uint64_t>(whole->unscaled));
  }

  /// Makes room, so that appending `rows` more cells moves nothing; `characters` counts the bytes of texts.
  void reserve(std::size_t rows, std::size_t characters = 0) {
    if (is_text())
      ends_.reserve(ends_.size() + rows), bytes_.reserve(bytes_.size() + characters);
    else if (is_wide())
      wides_.reserve(wides_.size() + rows);
    else
      words_.reserve(words_.size() + rows);
  }

  /// Appends `count` cells, the i-th of them `cell(i)`; where `nulls` is given, NULL where nulls[i] is not 0, and `cell` is not asked then.
  /// Precondition: the column's cells are words. If `cell` throws, the column is of no further use.
  template <class Cell>
  void append_words(std::size_t count, Cell cell, const char* nulls = nullptr) {
    append_cells(words_, count, cell, nulls);
  }
  /// The same. Precondition: the column's cells are wides; a decimal comes at the column's scale.
  template <class Cell>
  void append_wides(std::size_t count, Cell cell, const char* nulls = nullptr) {
    append_cells(wides_, count, cell, nulls);
  }
  /// Appends texts until `next(i)` gives a view of no data, `count` at most, and says how many. If `next` throws, the column is of no further use.
  template <class Next>
  std::size_t append_texts(std::size_t count, Next next, const char* nulls = nullptr) {
    std::size_t end = bytes_.size(), done = 0;
    ends_.resize(size_ + count);
    for (; done < count; ++done) {
      const std::string_view text = next(done);
      if (text.data() == nullptr) break;
      if (!text.empty() && (nulls == nullptr || nulls[done] == 0)) {
        if (bytes_.size() - end < text.size()) bytes_.resize(2 * (end + text.size()));
        std::memcpy(bytes_.data() + end, text.data(), text.size());
        end += text.size();
      }
      ends_[size_ + done] = end;
    }
    bytes_.resize(end);
    ends_.resize(size_ + done);
    append_validity(done, nulls);
    return done;
  }

  /// Appends every cell of `from`, which is another column of the same family. Errors: as `append` of a value.
  void append_column(const Column& from) {
    if (from.type_ != type_ || from.scale_ != scale_) {
      for (std::size_t row = 0; row < from.size_; ++row) append(from[row]);
      return;
    }
    const std::uint64_t begin = bytes_.size();
    words_.insert(words_.end(), from.words_.begin(), from.words_.end());
    wides_.insert(wides_.end(), from.wides_.begin(), from.wides_.end());
    bytes_.insert(bytes_.end(), from.bytes_.begin(), from.bytes_.end());
    for (const std::uint64_t end : from.ends_) ends_.push_back(begin + end);
    if (from.nulls_ == 0) return append_validity(from.size_, nullptr);
    for (std::size_t row = 0; row < from.size_; ++row) from.is_null(row) ? append_invalid() : append_valid();
  }

  void clear() {
    words_.clear(), wides_.clear(), bytes_.clear(), ends_.clear(), valid_.clear();
    size_ = nulls_ = 0;
  }

 private:
  bool is_text() const { return type_ == Type::text; }
  bool is_wide() const { return type_ == Type::decimal || type_ == Type::uuid; }

  void append_valid() {
    if (nulls_ != 0) extend_valid();
    ++size_;
  }
  void extend_valid() {
    if (size_ / 64 >= valid_.size()) valid_.push_back(~std::uint64_t{0});
  }

  void append_invalid() {
    if (nulls_ == 0) valid_.assign(size_ / 64 + 1, ~std::uint64_t{0});
    if (size_ / 64 >= valid_.size()) valid_.push_back(~std::uint64_t{0});
    valid_[size_ / 64] &= ~(std::uint64_t{1} << (size_ % 64));
    ++nulls_;
    ++size_;
  }

  template <class Storage, class Cell>
  void append_cells(Storage& cells, std::size_t count, Cell cell, const char* nulls) {
    cells.resize(size_ + count);
    auto* const out = cells.data() + size_;
    if (nulls == nullptr)
      for (std::size_t i = 0; i < count; ++i) out[i] = cell(i);
    else
      for (std::size_t i = 0; i < count; ++i)
        if (nulls[i] == 0) out[i] = cell(i);
    append_validity(count, nulls);
  }

  /// Says of the next `count` rows which are NULL: those whose byte is not 0.
  void append_validity(std::size_t count, const char* nulls) {
    std::size_t found = 0;
    if (nulls != nullptr)
      for (std::size_t i = 0; i < count; ++i) found += nulls[i] != 0;
    if (nulls_ + found != 0) valid_.resize((size_ + count + 63) / 64, ~std::uint64_t{0});
    if (found != 0)
      for (std::size_t i = 0; i < count; ++i) valid_[(size_ + i) / 64] &= ~(std::uint64_t{nulls[i] != 0} << ((size_ + i) % 64));
    nulls_ += found;
    size_ += count;
  }

  /// False, and nothing changed, if a value would not fit.
  bool widen(int scale) {
    const Int128 factor = power_of_ten(scale - scale_);
    Int128 product = 0;
    for (const Int128 wide : wides_)
      if (__builtin_mul_overflow(wide, factor, &product)) return false;
    for (Int128& wide : wides_) wide *= factor;
    scale_ = static_cast<std::uint8_t>(scale);
    return true;
  }

  /// Lets go of trailing zeros that every value has, down to the scale `least`.
  void narrow(int least) {
    for (; scale_ > least; --scale_) {
      for (const Int128 wide : wides_)
        if (wide % 10 != 0) return;
      for (Int128& wide : wides_) wide /= 10;
    }
  }

  Type type_ = Type::int64;
  std::uint8_t scale_ = 0;
  std::size_t size_ = 0, nulls_ = 0;
  std::vector<std::uint64_t> words_;
  std::vector<Int128> wides_;
  std::vector<char> bytes_;
  std::vector<std::uint64_t> ends_;
  std::vector<std::uint64_t> valid_;  // one bit a row, 1 = not null; empty while there is no NULL
};

}  // namespace epochcut
