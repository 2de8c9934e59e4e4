// One ClickHouse and one Memory, shared by many threads that check at the same time: each gets the answer that it would get alone.
// A Postgres belongs to one thread, so each has its own. Under ThreadSanitizer this is also the test that what they share is guarded.
#include "support/catch.hpp"

#include <atomic>
#include <barrier>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <epochcut/source/memory.hpp>

#include "live/world.hpp"

using namespace live;

namespace {

constexpr int threads_max = 6;

/// Runs `act(thread)` on all threads at once, and gives what each says. Catch2's own macros are for one thread.
template <class Act>
std::vector<std::string> together(Act act) {
  std::vector<std::string> said(threads_max);
  std::barrier start(threads_max);
  std::vector<std::thread> threads;
  for (int t = 0; t < threads_max; ++t)
    threads.emplace_back([&, t] {
      start.arrive_and_wait();
      try {
        said[static_cast<std::size_t>(t)] = act(t);
      } catch (const std::exception& e) {
        said[static_cast<std::size_t>(t)] = std::string("threw: ") + e.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  return said;
}

/// Everything in an outcome that does not tell the time.
std::string verdict_of(const Outcome& o) {
  return std::string(to_string(o.status)) + " " + std::string(to_string(o.reason)) + " " + (o.epoch ? std::to_string(o.epoch->sequence) : "-") + " equal " +
         std::to_string(o.counts.equal) + " of " + std::to_string(o.counts.differences()) + " differences, ids " +
         (o.right.ids ? to_string(*o.right.ids) : "-") + " by " + o.right.server.name;
}

std::vector<Event> batch(std::uint64_t first, std::uint64_t size) {
  std::vector<Event> events;
  const char* const currencies[] = {"EUR", "JPY", "USD"};
  for (std::uint64_t s = first; s < first + size; ++s) events.push_back({s, s % 2, currencies[s % 3], std::to_string(s) + ".25"});
  return events;
}

/// The rows of a reading, as text.
template <class Source>
std::string read_all(Source& source, const Query& query, std::uint64_t sequence) {
  AnyCursor cursor = source.open(query.plan(), as_of(Stream{.id = "test"}, Epoch{.sequence = sequence}), Form::plain, Control{});
  std::string text;
  for (Relation block; cursor->next(block);)
    for (std::size_t row = 0; row < block.rows(); ++row)
      for (const Field& field : block.fields) text += to_string(field.column[row]) + " ";
  return text + to_string(*cursor->proof().ids);
}

}  // namespace

TEST_CASE("many threads check with one ClickHouse at once, and all get the same verdict") {
  World world("threads");
  world.write(batch(1, 60));
  ClickHouse analytics = world.analytics();
  Postgres ledger = world.ledger();
  const Outcome alone = check_balances(ledger, analytics, quick(Millis{10'000}));
  INFO(to_text(alone));
  REQUIRE(alone.status == Status::pass);
  REQUIRE(alone.counts.equal == 3);
  REQUIRE(alone.right.ids->count == 60);

  const std::string expected = verdict_of(alone);
  for (const std::string& verdict : together([&](int) {
         Postgres own = world.ledger();
         for (int i = 0; i < 5; ++i)
           if (const std::string verdict = verdict_of(check_balances(own, analytics, quick(Millis{10'000}))); verdict != expected) return verdict;
         return expected;
       }))
    CHECK(verdict == expected);
}

TEST_CASE("many threads stream from one ClickHouse at once, some give up half way, and all others read every row") {
  World world("streams");
  world.write(batch(1, 300));
  ClickHouse analytics{world.url(), {.block_rows = 16}};  // many blocks, so that reading one is spread over time
  const Query query = events("transactions").values("currency", "amount", "memo");
  const std::string expected = read_all(analytics, query, 300);
  REQUIRE(expected.size() > 300 * 10);
  for (const std::string& read : together([&](int thread) {
         for (int i = 0; i < 5; ++i) {
           if (thread % 3 == 2) {  // abandoned after one block: its statement is replaced, and no one else's
             AnyCursor cursor = analytics.open(query.plan(), as_of(Stream{.id = "test"}, Epoch{.sequence = 300}), Form::plain, Control{});
             Relation block;
             if (!cursor->next(block)) return std::string("there was no block");
           } else if (std::string read = read_all(analytics, query, 300); read != expected) {
             return read;
           }
         }
         return expected;
       }))
    CHECK(read == expected);
}

TEST_CASE("many threads check while the ledger moves: nobody sees a break that is none, and each sees the epoch rise") {
  World world("moving");
  world.write(batch(1, 3));
  ClickHouse analytics = world.analytics();
  std::atomic<bool> done{false};
  std::atomic<int> checks{0};
  std::thread writer([&] {
    for (std::uint64_t s = 4; s < 400 && (s < 40 || checks < 3 * threads_max); s += 3) world.write(batch(s, 3));
    done = true;
  });
  for (const std::string& said : together([&](int) {
         Postgres own = world.ledger();
         std::uint64_t last = 0;
         do {
           const Outcome o = check_balances(own, analytics, quick(Millis{10'000}));
           if (o.status != Status::pass) return to_text(o);
           if (o.epoch->sequence < last) return std::string("the epoch fell");
           last = o.epoch->sequence;
           ++checks;
         } while (!done);
         return std::string("passed");
       }))
    CHECK(said == "passed");
  writer.join();
  CHECK(checks >= threads_max);
}

TEST_CASE("one cancel stops the checks of all threads") {
  World world("cancel_all");
  world.commit(batch(1, 3), false);  // never issued: every check waits for rows that don't come
  ClickHouse analytics = world.analytics();
  Cancel cancel;
  std::atomic<int> begun{0};
  std::thread stopper([&] {
    while (begun < threads_max) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    cancel.request();
  });
  for (const std::string& said : together([&](int) {
         Postgres own = world.ledger();
         CheckOptions options = quick(Millis{60'000});
         options.control.cancel = &cancel;
         ++begun;
         const Outcome o = check_balances(own, analytics, options);
         return std::string(to_string(o.status)) + ": " + std::string(to_string(o.reason));
       }))
    CHECK(said == "error: cancelled");
  stopper.join();
}

TEST_CASE("one Memory is anchor and follower of many threads while it is written") {
  Memory ledger("ledger"), analytics("analytics");
  Relation columns;
  columns.add("event_id", Role::key, Type::uint64);
  columns.add("currency", Role::value, Type::text);
  columns.add("amount", Role::value, Type::decimal, 2);
  analytics.create("transactions", columns);
  Digest ids;
  std::int64_t total = 0;
  const auto write = [&](std::uint64_t sequence) {
    Relation rows = columns.empty_copy(), balances;
    rows.fields[0].column.append(Value(sequence << 8));
    rows.fields[1].column.append(Value("EUR"));
    rows.fields[2].column.append(Value(Decimal{static_cast<Int128>(sequence), 2}));
    analytics.insert("transactions", rows);
    total += static_cast<std::int64_t>(sequence), ids += digest_of_event_id(sequence << 8);
    balances.add("currency", Role::key, Type::text).column.append(Value("EUR"));
    balances.add("amount", Role::value, Type::decimal, 2).column.append(Value(Decimal{total, 2}));
    ledger.commit({.stream = {.id = "test"}, .authority = "production", .epoch = {.sequence = sequence}, .relations = {{"transactions", ids}}},
                  {{"balances", balances}});
  };
  write(1);
  std::atomic<bool> done{false};
  std::atomic<int> checks{0};
  std::thread writer([&] {
    for (std::uint64_t s = 2; s < 3'000 && checks < 20 * threads_max; ++s) write(s);
    done = true;
  });
  for (const std::string& said : together([&](int) {
         std::uint64_t last = 0;
         do {
           const Outcome o = check_balances(ledger, analytics, quick(Millis{10'000}));
           if (o.status != Status::pass) return to_text(o);
           if (o.epoch->sequence < last) return std::string("the epoch fell");
           last = o.epoch->sequence;
           ++checks;
         } while (!done);
         return std::string("passed");
       }))
    CHECK(said == "passed");
  writer.join();
  CHECK(checks >= threads_max);
}
