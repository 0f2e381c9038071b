// The store that processes share: a Redis. It is not trusted: each text carries a code that only this installation can
// make, for its key and until its end, so that whatever else stands there is taken for nothing.
#pragma once

#include "base/time.hpp"
#include "cache/store.hpp"
#include "keyring/root_key.hpp"
#include "redis/script.hpp"

namespace cognive::cache {

class RedisStore final : public Store {
 public:
  // `client` must outlive it.
  RedisStore(redis::Client& client, keyring::RootKey root);

  Async<Looked> look(std::string key, Deadline deadline) override;
  Async<> fill(std::string key, std::string lease, std::optional<std::string> text, std::chrono::milliseconds lifetime,
               Deadline deadline) override;
  Async<> forget(std::string key, Deadline deadline) override;
  Async<StoreInfo> info(Deadline deadline) override;

 private:
  // Which Redis it is that the client is connected to, and since when it runs. What another one has, or one that was
  // started again, may be from before a change that it has forgotten: it is not believed.
  Async<> know_server(Deadline deadline);
  [[nodiscard]] std::string sealed(const std::string& key, std::string_view text, Timestamp until) const;
  // Nothing when it is not what this installation put there, or its time is over.
  [[nodiscard]] std::optional<std::string> opened(const std::string& key, std::string_view sealed) const;

  redis::Client& client_;
  keyring::DerivedKey code_key_;
  redis::Script fill_;
  std::string server_;            // its run_id
  std::uint64_t connection_ = 0;  // over which it has told that
};

}  // namespace cognive::cache
