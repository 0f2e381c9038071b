#include "ingest/database.hpp"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <stdexcept>

#include "base/text.hpp"

namespace cognive::bench {
namespace {

struct Cleared {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Answer = std::unique_ptr<PGresult, Cleared>;

[[noreturn]] void fail_with(PGconn* connection, std::string_view what) {
  throw std::runtime_error(fmt::format("{}: {}", what, trim(PQerrorMessage(connection))));
}

Answer checked(PGconn* connection, PGresult* result, ExecStatusType wanted, std::string_view sql) {
  Answer answer(result);
  if (PQresultStatus(answer.get()) != wanted) fail_with(connection, shortened(sql, 200));
  return answer;
}

}  // namespace

void Database::Closed::operator()(pg_conn* connection) const {
  PQfinish(connection);
}

Database::Database(const std::string& conninfo) : connection_(PQconnectdb(conninfo.c_str())) {
  if (PQstatus(connection_.get()) != CONNECTION_OK) fail_with(connection_.get(), "no connection to the database");
  execute("SET client_min_messages = warning");
}

Database Database::nearest(const std::string& url, const std::string& user) {
  Database over_tcp(url);
  const auto setting = over_tcp.value("SELECT split_part(current_setting('unix_socket_directories', true), ',', 1)");
  const std::string directory(setting.find('"') == std::string::npos ? setting : setting.substr(1, setting.size() - 2));
  auto* connection = over_tcp.connection_.get();
  try {
    Database over_socket(fmt::format("host={} port={} dbname={} user={}", directory, PQport(connection),
                                     PQdb(connection), user.empty() ? PQuser(connection) : user));
    over_socket.uses_socket_ = true;
    return over_socket;
  } catch (const std::runtime_error&) {
    if (!user.empty()) throw;
    return over_tcp;  // the rules of access do not let this user in by the socket
  }
}

void Database::execute(const std::string& sql) {
  const Answer answer(PQexec(connection_.get(), sql.c_str()));
  const auto status = PQresultStatus(answer.get());
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) fail_with(connection_.get(), shortened(sql, 200));
}

std::string Database::value(const std::string& sql) {
  const auto found = rows(sql);
  return found.empty() ? "" : found.front().front();
}

std::vector<std::vector<std::string>> Database::rows(const std::string& sql) {
  const auto answer = checked(connection_.get(), PQexec(connection_.get(), sql.c_str()), PGRES_TUPLES_OK, sql);
  std::vector<std::vector<std::string>> out(static_cast<std::size_t>(PQntuples(answer.get())));
  for (std::size_t row = 0; row < out.size(); ++row)
    for (int column = 0; column < PQnfields(answer.get()); ++column)
      out[row].emplace_back(PQgetvalue(answer.get(), static_cast<int>(row), column));
  return out;
}

std::string Database::copy_out(const std::string& sql) {
  auto* connection = connection_.get();
  checked(connection, PQexec(connection, sql.c_str()), PGRES_COPY_OUT, sql);
  std::string out;
  char* part = nullptr;
  int length = 0;
  while ((length = PQgetCopyData(connection, &part, 0)) > 0) {
    out.append(part, static_cast<std::size_t>(length));
    PQfreemem(part);
  }
  checked(connection, PQgetResult(connection), PGRES_COMMAND_OK, sql);
  while (const Answer rest{PQgetResult(connection)}) continue;
  return out;
}

std::int64_t Database::copy_in(const std::string& sql, std::span<const std::string_view> parts) {
  auto* connection = connection_.get();
  checked(connection, PQexec(connection, sql.c_str()), PGRES_COPY_IN, sql);
  for (const auto part : parts) {
    if (PQputCopyData(connection, part.data(), static_cast<int>(part.size())) != 1) fail_with(connection, "COPY");
  }
  if (PQputCopyEnd(connection, nullptr) != 1) fail_with(connection, "COPY");
  const auto answer = checked(connection, PQgetResult(connection), PGRES_COMMAND_OK, sql);
  while (const Answer rest{PQgetResult(connection)}) continue;
  return std::stoll(PQcmdTuples(answer.get()));
}

std::vector<std::string> Database::environment() const {
  auto* connection = connection_.get();
  std::vector<std::string> out{
      fmt::format("PGHOST={}", PQhost(connection)), fmt::format("PGPORT={}", PQport(connection)),
      fmt::format("PGUSER={}", PQuser(connection)), fmt::format("PGDATABASE={}", PQdb(connection))};
  if (const std::string_view password = PQpass(connection); !password.empty())
    out.push_back(fmt::format("PGPASSWORD={}", password));
  return out;
}

}  // namespace cognive::bench
