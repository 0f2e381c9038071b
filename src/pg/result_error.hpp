// What an error of libpq or of the server is, and what it means for whoever met it.
#pragma once

#include <string>
#include <string_view>

#include "pg/error.hpp"

struct pg_result;

namespace cognive::pg {

// What the caller's message says of an error of the connection itself: libpq's first line, which never holds a
// password.
std::string first_line(const char* message);

bool is_error(const pg_result* result);
// Whether the server waits for rows, or sends some, outside of the protocol of statements.
bool is_copy(const pg_result* result);

SqlError sql_error(const pg_result* result);

// Errors that end the session rather than the statement: shutdown (57P01…57P03), connection exceptions (08…), too many
// connections (53300), and a primary that has become read-only.
bool ends_session(std::string_view state);

// Errors after which the same statement may well succeed: timeouts, no resources (53…).
bool worth_repeating(std::string_view state);

// The prepared statement is not, or no longer, what was prepared: the table has changed (only then does a statement
// that has worked say "not supported"), or the request that was to prepare it failed.
bool outdated_plan(std::string_view state);

bool lost_to_another(const SqlError& error);

}  // namespace cognive::pg
