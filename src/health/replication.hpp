// How primary and replicas are doing, for probes, people and scripts: the answer of /api/v1/health/replication and of
// `cognive replication status --json`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "json/fields.hpp"
#include "pg/topology.hpp"

namespace cognive::health {

struct PrimaryHealth {
  std::string url;
  std::string state;
  bool in_recovery = false;
  std::optional<std::int64_t> timeline;
  std::optional<std::string> lsn;
  std::optional<std::string> error;

  static constexpr std::string_view schema_name = "PrimaryHealth";
  static constexpr auto fields() {
    return json::fields(
        json::field("url", &PrimaryHealth::url, "Password masked."),
        json::field("state", &PrimaryHealth::state, "`primary`, or what keeps the host from being it."),
        json::field("in_recovery", &PrimaryHealth::in_recovery, "Whether it is a standby."),
        json::field("timeline", &PrimaryHealth::timeline, "Raised by each promotion; null when it does not answer."),
        json::field("lsn", &PrimaryHealth::lsn, "How far its log is flushed; null when it does not answer."),
        json::field("error", &PrimaryHealth::error, "Why it does not answer."));
  }
};

struct ReplicaHealth {
  std::string url;
  std::string state;
  bool in_recovery = false;
  std::optional<std::int64_t> lag_ms;
  std::optional<std::int64_t> lag_bytes;
  std::optional<std::string> receive_lsn;
  std::optional<std::string> replay_lsn;
  std::optional<std::int64_t> timeline;
  bool routed = false;
  std::optional<std::string> not_routed_reason;

  static constexpr std::string_view schema_name = "ReplicaHealth";
  static constexpr auto fields() {
    return json::fields(
        json::field("url", &ReplicaHealth::url, "Password masked."),
        json::field(
            "state", &ReplicaHealth::state,
            "`streaming`, `paused` (its replay), `disconnected` (receives no log), `unreachable`, `outdated` (an "
            "old or second primary), `foreign` (another database system) or `unknown`."),
        json::field("in_recovery", &ReplicaHealth::in_recovery,
                    "Whether it is a standby; false when it does not answer."),
        json::field(
            "lag_ms", &ReplicaHealth::lag_ms,
            "Milliseconds: the age of what it has not replayed yet; 0 when it lacks nothing, null when unknown."),
        json::field("lag_bytes", &ReplicaHealth::lag_bytes, "Log that it has not replayed yet; null when unknown."),
        json::field("receive_lsn", &ReplicaHealth::receive_lsn, "How far it has received the log."),
        json::field("replay_lsn", &ReplicaHealth::replay_lsn, "How far it has replayed the log."),
        json::field("timeline", &ReplicaHealth::timeline, "Raised by each promotion."),
        json::field("routed", &ReplicaHealth::routed, "Whether reads go to it."),
        json::field("not_routed_reason", &ReplicaHealth::not_routed_reason, "Why reads do not go to it."));
  }
};

struct ReplicationHealth {
  std::string status;
  bool primary_in_recovery = false;
  PrimaryHealth primary;
  std::vector<ReplicaHealth> replicas;
  std::vector<std::string> problems;

  static constexpr std::string_view schema_name = "ReplicationHealth";
  static constexpr auto fields() {
    return json::fields(
        json::field("status", &ReplicationHealth::status, "`ok`, or `degraded` when anything is not as it should be."),
        json::field("primary_in_recovery", &ReplicationHealth::primary_in_recovery, "True when there is no primary."),
        json::field("primary", &ReplicationHealth::primary, "Where writes go."),
        json::field("replicas", &ReplicationHealth::replicas, "Every other host, in the order configured."),
        json::field("problems", &ReplicationHealth::problems, "What an operator has to look at, in sentences."));
  }
};

// The members that a 503 adds to its problem document: whoever has to choose a replica for promotion needs them then.
struct ReplicationLoss {
  PrimaryHealth primary;
  std::vector<ReplicaHealth> replicas;
  std::vector<std::string> problems;

  static constexpr std::string_view schema_name = "ReplicationLoss";
  static constexpr auto fields() {
    return json::fields(json::field("primary", &ReplicationLoss::primary, "The last primary."),
                        json::field("replicas", &ReplicationLoss::replicas, "Every other host."),
                        json::field("problems", &ReplicationLoss::problems, "What an operator has to look at."));
  }
};

// `urls` in the order of the hosts; their passwords are masked.
ReplicationHealth describe(const pg::Topology& topology, const std::vector<std::string>& urls);

// Whether the primary, or the host that should be it, can be asked at all.
bool primary_can_be_asked(const pg::Topology& topology);

}  // namespace cognive::health
