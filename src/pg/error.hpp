// What the database can answer with. A lost connection, a passed deadline and whatever is worth repeating (deadlocks, a
// server that shuts down) throw Unavailable. A refused statement throws SqlError; a store that expects one (a unique
// violation) catches it.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace cognive::pg {

class SqlError : public std::runtime_error {
 public:
  SqlError(std::string state, std::string constraint, const std::string& message)
      : std::runtime_error(message), state_(std::move(state)), constraint_(std::move(constraint)) {}

  // Five characters: https://www.postgresql.org/docs/15/errcodes-appendix.html
  [[nodiscard]] std::string_view state() const { return state_; }
  // Empty when the error is not about a constraint.
  [[nodiscard]] std::string_view constraint() const { return constraint_; }

 private:
  std::string state_;
  std::string constraint_;
};

// The transaction lost against a concurrent one, or its statements have to be planned anew: the whole of it may simply
// be run again.
class Retryable : public Unavailable {
 public:
  using Unavailable::Unavailable;
};

namespace sqlstate {
inline constexpr std::string_view unique_violation = "23505";
inline constexpr std::string_view foreign_key_violation = "23503";
inline constexpr std::string_view check_violation = "23514";
inline constexpr std::string_view serialization_failure = "40001";
inline constexpr std::string_view deadlock_detected = "40P01";
inline constexpr std::string_view unknown_statement = "26000";
inline constexpr std::string_view duplicate_statement = "42P05";
inline constexpr std::string_view query_canceled = "57014";
inline constexpr std::string_view read_only_transaction = "25006";
inline constexpr std::string_view undefined_table = "42P01";
inline constexpr std::string_view lock_not_available = "55P03";
// "cached plan must not change result type": the table has changed since the statement was prepared.
inline constexpr std::string_view feature_not_supported = "0A000";
inline constexpr std::string_view warning = "01000";
inline constexpr std::string_view admin_shutdown = "57P01";
}  // namespace sqlstate

}  // namespace cognive::pg
