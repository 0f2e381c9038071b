// The certificate that a server shows, read again when its files change: whoever renews it need not restart anything.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "base/error.hpp"

namespace boost::asio::ssl {
class context;
}

namespace cognive::http {

class Certificate {
 public:
  // PEM files; the first also has the certificates that lead to a known authority. Both empty: nothing is encrypted.
  Certificate(std::string certificate_file, std::string key_file);

  // Reads the files. Code::unprocessable when they are no certificate and its key.
  Result<void> load();

  // What new connections are encrypted with; null when nothing is. Looks at the files once in a while; what cannot be
  // read is logged, and the one before stays in use.
  std::shared_ptr<boost::asio::ssl::context> current();

 private:
  using Changes = std::pair<std::filesystem::file_time_type, std::filesystem::file_time_type>;

  [[nodiscard]] Changes changes() const;

  std::string certificate_file_;
  std::string key_file_;
  std::shared_ptr<boost::asio::ssl::context> context_;
  Changes changed_at_;  // of the files as they were last read
  std::chrono::steady_clock::time_point looked_at_;
};

}  // namespace cognive::http
