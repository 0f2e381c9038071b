// The decision itself: which of the reservations that wait are granted, in the order in which they came. Pure, so that
// it can be held against a model.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace cognive::budgets {

// A window as it is locked. Amounts are of its metric.
struct LockedWindow {
  std::int64_t id = 0;
  std::int64_t limit = 0;
  bool hard_stop = false;
  std::int64_t spent = 0;
  std::int64_t reserved = 0;

  // What may still be reserved; below zero when more has been charged than there was.
  [[nodiscard]] std::int64_t remaining() const;
};

// What one reservation wants to set aside on one window.
struct Want {
  std::size_t window = 0;   // position among the windows
  std::int64_t amount = 0;  // ≥ 0
};

// Sets aside all that is wanted, or nothing: then the position in `wants` of what does not fit. Where nothing is
// wanted, something must be left: what a call uses may not be known beforehand.
std::optional<std::size_t> reserve(std::span<LockedWindow> windows, std::span<const Want> wants);

}  // namespace cognive::budgets
