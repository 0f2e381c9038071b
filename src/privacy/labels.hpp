// Names that tell what their value is: password, api_key, phone.
#pragma once

#include <string_view>

#include "privacy/view.hpp"

namespace cognive::privacy {

enum class Label {
  none,
  weak,    // token, api_key: also of things that are no secrets, so the value must look like one
  strong,  // password, secret: whatever follows
};

// Of a name, or of a text that ends with one.
Label label_of(std::string_view name);

// Whether the whole quoted `value` of something so labelled is a secret; not so placeholders, masks and nothing.
bool is_secret(Label label, std::string_view value);

// Long enough, and made of what tokens are made of.
bool looks_like_token(std::string_view value);

// Of a word of letters: phone, Telefonnummer, mobile …
bool is_phone_word(std::string_view word);
// Of the name of a field: contactPhone, phone_number.
bool is_phone_name(std::string_view name);
// Whether a phone word stands before `at`, with nothing but words such as "number is" between. `named` is the answer
// when the text starts there.
bool follows_phone_word(const View& view, std::size_t at, bool named);

}  // namespace cognive::privacy
