#include "exports/rows.hpp"

#include <stdexcept>

#include "json/cursor.hpp"

namespace cognive::exports {
namespace {

using std::string_view;

constexpr std::array call_columns{string_view("id"),
                                  string_view("timestamp"),
                                  string_view("run_id"),
                                  string_view("agent_id"),
                                  string_view("team_id"),
                                  string_view("environment"),
                                  string_view("parent_step_id"),
                                  string_view("provider"),
                                  string_view("model"),
                                  string_view("status"),
                                  string_view("error"),
                                  string_view("duration_ms"),
                                  string_view("input_tokens"),
                                  string_view("output_tokens"),
                                  string_view("cache_read_tokens"),
                                  string_view("cache_write_tokens"),
                                  string_view("usage"),
                                  string_view("price_status"),
                                  string_view("price_version_id"),
                                  string_view("cost_usd"),
                                  string_view("violation"),
                                  string_view("metadata")};

constexpr std::array run_columns{
    string_view("run_id"),        string_view("agent_id"),      string_view("team_id"),
    string_view("status"),        string_view("environment"),   string_view("parent_run_id"),
    string_view("session_id"),    string_view("labels"),        string_view("metadata"),
    string_view("error"),         string_view("started_at"),    string_view("ended_at"),
    string_view("terminated_by"), string_view("llm_calls"),     string_view("unpriced_calls"),
    string_view("input_tokens"),  string_view("output_tokens"), string_view("cost_usd")};

constexpr std::array cost_columns{string_view("day"),
                                  string_view("team_id"),
                                  string_view("team"),
                                  string_view("agent_id"),
                                  string_view("agent"),
                                  string_view("environment"),
                                  string_view("provider"),
                                  string_view("model"),
                                  string_view("price_status"),
                                  string_view("calls"),
                                  string_view("errors"),
                                  string_view("input_tokens"),
                                  string_view("output_tokens"),
                                  string_view("cache_read_tokens"),
                                  string_view("cache_write_tokens"),
                                  string_view("cost_usd")};

constexpr std::array audit_columns{string_view("sequence"),      string_view("id"),          string_view("occurred_at"),
                                   string_view("actor_kind"),    string_view("actor_id"),    string_view("action"),
                                   string_view("resource_kind"), string_view("resource_id"), string_view("team_id"),
                                   string_view("request_id"),    string_view("details")};

// https://owasp.org/www-community/attacks/CSV_Injection
bool looks_like_formula(string_view text) {
  return !text.empty() && string_view("=+-@\t\r").find(text.front()) != string_view::npos;
}

void append_text(std::string& out, string_view text) {
  const bool is_formula = looks_like_formula(text);
  if (!is_formula && text.find_first_of(",\"\r\n") == string_view::npos) {
    out += text;
    return;
  }
  out += '"';
  if (is_formula) out += '\'';
  for (const char letter : text) {
    if (letter == '"') out += '"';
    out += letter;
  }
  out += '"';
}

void append_value(std::string& out, json::Cursor& value) {
  switch (value.kind()) {
    case json::Kind::null:
      return;
    case json::Kind::boolean:
      out += value.boolean() ? "true" : "false";
      return;
    case json::Kind::number:
      out += value.number();
      return;
    case json::Kind::string:
      append_text(out, value.string());
      return;
    case json::Kind::array:
    case json::Kind::object: {
      json::Writer text;
      value.copy_to(text);
      append_text(out, text.text());
      return;
    }
  }
}

}  // namespace

std::span<const string_view> columns_of(ExportKind kind) {
  switch (kind) {
    case ExportKind::calls:
      return call_columns;
    case ExportKind::runs:
      return run_columns;
    case ExportKind::costs:
      return cost_columns;
    case ExportKind::audit:
      return audit_columns;
    case ExportKind::replay:
      return {};
  }
  return {};
}

void append_header(std::string& out, std::span<const string_view> columns) {
  out += fmt::format("{}\r\n", fmt::join(columns, ","));
}

void append_csv(std::string& out, std::string& row, std::span<const string_view> columns) {
  std::size_t at = 0;
  const auto walked = json::walk(row, [&](json::Cursor& root) {
    root.each_field([&](string_view name, json::Cursor& value) {
      if (at >= columns.size() || columns[at] != name)
        throw std::logic_error(fmt::format("a row of an export has {} where another column is expected", name));
      if (at++ > 0) out += ',';
      append_value(out, value);
    });
  });
  if (!walked || at != columns.size()) throw std::logic_error("a row of an export lacks columns");
  out += "\r\n";
}

}  // namespace cognive::exports
