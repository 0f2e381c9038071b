#include "budgets/grants.hpp"

namespace cognive::budgets {

std::int64_t LockedWindow::remaining() const {
  std::int64_t taken = 0;
  std::int64_t left = 0;
  if (__builtin_add_overflow(spent, reserved, &taken)) return INT64_MIN;
  if (__builtin_sub_overflow(limit, taken, &left)) return INT64_MIN;
  return left;
}

std::optional<std::size_t> reserve(std::span<LockedWindow> windows, std::span<const Want> wants) {
  for (std::size_t i = 0; i < wants.size(); ++i) {
    const auto& window = windows[wants[i].window];
    std::int64_t ignored = 0;
    const bool fits_a_counter = !__builtin_add_overflow(window.reserved, wants[i].amount, &ignored);
    const auto least = wants[i].amount == 0 ? 1 : wants[i].amount;
    if (!fits_a_counter || (window.hard_stop && window.remaining() < least)) return i;
  }
  for (const auto& want : wants) windows[want.window].reserved += want.amount;
  return std::nullopt;
}

}  // namespace cognive::budgets
