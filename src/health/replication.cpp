#include "health/replication.hpp"

#include <algorithm>

#include "base/position.hpp"
#include "config/settings.hpp"

namespace cognive::health {
namespace {

// The host that has the writes, or should have them.
std::size_t primary_of(const pg::Topology& topology) {
  return topology.primary.value_or(0);
}

std::optional<std::int64_t> timeline_of(const pg::HostReport& report) {
  if (!report.reachable) return std::nullopt;
  return report.identity.timeline;
}

PrimaryHealth describe_primary(const pg::Host& host, const std::string& url) {
  PrimaryHealth out;
  out.url = masked_url(url);
  out.state = pg::text_of(host.state);
  out.in_recovery = host.report.identity.in_recovery;
  out.timeline = timeline_of(host.report);
  if (host.report.reachable) out.lsn = lsn_text(host.report.lsn);
  if (!host.report.failure.empty()) out.error = host.report.failure;
  return out;
}

ReplicaHealth describe_replica(const pg::Host& host, const std::string& url) {
  ReplicaHealth out;
  out.url = masked_url(url);
  out.state = pg::text_of(host.state);
  out.in_recovery = host.report.identity.in_recovery;
  if (host.lag) out.lag_ms = host.lag->count();
  if (host.lag_bytes) out.lag_bytes = static_cast<std::int64_t>(*host.lag_bytes);
  if (host.report.receive_lsn) out.receive_lsn = lsn_text(*host.report.receive_lsn);
  if (host.report.reachable) out.replay_lsn = lsn_text(host.report.lsn);
  out.timeline = timeline_of(host.report);
  out.routed = host.routed;
  if (!host.routed) out.not_routed_reason = host.not_routed;
  return out;
}

}  // namespace

bool primary_can_be_asked(const pg::Topology& topology) {
  if (topology.hosts.empty()) return false;
  return topology.hosts[primary_of(topology)].report.reachable;
}

ReplicationHealth describe(const pg::Topology& topology, const std::vector<std::string>& urls) {
  ReplicationHealth out;
  const auto primary = primary_of(topology);
  for (std::size_t i = 0; i < topology.hosts.size(); ++i) {
    const auto& host = topology.hosts[i];
    if (i == primary) {
      out.primary = describe_primary(host, urls[i]);
      out.primary_in_recovery = host.report.identity.in_recovery;
    } else {
      out.replicas.push_back(describe_replica(host, urls[i]));
    }
  }
  out.problems = topology.problems;
  for (std::size_t i = 0; i < topology.hosts.size(); ++i) {
    const auto& host = topology.hosts[i];
    const bool told = host.state == pg::HostState::outdated || host.state == pg::HostState::foreign;
    if (i == primary || host.routed || told) continue;
    out.problems.push_back(host.label + " is not read: " + host.not_routed + ".");
  }
  const bool all_routed = std::ranges::all_of(out.replicas, &ReplicaHealth::routed);
  out.status = topology.primary_answers() && all_routed && out.problems.empty() ? "ok" : "degraded";
  return out;
}

}  // namespace cognive::health
