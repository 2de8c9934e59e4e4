// What must a store be able to do, to be compared?
// Layer: cut. Concepts, one capability each, and the values that cross them. Source: docs/own-source.md.
// A cursor pulls relations and ends in a proof that the SAME statement made: nothing is proved in one read and taken from another.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <epochcut/core/digest.hpp>
#include <epochcut/core/epoch.hpp>
#include <epochcut/core/relation.hpp>
#include <epochcut/core/token.hpp>
#include <epochcut/cut/as_of_query.hpp>
#include <epochcut/cut/control.hpp>
#include <epochcut/cut/owned.hpp>

namespace epochcut {

/// Who answered: stable over a server's restarts, different between replicas; never with credentials.
struct Server {
  std::string name;
  std::string version{};
  friend bool operator==(const Server& a, const Server& b) { return a.name == b.name; }
};

/// Up to where a follower is read. `at_rest` reads everything, unsynchronised; an outcome says so.
struct AsOf {
  Stream stream{};
  Epoch epoch{};
  std::uint64_t last_event_id = 0;
  bool at_rest = false;
  std::uint64_t generation = 0;  ///< that owns the newest sequence numbers; asked for only if the stream names a generation column
  std::vector<Seam> seams{};     ///< in rising order: which generation owned the older ones
};

inline AsOf as_of(const Stream& stream, Epoch epoch) { return {stream, epoch, last_event_id(stream, epoch), false}; }
inline AsOf as_of(const Token& token) {
  AsOf at = as_of(token.stream, token.epoch);
  at.generation = token.generation;
  at.seams = token.seams;
  return at;
}

/// Do rows count only if the generation that wrote them owned their sequence number? Then a follower's row has to say which did.
inline bool by_generation(const AsOf& at) { return !at.at_rest && !at.stream.generation.empty(); }

/// The generation that owned an event's sequence number.
inline std::uint64_t owner(const AsOf& at, std::uint64_t event_id) {
  const std::uint64_t sequence = event_id >> at.stream.leg_bits;
  for (const Seam& seam : at.seams)
    if (sequence < seam.sequence) return seam.from;
  return at.generation;
}

/// plain: rows as they stand. distinct: one row per event id, for a follower that holds replays; slower.
enum class Form : std::uint8_t { plain, distinct };

/// Made at a cursor's end, by the same statement as its rows.
struct Proof {
  std::optional<Digest> ids;      ///< of all event ids at or below the epoch that the statement saw, before any filter
  std::optional<Epoch> snapshot;  ///< the source's own token in the same snapshot: complete up to it by construction
  std::uint64_t conflicts = 0;    ///< event ids with two different rows (distinct form)
  std::string conflicting_ids{};  ///< the first of them, for people
  std::uint64_t rows = 0;         ///< that crossed the wire
  std::uint64_t bytes = 0;        ///< that crossed the wire
  Server server;
};

/// A pull of blocks in key order, unless the plan took any. One of the two places where a type is erased: per block, not per row.
struct Cursor {
  virtual ~Cursor() = default;
  /// Fills `block` with the next rows; false when there are none left, and only then `proof` may be asked for. Every block has the same fields,
  /// and the first call sets them even if there is no row. Errors: Failure; rows seen before it are worth nothing.
  virtual bool next(Relation& block) = 0;
  virtual Proof proof() const = 0;
};

using AnyCursor = Owned<Cursor>;

/// What a follower can say of itself, from the server and not from its configuration.
struct FollowerInfo {
  std::string relation;   ///< the relation fully resolved: server, database, table. Two equal ones are the same data
  std::string stream;     ///< the stream that fills it, empty if it does not say
  std::string authority;  ///< the pipeline that fills it, empty if it does not say
};

/// A cheap look, good for deciding when to read and for nothing else.
struct Visible {
  std::uint64_t count = 0;   ///< rows at or below the epoch, duplicates counted
  std::uint64_t newest = 0;  ///< the greatest event id of the whole relation
  Server server;
};

/// What the anchor hands out: token and all reads of ONE snapshot, its tables locked before that snapshot was taken.
struct Snapshot {
  std::optional<Token> token;
  std::vector<Token> further{};     ///< of other streams with writers of their own; no relation is declared by two tokens
  std::uint64_t timeline = 0;       ///< of the ledger: it changes with a failover or a restore; 0: the anchor has none
  std::vector<Relation> relations;  ///< one per query, in order, each in key order
  std::vector<Proof> proofs;        ///< one per query
  Server server;
};

/// Pushes work down: answers a query as of an epoch, with its proof.
template <class Source>
concept Readable = requires(Source& source, const QueryPlan& plan, const AsOf& as_of, Form form, const Control& control, const std::string& relation) {
  { source.open(plan, as_of, form, control) } -> std::same_as<AnyCursor>;
  { source.visible(relation, as_of, control) } -> std::same_as<Visible>;
  { source.about(relation, control) } -> std::same_as<FollowerInfo>;
};

/// Only scans: as-of, argMax, sums, order and proof then come from `evaluate`. The relation has the stream's event id column.
template <class Source>
concept Scannable = requires(Source& source, const std::string& relation) {
  { source.scan(relation) } -> std::same_as<Relation>;
};

template <class Source>
concept Follower = Readable<Source> || Scannable<Source>;

/// Hands out (state, token) atomically.
template <class Source>
concept Anchor = requires(Source& source, std::span<const QueryPlan> plans, const Token& token, const std::string& text, const Control& control) {
  { source.snapshot(plans, control) } -> std::same_as<Snapshot>;
  { source.acknowledged(token, text, text, control) } -> std::same_as<std::optional<Acknowledged>>;
  { source.about(text, control) } -> std::same_as<FollowerInfo>;
};

}  // namespace epochcut
