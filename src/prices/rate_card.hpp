// A rate card: what each unit of a model costs, with context tiers and daily windows; and what a usage costs under it,
// exactly.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/decimal.hpp"
#include "base/time.hpp"
#include "json/cursor.hpp"
#include "prices/usage.hpp"

namespace cognive::prices {

// From `above` input tokens (exclusively) all quantities of a call take `rate`: a cliff, not a slope.
struct Tier {
  std::int64_t above = 0;
  Decimal rate;

  bool operator==(const Tier&) const = default;
};

struct Rate {
  UnitId unit = 0;
  Decimal base;  // USD per Unit::per
  std::vector<Tier> tiers;

  bool operator==(const Rate&) const = default;

  [[nodiscard]] const Decimal& at(std::int64_t input_tokens) const;
};

// In the order of units. No rate at all means that nothing is known.
using Rates = std::vector<Rate>;

// A part of the day (UTC) with rates of its own. `from` > `to` wraps midnight; `from` is in, `to` is out.
struct Window {
  std::chrono::microseconds from{};
  std::chrono::microseconds to{};
  Rates rates;

  bool operator==(const Window&) const = default;
  [[nodiscard]] bool holds(Timestamp time) const;
};

struct RateCard {
  Rates rates;
  std::vector<Window> windows;  // the first that holds wins over `rates`

  bool operator==(const RateCard&) const = default;

  [[nodiscard]] const Rates& at(Timestamp time) const;
};

// One line of a bill: the part of a unit that no finer priced unit covers, and its rate.
struct ChargeLine {
  UnitId unit = 0;
  std::int64_t quantity = 0;
  Decimal rate;
};

struct Charge {
  enum class Outcome {
    priced,
    partial,             // some reported unit has no rate: `cost` holds the rest
    no_rates,            // the card is empty
    inconsistent_usage,  // parts exceed the whole, or the amount is beyond all bounds
  };
  Outcome outcome = Outcome::no_rates;
  NanoUsd cost;  // for priced and partial
  std::vector<ChargeLine> lines;
};

// Takes the usage apart along the priced units (each quantity is charged once, at its finest rate), multiplies in 128
// bits and rounds the sum half-even to the nano-dollar, once. A call counts as one request unless it says otherwise.
Charge price(const Rates& rates, const Usage& usage);

// {"input_mtok":2.5,"output_mtok":{"base":5,"tiers":[{"above":200000,"rate":10}]}}. Throws json::Malformed for what is
// no such object.
Rates read_rates(json::Cursor& in);
std::string rates_json(const Rates& rates);
// [{"from":"00:30:00","to":"16:30:00","rates":{…}}]
std::vector<Window> read_windows(json::Cursor& in);
std::string windows_json(const std::vector<Window>& windows);
std::string time_of_day_text(std::chrono::microseconds time);
// "16:30:00" or "16:30:00Z". Throws json::Malformed.
std::chrono::microseconds read_time_of_day(std::string_view text);

}  // namespace cognive::prices
