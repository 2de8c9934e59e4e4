// What happened, in which order?
// A made-up exchange's executions as a pure function of (seed, sequence): any process, at any time, sees the same stream.
// It is unfriendly on purpose: nanoseconds tie and step back while the sequence rises, accounts trade with themselves, some
// events leave no row in one of the tables. No I/O; safe to call from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include <epochcut/core/digest.hpp>

namespace exchange {

inline constexpr std::string_view stream_id = "trade_engine";
inline constexpr int money_scale = 8;  ///< all money is an integer number of 10^-8
inline constexpr int trader_count = 500, instrument_count = 40, currency_count = 5;
inline constexpr int fee_account = trader_count, account_count = trader_count + 1;  ///< the exchange itself comes last

struct Uuid {
  std::uint64_t high = 0, low = 0;
  friend bool operator==(const Uuid&, const Uuid&) = default;
};

enum class EventKind : std::uint8_t { trade, deposit, adjustment };

/// One event. Units: price, fees and amount in 10^-8 of the instrument's currency.
struct Execution {
  std::uint64_t sequence = 0;
  std::int64_t execution_ns = 0;
  Uuid trade_id;
  EventKind kind = EventKind::trade;
  std::uint16_t buyer = 0, seller = 0;  ///< equal in a wash trade; a deposit or an adjustment is the buyer's
  std::uint8_t instrument = 0, currency = 0;
  std::int64_t price = 0, quantity = 0, buyer_fee = 0, seller_fee = 0;
  std::int64_t amount = 0;  ///< of a deposit or an adjustment
};

inline std::string_view currency_name(int currency) {
  constexpr std::array<std::string_view, currency_count> names{"CHF", "EUR", "GBP", "JPY", "USD"};
  return names[static_cast<std::size_t>(currency)];
}

inline constexpr int currency_of(int instrument) { return instrument % currency_count; }

inline std::string instrument_name(int instrument) { return std::string(currency_name(currency_of(instrument))) + "-PERP-" + std::to_string(10 + instrument); }

/// Upper and lower case, '-' and '_': a reader that sorts by a language instead of by bytes gets another order.
inline std::string account_name(int account) {
  if (account == fee_account) return "EXCHANGE";
  return (account % 2 == 0 ? "acct-" : "Acct_") + std::to_string(1000 + account);
}

/// A slow triangle wave per instrument plus noise (0 to 99): profits and losses of both signs. Unit: 10^-8, in whole hundredths.
inline constexpr std::int64_t price_at(std::uint64_t sequence, int instrument, std::uint64_t noise) {
  const auto i = static_cast<std::uint64_t>(instrument);
  const std::uint64_t phase = (sequence / 64 + i * 97) % 2048;
  const std::uint64_t wave = phase < 1024 ? phase : 2048 - phase;
  return static_cast<std::int64_t>((1000 + i * 2500) * (9000 + 2 * wave + noise) / 10'000) * 1'000'000;
}

struct ExecutionStream {
  std::uint64_t seed = 1;
  std::uint64_t tie_every = 0;  ///< n: events n + 1, 2n + 1, … share the nanosecond of the event before; 0: only natural ties
  bool rising_ns = false;       ///< no natural ties and no steps back: as friendly to whoever orders by time as an exchange can be
  /// n: event n, 2n, … is a deposit or an adjustment, and no other; 0: one in about 170 is, at random.
  std::uint64_t deposit_every = 0;

  /// Precondition: sequence >= 1. Cost: about 20 ns.
  Execution at(std::uint64_t sequence) const {
    Draw draw{key(sequence)};
    Execution e;
    e.sequence = sequence;
    e.execution_ns = nanosecond(ties_with_previous(sequence) ? sequence - 1 : sequence);
    e.trade_id.high = (draw() & 0xFFFF'FFFF'FFFF'0FFFu) | 0x4000u;  // version 4
    e.trade_id.low = draw() >> 2 | std::uint64_t{1} << 63;
    e.buyer = static_cast<std::uint16_t>(draw.below(trader_count));
    e.seller = static_cast<std::uint16_t>(draw.below(trader_count));
    e.instrument = static_cast<std::uint8_t>(draw.below(instrument_count));
    e.currency = static_cast<std::uint8_t>(currency_of(e.instrument));
    const std::uint64_t rare = draw.below(1024);
    if (deposit_every == 0 ? rare < 6 : sequence % deposit_every == 0) {
      e.kind = rare % 6 < 4 ? EventKind::deposit : EventKind::adjustment;
      e.amount = static_cast<std::int64_t>(draw.below(1'000'000'000'000)) + 1;
      if (e.kind == EventKind::adjustment && draw.below(2) == 0) e.amount = -e.amount;
      return e;
    }
    if (rare < 16) e.seller = e.buyer;
    e.price = price_at(sequence, e.instrument, draw.below(100));
    e.quantity = static_cast<std::int64_t>(1 + draw.below(50));
    if (rare >= 32) {  // else free of charge: such a trade may leave no row in transactions at all
      e.buyer_fee = e.price * e.quantity / 10'000 * 5;
      e.seller_fee = e.price * e.quantity / 10'000 * 2;
    }
    return e;
  }

 private:
  static constexpr std::int64_t first_ns = 1'767'225'600'000'000'000;  // 2026-01-01

  struct Draw {
    std::uint64_t state;
    std::uint64_t operator()() { return epochcut::mix(state += 0x9E37'79B9'7F4A'7C15u); }
    std::uint64_t below(std::uint64_t limit) { return (*this)() % limit; }
  };

  std::uint64_t key(std::uint64_t sequence) const { return epochcut::mix(epochcut::mix(seed + 1) + sequence); }

  bool ties_with_previous(std::uint64_t sequence) const { return tie_every != 0 && sequence > 1 && (sequence - 1) % tie_every == 0; }

  /// Three events share a nanosecond, and one in sixteen lies up to 0.2 ms behind.
  std::int64_t nanosecond(std::uint64_t sequence) const {
    if (rising_ns) return first_ns + static_cast<std::int64_t>(sequence * 40'000 / 3);
    const std::uint64_t noise = epochcut::mix(key(sequence));
    const std::uint64_t back = noise % 16 == 0 ? (noise >> 8) % 200'000 : 0;
    return first_ns + static_cast<std::int64_t>(sequence / 3 * 40'000 - back);
  }
};

}  // namespace exchange
