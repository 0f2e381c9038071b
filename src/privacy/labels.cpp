#include "privacy/labels.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "base/text.hpp"

namespace cognive::privacy {
namespace {

using namespace characters;

constexpr std::array<std::string_view, 12> passwords = {"password", "passwort", "passwd",     "pwd",
                                                        "secret",   "kennwort", "contraseña", "contrasena",
                                                        "senha",    "passcode", "passphrase", "mot de passe"};

// Of keys that unlock: api_key, apiKey, "API key". A primary key does not.
constexpr std::array<std::string_view, 9> owners_of_keys = {"api",     "access",     "private", "auth",   "account",
                                                            "signing", "encryption", "master",  "session"};

constexpr std::array<std::string_view, 46> fillers = {
    "number", "numbers", "no", "nr",  "num",  "nummer", "numero", "número", "numéro", "is",   "at",   "on",
    "me",     "us",      "my", "our", "her",  "his",    "him",    "them",   "the",    "a",    "to",   "ist",
    "est",    "es",      "au", "al",  "el",   "le",     "la",     "unter",  "lautet", "work", "home", "office",
    "or",     "oder",    "ou", "via", "also", "s",      "sie",    "mich",   "sur",    "en"};

bool ends_with(std::string_view name, std::string_view ending) {
  if (name.size() < ending.size() || lower_of(name.back()) != ending.back()) return false;
  return equal_ignoring_case(name.substr(name.size() - ending.size()), ending);
}

bool is_placeholder(std::string_view value) {
  constexpr std::string_view openings = "$<{*[%";
  return value.empty() || openings.contains(value.front()) || value.starts_with("...") || value.starts_with("…");
}

bool is_word_byte(char c) {
  return is_letter(c) || is(c, high);
}

}  // namespace

Label label_of(std::string_view name) {
  for (const auto word : passwords)
    if (ends_with(name, word)) return Label::strong;
  if (ends_with(name, "token") || ends_with(name, "authorization")) return Label::weak;
  if (!ends_with(name, "key")) return Label::none;
  name.remove_suffix(3);
  if (name.ends_with('_') || name.ends_with('-') || name.ends_with(' ')) name.remove_suffix(1);
  if (ends_with(name, "secret")) return Label::strong;
  for (const auto owner : owners_of_keys)
    if (ends_with(name, owner)) return Label::weak;
  return Label::none;
}

bool looks_like_token(std::string_view value) {
  if (!std::ranges::all_of(value, is_token)) return false;
  const bool digits = std::ranges::any_of(value, is_digit);
  if (digits) return value.size() >= 8;
  const bool mixed = std::ranges::any_of(value, [](char c) { return is(c, upper); }) &&
                     std::ranges::any_of(value, [](char c) { return is(c, lower); });
  return value.size() >= (mixed ? 16U : 24U) && value.find('.') == std::string_view::npos;
}

bool is_secret(Label label, std::string_view value) {
  if (label == Label::none || is_placeholder(value)) return false;
  return label == Label::strong || looks_like_token(value);
}

bool is_phone_word(std::string_view word) {
  const std::string text = cognive::lower(word);
  for (const std::string_view exact : {"tel", "cell", "fax", "call", "dial", "ring", "sms", "handy", "bel", "portable"})
    if (text == exact) return true;
  for (const std::string_view start : {"mobil", "móvil", "movil", "celular", "téléph", "teléf", "tél", "handynummer",
                                       "telnr", "rufnummer", "appel", "llám", "llam", "whatsapp", "faxn"})
    if (text.starts_with(start)) return true;
  return text.contains("phone") || text.contains("telef");
}

bool is_phone_name(std::string_view name) {
  std::size_t begin = 0;
  while (begin < name.size()) {
    std::size_t end = begin;
    while (end < name.size() && is_word_byte(name[end])) ++end;
    const auto word = name.substr(begin, end - begin);
    // A call is not a phone in names: call_id.
    if (word != "call" && word != "portable" && is_phone_word(word)) return true;
    begin = end + 1;
  }
  return false;
}

bool follows_phone_word(const View& view, std::size_t at, bool named) {
  constexpr int words_max = 5;
  constexpr std::size_t word_length_max = 24;
  for (int word = 0; word < words_max; ++word) {
    std::size_t end = at;
    while (at > view.floor() && at + 6 > end && std::string_view(" .:=#\"'_-(\t\\>").contains(view.at(at - 1))) --at;
    if (at == view.floor()) return named && view.floor() == 0;
    end = at;
    while (at > view.floor() && end - at < word_length_max && is_word_byte(view.at(at - 1))) --at;
    const auto text = view.slice(at, end);
    if (text.empty() || is_digit(view.before(at))) return false;
    if (is_phone_word(text)) return true;
    if (std::ranges::find(fillers, cognive::lower(text)) == fillers.end()) return false;
  }
  return false;
}

}  // namespace cognive::privacy
