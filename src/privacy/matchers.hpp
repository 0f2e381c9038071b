// One function per kind of find. Each gets the position of the character that gave rise to the question, looks around
// it, and answers with what has to be masked. Each looks at a bounded stretch, or at one that no other call of it looks
// at again: that keeps the whole linear.
#pragma once

#include <cstddef>
#include <string_view>

#include "privacy/view.hpp"

namespace cognive::privacy {

// `at` is an @, or a %40 of an address in a URL.
Match match_email(const View& view, std::size_t at);

// `at` is a digit before which no digit stands.
Match match_card(const View& view, std::size_t at);
// `at` is a digit; two letters of a country must precede it.
Match match_iban(const View& view, std::size_t at);
// `at` is a digit, a plus or an opening parenthesis. `named`: what the text is the value of is called a phone.
Match match_phone(const View& view, std::size_t at, bool named);

// The two above, which share their reading of the number.
Match match_number(const View& view, std::size_t at, bool named);

// 13 to 19 digits that are written as an issuer of payment cards would, with their check digit.
bool is_card_number(std::string_view digits);

// `at` is one of - _ . or the I of AKIA, ASIA or AIza.
Match match_key(const View& view, std::size_t at);
// `at` is the second letter of what a token's header starts with: ey or ew.
Match match_jwt(const View& view, std::size_t at);
// `at` is the first letter of Bearer or Basic.
Match match_authorization(const View& view, std::size_t at);
// `at` is a colon or equals sign; a name such as password or api_key must precede it.
Match match_labelled(const View& view, std::size_t at);
// `at` is the w of password: "my password is …".
Match match_told_password(const View& view, std::size_t at);

}  // namespace cognive::privacy
