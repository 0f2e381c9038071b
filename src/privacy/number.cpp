#include "privacy/number.hpp"

#include <algorithm>
#include <string>

#include "privacy/labels.hpp"
#include "privacy/matchers.hpp"

namespace cognive::privacy {
namespace {

using namespace characters;

struct Separator {
  std::size_t length = 0;
  char kind = '\0';
};

// A space, dash, dot or slash, in ASCII or as typesetters write them.
Separator single_separator(const View& view, std::size_t at) {
  switch (view.at(at)) {
    case ' ':
      return {1, ' '};
    case '-':
    case '.':
    case '/':
      return {1, view.at(at)};
    case '\xC2':
      if (view.at(at + 1) == '\xA0') return {2, ' '};
      return {};
    case '\xE2':
      if (view.at(at + 1) != '\x80') return {};
      if (view.at(at + 2) == '\xAF') return {3, ' '};
      if (view.at(at + 2) == '\x90' || view.at(at + 2) == '\x91' || view.at(at + 2) == '\x93') return {3, '-'};
      return {};
    default:
      return {};
  }
}

// Also " / " and " - ", which people put after an area code.
Separator separator_at(const View& view, std::size_t at, bool after_area) {
  const auto first = single_separator(view, at);
  if (first.kind != ' ' || !after_area) return first;
  const auto second = single_separator(view, at + first.length);
  if (second.kind != '-' && second.kind != '/') return first;
  if (view.at(at + first.length + second.length) != ' ') return first;
  return {first.length + second.length + 1, second.kind};
}

char digit_at(const View& view, const Number& number, std::size_t index) {
  return view.at(number.groups[0].begin + index);
}

std::size_t value_of(const View& view, const Group& group) {
  std::size_t value = 0;
  for (std::size_t i = group.begin; i < group.end; ++i) value = value * 10 + static_cast<std::size_t>(view.at(i) - '0');
  return value;
}

// 24.11.2026, 2026-11-24, 11/24/2026 and what goes on after one.
bool starts_with_date(const View& view, const Number& number) {
  if (number.count < 3) return false;
  const auto& groups = number.groups;
  const char separator = groups[1].separator;
  if (separator != groups[2].separator || (separator != '-' && separator != '.' && separator != '/')) return false;
  const auto fits = [&](const Group& year, const Group& month, const Group& day) {
    if (year.length() != 4 || month.length() > 2 || day.length() > 2) return false;
    const auto value = value_of(view, year);
    return value >= 1000 && value < 3000 && value_of(view, month) <= 31 && value_of(view, day) <= 31;
  };
  return fits(groups[0], groups[1], groups[2]) || fits(groups[2], groups[0], groups[1]);
}

bool boundary_before(const View& view, std::size_t begin) {
  const char c = view.before(begin);
  if (!view.starts_word(begin)) return false;
  const char second = begin > view.floor() ? view.before(begin - 1) : '\0';
  switch (c) {
    case '-':
    case '/':
      return !is_word(second);
    case '.':
    case ':':
      return !is_digit(second);
    case '+':
    case '@':
      return false;
    default:
      return true;
  }
}

bool boundary_after(const View& view, std::size_t end) {
  const char c = view.at(end);
  if (is_word(c) || c == '@') return false;
  if (c == '%') return view.at(end + 1) != '4' || view.at(end + 2) != '0';
  if (c == '-') return !is_alphanumeric(view.at(end + 1));
  if (c == '.') return !is_digit(view.at(end + 1));
  return true;
}

// ------------------------------------------------------------------------------------------------ payment cards

bool luhn(std::string_view digits) {
  unsigned sum = 0;
  bool twice = false;
  for (std::size_t i = digits.size(); i > 0; --i) {
    unsigned value = static_cast<unsigned>(digits[i - 1] - '0') * (twice ? 2U : 1U);
    if (value > 9) value -= 9;
    sum += value;
    twice = !twice;
  }
  return sum % 10 == 0;
}

struct Issuer {
  unsigned first;  // of the first four digits
  unsigned last;
  std::size_t length_min;
  std::size_t length_max;
};

constexpr std::array<Issuer, 22> issuers = {{
    {2200, 2204, 16, 19},                                              // Mir
    {2221, 2720, 16, 16},                                              // Mastercard
    {3000, 3059, 14, 14},                                              // Diners Club
    {3095, 3095, 14, 14}, {3400, 3499, 15, 15},                        // American Express
    {3528, 3589, 16, 19},                                              // JCB
    {3600, 3699, 14, 19},                                              // Diners Club
    {3700, 3799, 15, 15},                                              // American Express
    {3800, 3999, 14, 19},                                              // Diners Club
    {4000, 4999, 13, 13},                                              // Visa
    {4000, 4999, 16, 16}, {4000, 4999, 19, 19}, {5000, 5099, 16, 19},  // Maestro, RuPay
    {5100, 5599, 16, 16},                                              // Mastercard
    {5600, 5899, 16, 19},                                              // Maestro
    {6011, 6011, 16, 19},                                              // Discover
    {6200, 6299, 16, 19},                                              // UnionPay
    {6304, 6304, 16, 19},                                              // Maestro
    {6440, 6599, 16, 19},                                              // Discover, RuPay
    {6759, 6763, 16, 19},                                              // Maestro
    {8100, 8299, 16, 19},                                              // UnionPay, RuPay
    {9792, 9792, 16, 16},                                              // Troy
}};

bool issued(std::string_view digits) {
  unsigned first = 0;
  for (const char c : digits.substr(0, 4)) first = first * 10 + static_cast<unsigned>(c - '0');
  return std::ranges::any_of(issuers, [&](const Issuer& issuer) {
    return first >= issuer.first && first <= issuer.last && digits.size() >= issuer.length_min &&
           digits.size() <= issuer.length_max;
  });
}

// In one piece, or in the groups that are printed on cards: 4-4-4-4, with a remainder, 4-6-5 and 4-6-4.
bool grouped_as_card(const Number& number, std::size_t count) {
  const auto& groups = number.groups;
  if (count == 1) return true;
  for (std::size_t i = 1; i < count; ++i) {
    if (groups[i].parentheses || groups[i].separator != groups[1].separator) return false;
    if (groups[i].separator != ' ' && groups[i].separator != '-') return false;
  }
  if (groups[0].length() != 4) return false;
  if (count == 3) return groups[1].length() == 6 && (groups[2].length() == 5 || groups[2].length() == 4);
  if (count != 4 && count != 5) return false;
  return groups[1].length() == 4 && groups[2].length() == 4 && groups[3].length() == 4 &&
         (count == 4 || groups[4].length() <= 3);
}

std::string digits_of(const View& view, const Number& number, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += view.slice(number.groups[i].begin, number.groups[i].end);
  return out;
}

// ------------------------------------------------------------------------------------------------ phones

struct Country {
  unsigned code;
  std::size_t digits_max;  // of a whole number with the code
};

// Where numbers end, for the codes that are met most; without it the next figure of the sentence would be taken along.
constexpr std::array<Country, 49> countries = {{
    {1, 11},   {7, 11},   {20, 12},  {27, 11},  {30, 12},  {31, 11},  {32, 11},  {33, 11},  {34, 11},  {36, 11},
    {39, 12},  {40, 11},  {41, 11},  {43, 13},  {44, 12},  {45, 10},  {46, 12},  {47, 10},  {48, 11},  {49, 13},
    {51, 11},  {52, 12},  {54, 13},  {55, 13},  {56, 11},  {57, 12},  {60, 12},  {61, 11},  {62, 13},  {63, 12},
    {64, 12},  {65, 10},  {66, 11},  {81, 12},  {82, 12},  {84, 12},  {86, 13},  {90, 12},  {91, 12},  {92, 12},
    {351, 12}, {352, 12}, {353, 12}, {358, 13}, {380, 12}, {420, 12}, {852, 11}, {966, 12}, {971, 12},
}};

std::size_t digits_max_of(std::string_view international) {
  unsigned code = 0;
  for (std::size_t i = 0; i < 3 && i < international.size(); ++i) {
    code = code * 10 + static_cast<unsigned>(international[i] - '0');
    const auto found = std::ranges::find(countries, code, &Country::code);
    if (found != countries.end()) return found->digits_max;
  }
  return 13;
}

// The 0 in +49 (0)30 is dialled at home only.
bool is_trunk(const View& view, const Group& group) {
  return group.parentheses && group.length() == 1 && view.at(group.begin) == '0';
}

struct Candidate {
  const View& view;
  const Number& number;
  std::size_t count;   // of groups
  std::size_t digits;  // without a trunk prefix

