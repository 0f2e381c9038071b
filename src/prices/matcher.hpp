// The rules by which a name, as a caller writes it, is recognised as a provider or model of the catalogue.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "json/cursor.hpp"

namespace re2 {
class RE2;
}

namespace cognive::prices {

// A tree of {"equals":…}, {"starts_with":…}, {"ends_with":…}, {"contains":…}, {"regex":…}, {"or":[…]}, {"and":[…]}.
// Case is ignored.
class Matcher {
 public:
  // Throws json::Malformed for anything else, and for a regex that RE2 does not take.
  static Matcher read(json::Cursor& in);

  Matcher(Matcher&&) noexcept;
  Matcher& operator=(Matcher&&) noexcept;
  ~Matcher();

  // `name` in lower case.
  [[nodiscard]] bool matches(std::string_view name) const;

 private:
  enum class Operator { equals, starts_with, ends_with, contains, regex, any_of, all_of };

  Matcher();

  Operator operator_ = Operator::equals;
  std::string text_;  // lower case
  std::unique_ptr<re2::RE2> regex_;
  std::vector<Matcher> parts_;
};

}  // namespace cognive::prices
