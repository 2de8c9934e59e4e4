// What does the ledger hand out together with its state?
// Layer: core. Values only. Source: RFC live-checks, "The shared mechanism"; docs/concepts.md "Token".
// The ledger's writer commits it in the SAME transaction as the state; the digests say which rows a follower must show.
// A ledger with several writers has one token per stream: each relation belongs to exactly one of them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/core/digest.hpp>
#include <epochcut/core/epoch.hpp>

namespace epochcut {

/// Everything up to `sequence` of one relation was acknowledged, by the follower's server of that name.
struct Acknowledged {
  std::uint64_t sequence = 0;
  std::string server;
};

/// One relation of the stream: the digest of all event ids that it holds up to the token's epoch.
struct RelationToken {
  std::string relation;
  Digest ids;
};

/// From `sequence` on the authority was generation `to`'s, which took it over from `from`: rows that a deposed writer sends later don't count.
struct Seam {
  std::uint64_t sequence = 0;
  std::uint64_t from = 0, to = 0;
  friend bool operator==(const Seam&, const Seam&) = default;
};

/// Epoch and digests, committed with the state. Only relations that are declared here can be read as of the epoch.
struct Token {
  Stream stream;
  std::string authority = "production";
  std::uint64_t generation = 0;
  Epoch epoch;
  std::vector<RelationToken> relations;
  std::vector<Seam> seams{};  ///< of the authority, in rising order, read in the epoch's own snapshot

  /// Errors: `undeclared_relation`, naming the declared ones.
  const RelationToken& relation(std::string_view name) const {
    std::string names;
    for (const RelationToken& r : relations) {
      if (r.relation == name) return r;
      names += (names.empty() ? "" : ", ") + r.relation;
    }
    throw Failure(Reason::undeclared_relation,
                  "relation \"" + std::string(name) + "\" is not declared in the token of stream " + stream.id +
                      ", so it can't be read as of an epoch; have the writer commit a digest for it (declared: " + (names.empty() ? "none" : names) + ")");
  }
};

}  // namespace epochcut
