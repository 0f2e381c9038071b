#include "prices/rate_card.hpp"

#include <bit>
#include <numeric>

#include "base/text.hpp"
#include "json/writer.hpp"

namespace cognive::prices {
namespace {

constexpr Int128 power_of_ten(int exponent) {
  Int128 out = 1;
  for (; exponent > 0; --exponent) out *= 10;
  return out;
}

// Sum of rate × quantity / per over all lines as nano-USD. Nothing when it does not fit.
std::optional<NanoUsd> total(const std::vector<ChargeLine>& lines) {
  const auto& units = Units::shipped();
  constexpr int nano_digits = 9;
  std::int64_t denominator = 1;
  int scale = nano_digits;
  for (const auto& line : lines) {
    denominator = std::lcm(denominator, units[line.unit].per);
    scale = std::max(scale, line.rate.scale);
  }
  // sum / (denominator × 10^scale) dollars
  Int128 sum = 0;
  for (const auto& line : lines) {
    Int128 term = line.rate.mantissa;
    const bool overflow = __builtin_mul_overflow(term, power_of_ten(scale - line.rate.scale), &term) ||
                          __builtin_mul_overflow(term, Int128{line.quantity}, &term) ||
                          __builtin_mul_overflow(term, Int128{denominator / units[line.unit].per}, &term) ||
                          __builtin_add_overflow(sum, term, &sum);
    if (overflow) return std::nullopt;
  }
  const Int128 divisor = Int128{denominator} * power_of_ten(scale - nano_digits);
  Int128 quotient = sum / divisor;
  const Int128 twice = (sum % divisor) * 2;  // rates are never negative, so neither is this
  if (twice > divisor || (twice == divisor && quotient % 2 != 0)) ++quotient;
  if (quotient > INT64_MAX) return std::nullopt;
  return NanoUsd{static_cast<std::int64_t>(quotient)};
}

}  // namespace

const Decimal& Rate::at(std::int64_t input_tokens) const {
  const Decimal* rate = &base;
  for (const auto& tier : tiers) {
    if (input_tokens > tier.above) rate = &tier.rate;
  }
  return *rate;
}

bool Window::holds(Timestamp time) const {
  const auto day = std::chrono::floor<std::chrono::days>(time.point());
  const std::chrono::microseconds clock = time.point() - day;
  return from <= to ? from <= clock && clock < to : clock >= from || clock < to;
}

const Rates& RateCard::at(Timestamp time) const {
  for (const auto& window : windows) {
    if (window.holds(time)) return window.rates;
  }
  return rates;
}

Charge price(const Rates& rates, const Usage& usage) {
  const auto& units = Units::shipped();
  static const UnitId input_tokens = *units.by_name("input_tokens");
  static const UnitId requests = *units.by_name("requests");
  Charge charge;
  if (rates.empty()) return charge;

  UnitSet priced = 0;
  std::array<const Rate*, 64> rate_of{};
  for (const auto& rate : rates) {
    priced |= UnitSet{1} << rate.unit;
    rate_of[rate.unit] = &rate;
  }

  charge.lines.reserve(static_cast<std::size_t>(std::popcount(usage.reported_units())) + 1);
  const auto context = usage.quantity(input_tokens);
  std::array<std::int64_t, 64> own{};
  for (const auto id : units.deepest_first()) {
    if ((priced >> id & 1) == 0) continue;
    std::int64_t quantity = id == requests && !usage.is_reported(id) ? 1 : usage.quantity(id);
    for (UnitSet parts = units[id].descendants & priced; parts != 0; parts &= parts - 1) {
      quantity -= own[static_cast<std::size_t>(std::countr_zero(parts))];
    }
    if (quantity < 0) {
      charge.outcome = Charge::Outcome::inconsistent_usage;
      charge.lines.clear();
      return charge;
    }
    own[id] = quantity;
    if (quantity > 0) charge.lines.push_back({id, quantity, rate_of[id]->at(context)});
  }

  charge.outcome = Charge::Outcome::priced;
  for (UnitSet reported = usage.reported_units(); reported != 0; reported &= reported - 1) {
    const auto id = static_cast<UnitId>(std::countr_zero(reported));
    const bool covered = ((units[id].ancestors | UnitSet{1} << id) & priced) != 0;
    // Every call is a request; where requests cost nothing extra, counting them leaves nothing unpriced.
    if (!covered && usage.reported(id) > 0 && id != requests) charge.outcome = Charge::Outcome::partial;
  }
  if (const auto cost = total(charge.lines)) {
    charge.cost = *cost;
  } else {
    charge.outcome = Charge::Outcome::inconsistent_usage;
  }
  return charge;
}

namespace {

Decimal read_rate_number(json::Cursor& in) {
  const auto rate = Decimal::parse(in.number());
  if (!rate || rate->is_negative()) throw json::Malformed("a rate is negative or has more than 18 digits");
  return *rate;
}

Tier read_tier(json::Cursor& in) {
  Tier tier;
  bool has_above = false;
  bool has_rate = false;
  in.each_field([&](std::string_view key, json::Cursor& value) {
    if (key == "above") {
      const auto above = Decimal::parse(value.number());
      if (!above || above->scale != 0 || above->is_negative()) throw json::Malformed("a tier's threshold is no count");
      tier.above = above->mantissa;
      has_above = true;
    } else if (key == "rate") {
      tier.rate = read_rate_number(value);
      has_rate = true;
    } else {
      throw json::Malformed("a tier has an unknown member");
    }
  });
  if (!has_above || !has_rate) throw json::Malformed("a tier without above or rate");
  return tier;
}

}  // namespace

Rates read_rates(json::Cursor& in) {
  Rates rates;
  in.each_field([&](std::string_view key, json::Cursor& value) {
    const auto unit = Units::shipped().by_price_key(key);
    if (!unit) throw json::Malformed("a rate for an unknown unit: " + shortened(key, 64));
    if (std::ranges::find(rates, *unit, &Rate::unit) != rates.end())
      throw json::Malformed("two rates for the same unit: " + std::string(key));
    Rate rate{*unit, {}, {}};
    if (value.kind() == json::Kind::number) {
      rate.base = read_rate_number(value);
    } else {
      bool has_base = false;
      value.each_field([&](std::string_view part, json::Cursor& content) {
        if (part == "base") {
          rate.base = read_rate_number(content);
          has_base = true;
        } else if (part == "tiers") {
          content.each_item([&](std::size_t, json::Cursor& tier) { rate.tiers.push_back(read_tier(tier)); });
        } else {
          throw json::Malformed("a rate has an unknown member");
        }
      });
      if (!has_base) throw json::Malformed("a tiered rate without a base");
      std::ranges::sort(rate.tiers, {}, &Tier::above);
      if (std::ranges::adjacent_find(rate.tiers, {}, &Tier::above) != rate.tiers.end())
        throw json::Malformed("two tiers above the same threshold");
    }
    rates.push_back(std::move(rate));
  });
  std::ranges::sort(rates, {}, &Rate::unit);
  return rates;
}

namespace {

void write_rates(json::Writer& out, const Rates& rates) {
  out.begin_object();
  for (const auto& rate : rates) {
    out.key(Units::shipped()[rate.unit].price_key);
    if (rate.tiers.empty()) {
      out.raw(rate.base.text());
      continue;
    }
    out.begin_object();
    out.key("base");
    out.raw(rate.base.text());
    out.key("tiers");
    out.begin_array();
    for (const auto& tier : rate.tiers) {
      out.begin_object();
      out.key("above");
      out.integer(tier.above);
      out.key("rate");
      out.raw(tier.rate.text());
      out.end_object();
    }
    out.end_array();
    out.end_object();
  }
  out.end_object();
}

}  // namespace

std::string time_of_day_text(std::chrono::microseconds time) {
  const std::chrono::hh_mm_ss clock{std::chrono::floor<std::chrono::seconds>(time)};
  return fmt::format("{:02}:{:02}:{:02}", clock.hours().count(), clock.minutes().count(), clock.seconds().count());
}

std::string rates_json(const Rates& rates) {
  json::Writer out;
  write_rates(out, rates);
  return std::move(out).text();
}

std::chrono::microseconds read_time_of_day(std::string_view text) {
  // Borrow the parser of instants: it knows every rule of a time of day.
  const std::string zone = text.ends_with('Z') ? "" : "Z";
  const auto time = Timestamp::parse("1970-01-01T" + std::string(text) + zone);
  if (!time) throw json::Malformed("a time of day is not written as hh:mm:ss");
  return std::chrono::microseconds{time->micros};
}

std::vector<Window> read_windows(json::Cursor& in) {
  std::vector<Window> windows;
  in.each_item([&](std::size_t, json::Cursor& item) {
    Window window;
    item.each_field([&](std::string_view key, json::Cursor& value) {
      if (key == "from") {
        window.from = read_time_of_day(value.string());
      } else if (key == "to") {
        window.to = read_time_of_day(value.string());
      } else if (key == "rates") {
        window.rates = read_rates(value);
      } else {
        throw json::Malformed("a window has an unknown member");
      }
    });
    windows.push_back(std::move(window));
  });
  return windows;
}

std::string windows_json(const std::vector<Window>& windows) {
  json::Writer out;
  out.begin_array();
  for (const auto& window : windows) {
    out.begin_object();
    out.field("from", time_of_day_text(window.from));
    out.field("to", time_of_day_text(window.to));
    out.key("rates");
    write_rates(out, window.rates);
    out.end_object();
  }
  out.end_array();
  return std::move(out).text();
}

}  // namespace cognive::prices
