// What `store: redacted` keeps of inputs, outputs, prompts and tool arguments: the text without what identifies a
// person or unlocks something. Each find is replaced by the name of its kind in brackets.
//
//   redact("write to ann@example.com or call (555) 123-4567") == "write to [email] or call [phone]"
//
// Passes without backtracking, and few of them: time is linear in the text, whatever it contains. Any bytes may come;
// UTF-8 stays UTF-8, and redacting twice changes nothing more. It is pattern matching, so it misses things and takes
// some for what they are not; docs/privacy.md says which.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace cognive::privacy {

// What was masked, by kind.
struct Counts {
  std::size_t email = 0;
  std::size_t phone = 0;
  std::size_t card = 0;
  std::size_t iban = 0;
  std::size_t key = 0;  // passwords, API keys, private keys
  std::size_t jwt = 0;

  [[nodiscard]] std::size_t total() const { return email + phone + card + iban + key + jwt; }
  Counts& operator+=(const Counts& other);
};

// `counts`, if given, is added to.
std::string redact(std::string_view text, Counts* counts = nullptr);

// The same inside JSON: strings, names of fields as well, and strings that hold JSON themselves (tool arguments). The
// name of a field tells about its value: {"password": "x y"}, {"phone": "5551234567"}. A number that is a card, or that
// such a name marks, becomes a string; all other text is kept byte for byte. Two names of fields may become the same.
// Text that is not JSON is redacted as text.
std::string redact_json(std::string_view json, Counts* counts = nullptr);

}  // namespace cognive::privacy
