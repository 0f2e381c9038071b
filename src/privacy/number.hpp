// Numbers as people write them: groups of digits with single separators, a plus or a parenthesis in front.
#pragma once

#include <array>
#include <cstddef>

#include "privacy/view.hpp"

namespace cognive::privacy {

struct Group {
  std::size_t begin;
  std::size_t end;
  char separator;    // before it: ' ', '-', '.', '/', or NUL for none
  bool parentheses;  // around it
  [[nodiscard]] std::size_t length() const { return end - begin; }
};

struct Number {
  static constexpr std::size_t groups_max = 8;
  static constexpr std::size_t digits_max = 20;  // of one group

  std::size_t begin = 0;
  bool plus = false;
  std::size_t digits = 0;
  std::size_t count = 0;
  std::array<Group, groups_max> groups;  // NOLINT: the first `count` are set
};

// The number that starts at `at`. Empty when nothing or a longer run of digits is there.
Number read_number(const View& view, std::size_t at);

}  // namespace cognive::privacy
