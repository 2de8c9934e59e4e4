// What must be equal?
// Layer: verdict. Plain values. A Reading is a source and a query: the second of two places where a type is erased.
// A Reading refers to its source, which must outlive it. Source: RFC live-checks, "Old and new differ only in how they read".
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <epochcut/core/row_hash.hpp>
#include <epochcut/cut/as_of_query.hpp>
#include <epochcut/cut/digest_side.hpp>
#include <epochcut/cut/evaluate.hpp>
#include <epochcut/diff/difference.hpp>

namespace epochcut {

/// A source that is to be read as it stands. Made by `at_rest(source)`, the only spelling of an unsynchronised read.
template <class Source>
struct AtRest {
  Source* source;
};
template <class Source>
AtRest<Source> at_rest(Source& source) {
  return {&source};
}
template <class Source>
void at_rest(const Source&&) = delete;  // it refers to its source: give the source a name that outlives it

/// Any follower, behind three function pointers.
class AnyFollower {
 public:
  template <Follower Source>
  explicit AnyFollower(Source& source)
      : source_(const_cast<void*>(static_cast<const void*>(&source))), operations_(&operations_of<Source>) {}  // they cast back to a const Source

  AnyCursor open(const QueryPlan& plan, const AsOf& as_of, Form form, const Control& control) const {
    return operations_->open(source_, plan, as_of, form, control);
  }
  Visible visible(const std::string& relation, const AsOf& as_of, const Control& control) const {
    return operations_->visible(source_, relation, as_of, control);
  }
  FollowerInfo about(const std::string& relation, const Control& control) const { return operations_->about(source_, relation, control); }
  /// None if the source can't hash its rows.
  AnyDigest digest(const QueryPlan& plan, const AsOf& as_of, const Digest& ids, const Control& control) const {
    return operations_->digest(source_, plan, as_of, ids, control);
  }
  const void* address() const { return source_; }

 private:
  struct Operations {
    AnyCursor (*open)(void*, const QueryPlan&, const AsOf&, Form, const Control&);
    Visible (*visible)(void*, const std::string&, const AsOf&, const Control&);
    FollowerInfo (*about)(void*, const std::string&, const Control&);
    AnyDigest (*digest)(void*, const QueryPlan&, const AsOf&, const Digest&, const Control&);
  };
  template <class Source>
  static constexpr Operations operations_of{
      [](void* s, const QueryPlan& plan, const AsOf& as_of, Form form, const Control& control) {
        return readable(*static_cast<Source*>(s)).open(plan, as_of, form, control);
      },
      [](void* s, const std::string& relation, const AsOf& as_of, const Control& control) {
        return readable(*static_cast<Source*>(s)).visible(relation, as_of, control);
      },
      [](void* s, const std::string& relation, const Control& control) { return readable(*static_cast<Source*>(s)).about(relation, control); },
      [](void* s, const QueryPlan& plan, const AsOf& as_of, const Digest& ids, const Control& control) {
        if constexpr (DigestFollower<Source>)
          return static_cast<Source*>(s)->digest(plan, as_of, ids, control);
        else
          return void(s), void(plan), void(as_of), void(ids), void(control), AnyDigest();
      }};

  void* source_;
  const Operations* operations_;
};
static_assert(Readable<AnyFollower>);

template <class Source>
concept NotAFollower = !Follower<Source>;

/// A source and a query.
struct Reading {
  template <Follower Source>
  Reading(Source& source_, Query query_) : source(source_), query(std::move(query_)) {}
  template <Follower Source>
  Reading(AtRest<Source> source_, Query query_) : source(*source_.source), query(std::move(query_)), at_rest(true) {}
  template <Follower Source>
  Reading(const Source&&, Query) = delete;  // a Reading refers to its source: give the source a name that outlives it
  template <NotAFollower Source>
  Reading(Source&, Query) = delete;  // not a Follower: a source has scan(relation), or open, visible and about (cut/source.hpp)

  AnyFollower source;
  Query query;
  bool at_rest = false;
};

/// Two readings that must agree. Differs from its quiet-window twin only in how it reads, never in what it asserts.
struct Invariant {
  std::string id;
  Reading left, right;
  std::vector<Rule> rules{};
  bool negative_control = false;  ///< both ends may be the same relation: it must pass, and proves the plumbing only
};

namespace asking {

inline void absorb(RowHash& hash, const std::vector<std::string>& names) {
  hash.absorb(std::uint64_t{names.size()});
  for (const std::string& name : names) hash.absorb(std::string_view(name));
}

inline void absorb(RowHash& hash, const QueryPlan& plan) {
  hash.absorb(static_cast<std::uint64_t>(plan.history));
  hash.absorb(std::string_view(plan.relation));
  for (const auto* names : {&plan.per, &plan.by, &plan.key}) absorb(hash, *names);
  hash.absorb(std::uint64_t{plan.where.size()});
  for (const Filter& filter : plan.where) {
    hash.absorb(std::string_view(filter.column));
    hash.absorb(static_cast<std::uint64_t>(filter.comparison));
    hash.absorb(filter.literal.value());
  }
  hash.absorb(std::uint64_t{plan.measures.size()});
  for (const Measure& m : plan.measures) {
    hash.absorb(static_cast<std::uint64_t>(m.kind));
    hash.absorb(std::string_view(m.column));
    hash.absorb(std::string_view(m.name));
  }
}

}  // namespace asking

/// Of WHAT an invariant asks, however it reads: a twin at rest has its live twin's hash, and a changed query or rule has another. 16 bytes.
inline Digest digest_of_question(const Invariant& invariant) {
  RowHash hash;
  asking::absorb(hash, invariant.left.query.plan());
  asking::absorb(hash, invariant.right.query.plan());
  hash.absorb(std::uint64_t{invariant.rules.size()});
  for (const Rule& rule : invariant.rules) {
    hash.absorb(std::string_view(rule.column));
    hash.absorb(static_cast<std::uint64_t>(rule.kind));
    hash.absorb(Value(rule.tolerance));
    hash.absorb(std::uint64_t{rule.absent_is_zero});
  }
  return hash.digest();
}

}  // namespace epochcut
