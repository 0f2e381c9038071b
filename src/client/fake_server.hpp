// A scripted HTTP server for tests: one thread on a free port of 127.0.0.1, which answers each request as a function
// says.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/text.hpp"

namespace cognive::client {

struct FakeRequest {
  std::string method;
  std::string target;
  std::string head;  // all of it, as received
  std::string body;

  // The value of a header field, empty when it is missing.
  [[nodiscard]] std::string header(std::string_view name) const {
    for (std::size_t at = head.find("\r\n"); at != std::string::npos && at + 2 < head.size();
         at = head.find("\r\n", at + 2)) {
      const auto line = std::string_view(head).substr(at + 2, head.find("\r\n", at + 2) - at - 2);
      const auto colon = line.find(':');
      if (colon != std::string_view::npos && equal_ignoring_case(line.substr(0, colon), name)) {
        return std::string(trim(line.substr(colon + 1)));
      }
    }
    return {};
  }
};

struct FakeReply {
  int status = 200;
  std::string body;
  std::string headers = {};  // whole lines, each with its CRLF
  bool drop = false;         // closes the connection instead of answering
  bool truncate = false;     // announces the body and closes before its last byte
};

class FakeServer {
 public:
  using Handler = std::function<FakeReply(const FakeRequest&)>;

  // `handler` runs on the server's thread; what it changes may be read after `stop`.
  explicit FakeServer(Handler handler) : handler_(std::move(handler)) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    wake_ = eventfd(0, EFD_CLOEXEC);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (listener_ < 0 || wake_ < 0 || bind(listener_, generic, length) != 0 || listen(listener_, 16) != 0 ||
        getsockname(listener_, generic, &length) != 0) {
      throw std::runtime_error("the fake server cannot listen");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;
  ~FakeServer() {
    stop();
    close(wake_);
  }

  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] int connections() const { return connections_; }

  // Closes everything; connections to the port are refused from now on.
  void stop() {
    if (!thread_.joinable()) return;
    eventfd_write(wake_, 1);
    thread_.join();
  }

 private:
  struct Connection {
    int socket;
    std::string received;
  };

  void run() {
    std::vector<Connection> open;
    while (true) {
      std::vector<pollfd> watched{{wake_, POLLIN, 0}, {listener_, POLLIN, 0}};
      for (const auto& connection : open) watched.push_back({connection.socket, POLLIN, 0});
      poll(watched.data(), watched.size(), -1);
      if (watched[0].revents != 0) break;
      for (std::size_t i = open.size(); i-- > 0;) {
        if (watched[i + 2].revents == 0 || serve(open[i])) continue;
        close(open[i].socket);
        open.erase(open.begin() + static_cast<std::ptrdiff_t>(i));
      }
      if (watched[1].revents != 0) {
        open.push_back({accept(listener_, nullptr, nullptr), {}});
        ++connections_;
      }
    }
    for (const auto& connection : open) close(connection.socket);
    close(listener_);
  }

  // Reads what has come and answers what is complete. False when the connection is over.
  bool serve(Connection& connection) {
    std::string buffer(1 << 16, '\0');
    const ssize_t got = recv(connection.socket, buffer.data(), buffer.size(), 0);
    if (got <= 0) return false;
    connection.received.append(buffer, 0, static_cast<std::size_t>(got));
    while (true) {
      const auto head_end = connection.received.find("\r\n\r\n");
      if (head_end == std::string::npos) return true;
      FakeRequest request;
      request.head = connection.received.substr(0, head_end);
      const std::string length_text = request.header("Content-Length");
      std::size_t length = 0;
      std::from_chars(length_text.data(), length_text.data() + length_text.size(), length);
      if (connection.received.size() < head_end + 4 + length) return true;
      request.body = connection.received.substr(head_end + 4, length);
      connection.received.erase(0, head_end + 4 + length);
      request.method = request.head.substr(0, request.head.find(' '));
      const auto target = request.method.size() + 1;
      request.target = request.head.substr(target, request.head.find(' ', target) - target);
      if (!answer(connection.socket, handler_(request))) return false;
    }
  }

  static bool answer(int socket, const FakeReply& reply) {
    if (reply.drop) return false;
    std::string text = "HTTP/1.1 " + std::to_string(reply.status) +
                       " Scripted\r\nContent-Length: " + std::to_string(reply.body.size()) + "\r\n" + reply.headers +
                       "\r\n" + reply.body;
    if (reply.truncate) text.pop_back();
    for (std::size_t at = 0; at < text.size();) {
      const ssize_t sent = send(socket, text.data() + at, text.size() - at, MSG_NOSIGNAL);
      if (sent <= 0) return false;
      at += static_cast<std::size_t>(sent);
    }
    return !reply.truncate;
  }

  Handler handler_;
  int listener_ = -1;
  int wake_ = -1;
  int port_ = 0;
  std::atomic<int> connections_ = 0;
  std::thread thread_;
};

}  // namespace cognive::client
