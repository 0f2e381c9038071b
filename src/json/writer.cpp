#include "json/writer.hpp"

#include <fmt/format.h>

#include <cmath>
#include <iterator>

namespace cognive::json {
namespace {

void append_quoted(std::string& out, std::string_view value) {
  out.push_back('"');
  std::size_t clean_from = 0;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const auto c = static_cast<unsigned char>(value[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(value, clean_from, i - clean_from);
    clean_from = i + 1;
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
    }
  }
  out.append(value, clean_from, value.size() - clean_from);
  out.push_back('"');
}

}  // namespace

void Writer::separate() {
  if (!first_) out_.push_back(',');
  first_ = false;
}

void Writer::open(char c) {
  separate();
  out_.push_back(c);
  first_ = true;
}

void Writer::close(char c) {
  out_.push_back(c);
  first_ = false;
}

void Writer::key(std::string_view name) {
  separate();
  append_quoted(out_, name);
  out_.push_back(':');
  first_ = true;
}

void Writer::string(std::string_view value) {
  separate();
  append_quoted(out_, value);
}

void Writer::integer(std::int64_t value) {
  separate();
  fmt::format_to(std::back_inserter(out_), "{}", value);
}

void Writer::unsigned_integer(std::uint64_t value) {
  separate();
  fmt::format_to(std::back_inserter(out_), "{}", value);
}

void Writer::real(double value) {
  separate();
  if (std::isfinite(value)) {
    fmt::format_to(std::back_inserter(out_), "{}", value);
  } else {
    out_ += "null";
  }
}

void Writer::raw(std::string_view json) {
  separate();
  out_ += json;
}

std::string quoted(std::string_view value) {
  std::string out;
  append_quoted(out, value);
  return out;
}

}  // namespace cognive::json
