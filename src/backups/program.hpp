// PostgreSQL's own programs, with a pipe to or from them.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace cognive::backups {

struct Program {
  std::vector<std::string> arguments;    // the first is its path; others see them, so no secret is among them
  std::vector<std::string> environment;  // NAME=value, beside PATH; nothing else is inherited
};

// Runs it, and gives what it writes to `take`, piece by piece. Whatever it complains of is the error, without a trace
// of the values of its environment. When `take` fails it is killed.
Result<void> read_from(const Program& program, const std::function<Result<void>(std::string_view)>& take);

// Runs it with what `give` gives as its standard input; empty: that was all.
Result<void> write_to(const Program& program, const std::function<Result<std::string>()>& give);

}  // namespace cognive::backups
