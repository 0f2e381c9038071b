// Reading JSON: a cursor that walks a document once, front to back (simdjson on demand behind a compiled boundary).
//
// Every byte is validated although nothing is built: UTF-8 and quoting for the whole text first, each value as it is
// passed. Numbers are handed out as written, so that money never passes through a double.
#pragma once

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/function_ref.hpp"
#include "json/writer.hpp"

namespace cognive::json {

// Text that is not JSON (RFC 8259), or nested deeper than `depth_max`. Thrown inside the json folder; `walk` turns it
// into an Error.
class Malformed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline constexpr int depth_max = 64;

enum class Kind { null, boolean, number, string, array, object };

// One value at the reading position. Lives during the callback that received it; each value can be consumed once, and
// what a callback leaves unconsumed is validated and skipped.
class Cursor {
 public:
  Cursor(void* value, int depth) : value_(value), depth_(depth) {}

  [[nodiscard]] Kind kind() const;

  // Unescaped; valid while the document is.
  std::string_view string();
  // The token as written, checked against the grammar of JSON numbers.
  std::string_view number();
  bool boolean();

  // The key is unescaped and valid while the document is.
  void each_field(FunctionRef<void(std::string_view key, Cursor& value)> visit);
  void each_item(FunctionRef<void(std::size_t index, Cursor& value)> visit);

  // Of an object that is not consumed yet: the text member `name`, nothing when it has none. The object is left at its
  // start.
  std::optional<std::string> peek_string(std::string_view name);

  // Consumes the value, whatever it is, and checks that it is well-formed.
  void skip();
  // Consumes the value and writes it compactly. Empty, or the sentence that says what in it PostgreSQL could not store.
  std::string_view copy_to(Writer& out);
  // Consumes the value; for messages about it: its JSON text, at most 64 bytes of it.
  std::string excerpt();

 private:
  friend Result<void> walk(std::string& text, FunctionRef<void(Cursor&)> visit);

  void* value_;  // simdjson::ondemand::value*
  int depth_;
  bool consumed_ = false;
  bool empty_ = false;  // an object that was found to have no members
};

bool valid_utf8(std::string_view text);

// Parses `text` and visits its root. Code::malformed when it is not one JSON value; what `visit` saw until then must be
// dropped. `text` gains spare capacity (the parser reads in blocks) but keeps its content.
Result<void> walk(std::string& text, FunctionRef<void(Cursor&)> visit);

}  // namespace cognive::json
