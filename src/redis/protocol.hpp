// What goes over the line: commands and replies (RESP2), apart from any line.
// https://redis.io/docs/latest/develop/reference/protocol-spec/
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cognive::redis {

struct Reply {
  enum class Kind { null, integer, text, error, list };

  Kind kind = Kind::null;
  std::int64_t integer = 0;
  std::string text;  // of an error its message, which begins with its kind: "NOSCRIPT No matching script"
  std::vector<Reply> items;

  [[nodiscard]] bool is_error(std::string_view what) const { return kind == Kind::error && text.starts_with(what); }
};

// A command is its name and its arguments, any bytes.
using Command = std::vector<std::string>;

void append(std::string& out, const Command& command);

// Takes bytes as they come, gives replies as they are complete.
class ReplyReader {
 public:
  ReplyReader();
  ReplyReader(const ReplyReader&) = delete;
  ReplyReader& operator=(const ReplyReader&) = delete;
  ~ReplyReader();

  void feed(std::string_view bytes);
  // Nothing: more has to come first. Throws std::runtime_error when it is no RESP2, or a reply is longer than 64 MiB.
  std::optional<Reply> next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cognive::redis
