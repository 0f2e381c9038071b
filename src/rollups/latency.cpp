#include "rollups/latency.hpp"

#include <algorithm>

namespace cognive::rollups {
namespace {

constexpr std::int64_t duration_max = 40'000'000'000;  // more than a year, which is the most that an event may say

std::vector<std::int64_t> make_bounds() {
  std::vector<std::int64_t> out;
  for (std::int64_t bound = 0; bound <= duration_max; bound = std::max(bound + 1, bound * 11 / 10))
    out.push_back(bound);
  return out;
}

}  // namespace

const std::vector<std::int64_t>& latency_bounds() {
  static const auto bounds = make_bounds();
  return bounds;
}

std::int16_t latency_bucket(std::int64_t duration_ms) {
  const auto& bounds = latency_bounds();
  const auto above = std::ranges::upper_bound(bounds, std::max<std::int64_t>(duration_ms, 0));
  return static_cast<std::int16_t>(above - bounds.begin() - 1);
}

std::int64_t latency_of_bucket(std::int16_t bucket) {
  const auto& bounds = latency_bounds();
  const auto index =
      static_cast<std::size_t>(std::clamp<std::int16_t>(bucket, 0, static_cast<std::int16_t>(bounds.size() - 2)));
  const auto low = bounds[index];
  const auto high = bounds[index + 1] - 1;
  // The harmonic mean is as far from either end, relative to it.
  if (high == 0) return 0;
  const auto doubled = static_cast<__int128>(2 * low) * high + (low + high) / 2;
  return static_cast<std::int64_t>(doubled / (low + high));
}

}  // namespace cognive::rollups
