// What the calls of one commit add to the rollups, summed up in memory and appended in that commit.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/decimal.hpp"
#include "base/time.hpp"
#include "base/uuid.hpp"

namespace cognive::rollups {

// What calls are told apart by. Borrows its texts.
struct Key {
  Timestamp timestamp;  // the hour of it counts
  Uuid team_id;
  Uuid agent_id;
  std::string_view environment;
  std::string_view provider;  // empty: not known
  std::string_view model;
  std::string_view price_status;
};

// What one call adds.
struct Facts {
  bool failed = false;
  bool is_usage_known = false;
  std::array<std::int64_t, 4> tokens{};  // input, output, cache read, cache write
  std::int64_t cost_nanos = 0;           // 0: unpriced
  std::optional<std::int64_t> duration_ms;
};

class Deltas {
 public:
  struct Sums {
    std::int64_t calls = 0;
    std::int64_t errors = 0;
    std::int64_t usage_calls = 0;  // calls whose usage is known
    std::array<std::int64_t, 4> tokens{};
    std::int64_t cost_nanos = 0;
    Timestamp first_at = Timestamp::max();
    Timestamp last_at = Timestamp::min();
    std::vector<std::pair<std::int16_t, std::int64_t>> latencies;  // bucket, calls; in no order

    void add_latency(std::int16_t bucket, std::int64_t count);
  };
  // A key as it is stored here, and its sums. A key appears more than once when its sums would not fit.
  struct Row {
    Timestamp hour;
    Uuid team_id;
    Uuid agent_id;
    std::string environment;
    std::string provider;
    std::string model;
    std::string price_status;
    const Sums* sums;
  };

  void add(const Key& key, const Facts& facts);
  // Takes away what `add` has added: of a call that moves to another key.
  void subtract(const Key& key, const Facts& facts);
  // A call that stays where it is and is charged differently.
  void add_cost(const Key& key, std::int64_t difference_nanos);
  void merge(const Deltas& other);
  // What has been added up before.
  void add(const Key& key, const Sums& sums);

  [[nodiscard]] bool empty() const { return sums_.empty() && full_.empty(); }
  [[nodiscard]] std::size_t size() const { return sums_.size() + full_.size(); }
  // Borrows from this.
  [[nodiscard]] std::vector<Row> rows() const;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  Sums& at(const Key& key, std::int64_t cost_nanos);
  void add(const std::string& key, const Sums& sums);

  std::string scratch_;
  std::unordered_map<std::string, Sums, Hash, std::equal_to<>> sums_;
  std::vector<std::pair<std::string, Sums>> full_;  // what was put aside before it would have overflown
};

}  // namespace cognive::rollups
