// Latencies in logarithmic buckets: constant memory for any number of requests, at most 1.6 % off.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <cstdint>

namespace cognive::bench {

class Histogram {
 public:
  void record(std::chrono::nanoseconds latency) {
    const auto value = static_cast<std::uint64_t>(latency.count() < 0 ? 0 : latency.count());
    ++counts_[index_of(value)];
    ++total_;
  }

  void add(const Histogram& other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    total_ += other.total_;
  }

  [[nodiscard]] std::uint64_t total() const { return total_; }

  // Milliseconds that `share` (0 to 1) of the requests did not exceed; 0 when there were none.
  [[nodiscard]] double percentile_ms(double share) const {
    const double wanted = share * static_cast<double>(total_);
    double seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += static_cast<double>(counts_[i]);
      if (seen >= wanted && counts_[i] > 0) return static_cast<double>(upper_of(i)) / 1e6;
    }
    return 0;
  }

 private:
  static constexpr unsigned sub_bits = 6;  // 64 buckets to every power of two
  static constexpr std::uint64_t sub_count = std::uint64_t{1} << sub_bits;
  static constexpr unsigned exponent_max = 42;  // nanoseconds: more than an hour

  static std::size_t index_of(std::uint64_t value) {
    if (value < sub_count) return value;
    const auto exponent = static_cast<unsigned>(std::bit_width(value)) - 1;
    if (exponent > exponent_max) return (exponent_max - sub_bits + 2) * sub_count - 1;
    return (exponent - sub_bits + 1) * sub_count + ((value >> (exponent - sub_bits)) & (sub_count - 1));
  }

  static std::uint64_t upper_of(std::size_t index) {
    if (index < sub_count) return index;
    const auto shift = static_cast<unsigned>(index / sub_count) - 1;
    return ((index % sub_count + sub_count + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (exponent_max - sub_bits + 2) * sub_count> counts_{};
  std::uint64_t total_ = 0;
};

}  // namespace cognive::bench
