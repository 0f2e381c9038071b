// Durations as histograms that can be added up. Buckets hold whole milliseconds and grow by a tenth each, so that what
// is read from one is at most 4.8 % off; below 20 ms each duration has its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cognive::rollups {

// The lowest duration of each bucket, in milliseconds, ascending; the first is 0. Part of what is stored: they must
// never change.
const std::vector<std::int64_t>& latency_bounds();

// The bucket of a duration ≥ 0, counted from 0.
std::int16_t latency_bucket(std::int64_t duration_ms);

// What a duration in the bucket is taken for, in milliseconds.
std::int64_t latency_of_bucket(std::int16_t bucket);

}  // namespace cognive::rollups