  [[nodiscard]] const Group& group(std::size_t index) const { return number.groups[index]; }
  [[nodiscard]] char first() const { return digit_at(view, number, 0); }
};

Candidate candidate_of(const View& view, const Number& number, std::size_t count) {
  std::size_t digits = 0;
  for (std::size_t i = 0; i < count; ++i)
    if (!is_trunk(view, number.groups[i])) digits += number.groups[i].length();
  return {.view = view, .number = number, .count = count, .digits = digits};
}

// +49 30 901820, +1 (555) 123-4567, +49.30901820.
bool is_international(const Candidate& phone) {
  if (!phone.number.plus || phone.first() == '0') return false;
  const std::size_t longest = digits_max_of(phone.view.slice(phone.group(0).begin, phone.group(0).end));
  if (phone.digits < 8 || phone.digits > longest) return false;
  if (phone.first() == '1') return phone.digits == 11;
  const bool decimal = phone.count == 2 && phone.group(1).separator == '.' && phone.group(1).length() < 8;
  return !decimal;
}

// 0049 30 901820, 00 49 30 901820.
bool is_dialled_international(const Candidate& phone) {
  const auto& first = phone.group(0);
  const auto& view = phone.view;
  if (phone.number.plus || first.length() < 2 || phone.first() != '0' || view.at(first.begin + 1) != '0') return false;
  const bool alone = first.length() == 2;
  if (alone && (phone.count < 2 || phone.group(1).separator == '.')) return false;
  const auto& code = phone.group(alone ? 1 : 0);
  const auto international = view.slice(code.begin + (alone ? 0 : 2), code.end);
  if (international.starts_with('0')) return false;
  const std::size_t digits = phone.digits - 2;
  return digits >= 9 && digits <= digits_max_of(international) && phone.count > 1;
}

// 555-123-4567, (555) 123-4567, 1-800-555-0199.
bool is_north_american(const Candidate& phone) {
  if (phone.number.plus) return false;
  const std::size_t skipped = phone.count == 4 ? 1 : 0;
  if (phone.count != 3 + skipped) return false;
  if (skipped == 1 && (phone.group(0).length() != 1 || phone.first() != '1')) return false;
  const auto& area = phone.group(skipped);
  return area.length() == 3 && phone.view.at(area.begin) >= '2' && phone.group(skipped + 1).length() == 3 &&
         phone.group(skipped + 2).length() == 4 && !phone.group(skipped + 1).parentheses;
}

// 030 901820, 0171/1234567, 06.12.34.56.78.
bool is_national(const Candidate& phone) {
  const auto& area = phone.group(0);
  if (phone.number.plus || phone.count < 2 || phone.count > 5 || phone.first() != '0') return false;
  if (area.length() < 2 || area.length() > 6 || phone.view.at(area.begin + 1) == '0') return false;
  return phone.digits >= 9 && phone.digits <= (phone.count == 2 ? 12U : 11U);
}

// In the middle of a longer number, such as an account number with a wrong check digit.
bool continues_number(const View& view, std::size_t begin) {
  return view.before(begin) == ' ' && is_digit(view.before(begin - 1));
}

bool is_shaped_as_phone(const Candidate& phone) {
  if (is_international(phone) || is_north_american(phone)) return true;
  if (continues_number(phone.view, phone.number.begin)) return false;
  return is_dialled_international(phone) || is_national(phone);
}

bool may_end(const View& view, const Number& number, std::size_t count) {
  const auto& last = number.groups[count - 1];
  if (last.parentheses || !boundary_after(view, last.end)) return false;
  return count == number.count || number.groups[count].separator != '\0';
}

Match phone_span(const Number& number, std::size_t count) {
  return Span{.begin = number.begin, .end = number.groups[count - 1].end, .mask = Mask::phone};
}

// After "phone:" whatever has the length of a number is one, unseparated too.
Match match_announced(const View& view, const Number& number, bool named) {
  if (!follows_phone_word(view, number.begin, named)) return {};
  const std::size_t longest = number.groups[0].length() >= 9 ? 1 : number.count;
  for (std::size_t count = longest; count > 0; --count) {
    const auto phone = candidate_of(view, number, count);
    if (may_end(view, number, count) && phone.digits >= 7 && phone.digits <= 15) return phone_span(number, count);
  }
  return {};
}

Match card_of(const View& view, const Number& number) {
  constexpr std::size_t digits_min = 13;
  if (number.digits < digits_min || number.plus || number.groups[0].parentheses) return {};
  const std::size_t begin = number.begin;
  const char c = view.before(begin);
  // Unlike for phones an underscore or a slash may precede: check digit and issuer say enough.
  const bool free = boundary_before(view, begin) || c == '_' || (c == '/' && !is_digit(view.before(begin - 1)));
  if (!free) return {};
  for (std::size_t count = std::min<std::size_t>(number.count, 5); count > 0; --count) {
    if (!grouped_as_card(number, count) || !boundary_after(view, number.groups[count - 1].end)) continue;
    if (!is_card_number(digits_of(view, number, count))) continue;
    return Span{.begin = begin, .end = number.groups[count - 1].end, .mask = Mask::card};
  }
  return {};
}

Match phone_of(const View& view, const Number& number, bool named) {
  constexpr std::size_t digits_min = 7;
  if (number.digits < digits_min || !boundary_before(view, number.begin) || starts_with_date(view, number)) return {};
  for (std::size_t count = number.count; count > 0; --count) {
    if (!may_end(view, number, count)) continue;
    if (is_shaped_as_phone(candidate_of(view, number, count))) return phone_span(number, count);
  }
  return match_announced(view, number, named);
}

// ------------------------------------------------------------------------------------------------ IBAN

struct IbanLength {
  std::string_view country;
  std::size_t length;
};

constexpr std::array<IbanLength, 82> iban_lengths = {{
    {"ad", 24}, {"ae", 23}, {"al", 28}, {"at", 20}, {"az", 28}, {"ba", 20}, {"be", 16}, {"bg", 22}, {"bh", 22},
    {"br", 29}, {"by", 28}, {"ch", 21}, {"cr", 22}, {"cy", 28}, {"cz", 24}, {"de", 22}, {"dj", 27}, {"dk", 18},
    {"do", 28}, {"ee", 20}, {"eg", 29}, {"es", 24}, {"fi", 18}, {"fk", 18}, {"fo", 18}, {"fr", 27}, {"gb", 22},
    {"ge", 22}, {"gi", 23}, {"gl", 18}, {"gr", 27}, {"gt", 28}, {"hr", 21}, {"hu", 28}, {"ie", 22}, {"il", 23},
    {"iq", 23}, {"is", 26}, {"it", 27}, {"jo", 30}, {"kw", 30}, {"kz", 20}, {"lb", 28}, {"lc", 32}, {"li", 21},
    {"lt", 20}, {"lu", 20}, {"lv", 21}, {"ly", 25}, {"mc", 27}, {"md", 24}, {"me", 22}, {"mk", 19}, {"mn", 20},
    {"mr", 27}, {"mt", 31}, {"mu", 30}, {"ni", 28}, {"nl", 18}, {"no", 15}, {"om", 23}, {"pk", 24}, {"pl", 28},
    {"ps", 29}, {"pt", 25}, {"qa", 29}, {"ro", 24}, {"rs", 22}, {"ru", 33}, {"sa", 24}, {"sc", 31}, {"sd", 18},
    {"se", 24}, {"si", 19}, {"sk", 24}, {"sm", 27}, {"so", 23}, {"st", 25}, {"sv", 28}, {"tl", 23}, {"tn", 24},
    {"tr", 26},
}};

std::size_t iban_length_of(const View& view, std::size_t begin) {
  for (const auto& [country, length] : iban_lengths)
    if (view.has(begin, country)) return length;
  return 0;
}

// The remainder of what a letter or digit appends: letters count from 10.
unsigned appended(unsigned remainder, char c) {
  if (is_digit(c)) return (remainder * 10 + static_cast<unsigned>(c - '0')) % 97;
  return (remainder * 100 + static_cast<unsigned>(lower_of(c) - 'a') + 10) % 97;
}

}  // namespace

Number read_number(const View& view, std::size_t at) {
  Number number;
  number.begin = at;
  bool open = view.at(at) == '(';
  if (open) ++at;
  if (view.at(at) == '+') {
    number.plus = true;
    ++at;
  }
  char separator = '\0';
  while (number.count < Number::groups_max) {
    const std::size_t end = view.run(at, is_digit);
    if (end == at || end - at > Number::digits_max) break;
    if (open && view.at(end) != ')') break;
    number.digits += end - at;
    number.groups[number.count++] = {.begin = at, .end = end, .separator = separator, .parentheses = open};
    at = open ? end + 1 : end;
    const auto next = separator_at(view, at, number.count == 1);
    separator = next.kind;
    const std::size_t group = at + next.length;
    const bool opens = view.at(group) == '(';
    if (next.length == 0 && !open && !opens) break;
    open = opens;
    at = opens ? group + 1 : group;
  }
  return number;
}

bool is_card_number(std::string_view digits) {
  return digits.size() >= 13 && digits.size() <= 19 && issued(digits) && luhn(digits);
}

Match match_card(const View& view, std::size_t at) {
  return card_of(view, read_number(view, at));
}

Match match_iban(const View& view, std::size_t at) {
  if (at < view.floor() + 2 || !is_digit(view.at(at + 1))) return {};
  const std::size_t begin = at - 2;
  if (!is_letter(view.at(begin)) || !is_letter(view.at(begin + 1)) || !view.starts_word(begin)) return {};
  const std::size_t length = iban_length_of(view, begin);
  if (length == 0) return {};
  unsigned remainder = 0;
  std::size_t end = at + 2;
  std::size_t digits = 0;
  for (std::size_t seen = 4; seen < length; ++seen) {
    const auto separator = single_separator(view, end);
    if (separator.kind != '/') end += separator.length;
    const char c = view.at(end);
    if (!is_alphanumeric(c)) return {};
    if (is_digit(c)) ++digits;
    remainder = appended(remainder, c);
    ++end;
  }
  for (std::size_t i = begin; i < begin + 4; ++i) remainder = appended(remainder, view.at(i));
  // Words that happen to add up have few digits.
  if (remainder != 1 || digits < 8 || is_word(view.at(end))) return {};
  return Span{.begin = begin, .end = end, .mask = Mask::iban};
}

Match match_phone(const View& view, std::size_t at, bool named) {
  return phone_of(view, read_number(view, at), named);
}

Match match_number(const View& view, std::size_t at, bool named) {
  const auto number = read_number(view, at);
  if (auto card = card_of(view, number)) return card;
  return phone_of(view, number, named);
}

}  // namespace cognive::privacy
