// How may a source count and hash its rows where they are, range by range of their key?
// Layer: cut. Values that cross between a source and `bisect` (diff/bisect.hpp), and the interface that a source offers beside its cursors if it can: a held
// snapshot for the anchor's side (cut/held_cut.hpp), `digest` for a follower's. One thread. Source: docs/bisection.md.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/core/digest.hpp>
#include <epochcut/cut/control.hpp>
#include <epochcut/cut/source.hpp>

namespace epochcut {

/// Keys from `from` on and below `below`; without one of them unbounded on that side. `null`: the rows without a key, and no others.
struct KeyRange {
  std::optional<Int128> from{}, below{};
  bool null = false;
};

/// Cells of 2^shift keys each, from `base` on. The first also holds every key below, the last every key above; cell number `cells` holds the NULLs. So each
/// row is in exactly one of them, whatever its key.
struct KeyGrid {
  Int128 base = 0;
  int shift = 0;
  std::uint64_t cells = 1;

  /// Of the cells `first` to `last`, both included. Precondition: both are below `cells`.
  KeyRange range(std::uint64_t first, std::uint64_t last) const {
    KeyRange range;
    if (first > 0) range.from = base + (static_cast<Int128>(first) << shift);
    if (last + 1 < cells) range.below = base + (static_cast<Int128>(last + 1) << shift);
    return range;
  }
};

/// `rows`: of whole rows that the query's filters let through. `ids`: of all event ids that the statement saw; zero where a side proves itself otherwise.
struct CellDigest {
  std::uint64_t cell = 0;
  Digest rows, ids;
};

/// `least` and `greatest` are of the rows that have a key: `keyed` says whether there are any.
struct KeyBounds {
  std::uint64_t rows = 0;
  bool keyed = false;
  Int128 least = 0, greatest = 0;
};

/// How a cell is written. All but `text` are of a few plain letters and end with a comma; `text` has its length before it. A NULL is an N.
enum class CellForm : std::uint8_t {
  number,   ///< 1.50: all digits of the agreed scale
  bits,     ///< a float by its bits, as a signed number; one zero, and one NaN: "nan"
  text,     ///< 3:abc, in bytes
  hex,      ///< bytes, two letters each
  boolean,  ///< true, false
  uuid,     ///< as printed, in small letters
  days,     ///< since 1970-01-01
  seconds,  ///< since 1970, with the digits of the agreed scale
};

/// One column of a side, as far as hashing is concerned.
struct DigestColumn {
  std::string name;
  Role role = Role::value;
  Type type = Type::int64;
  int scale = 0;              ///< of a decimal or of a timestamp's digits; of text, what its trailing zero bytes are
  bool any_scale = false;     ///< a numeric without a declared scale
  std::string native_type{};  ///< in the engine's words
  std::string why_refused{};  ///< why this engine can't write it; empty if it can
};

struct AgreedCell {
  std::string name;
  CellForm form = CellForm::number;
  int scale = 0;
};

/// The cells of a row in the order in which both sides write them.
struct DigestForm {
  std::vector<AgreedCell> cells;
  bool same_engine = false;  ///< and the same types: then the engine's own, cheaper hash serves
};

/// One relation that can hash itself. Its engine works from `ask` on, so that two sides work at once; each `ask` is followed by one `answer`.
struct DigestSide {
  virtual ~DigestSide() = default;
  virtual std::string_view engine() const = 0;
  virtual std::vector<DigestColumn> columns() const = 0;
  virtual void use(const DigestForm& form) = 0;
  virtual KeyBounds bounds(const Control& control) = 0;
  /// Of the rows in any of `ranges`; no ranges: of all.
  virtual void ask(const KeyGrid& grid, std::span<const KeyRange> ranges, const Control& control) = 0;
  /// Rising cells; those without rows may be left out.
  virtual std::vector<CellDigest> answer(const Control& control) = 0;
  /// In key order; no ranges: everything.
  virtual AnyCursor fetch(std::span<const KeyRange> ranges, const Control& control) = 0;
  /// Of all event ids, by the token; nothing: there is no token to prove it by.
  virtual std::optional<Digest> expected() const = 0;
  /// Sent and received, but for the answers of `fetch`.
  virtual std::uint64_t bytes() const = 0;
  virtual std::string name() const = 0;  ///< for people
  virtual Server server() const = 0;     ///< that answered last
};

/// None: a source that can't hash these rows.
using AnyDigest = Owned<DigestSide>;

/// A follower that can: `ids` are what the token counts up to `as_of`. Errors: as a side's; none of them is about the rows.
template <class Source>
concept DigestFollower = requires(Source& source, const QueryPlan& plan, const AsOf& as_of, const Digest& ids, const Control& control) {
  { source.digest(plan, as_of, ids, control) } -> std::same_as<AnyDigest>;
};

}  // namespace epochcut
