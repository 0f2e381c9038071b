#include "redis/script.hpp"

#include <algorithm>
#include <iterator>

namespace cognive::redis {

Async<Reply> Script::run(Client& client, std::vector<std::string> keys, std::vector<std::string> arguments,
                         Deadline deadline) {
  if (digest_.empty()) {
    auto loaded = co_await client.execute({"SCRIPT", "LOAD", std::string(text_)}, deadline);
    if (loaded.kind != Reply::Kind::text) co_return loaded;
    digest_ = loaded.text;
  }
  Command command{"EVALSHA", digest_, std::to_string(keys.size())};
  std::ranges::move(keys, std::back_inserter(command));
  std::ranges::move(arguments, std::back_inserter(command));
  auto again = command;
  auto reply = co_await client.execute(std::move(command), deadline);
  if (!reply.is_error("NOSCRIPT")) co_return reply;
  // Restarted, or another one since a failover.
  again[0] = "EVAL";
  again[1] = text_;
  co_return co_await client.execute(std::move(again), deadline);
}

}  // namespace cognive::redis
