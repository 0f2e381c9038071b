#include "events/content.hpp"

#include "privacy/redactor.hpp"

namespace cognive::events {
namespace {

using agents::Store;

struct Part {
  std::string_view name;
  const Content* content;
};

std::array<Part, 2> parts_of(const Event& event) {
  if (const auto* call = std::get_if<LlmCall>(&event.body))
    return {{{"input", &call->input}, {"output", &call->output}}};
  if (const auto* tool = std::get_if<ToolInvocation>(&event.body))
    return {{{"arguments", &tool->arguments}, {"result", &tool->result}}};
  const auto& step = std::get<Step>(event.body);
  return {{{"input", &step.input}, {"output", &step.output}}};
}

std::string_view kind_of(char first) {
  switch (first) {
    case '{':
      return "object";
    case '[':
      return "array";
    case '"':
      return "string";
    case 't':
    case 'f':
      return "boolean";
    case 'n':
      return "null";
    default:
      return "number";
  }
}

// Items of an array, members of an object; of compact JSON.
std::int64_t items_of(std::string_view json) {
  if (json.size() < 3 || (json.front() != '{' && json.front() != '[')) return 0;
  std::int64_t items = 1;
  int depth = 0;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (c == '"') {
      for (++i; json[i] != '"'; ++i) i += json[i] == '\\' ? 1 : 0;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      --depth;
    } else if (c == ',' && depth == 1) {
      ++items;
    }
  }
  return items;
}

void write_metadata(json::Writer& out, std::string_view json, const Digest* key) {
  out.begin_object();
  out.field("type", kind_of(json.front()));
  out.key("bytes");
  out.integer(static_cast<std::int64_t>(json.size()));
  if (json.front() == '{' || json.front() == '[') {
    out.key("items");
    out.integer(items_of(json));
  }
  if (key != nullptr) out.field("hmac_sha256", to_hex(hmac_sha256(*key, json)));
  out.end_object();
}

}  // namespace

Kept kept_of(const Event& event, Store store, const Digest& key) {
  Kept out;
  const auto& error = event.base().error;
  if (error) out.error = store == Store::full ? *error : privacy::redact(*error);
  if (store == Store::none) return out;
  json::Writer content;
  content.begin_object();
  bool any = false;
  for (const auto& [name, part] : parts_of(event)) {
    if (part->json.empty()) continue;
    any = true;
    content.key(name);
    const bool whole = part->storable && part->json.size() <= content_bytes_max;
    if (whole && store == Store::full) {
      content.raw(part->json);
    } else if (whole && store == Store::redacted) {
      content.raw(privacy::redact_json(part->json));
    } else {
      write_metadata(content, part->json, store == Store::hashed ? &key : nullptr);
    }
  }
  content.end_object();
  if (any) out.content = std::move(content).text();
  return out;
}

}  // namespace cognive::events
