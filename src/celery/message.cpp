#include "celery/message.hpp"

#include <fmt/format.h>

#include <cmath>

#include "base/compression.hpp"
#include "base/text.hpp"
#include "json/cursor.hpp"

namespace cognive::celery {
namespace {

// For people, who want no more.
constexpr std::size_t text_length_max = 1'024;
constexpr double limit_seconds_max = 7 * 24 * 3'600;

std::unexpected<Error> wrong(std::string what) {
  return fail(Code::unprocessable, std::move(what));
}

bool is_null(const amqp::Value* value) {
  return value == nullptr || std::holds_alternative<std::monostate>(value->of);
}

std::optional<double> number_of(const amqp::Value& value) {
  if (const auto* whole = std::get_if<std::int64_t>(&value.of)) return static_cast<double>(*whole);
  if (const auto* real = std::get_if<double>(&value.of)) return *real;
  return std::nullopt;
}

// ISO 8601, as Python writes it; without an offset it is UTC.
Result<std::optional<Timestamp>> time_of(const amqp::Table& headers, std::string_view name) {
  const auto* value = amqp::find(headers, name);
  if (is_null(value)) return std::optional<Timestamp>();
  if (const auto* text = std::get_if<std::string>(&value->of)) {
    auto time = Timestamp::parse(*text);
    if (!time) time = Timestamp::parse(*text + "Z");
    if (time) return time;
  }
  return wrong(fmt::format("The header {} is no time.", name));
}

// [hard, soft], seconds.
Result<void> read_limits(const amqp::Table& headers, TaskMessage& out) {
  const auto* value = amqp::find(headers, "timelimit");
  if (is_null(value)) return {};
  const auto* list = std::get_if<amqp::List>(&value->of);
  if (list == nullptr || list->size() > 2) return wrong("The header timelimit is no pair.");
  std::optional<std::int64_t>* limits[] = {&out.hard_limit_ms, &out.soft_limit_ms};
  for (std::size_t i = 0; i < list->size(); ++i) {
    if (is_null(&(*list)[i])) continue;
    const auto seconds = number_of((*list)[i]);
    if (!seconds || !(*seconds > 0) || *seconds > limit_seconds_max)
      return wrong("The header timelimit has a limit that is none.");
    *limits[i] = static_cast<std::int64_t>(std::ceil(*seconds * 1'000));
  }
  return {};
}

// [args, kwargs, embed]
Result<void> read_body(std::string body, TaskMessage& out) {
  bool is_body = false;
  bool goes_on = false;
  std::size_t count = 0;
  const auto take = [](json::Cursor& value) {
    json::Writer text;
    value.copy_to(text);
    return std::move(text).text();
  };
  const auto walked = json::walk(body, [&](json::Cursor& root) {
    if (root.kind() != json::Kind::array) return;
    bool has_args = false;
    bool has_kwargs = false;
    root.each_item([&](std::size_t index, json::Cursor& value) {
      ++count;
      if (index == 0 && value.kind() == json::Kind::array) {
        has_args = true;
        out.args = take(value);
      } else if (index == 1 && value.kind() == json::Kind::object) {
        has_kwargs = true;
        out.kwargs = take(value);
      } else if (index == 2 && value.kind() == json::Kind::object) {
        value.each_field(
            [&](std::string_view, json::Cursor& what) { goes_on = goes_on || what.kind() != json::Kind::null; });
      }
    });
    is_body = has_args && has_kwargs && count == 3;
  });
  if (!walked) return std::unexpected(walked.error());
  if (!is_body) return wrong("The body is not [arguments, keyword arguments, what to do with the result].");
  // To leave out what its sender counts on would be worse than to say so.
  if (goes_on) return wrong("Callbacks, errbacks, chains and chords are not done here.");
  return {};
}

}  // namespace

Result<TaskMessage> read(const amqp::Delivery& delivery) {
  const auto& properties = delivery.properties;
  const auto& headers = properties.headers;
  TaskMessage out;
  out.name = amqp::text_of(headers, "task");
  out.id = amqp::text_of(headers, "id");
  if (out.name.empty() || out.name.size() > name_length_max) return wrong("The header task names no task.");
  if (out.id.empty() || out.id.size() > id_length_max) return wrong("The header id is no id.");
  if (lower(properties.content_type) != "application/json")
    return wrong(
        fmt::format("The content type is {}; only application/json is read.", shortened(properties.content_type, 64)));
  const auto encoding = lower(properties.content_encoding);
  if (!encoding.empty() && encoding != "utf-8" && encoding != "utf8")
    return wrong("The content encoding must be utf-8.");
  // kombu gives zlib's bytes the name of gzip.
  const bool is_compressed = !is_null(amqp::find(headers, "compression"));
  if (is_compressed && amqp::text_of(headers, "compression") != "application/x-gzip")
    return wrong("Of compressed messages, only those by zlib are read.");
  auto eta = time_of(headers, "eta");
  if (!eta) return std::unexpected(eta.error());
  out.eta = *eta;
  auto expires = time_of(headers, "expires");
  if (!expires) return std::unexpected(expires.error());
  out.expires = *expires;
  if (auto limits = read_limits(headers, out); !limits) return std::unexpected(limits.error());
  if (const auto* retries = amqp::find(headers, "retries"); !is_null(retries)) {
    const auto count = number_of(*retries);
    if (!count || !(*count >= 0) || *count > 1e9) return wrong("The header retries is no number.");
    out.retries = static_cast<std::int64_t>(*count);
  }
  const auto* ignores = amqp::find(headers, "ignore_result");
  out.ignores_result = !is_null(ignores) && std::holds_alternative<bool>(ignores->of) && std::get<bool>(ignores->of);
  const auto text = [&](std::string_view name) { return shortened(amqp::text_of(headers, name), text_length_max); };
  out.root_id = text("root_id");
  out.parent_id = text("parent_id");
  out.origin = text("origin");
  out.args_text = text("argsrepr");
  out.kwargs_text = text("kwargsrepr");
  for (const auto* one :
       {&out.name, &out.id, &out.root_id, &out.parent_id, &out.origin, &out.args_text, &out.kwargs_text}) {
    if (!json::valid_utf8(*one) || one->find('\0') != std::string::npos)
      return wrong("A header is not UTF-8, or has a zero byte.");
  }
  Result<std::string> plain = delivery.body;
  if (is_compressed) plain = decompress(delivery.body, Compression::zlib, body_bytes_max);
  if (!plain) return std::unexpected(plain.error());
  if (auto body = read_body(std::move(*plain), out); !body) return std::unexpected(body.error());
  return out;
}

amqp::Message write(const TaskMessage& task, std::string_view queue) {
  const auto for_people = [](const std::string& text, const std::string& json) {
    return text.empty() ? shortened(json, text_length_max) : text;
  };
  const auto or_null = [](const std::string& text) { return text.empty() ? amqp::Value() : amqp::Value(text); };
  const auto time = [](const std::optional<Timestamp>& when) {
    return when ? amqp::Value(when->text()) : amqp::Value();
  };
  const auto seconds = [](const std::optional<std::int64_t>& limit) {
    return limit ? amqp::Value(static_cast<double>(*limit) / 1'000) : amqp::Value();
  };
  amqp::Message out;
  out.routing_key = queue;
  out.is_mandatory = true;
  auto& properties = out.properties;
  properties.content_type = "application/json";
  properties.content_encoding = "utf-8";
  properties.correlation_id = task.id;
  properties.headers = {{"lang", "cpp"},
                        {"task", task.name},
                        {"id", task.id},
                        {"shadow", amqp::Value()},
                        {"eta", time(task.eta)},
                        {"expires", time(task.expires)},
                        {"group", amqp::Value()},
                        {"group_index", amqp::Value()},
                        {"retries", task.retries},
                        {"timelimit", amqp::List{seconds(task.hard_limit_ms), seconds(task.soft_limit_ms)}},
                        {"root_id", task.root_id.empty() ? task.id : task.root_id},
                        {"parent_id", or_null(task.parent_id)},
                        {"argsrepr", for_people(task.args_text, task.args)},
                        {"kwargsrepr", for_people(task.kwargs_text, task.kwargs)},
                        {"origin", task.origin},
                        {"ignore_result", task.ignores_result}};
  if (task.expires) {
    const auto left = std::chrono::floor<std::chrono::milliseconds>(task.expires->point() - Timestamp::now().point());
    // RabbitMQ closes the channel over times that are too far away for its clock; the header says them all the same.
    constexpr std::chrono::milliseconds expiration_max = std::chrono::days{30};
    if (left <= expiration_max) properties.expiration = std::to_string(std::max<std::int64_t>(left.count(), 0));
  }
  out.body =
      fmt::format(R"([{},{},{{"callbacks":null,"errbacks":null,"chain":null,"chord":null}}])", task.args, task.kwargs);
  return out;
}

}  // namespace cognive::celery
