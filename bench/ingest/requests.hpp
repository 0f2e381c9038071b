// Requests of one kind, over and over, for as long as a measurement lasts.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "ingest/histogram.hpp"
#include "ingest/http_client.hpp"
#include "ingest/load.hpp"

namespace cognive::bench {

struct Message {
  std::string method;
  std::string path;
  std::string body;
};

// Only answers 200 or 201 count; any other is thrown as std::runtime_error.
class Requests final : public Traffic {
 public:
  using Make = std::function<Message(std::size_t number)>;

  static constexpr std::chrono::milliseconds warm_up{500};

  // `count`: after so many it ends, and keeps the bodies of the answers; 0: it ends when `duration` is over.
  Requests(const Target& target, Make make, std::size_t count, std::chrono::milliseconds duration)
      : target_(target), make_(std::move(make)), count_(count), duration_(duration) {}

  bool next(std::size_t connection, std::string& out) override;
  void answered(std::size_t connection, const Answer& answer) override;

  [[nodiscard]] double per_second() const;

  std::vector<std::string> bodies{};
  Histogram latency{};

 private:
  const Target& target_;
  Make make_;
  std::size_t count_;
  std::chrono::milliseconds duration_;
  std::size_t sent_ = 0;
  Clock::time_point begin_ = Clock::now();
};

// The bodies of the answers to `count` requests.
std::vector<std::string> send_all(const Target& target, std::size_t count, const Requests::Make& make);

// The member `id` of an answer.
std::string id_of(std::string_view body);

// 0 of nothing.
double median(std::vector<double> values);

}  // namespace cognive::bench
