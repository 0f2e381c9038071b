#include "amqp/message.hpp"

#include "json/writer.hpp"

namespace cognive::amqp {
namespace {

void write(json::Writer& out, const Value& value);

void write(json::Writer& out, const Table& table) {
  out.begin_object();
  for (const auto& [name, value] : table) {
    out.key(name);
    write(out, value);
  }
  out.end_object();
}

void write(json::Writer& out, const List& list) {
  out.begin_array();
  for (const auto& value : list) write(out, value);
  out.end_array();
}

void write(json::Writer& out, const Value& value) {
  struct Visitor {
    json::Writer& out;
    void operator()(std::monostate) const { out.null(); }
    void operator()(bool one) const { out.boolean(one); }
    void operator()(std::int64_t one) const { out.integer(one); }
    void operator()(double one) const { out.real(one); }
    void operator()(const std::string& one) const { out.string(one); }
    void operator()(const List& one) const { write(out, one); }
    void operator()(const Table& one) const { write(out, one); }
  };
  std::visit(Visitor{out}, value.of);
}

}  // namespace

const Value* find(const Table& table, std::string_view name) {
  for (const auto& [key, value] : table) {
    if (key == name) return &value;
  }
  return nullptr;
}

std::string_view text_of(const Table& table, std::string_view name) {
  const auto* value = find(table, name);
  if (value == nullptr) return {};
  const auto* text = std::get_if<std::string>(&value->of);
  return text == nullptr ? std::string_view{} : std::string_view(*text);
}

std::string json_of(const Table& table) {
  json::Writer out;
  write(out, table);
  return std::move(out).text();
}

}  // namespace cognive::amqp
