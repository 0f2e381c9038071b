#include "prices/matcher.hpp"

#include <re2/re2.h>

#include "base/text.hpp"

namespace cognive::prices {

Matcher::Matcher() = default;
Matcher::Matcher(Matcher&&) noexcept = default;
Matcher& Matcher::operator=(Matcher&&) noexcept = default;
Matcher::~Matcher() = default;

Matcher Matcher::read(json::Cursor& in) {
  Matcher out;
  int clauses = 0;
  in.each_field([&](std::string_view key, json::Cursor& value) {
    ++clauses;
    if (key == "or" || key == "and") {
      out.operator_ = key == "or" ? Operator::any_of : Operator::all_of;
      value.each_item([&](std::size_t, json::Cursor& part) { out.parts_.push_back(read(part)); });
      return;
    }
    if (key == "equals") {
      out.operator_ = Operator::equals;
    } else if (key == "starts_with") {
      out.operator_ = Operator::starts_with;
    } else if (key == "ends_with") {
      out.operator_ = Operator::ends_with;
    } else if (key == "contains") {
      out.operator_ = Operator::contains;
    } else if (key == "regex") {
      out.operator_ = Operator::regex;
      re2::RE2::Options options;
      options.set_case_sensitive(false);
      options.set_log_errors(false);
      const auto pattern = value.string();
      out.regex_ = std::make_unique<re2::RE2>(re2::StringPiece(pattern.data(), pattern.size()), options);
      if (!out.regex_->ok()) throw json::Malformed("a match rule holds a regular expression that RE2 refuses");
      return;
    } else {
      throw json::Malformed("a match rule has an unknown operator");
    }
    out.text_ = lower(value.string());
  });
  if (clauses != 1) throw json::Malformed("a match rule must have exactly one operator");
  return out;
}

bool Matcher::matches(std::string_view name) const {
  switch (operator_) {
    case Operator::equals:
      return name == text_;
    case Operator::starts_with:
      return name.starts_with(text_);
    case Operator::ends_with:
      return name.ends_with(text_);
    case Operator::contains:
      return name.find(text_) != std::string_view::npos;
    case Operator::regex:
      return re2::RE2::PartialMatch(re2::StringPiece(name.data(), name.size()), *regex_);
    case Operator::any_of:
      return std::ranges::any_of(parts_, [&](const auto& part) { return part.matches(name); });
    case Operator::all_of:
      return std::ranges::all_of(parts_, [&](const auto& part) { return part.matches(name); });
  }
  return false;
}

}  // namespace cognive::prices
