#include "http/certificate.hpp"

#include <boost/asio/ssl.hpp>

#include "observe/log.hpp"

namespace cognive::http {

namespace ssl = boost::asio::ssl;

namespace {

constexpr std::chrono::seconds look_interval{10};

}  // namespace

Certificate::Certificate(std::string certificate_file, std::string key_file)
    : certificate_file_(std::move(certificate_file)), key_file_(std::move(key_file)) {}

// Each by itself: copies keep their times, and the key may be older than the certificate before.
Certificate::Changes Certificate::changes() const {
  std::error_code missing;
  return {std::filesystem::last_write_time(certificate_file_, missing),
          std::filesystem::last_write_time(key_file_, missing)};
}

Result<void> Certificate::load() {
  if (certificate_file_.empty()) return {};
  looked_at_ = std::chrono::steady_clock::now();
  // Before they are read: a change in between is seen the next time.
  changed_at_ = changes();
  // TLS 1.2 and newer.
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  context->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 | ssl::context::no_sslv3 |
                       ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1 | ssl::context::no_compression);
  boost::system::error_code error;
  context->use_certificate_chain_file(certificate_file_, error);
  if (error) return fail(Code::unprocessable, "TLS_CERT_FILE: no certificate can be read: " + error.message());
  context->use_private_key_file(key_file_, ssl::context::pem, error);
  if (error) {
    return fail(Code::unprocessable,
                "TLS_KEY_FILE: no private key of that certificate can be read: " + error.message());
  }
  context_ = std::move(context);
  return {};
}

std::shared_ptr<ssl::context> Certificate::current() {
  if (context_ && std::chrono::steady_clock::now() - looked_at_ > look_interval) {
    looked_at_ = std::chrono::steady_clock::now();
    if (changes() != changed_at_) {
      const auto loaded = load();
      log(loaded ? Level::info : Level::error, loaded ? "new certificate" : "the certificate cannot be read again",
          {{"reason", loaded ? "its files have changed" : loaded.error().detail}});
    }
  }
  return context_;
}

}  // namespace cognive::http
