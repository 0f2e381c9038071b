// A place in the history of the database: how far it has come after a commit. Clients carry it as an opaque consistency
// token, so that what they read is never older than what they wrote.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cognive {

// Where the write-ahead log stands (https://www.postgresql.org/docs/15/wal-internals.html). Positions of different
// timelines cannot be compared byte by byte; the later timeline counts as later.
struct Position {
  std::uint32_t timeline = 0;  // counts promotions, from 1; 0: no position
  std::uint64_t lsn = 0;       // bytes of log

  auto operator<=>(const Position&) const = default;

  // The token: opaque to clients, at most 25 characters.
  [[nodiscard]] std::string token() const;
  static std::optional<Position> parse_token(std::string_view token);
};

// As PostgreSQL prints it: 0/16B3748.
std::string lsn_text(std::uint64_t lsn);

}  // namespace cognive
