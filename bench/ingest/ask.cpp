#include "ingest/ask.hpp"

#include <fmt/format.h>

#include <stdexcept>
#include <utility>

#include "base/text.hpp"
#include "ingest/http_client.hpp"

namespace cognive::bench {
namespace {

// One request, whose answer is kept.
class Once final : public Traffic {
 public:
  explicit Once(std::string request) : request_(std::move(request)) {}
  bool next(std::size_t, std::string& out) override {
    out += std::exchange(request_, {});
    return !std::exchange(is_sent_, true);
  }
  void answered(std::size_t, const Answer& answer) override {
    if (answer.status / 100 != 2)
      throw std::runtime_error(fmt::format("{} {}", answer.status, shortened(answer.body, 300)));
    body = answer.body;
  }

  std::string body{};

 private:
  std::string request_;
  bool is_sent_ = false;
};

}  // namespace

std::string ask(const Target& target, std::string_view method, const std::string& path, const std::string& body) {
  Once once(
      fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nX-API-Key: {}\r\nContent-Type: application/json\r\n"
                  "Content-Length: {}\r\n\r\n{}",
                  method, path, target.address.host, target.api_key, body.size(), body));
  drive(target.address, {.connections = 1}, once);
  return std::move(once.body);
}

std::string text_of(std::string_view json, std::string_view member) {
  const auto name = fmt::format("\"{}\":\"", member);
  const auto at = json.find(name);
  if (at == std::string_view::npos) return {};
  const auto rest = json.substr(at + name.size());
  return std::string(rest.substr(0, rest.find('"')));
}

}  // namespace cognive::bench
