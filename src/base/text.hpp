// Small text helpers that several folders need.
#pragma once

#include <string>
#include <string_view>

namespace cognive {

// ASCII only: identifiers, header names, model names.
std::string lower(std::string_view text);
std::string_view trim(std::string_view text);
bool equal_ignoring_case(std::string_view a, std::string_view b);

// At most `length` bytes, cut at a code point, with an ellipsis when something was cut.
std::string shortened(std::string_view text, std::size_t length);

// One ASCII address as SMTP takes it between its brackets; whether it exists only a mail server knows.
bool looks_like_mail_address(std::string_view text);

// "19,366": groups of three for people.
std::string grouped(long long number);

}  // namespace cognive
