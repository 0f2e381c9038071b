#include "ingest/http_client.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fmt/format.h>

#include <strings.h>
#include <cerrno>
#include <cstring>
#include <deque>
#include <stdexcept>
#include <vector>

#include "ingest/interruption.hpp"

namespace cognive::bench {
namespace {

constexpr std::chrono::seconds silence_max{60};

[[noreturn]] void fail_system(const char* what) {
  throw std::runtime_error(fmt::format("{}: {}", what, std::strerror(errno)));
}

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  [[nodiscard]] int number() const { return number_; }

 private:
  int number_;
};

struct Connection {
  Descriptor socket;
  std::string out{};
  std::size_t sent = 0;
  std::string in{};
  Clock::time_point begin{};
  bool waits_to_write = false;
};

Descriptor connect_to(const Address& address) {
  Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.number() < 0) fail_system("socket");
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(address.port);
  if (::inet_pton(AF_INET, address.host.c_str(), &to.sin_addr) != 1)
    throw std::runtime_error(address.host + " is not an IPv4 address");
  if (::connect(socket.number(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) fail_system("connect");
  const int on = 1;
  ::setsockopt(socket.number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

// Length of the body as the head says. Answers of the API always have one.
std::size_t content_length(std::string_view head) {
  constexpr std::string_view name = "content-length:";
  for (std::size_t line = head.find("\r\n"); line != std::string_view::npos; line = head.find("\r\n", line + 2)) {
    const auto rest = head.substr(line + 2);
    if (rest.size() > name.size() && ::strncasecmp(rest.data(), name.data(), name.size()) == 0)
      return std::strtoull(std::string(rest.substr(name.size(), 20)).c_str(), nullptr, 10);
  }
  throw std::runtime_error("an answer without Content-Length");
}

class Driver {
 public:
  Driver(const Address& address, const Pace& pace, Traffic& traffic)
      : traffic_(traffic), epoll_(::epoll_create1(EPOLL_CLOEXEC)), is_paced_(pace.rate.has_value()) {
    if (epoll_.number() < 0) fail_system("epoll_create1");
    if (is_paced_) interval_ = std::chrono::duration<double>(1.0 / *pace.rate);
    connections_.reserve(pace.connections);
    for (std::size_t i = 0; i < pace.connections; ++i) {
      connections_.push_back({.socket = connect_to(address)});
      watch(i, EPOLL_CTL_ADD, EPOLLIN);
    }
  }

  void run() {
    first_ = Clock::now();
    if (is_paced_) {
      for (std::size_t i = 0; i < connections_.size(); ++i) idle_.push_back(i);
    } else {
      for (std::size_t i = 0; i < connections_.size(); ++i) send_next(i, Clock::now());
    }
    last_news_ = first_;
    std::array<epoll_event, 256> events;
    while (in_flight_ > 0 || (is_paced_ && !is_exhausted_)) {
      const int count = wait(events);
      throw_if_interrupted();
      for (int i = 0; i < count; ++i) handle(events[static_cast<std::size_t>(i)]);
      if (is_paced_) send_due();
    }
  }

 private:
  void watch(std::size_t index, int operation, std::uint32_t what) {
    epoll_event event{.events = what, .data = {.u64 = index}};
    if (::epoll_ctl(epoll_.number(), operation, connections_[index].socket.number(), &event) != 0)
      fail_system("epoll_ctl");
  }

  [[nodiscard]] Clock::time_point due(std::uint64_t number) const {
    return first_ + std::chrono::duration_cast<Clock::duration>(interval_ * static_cast<double>(number));
  }

  int wait(std::array<epoll_event, 256>& events) {
    auto patience = std::chrono::nanoseconds(std::chrono::seconds{1});
    if (is_paced_ && !is_exhausted_ && !idle_.empty())
      patience = std::max(std::chrono::nanoseconds{0}, std::chrono::nanoseconds(due(scheduled_) - Clock::now()));
    const timespec timeout{.tv_sec = patience.count() / 1'000'000'000, .tv_nsec = patience.count() % 1'000'000'000};
    const int count =
        ::epoll_pwait2(epoll_.number(), events.data(), static_cast<int>(events.size()), &timeout, nullptr);
    if (count < 0 && errno != EINTR) fail_system("epoll_pwait2");
    if (count > 0) {
      last_news_ = Clock::now();
    } else if (in_flight_ > 0 && Clock::now() - last_news_ > silence_max) {
      throw std::runtime_error("the server did not answer for a minute");
    }
    return std::max(count, 0);
  }

  void send_due() {
    const auto now = Clock::now();
    while (!is_exhausted_ && !idle_.empty() && due(scheduled_) <= now) {
      const auto index = idle_.front();
      idle_.pop_front();
      if (!send_next(index, due(scheduled_))) is_exhausted_ = true;
      ++scheduled_;
    }
  }

  bool send_next(std::size_t index, Clock::time_point begin) {
    auto& connection = connections_[index];
    connection.out.clear();
    connection.sent = 0;
    connection.begin = begin;
    if (!traffic_.next(index, connection.out)) return false;
    ++in_flight_;
    write(index);
    return true;
  }

  void write(std::size_t index) {
    auto& connection = connections_[index];
    while (connection.sent < connection.out.size()) {
      const auto sent = ::send(connection.socket.number(), connection.out.data() + connection.sent,
                               connection.out.size() - connection.sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0) {
        if (errno == EINTR) continue;
        if (errno != EAGAIN) fail_system("send");
        if (!connection.waits_to_write) watch(index, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
        connection.waits_to_write = true;
        return;
      }
      connection.sent += static_cast<std::size_t>(sent);
    }
    if (connection.waits_to_write) {
      connection.waits_to_write = false;
      watch(index, EPOLL_CTL_MOD, EPOLLIN);
    }
  }

  void handle(const epoll_event& event) {
    const auto index = static_cast<std::size_t>(event.data.u64);
    auto& connection = connections_[index];
    if ((event.events & EPOLLOUT) != 0) write(index);
    if ((event.events & (EPOLLIN | EPOLLERR | EPOLLHUP)) == 0) return;
    const auto got = ::recv(connection.socket.number(), received_.data(), received_.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) throw std::runtime_error("the server closed a connection");
    connection.in.append(received_.data(), static_cast<std::size_t>(got));
    const auto head_end = connection.in.find("\r\n\r\n");
    if (head_end == std::string::npos) return;
    const auto begin = head_end + 4;
    const auto length = content_length(std::string_view(connection.in).substr(0, head_end));
    if (connection.in.size() < begin + length) return;
    constexpr std::size_t status_at = std::string_view("HTTP/1.1 ").size();
    const Answer answer{.status = std::atoi(connection.in.c_str() + status_at),
                        .body = std::string_view(connection.in).substr(begin, length),
                        .begin = connection.begin,
                        .end = Clock::now()};
    --in_flight_;
    traffic_.answered(index, answer);
    connection.in.clear();
    if (is_paced_) {
      idle_.push_back(index);
    } else {
      send_next(index, answer.end);
    }
  }

  Traffic& traffic_;
  Descriptor epoll_;
  bool is_paced_;
  std::chrono::duration<double> interval_{};
  std::vector<Connection> connections_;
  std::deque<std::size_t> idle_;
  std::array<char, 1 << 16> received_;
  Clock::time_point first_;
  Clock::time_point last_news_;
  std::uint64_t scheduled_ = 0;  // requests of the schedule that were sent
  std::size_t in_flight_ = 0;
  bool is_exhausted_ = false;
};

}  // namespace

void drive(const Address& address, const Pace& pace, Traffic& traffic) {
  Driver(address, pace, traffic).run();
}

}  // namespace cognive::bench
