// Refusals in the audit trail: who asked for what they may not have. They are counted per caller, route, reason and
// minute and recorded once each, so that an attack costs memory for its callers, and not an entry for each request.
// Where it is not known whether a commit took place, its entries may be there twice, with the same times.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "audit/audit.hpp"
#include "http/router.hpp"
#include "pg/cluster.hpp"

namespace cognive::audit {

// Safe on every thread.
class Refusals final : public http::Refusals {
 public:
  void note(http::Refusal refusal) override;

  enum class Which { past_minutes, all };
  // Records what has been counted, a few callers in each transaction: the end of the chain is everybody's. What cannot
  // be recorded is kept for the next time.
  Async<> record(pg::Cluster& database, const Trail& trail, Which which, Deadline deadline);

 private:
  // Of those who did not prove who they are, the address tells them apart, and the account that they tried.
  struct Key {
    std::int64_t minute = 0;
    Principal::Kind kind = Principal::Kind::anonymous;
    Uuid id;
    std::optional<Uuid> team_id;
    std::string address;
    std::optional<Uuid> account;
    std::string operation;
    int status = 0;

    auto operator<=>(const Key&) const = default;
  };
  struct Count {
    std::int64_t count = 0;
    Timestamp first_at;
    Timestamp last_at;
  };
  using Counts = std::map<Key, Count>;

  // Beyond the first, those who did not say who they are are counted together, beyond the second all are.
  static constexpr std::size_t kept_max = 1'000;
  static constexpr std::size_t kept_max_of_all = 4'000;

  [[nodiscard]] Counts take(Which which);
  void put_back(Counts counts);
  void add(Key key, const Count& count);
  static Async<> record_some(pg::Cluster& database, const Trail& trail, const Counts& counts, Deadline deadline);

  std::mutex mutex_;
  Counts counts_;
};

}  // namespace cognive::audit
