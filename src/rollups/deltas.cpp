#include "rollups/deltas.hpp"

#include "rollups/latency.hpp"
#include "rollups/periods.hpp"

namespace cognive::rollups {
namespace {

// Sums above it are put aside before the next one is added. Tokens of single calls are far below it.
constexpr std::int64_t sum_max = INT64_MAX / 4;

void append(std::string& out, const Uuid& id) {
  out.append(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size());
}

bool is_large(std::int64_t value) {
  return value > sum_max || value < -sum_max;
}

// Whether `cost_nanos` more would not fit.
bool is_full(const Deltas::Sums& sums, std::int64_t cost_nanos) {
  std::int64_t ignored = 0;
  return __builtin_add_overflow(sums.cost_nanos, cost_nanos, &ignored) || std::ranges::any_of(sums.tokens, is_large);
}

void add_up(Deltas::Sums& out, const Deltas::Sums& other) {
  out.calls += other.calls;
  out.errors += other.errors;
  out.usage_calls += other.usage_calls;
  for (std::size_t i = 0; i < out.tokens.size(); ++i) out.tokens[i] += other.tokens[i];
  out.cost_nanos += other.cost_nanos;
  out.first_at = std::min(out.first_at, other.first_at);
  out.last_at = std::max(out.last_at, other.last_at);
  for (const auto& [bucket, count] : other.latencies) out.add_latency(bucket, count);
}

void count(Deltas::Sums& sums, const Facts& facts, std::int32_t sign) {
  sums.calls += sign;
  if (facts.failed) sums.errors += sign;
  if (facts.is_usage_known) sums.usage_calls += sign;
  for (std::size_t i = 0; i < sums.tokens.size(); ++i) sums.tokens[i] += sign * facts.tokens[i];
  if (facts.duration_ms) sums.add_latency(latency_bucket(*facts.duration_ms), sign);
}

}  // namespace

void Deltas::Sums::add_latency(std::int16_t bucket, std::int64_t count) {
  const auto known = std::ranges::find(latencies, bucket, &std::pair<std::int16_t, std::int64_t>::first);
  if (known == latencies.end()) {
    latencies.emplace_back(bucket, count);
  } else {
    known->second += count;
  }
}

Deltas::Sums& Deltas::at(const Key& key, std::int64_t cost_nanos) {
  auto& text = scratch_;
  text.clear();
  const auto hour = period_of(key.timestamp, hour_micros).micros;
  text.append(reinterpret_cast<const char*>(&hour), sizeof(hour));
  append(text, key.team_id);
  append(text, key.agent_id);
  for (const auto part : {key.environment, key.provider, key.model, key.price_status}) {
    text += part;
    text.push_back('\0');  // none of them has one inside
  }
  auto found = sums_.find(std::string_view(text));
  if (found == sums_.end()) found = sums_.try_emplace(text).first;
  auto& sums = found->second;
  if (is_full(sums, cost_nanos)) full_.emplace_back(text, std::exchange(sums, {}));
  return sums;
}

void Deltas::add(const Key& key, const Facts& facts) {
  auto& sums = at(key, facts.cost_nanos);
  count(sums, facts, 1);
  sums.cost_nanos += facts.cost_nanos;
  sums.first_at = std::min(sums.first_at, key.timestamp);
  sums.last_at = std::max(sums.last_at, key.timestamp);
}

void Deltas::subtract(const Key& key, const Facts& facts) {
  auto& sums = at(key, -facts.cost_nanos);
  count(sums, facts, -1);
  sums.cost_nanos -= facts.cost_nanos;
  sums.first_at = std::min(sums.first_at, key.timestamp);
  sums.last_at = std::max(sums.last_at, key.timestamp);
}

void Deltas::add_cost(const Key& key, std::int64_t difference_nanos) {
  auto& sums = at(key, difference_nanos);
  sums.cost_nanos += difference_nanos;
  sums.first_at = std::min(sums.first_at, key.timestamp);
  sums.last_at = std::max(sums.last_at, key.timestamp);
}

void Deltas::add(const std::string& key, const Sums& other) {
  auto& sums = sums_[key];
  if (is_full(sums, other.cost_nanos)) full_.emplace_back(key, std::exchange(sums, {}));
  add_up(sums, other);
}

void Deltas::add(const Key& key, const Sums& sums) {
  add_up(at(key, sums.cost_nanos), sums);
}

void Deltas::merge(const Deltas& other) {
  for (const auto& [key, sums] : other.sums_) add(key, sums);
  full_.insert(full_.end(), other.full_.begin(), other.full_.end());
}

std::vector<Deltas::Row> Deltas::rows() const {
  std::vector<Row> out;
  out.reserve(size());
  const auto add_row = [&out](std::string_view key, const Sums& sums) {
    auto& row = out.emplace_back();
    std::memcpy(&row.hour.micros, key.data(), sizeof(row.hour.micros));
    key.remove_prefix(sizeof(row.hour.micros));
    for (auto* id : {&row.team_id, &row.agent_id}) {
      std::memcpy(id->bytes.data(), key.data(), id->bytes.size());
      key.remove_prefix(id->bytes.size());
    }
    for (auto* text : {&row.environment, &row.provider, &row.model, &row.price_status}) {
      const auto end = key.find('\0');
      text->assign(key.substr(0, end));
      key.remove_prefix(end + 1);
    }
    row.sums = &sums;
  };
  for (const auto& [key, sums] : full_) add_row(key, sums);
  for (const auto& [key, sums] : sums_) add_row(key, sums);
  return out;
}

}  // namespace cognive::rollups
