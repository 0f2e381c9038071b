// A connection, encrypted or not. Costs seconds to compile: for the few files that open or accept connections.
#pragma once

#include <boost/asio/ssl.hpp>
#include <memory>
#include <optional>
#include <utility>

namespace cognive {

// As Asio's and Beast's operations want a stream.
template <typename Stream>
class Wire {
 public:
  using Socket = Stream;
  using executor_type = typename Socket::executor_type;

  // Encrypted when there is a context, which is kept.
  Wire(Socket socket, std::shared_ptr<boost::asio::ssl::context> context)
      : socket_(std::move(socket)), context_(std::move(context)) {
    if (context_) tls_.emplace(socket_, *context_);
  }

  [[nodiscard]] executor_type get_executor() { return socket_.get_executor(); }
  [[nodiscard]] Socket& socket() { return socket_; }
  [[nodiscard]] bool is_encrypted() const { return tls_.has_value(); }
  // Null when it is not encrypted.
  [[nodiscard]] SSL* native_handle() { return tls_ ? tls_->native_handle() : nullptr; }

  template <typename Token>
  auto async_handshake(boost::asio::ssl::stream_base::handshake_type side, Token&& token) {
    return tls_->async_handshake(side, std::forward<Token>(token));
  }

  // Says goodbye, so that the other side knows that nothing was cut off (RFC 8446, section 6.1).
  template <typename Token>
  auto async_goodbye(Token&& token) {
    return tls_->async_shutdown(std::forward<Token>(token));
  }

  template <typename Buffers, typename Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_read_some(buffers, std::forward<Token>(token));
    return socket_.async_read_some(buffers, std::forward<Token>(token));
  }

  template <typename Buffers, typename Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_write_some(buffers, std::forward<Token>(token));
    return socket_.async_write_some(buffers, std::forward<Token>(token));
  }

 private:
  Socket socket_;
  std::shared_ptr<boost::asio::ssl::context> context_;
  std::optional<boost::asio::ssl::stream<Socket&>> tls_;
};

}  // namespace cognive
