#include "embedded/control_data.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

#include "base/text.hpp"

namespace cognive::embedded {
namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

// "Latest checkpoint's TimeLineID:       1" → "1"; empty when there is no such line.
std::string_view value_of(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.starts_with(name) && line.substr(name.size()).starts_with(':')) return trim(line.substr(name.size() + 1));
  }
  return {};
}

template <typename Number>
std::optional<Number> number_in(std::string_view text, int base = 10) {
  Number number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (text.empty() || read.ec != std::errc{} || read.ptr != text.data() + text.size()) return std::nullopt;
  return number;
}

// Of the newest file like pg_wal/00000002.history; 0 when there is none.
std::uint32_t newest_history(const fs::path& data) {
  std::uint32_t newest = 0;
  std::error_code unknown;
  for (const auto& entry : fs::directory_iterator(data / "pg_wal", unknown)) {
    if (entry.path().extension() != ".history") continue;
    newest = std::max(newest, number_in<std::uint32_t>(entry.path().stem().native(), 16).value_or(0));
  }
  return newest;
}

}  // namespace

Result<ControlData> read_control_data(const fs::path& data, const Binaries& binaries, const Identity& user) {
  const Command command{.argv = {binaries.program("pg_controldata"), "-D", data.native()}, .identity = user};
  const auto output = run(command, "", Clock::now() + 1min, {});
  if (!output) return fail(output.error());
  const auto& text = output->text;
  const auto checkpoint = number_in<std::uint32_t>(value_of(text, "Latest checkpoint's TimeLineID"));
  const auto recovery = number_in<std::uint32_t>(value_of(text, "Min recovery ending loc's timeline"));
  const auto connections = number_in<int>(value_of(text, "max_connections setting"));
  if (!output->exit.success() || !checkpoint || !recovery || !connections) {
    return fail(Code::unavailable,
                fmt::format("pg_controldata cannot read {}: {}.", data.native(), shortened(trim(text), 300)));
  }
  return ControlData{.system_identifier = std::string(value_of(text, "Database system identifier")),
                     .timeline = std::max({*checkpoint, *recovery, newest_history(data)}),
                     .max_connections = *connections};
}

bool is_standby(const fs::path& data) {
  std::error_code unknown;
  return fs::exists(data / "standby.signal", unknown);
}

}  // namespace cognive::embedded
