// Writing JSON: appends to one string, nothing is built in between. Numbers that must be exact are written from their
// text.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace cognive::json {

class Writer {
 public:
  void begin_object() { open('{'); }
  void end_object() { close('}'); }
  void begin_array() { open('['); }
  void end_array() { close(']'); }

  // Inside an object: the name of the value that follows.
  void key(std::string_view name);

  void string(std::string_view value);
  void boolean(bool value) { raw(value ? "true" : "false"); }
  void null() { raw("null"); }
  void integer(std::int64_t value);
  void unsigned_integer(std::uint64_t value);
  // For measurements (ratios, percentages), never for money. Not-a-number and infinities become null.
  void real(double value);
  // JSON text made elsewhere; trusted to be valid.
  void raw(std::string_view json);

  void field(std::string_view name, std::string_view value) {
    key(name);
    string(value);
  }

  [[nodiscard]] const std::string& text() const& { return out_; }
  [[nodiscard]] std::string text() && { return std::move(out_); }

 private:
  void open(char c);
  void close(char c);
  void separate();

  std::string out_;
  bool first_ = true;
};

// A JSON string literal of `value`, with quotes.
std::string quoted(std::string_view value);

}  // namespace cognive::json
