#include "http/download.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/crypto.hpp"
#include "base/text.hpp"
#include "http/problem.hpp"

namespace cognive::http {
namespace {

struct Range {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

// What a Range asks for (RFC 9110, section 14.2): one part. Nothing: all of it, also when it asks for several, or for
// what nobody understands.
struct Wanted {
  std::optional<Range> range;
  bool is_outside = false;
};

Wanted wanted_of(std::string_view header, std::uint64_t bytes) {
  constexpr std::string_view unit = "bytes=";
  if (!header.starts_with(unit)) return {};
  const auto text = trim(header.substr(unit.size()));
  const auto dash = text.find('-');
  if (dash == std::string_view::npos || text.find(',') != std::string_view::npos) return {};
  const auto number = [](std::string_view digits) -> std::optional<std::uint64_t> {
    std::uint64_t out = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
    return out;
  };
  const auto first = number(text.substr(0, dash));
  const auto last = number(text.substr(dash + 1));
  if (dash == 0) {
    if (!last) return {};
    if (*last == 0 || bytes == 0) return {.range = {}, .is_outside = true};
    const auto count = std::min(*last, bytes);
    return {.range = Range{bytes - count, count}};
  }
  if (!first || (dash + 1 < text.size() && !last) || (last && *last < *first)) return {};
  if (*first >= bytes) return {.range = {}, .is_outside = true};
  const auto end = last ? std::min(*last, bytes - 1) : bytes - 1;
  return {.range = Range{*first, end - *first + 1}};
}

// RFC 6266 and RFC 8187: never shown within a page of ours.
std::string disposition_of(std::string_view name) {
  std::string plain;
  std::string encoded;
  for (const char letter : name) {
    const bool is_attribute = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
                              (letter >= '0' && letter <= '9') ||
                              std::string_view("!#$&+-.^_`|~").find(letter) != std::string_view::npos;
    plain += letter >= ' ' && letter < 0x7F && letter != '"' && letter != '\\' && letter != '%' ? letter : '_';
    if (is_attribute) {
      encoded += letter;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(letter));
    }
  }
  return fmt::format("attachment; filename=\"{}\"; filename*=UTF-8''{}", plain, encoded);
}

Async<Result<std::string>> nothing() {
  co_return std::string();
}

}  // namespace

Async<Response> download(const Request& request, const Downloadable& file) {
  Response response{.status = 200, .content_type = file.content_type, .body = {}, .headers = {}};
  response.headers = {{"ETag", file.etag}, {"Accept-Ranges", "bytes"}, {"Cache-Control", "private, no-cache"}};
  if (request.header("if-none-match").find(file.etag) != std::string_view::npos) {
    response.status = 304;
    response.content_type.clear();
    co_return response;
  }
  const auto condition = request.header("if-range");
  const bool may_be_part = request.method == "GET" && (condition.empty() || condition == file.etag);
  const auto wanted = may_be_part ? wanted_of(request.header("range"), file.bytes) : Wanted();
  if (wanted.is_outside) {
    auto refused = problem({Code::not_satisfiable, fmt::format("It has {} bytes.", file.bytes), {}}, request);
    refused.headers.emplace_back("Content-Range", fmt::format("bytes */{}", file.bytes));
    co_return refused;
  }
  const auto range = wanted.range.value_or(Range{0, file.bytes});
  response.headers.emplace_back("Content-Disposition", disposition_of(file.name));
  if (file.sha256)
    response.headers.emplace_back("Repr-Digest", fmt::format("sha-256=:{}:", to_base64(*from_hex(*file.sha256))));
  if (wanted.range) {
    response.status = 206;
    response.headers.emplace_back(
        "Content-Range", fmt::format("bytes {}-{}/{}", range.first, range.first + range.count - 1, file.bytes));
  }
  response.stream_length = range.count;
  response.stream = [] { return nothing(); };
  if (request.method == "HEAD") co_return response;
  auto opened = co_await file.open(range.first, range.count);
  if (!opened) co_return problem(opened.error(), request);
  response.stream = std::move(*opened);
  co_return response;
}

}  // namespace cognive::http
