// What a call reports: counts by unit. Units nest (cached tokens are input tokens), which is what pricing has to take
// apart.
#pragma once

#include <bit>
#include <boost/container/small_vector.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.hpp"
#include "json/schema.hpp"

namespace cognive::prices {

// A position in the list of units that ships with the catalogue; at most 64 units, so that a set of them is one word.
using UnitId = std::uint8_t;
using UnitSet = std::uint64_t;

struct Unit {
  std::string name;       // in usage: input_tokens
  std::string price_key;  // in rate cards: input_mtok
  std::int64_t per = 1;   // a rate's own size: 1,000,000
  std::string family;
  std::map<std::string, std::string> dimensions;
  UnitSet descendants = 0;  // units whose quantities are part of this one's, without itself
  UnitSet ancestors = 0;
};

// The units, in the order of the catalogue. Immutable; loaded once per process from the shipped data file.
class Units {
 public:
  static const Units& shipped();

  // Throws std::logic_error when the list is broken or holds more than 64 units.
  explicit Units(std::vector<Unit> units);

  [[nodiscard]] std::optional<UnitId> by_name(std::string_view name) const;
  [[nodiscard]] std::optional<UnitId> by_price_key(std::string_view key) const;
  [[nodiscard]] const Unit& operator[](UnitId id) const { return units_[id]; }
  [[nodiscard]] std::size_t size() const { return units_.size(); }
  // Units with more dimensions come first: every unit stands after its descendants.
  [[nodiscard]] const std::vector<UnitId>& deepest_first() const { return deepest_first_; }
  [[nodiscard]] const std::vector<UnitId>& in_order_of_names() const { return in_order_of_names_; }

 private:
  std::vector<Unit> units_;
  std::vector<UnitId> deepest_first_;
  std::vector<UnitId> in_order_of_names_;
  struct NameHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const { return std::hash<std::string_view>{}(name); }
  };

  std::unordered_map<std::string, UnitId, NameHash, std::equal_to<>> by_name_;  // asked for every count of every call
  std::map<std::string, UnitId, std::less<>> by_price_key_;
};

// The largest count of one unit that is accepted: no single call comes near, and products with rates stay within 128
// bits.
inline constexpr std::int64_t quantity_max = 10'000'000'000;

class Usage {
 public:
  // The counts as reported. Faults, with pointers relative to `/usage`, for unknown units, for counts out of range, and
  // for a unit that exceeds one that contains it (more cached than input tokens).
  static Result<Usage> of(const std::map<std::string, std::int64_t>& counts, std::string_view pointer);

  // Counts as stored; unknown units are left out.
  void set(UnitId unit, std::int64_t quantity);

  // 0 when it was not.
  [[nodiscard]] std::int64_t reported(UnitId unit) const { return is_reported(unit) ? quantities_[place_of(unit)] : 0; }
  [[nodiscard]] bool is_reported(UnitId unit) const { return (reported_ >> unit & 1) != 0; }
  [[nodiscard]] UnitSet reported_units() const { return reported_; }

  // Reported, or else what its parts add up to: a reporter that names cache reads but no input still sent input.
  [[nodiscard]] std::int64_t quantity(UnitId unit) const;

  [[nodiscard]] std::map<std::string, std::int64_t> counts() const;

  // A fault for each reported unit that exceeds one that contains it, with its name as the pointer.
  [[nodiscard]] std::vector<FieldError> excesses() const;

  // From the columns of a stored call: without `input_tokens` the usage is unknown; `others` is a JSON object of the
  // counts that have no column. Units that no longer exist are left out.
  static Usage stored(std::optional<std::int64_t> input_tokens, std::optional<std::int64_t> output_tokens,
                      std::optional<std::int64_t> cache_read_tokens, std::optional<std::int64_t> cache_write_tokens,
                      const std::optional<std::string>& others);

 private:
  // Among the reported units, in their order.
  [[nodiscard]] std::size_t place_of(UnitId unit) const {
    return static_cast<std::size_t>(std::popcount(reported_ & ((UnitSet{1} << unit) - 1)));
  }

  UnitSet reported_ = 0;
  boost::container::small_vector<std::int64_t, 4> quantities_;  // of the reported units: few of them, of many events
};

// An object of counts by name of the unit, as a caller reports it; whether parts exceed their wholes is not looked at.
// `rules.max_length` bounds the number of members, `rules.min` and `rules.max` the counts.
void read(json::Cursor& in, Usage& out, json::Faults& faults, const json::Rules& rules);

}  // namespace cognive::prices

namespace cognive::json {
template <>
inline void schema_members<prices::Usage>(Writer& out, const Rules& rules, Components& components) {
  schema_members<std::map<std::string, std::int64_t>>(out, rules, components);
}
}  // namespace cognive::json
