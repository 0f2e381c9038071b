#include "ingest/requests.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"

namespace cognive::bench {

bool Requests::next(std::size_t, std::string& out) {
  if (count_ != 0 ? sent_ == count_ : Clock::now() >= begin_ + warm_up + duration_) return false;
  const auto message = make_(sent_++);
  fmt::format_to(std::back_inserter(out),
                 "{} {} HTTP/1.1\r\nHost: {}\r\nX-API-Key: {}\r\nContent-Type: application/json\r\n"
                 "Content-Length: {}\r\n\r\n{}",
                 message.method, message.path, target_.address.host, target_.api_key, message.body.size(),
                 message.body);
  return true;
}

void Requests::answered(std::size_t, const Answer& answer) {
  if (answer.status != 200 && answer.status != 201)
    throw std::runtime_error(fmt::format("{} {}", answer.status, shortened(answer.body, 300)));
  if (count_ != 0) bodies.emplace_back(answer.body);
  if (answer.end < begin_ + warm_up || answer.end >= begin_ + warm_up + duration_) return;
  latency.record(answer.end - answer.begin);
}

double Requests::per_second() const {
  return static_cast<double>(latency.total()) / std::chrono::duration<double>(duration_).count();
}

std::vector<std::string> send_all(const Target& target, std::size_t count, const Requests::Make& make) {
  Requests requests(target, make, count, {});
  drive(target.address, {.connections = std::min<std::size_t>(count, 16)}, requests);
  return std::move(requests.bodies);
}

std::string id_of(std::string_view body) {
  constexpr std::string_view name = R"("id":")";
  constexpr std::size_t length = 36;
  return std::string(body.substr(body.find(name) + name.size(), length));
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values.empty() ? 0 : values[values.size() / 2];
}

}  // namespace cognive::bench
