// What travels over AMQP 0-9-1: messages with their properties and headers, and what a broker is asked to have.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace cognive::amqp {

struct Value;
using List = std::vector<Value>;
using Table = std::vector<std::pair<std::string, Value>>;  // in the order sent

// A value of a header or an argument. Whole numbers beyond 64 bits, decimals and times are read as what is nearest.
struct Value {
  std::variant<std::monostate, bool, std::int64_t, double, std::string, List, Table> of;

  Value() = default;
  Value(bool value) : of(value) {}
  Value(std::int64_t value) : of(value) {}
  Value(double value) : of(value) {}
  Value(std::string value) : of(std::move(value)) {}
  Value(std::string_view value) : of(std::string(value)) {}
  Value(const char* value) : of(std::string(value)) {}
  Value(List value) : of(std::move(value)) {}
  Value(Table value) : of(std::move(value)) {}
};

// Null when there is none of that name; the first, when there are several.
const Value* find(const Table& table, std::string_view name);
// Empty when there is none, or it is no text.
std::string_view text_of(const Table& table, std::string_view name);
// A JSON object; what is no UTF-8 is replaced.
std::string json_of(const Table& table);

struct Properties {
  std::string content_type;
  std::string content_encoding;
  std::string correlation_id;
  std::string reply_to;
  std::string message_id;
  std::string expiration;  // milliseconds, as text
  std::string type;
  std::optional<std::uint64_t> timestamp;  // seconds since 1970
  bool is_persistent = true;               // kept over a restart of the broker, in a durable queue
  Table headers;
};

struct Message {
  std::string exchange;  // empty: the default one, whose routing keys are names of queues
  std::string routing_key;
  Properties properties;
  std::string body;
  bool is_mandatory = false;  // publishing fails when no queue gets it; then it needs a correlation_id of its own
};

// A message that a queue has handed out.
struct Delivery {
  std::string queue;
  std::string exchange;
  std::string routing_key;
  Properties properties;
  std::string body;
  bool is_redelivered = false;   // somebody had it before, perhaps we
  std::uint64_t connection = 0;  // which one it came over: acknowledged over another it would be somebody else's
  std::uint16_t channel = 0;
  std::uint64_t tag = 0;
};

struct Exchange {
  std::string name;
  std::string type;  // direct, topic, fanout
  bool is_durable = true;
};

struct Queue {
  std::string name;
  bool is_durable = true;
  bool is_auto_delete = false;
  Table arguments;
};

struct Binding {
  std::string queue;
  std::string exchange;
  std::string routing_key;
};

// What there has to be before a connection is used. What is there already is used as it is, whatever its properties.
struct Topology {
  std::vector<Exchange> exchanges;
  std::vector<Queue> queues;
  std::vector<Binding> bindings;
};

}  // namespace cognive::amqp
