// Logs: one JSON object per line, with time, level, message and named fields. Never give it a secret or prompt text.
//
//   log(Level::warning, "replica ejected", {{"host", host}, {"lag_ms", lag}});
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace cognive {

enum class Level { debug, info, warning, error };

struct LogField {
  std::string_view name;
  std::variant<std::string_view, std::int64_t, double, bool> value;

  LogField(std::string_view field, std::string_view text) : name(field), value(text) {}
  LogField(std::string_view field, const char* text) : name(field), value(std::string_view(text)) {}
  LogField(std::string_view field, const std::string& text) : name(field), value(std::string_view(text)) {}
  LogField(std::string_view field, double number) : name(field), value(number) {}
  LogField(std::string_view field, bool flag) : name(field), value(flag) {}
  template <std::integral I>
  LogField(std::string_view field, I number) : name(field), value(static_cast<std::int64_t>(number)) {}
};

// Where lines go: standard error, or a file that is appended to. Call once, before threads start; until then nothing is
// written. Throws std::runtime_error when the file cannot be opened.
void log_to_stderr(Level lowest);
void log_to_file(const std::string& path, Level lowest);

void log(Level level, std::string_view message, std::initializer_list<LogField> fields = {});

// Keeps one cause from filling the log: passes at most once a second. One thread.
class LogThrottle {
 public:
  // How many were held back since the last one that passed; nothing when this one is held back, too.
  std::optional<std::int64_t> pass();

 private:
  std::chrono::steady_clock::time_point quiet_until_;
  std::int64_t held_back_ = 0;
};

// Lower-case names, as in LOG_LEVEL. False when there is no such level.
bool parse_level(std::string_view text, Level& out);

}  // namespace cognive
