#include "observe/log.hpp"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "base/time.hpp"
#include "json/writer.hpp"

namespace cognive {
namespace {

constexpr std::array<std::string_view, 4> level_names{"debug", "info", "warning", "error"};

struct Destination {
  std::shared_ptr<spdlog::logger> logger;
  Level lowest = Level::info;
};

Destination& destination() {
  static Destination instance;
  return instance;
}

void log_to(spdlog::sink_ptr sink, Level lowest) {
  auto logger = std::make_shared<spdlog::logger>("cognive", std::move(sink));
  logger->set_pattern("%v");
  logger->set_level(spdlog::level::trace);
  logger->flush_on(spdlog::level::trace);
  destination() = {std::move(logger), lowest};
}

}  // namespace

void log_to_stderr(Level lowest) {
  log_to(std::make_shared<spdlog::sinks::stderr_sink_mt>(), lowest);
}

void log_to_file(const std::string& path, Level lowest) {
  try {
    log_to(std::make_shared<spdlog::sinks::basic_file_sink_mt>(path), lowest);
  } catch (const spdlog::spdlog_ex& error) {
    throw std::runtime_error(error.what());
  }
}

void log(Level level, std::string_view message, std::initializer_list<LogField> fields) {
  const auto& [logger, lowest] = destination();
  if (!logger || level < lowest) return;
  json::Writer line;
  line.begin_object();
  line.field("time", Timestamp::now().text());
  line.field("level", level_names[static_cast<std::size_t>(level)]);
  line.field("message", message);
  for (const auto& field : fields) {
    line.key(field.name);
    std::visit(
        [&](const auto& value) {
          using T = std::remove_cvref_t<decltype(value)>;
          if constexpr (std::is_same_v<T, bool>) {
            line.boolean(value);
          } else if constexpr (std::is_same_v<T, double>) {
            line.real(value);
          } else if constexpr (std::is_same_v<T, std::int64_t>) {
            line.integer(value);
          } else {
            line.string(value);
          }
        },
        field.value);
  }
  line.end_object();
  logger->log(spdlog::level::info, line.text());
}

std::optional<std::int64_t> LogThrottle::pass() {
  const auto now = std::chrono::steady_clock::now();
  if (now < quiet_until_) {
    ++held_back_;
    return std::nullopt;
  }
  quiet_until_ = now + std::chrono::seconds{1};
  return std::exchange(held_back_, 0);
}

bool parse_level(std::string_view text, Level& out) {
  for (std::size_t i = 0; i < level_names.size(); ++i) {
    if (level_names[i] == text) {
      out = static_cast<Level>(i);
      return true;
    }
  }
  return false;
}

}  // namespace cognive
