// Tasks as Celery sends them (task message protocol, version 2): headers that name the task and say when and how often,
// and a body of arguments. Only JSON is read; pickled content is refused, since reading it would run it.
// https://docs.celeryq.dev/en/stable/internals/protocol.html
#pragma once

#include <optional>
#include <string>

#include "amqp/message.hpp"
#include "base/error.hpp"
#include "base/time.hpp"
#include "json/bind.hpp"

namespace cognive::celery {

// Of a task: longer names are nobody's.
inline constexpr std::size_t name_length_max = 256;
inline constexpr std::size_t id_length_max = 255;
inline constexpr std::size_t body_bytes_max = std::size_t{4} << 20U;  // also when it was compressed

// In which the rows wait.
inline constexpr std::string_view row_queue = "celery";

struct TaskMessage {
  std::string id;  // usually a UUID, but whatever the sender likes
  std::string name;
  std::string args = "[]";    // JSON: array
  std::string kwargs = "{}";  // JSON: object
  std::string root_id;        // empty: the task itself
  std::string parent_id;      // empty: none
  std::string origin;
  std::string args_text;  // for people
  std::string kwargs_text;
  std::int64_t retries = 0;
  std::optional<Timestamp> eta;
  std::optional<Timestamp> expires;
  std::optional<std::int64_t> hard_limit_ms;
  std::optional<std::int64_t> soft_limit_ms;
  bool ignores_result = false;

  static constexpr std::string_view schema_name = "CeleryTask";
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &TaskMessage::id, ""), json::field("name", &TaskMessage::name, ""),
        json::field("args", &TaskMessage::args, ""), json::field("kwargs", &TaskMessage::kwargs, ""),
        json::field("root_id", &TaskMessage::root_id, ""), json::field("parent_id", &TaskMessage::parent_id, ""),
        json::field("origin", &TaskMessage::origin, ""), json::field("args_text", &TaskMessage::args_text, ""),
        json::field("kwargs_text", &TaskMessage::kwargs_text, ""), json::field("retries", &TaskMessage::retries, ""),
        json::field("eta", &TaskMessage::eta, ""), json::field("expires", &TaskMessage::expires, ""),
        json::field("hard_limit_ms", &TaskMessage::hard_limit_ms, ""),
        json::field("soft_limit_ms", &TaskMessage::soft_limit_ms, ""),
        json::field("ignores_result", &TaskMessage::ignores_result, ""));
  }
};

// An error of a message that is no task, or asks for something that is not done here.
Result<TaskMessage> read(const amqp::Delivery& delivery);

// To be published to the queue by the default exchange.
amqp::Message write(const TaskMessage& task, std::string_view queue);

}  // namespace cognive::celery
