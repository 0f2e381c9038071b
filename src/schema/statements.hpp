// SQL text as single statements, so that a failure can be told by its line, and a revision be resumed in the middle.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cognive::schema {

struct SqlStatement {
  std::string text;  // without the semicolon
  int line = 1;      // on which it begins
};

// Splits at semicolons outside of quotes, dollar quotes and comments
// (https://www.postgresql.org/docs/15/sql-syntax-lexical.html). `first_line` is the line of the text's first character.
std::vector<SqlStatement> split_statements(std::string_view sql, int first_line);

}  // namespace cognive::schema
