#include "pg/result_error.hpp"

#include <libpq-fe.h>

#include <algorithm>

namespace cognive::pg {

std::string first_line(const char* message) {
  std::string text(message == nullptr ? "" : message);
  text.resize(std::min(text.find('\n'), text.size()));
  return text.empty() ? "the connection was closed" : text;
}

bool is_error(const pg_result* result) {
  const auto status = PQresultStatus(result);
  return status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE || status == PGRES_NONFATAL_ERROR;
}

bool is_copy(const pg_result* result) {
  const auto status = PQresultStatus(result);
  return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

SqlError sql_error(const PGresult* result) {
  const auto field = [&](int code) {
    const char* value = PQresultErrorField(result, code);
    return std::string(value == nullptr ? "" : value);
  };
  // Not the detail: it quotes whole rows, and rows hold what callers sent.
  return {field(PG_DIAG_SQLSTATE), field(PG_DIAG_CONSTRAINT_NAME), field(PG_DIAG_MESSAGE_PRIMARY)};
}

bool ends_session(std::string_view state) {
  return state.starts_with("57P0") || state.starts_with("08") || state == "53300" ||
         state == sqlstate::read_only_transaction;
}

bool worth_repeating(std::string_view state) {
  return state == sqlstate::query_canceled || state == sqlstate::lock_not_available || state.starts_with("53");
}

bool outdated_plan(std::string_view state) {
  return state == sqlstate::feature_not_supported || state == sqlstate::unknown_statement;
}

bool lost_to_another(const SqlError& error) {
  const auto& state = error.state();
  // A partition has no name for its bounds: the row was on its way to the default partition while one of its own came.
  const bool partition_came = state == sqlstate::check_violation && error.constraint().empty();
  return state == sqlstate::serialization_failure || state == sqlstate::deadlock_detected || partition_came;
}

}  // namespace cognive::pg
