// One blocking connection to the database under test, for what must not go through the server: the COPY limit, counts
// and settings.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct pg_conn;

namespace cognive::bench {

// Errors throw std::runtime_error with the server's words.
class Database {
 public:
  explicit Database(const std::string& conninfo);

  // Over the socket that the server under test uses itself, as `user` (empty: whoever the URL says), else over TCP.
  static Database nearest(const std::string& url, const std::string& user = {});

  void execute(const std::string& sql);
  // The first column of the first row; empty when it is NULL or there is no row.
  std::string value(const std::string& sql);
  std::int64_t number(const std::string& sql) { return std::stoll(value(sql)); }
  std::vector<std::vector<std::string>> rows(const std::string& sql);

  // Everything that COPY … TO STDOUT sends.
  std::string copy_out(const std::string& sql);
  // One COPY … FROM STDIN of `parts` in their order. The rows that were stored.
  std::int64_t copy_in(const std::string& sql, std::span<const std::string_view> parts);

  // PGHOST and so on, for PostgreSQL's own tools; with the password where there is one.
  [[nodiscard]] std::vector<std::string> environment() const;
  [[nodiscard]] bool uses_socket() const { return uses_socket_; }

 private:
  struct Closed {
    void operator()(pg_conn* connection) const;
  };
  std::unique_ptr<pg_conn, Closed> connection_;
  bool uses_socket_ = false;
};

}  // namespace cognive::bench
