#include "celery/functions.hpp"

#include <unistd.h>

#include <charconv>

#include "json/cursor.hpp"

namespace cognive::celery {
namespace {

constexpr double wait_seconds_max = 3'600;

std::string host() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "?";
  return name.data();
}

struct PingArguments {
  std::string x;  // JSON; empty: not given
  double wait_seconds = 0;
};

PingArguments ping_arguments(const Invocation& invocation) {
  PingArguments out;
  std::string fault;
  const auto set = [&](json::Cursor& value) {
    if (!out.x.empty()) fault = "x is given twice";
    json::Writer text;
    value.copy_to(text);
    out.x = std::move(text).text();
  };
  auto args = invocation.args;
  auto kwargs = invocation.kwargs;
  [[maybe_unused]] const auto listed = json::walk(args, [&](json::Cursor& root) {
    root.each_item([&](std::size_t index, json::Cursor& value) {
      if (index == 0) {
        set(value);
      } else {
        fault = "it takes one argument, x";
      }
    });
  });
  [[maybe_unused]] const auto named = json::walk(kwargs, [&](json::Cursor& root) {
    root.each_field([&](std::string_view key, json::Cursor& value) {
      if (key == "x") {
        set(value);
      } else if (key == "wait_s" && value.kind() == json::Kind::number) {
        const auto text = value.number();
        std::from_chars(text.data(), text.data() + text.size(), out.wait_seconds);
      } else {
        fault = "it has no argument " + json::quoted(key);
      }
    });
  });
  if (out.x.empty() && fault.empty()) fault = "the argument x is missing";
  if (!(out.wait_seconds >= 0 && out.wait_seconds <= wait_seconds_max)) fault = "wait_s must be from 0 to 3600";
  if (!fault.empty()) throw TaskFailed("TypeError", "cognive.ping(x): " + fault);
  return out;
}

// To see that tasks arrive and results come back. `wait_s` lets it take its time, to see limits and stops at work.
Async<std::string> ping(const Invocation& invocation, Deadline deadline) {
  const auto arguments = ping_arguments(invocation);
  const std::chrono::milliseconds wait{static_cast<std::int64_t>(arguments.wait_seconds * 1'000)};
  if (wait.count() > 0) co_await sleep_for(std::min(wait, deadline.remaining()));
  if (wait.count() > 0 && deadline.passed()) throw TaskFailed("SoftTimeLimitExceeded", "SoftTimeLimitExceeded()");
  json::Writer out;
  out.begin_object();
  out.key("pong");
  out.raw(arguments.x);
  out.field("host", host());
  out.end_object();
  co_return std::move(out).text();
}

}  // namespace

const std::vector<Entry>& functions() {
  static const std::vector<Entry> all{
      {.definition = {.name = "cognive.ping", .queue = row_queue, .attempts_max = 3}, .function = ping}};
  return all;
}

Intake::Definitions definitions() {
  Intake::Definitions out;
  for (const auto& entry : functions()) out.emplace(entry.definition.name, entry.definition);
  return out;
}

}  // namespace cognive::celery
