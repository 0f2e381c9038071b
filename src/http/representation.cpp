#include "http/representation.hpp"

#include <algorithm>
#include <charconv>

#include "base/compression.hpp"
#include "base/text.hpp"
#include "json/entity_tag.hpp"

namespace cognive::http {
namespace {

// What fits into one packet gains nothing.
constexpr std::size_t compressed_bytes_min = 1'400;

// One element of a list with weights: "text/html;q=0.5".
struct Preference {
  std::string_view name;
  double weight = 1;
};

Preference preference_of(std::string_view element) {
  const auto end = element.find(';');
  Preference out{.name = trim(element.substr(0, end))};
  while (end != std::string_view::npos) {
    const auto at = element.rfind("q=");
    if (at == std::string_view::npos) break;
    const auto text = trim(element.substr(at + 2));
    std::from_chars(text.data(), text.data() + text.size(), out.weight);
    break;
  }
  return out;
}

// The weight of the most special element that `fits` gives a rank above zero; nothing when none does.
template <typename Rank>
std::optional<double> weight_of(std::string_view header, Rank rank) {
  std::optional<double> out;
  int best = 0;
  while (!header.empty()) {
    const auto end = header.find(',');
    const auto preference = preference_of(header.substr(0, end));
    header = end == std::string_view::npos ? std::string_view{} : header.substr(end + 1);
    const int found = rank(lower(preference.name));
    if (found > best) {
      best = found;
      out = preference.weight;
    }
  }
  return out;
}

bool is_text(std::string_view media_type) {
  const auto name = media_type.substr(0, media_type.find(';'));
  return name.starts_with("text/") || name.ends_with("json") || name == "application/javascript" ||
         name == "application/x-ndjson" || name == "image/svg+xml";
}

auto header_of(Response& response, std::string_view name) {
  return std::ranges::find(response.headers, name, &std::pair<std::string, std::string>::first);
}

}  // namespace

bool accepts_gzip(const Request& request) {
  const auto weight = weight_of(request.header("accept-encoding"), [](std::string_view name) {
    if (name == "gzip" || name == "x-gzip") return 2;
    return name == "*" ? 1 : 0;
  });
  return weight.value_or(0) > 0;
}

bool accepts(const Request& request, std::string_view media_type) {
  const auto header = request.header("accept");
  if (trim(header).empty() || media_type.empty()) return true;
  const auto slash = media_type.find('/');
  const auto whole_group = std::string(media_type.substr(0, slash + 1)) + "*";
  const auto weight = weight_of(header, [&](std::string_view name) {
    if (name == media_type) return 3;
    if (name == whole_group) return 2;
    return name == "*/*" || name == "*" ? 1 : 0;
  });
  return weight.value_or(0) > 0;
}

void add_entity_tag(const Request& request, Response& response) {
  if (response.status != 200 || response.stream || header_of(response, "ETag") != response.headers.end()) return;
  auto tag = json::entity_tag(response.body);
  const bool has_it = request.method != "PATCH" && json::names_tag(request.header("if-none-match"), tag);
  response.headers.emplace_back("ETag", std::move(tag));
  if (!has_it) return;
  response.status = 304;
  response.content_type.clear();
  response.body.clear();
}

void compress(const Request& request, Response& response) {
  if (response.stream || response.body.size() < compressed_bytes_min || !is_text(response.content_type)) return;
  response.headers.emplace_back("Vary", "Accept-Encoding");
  if (!accepts_gzip(request) || header_of(response, "Content-Encoding") != response.headers.end()) return;
  GzipWriter gzip(GzipWriter::Level::fast);
  auto compressed = gzip.append(response.body);
  compressed += gzip.finish();
  response.body = std::move(compressed);
  response.headers.emplace_back("Content-Encoding", "gzip");
  // Other bytes, another tag.
  if (const auto tag = header_of(response, "ETag"); tag != response.headers.end() && tag->second.ends_with('"'))
    tag->second.insert(tag->second.size() - 1, "-gzip");
}

}  // namespace cognive::http
