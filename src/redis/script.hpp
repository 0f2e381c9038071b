// A Lua script that Redis executes as one step, by its digest once it knows it.
#pragma once

#include <string>
#include <vector>

#include "redis/client.hpp"

namespace cognive::redis {

// For one client.
class Script {
 public:
  // `text`: of the script; it must outlive this.
  explicit Script(std::string_view text) : text_(text) {}

  // The reply, which may be an error. Throws Unavailable as Client::execute does.
  Async<Reply> run(Client& client, std::vector<std::string> keys, std::vector<std::string> arguments,
                   Deadline deadline);

 private:
  std::string_view text_;
  std::string digest_;  // empty: Redis has not been told yet
};

}  // namespace cognive::redis
