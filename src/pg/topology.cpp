#include "pg/topology.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace cognive::pg {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t marks_max = 4'096;

bool same_server(const HostReport& a, const HostReport& b) {
  return a.identity.system == b.identity.system && a.identity.started_at == b.identity.started_at &&
         a.identity.timeline == b.identity.timeline;
}

}  // namespace

std::string_view text_of(HostState state) {
  switch (state) {
    case HostState::unknown:
      return "unknown";
    case HostState::unreachable:
      return "unreachable";
    case HostState::primary:
      return "primary";
    case HostState::streaming:
      return "streaming";
    case HostState::paused:
      return "paused";
    case HostState::disconnected:
      return "disconnected";
    case HostState::outdated:
      return "outdated";
    case HostState::foreign:
      return "foreign";
  }
  return "unknown";
}

bool Topology::complete() const {
  return std::ranges::all_of(hosts, [](const Host& host) { return host.report.asked(); });
}

Judge::Judge(std::vector<std::string> labels, milliseconds lag_max)
    : labels_(std::move(labels)), lag_max_(lag_max), sightings_(labels_.size()) {}

// Which database this is: DATABASE_URL says so, and while its host does not answer, the others if they agree.
void Judge::settle_system(const std::vector<HostReport>& reports) {
  if (!system_.empty() || reports.empty()) return;
  if (!reports.front().reachable && !std::ranges::all_of(reports, &HostReport::asked)) return;
  std::string found;
  for (const auto& report : reports) {
    if (!report.reachable) continue;
    if (!found.empty() && report.identity.system != found) return;
    found = report.identity.system;
    if (&report == &reports.front()) break;
  }
  system_ = found;
}

void Judge::note_sightings(const std::vector<HostReport>& reports) {
  for (std::size_t i = 0; i < reports.size(); ++i) {
    if (!reports[i].reachable) continue;
    auto& sighting = sightings_[i];
    if (!sighting || !reports[i].identity.is_still(sighting->identity))
      sighting = Sighting{reports[i].identity, reports[i].asked_at};
  }
}

Topology Judge::judge(const std::vector<HostReport>& reports, Instant now) {
  Topology topology;
  settle_system(reports);
  note_sightings(reports);
  for (std::size_t i = 0; i < labels_.size(); ++i) {
    auto& host = topology.hosts.emplace_back(Host{.label = labels_[i], .report = reports[i]});
    if (!host.report.asked()) {
      host.not_routed = "it has not been asked yet";
    } else if (!host.report.reachable) {
      host.state = HostState::unreachable;
      host.not_routed = "it does not answer: " + host.report.failure;
    } else if (system_.empty()) {
      host.state = HostState::foreign;
      host.not_routed = "the hosts belong to different databases, and that of DATABASE_URL does not answer";
      topology.no_primary = host.not_routed;
    } else if (host.report.identity.system != system_) {
      host.state = HostState::foreign;
      host.not_routed = "it belongs to another database system, or is another database of it";
      topology.problems.push_back(
          host.label + " belongs to another database system, or is another database of it, and is not used.");
    } else {
      timeline_ = std::max(timeline_, host.report.identity.timeline);
    }
  }
  choose_primary(topology);
  if (topology.primary_answers()) remember(topology.hosts[*topology.primary]);
  for (auto& host : topology.hosts) {
    if (host.state == HostState::unknown && host.report.asked()) place_standby(topology, host, now);
  }
  return topology;
}

// Hosts that take writes on the latest timeline; says of all others that are no standbys why they are not among them.
std::vector<std::size_t> Judge::candidates(Topology& topology) const {
  std::vector<std::size_t> newest;
  for (std::size_t i = 0; i < topology.hosts.size(); ++i) {
    auto& host = topology.hosts[i];
    const auto& report = host.report;
    if (host.state != HostState::unknown || !report.asked() || report.identity.in_recovery) continue;
    host.state = HostState::outdated;
    if (report.identity.timeline < timeline_) {
      host.not_routed = fmt::format("it is no standby and stayed on timeline {} while another host is on {}",
                                    report.identity.timeline, timeline_);
      topology.problems.push_back(
          fmt::format("{} is an old primary on timeline {}; another host has been promoted to timeline {}. It is never "
                      "written to: stop it and re-seed it as a replica.",
                      host.label, report.identity.timeline, timeline_));
    } else if (report.identity.read_only) {
      host.not_routed = "it is no standby, yet refuses writes";
      topology.no_primary = host.label + " is read-only (default_transaction_read_only)";
    } else if (!newest.empty() && same_server(topology.hosts[newest.front()].report, report)) {
      host.not_routed = "it is the primary, named twice";
    } else {
      newest.push_back(i);
    }
  }
  return newest;
}

// A server on the timeline of the primary that is neither the primary under another name, nor its successor: to become
// one it would have to be promoted, which begins a timeline. That the primary is silent is no permission.
bool Judge::is_rival(const Topology& topology, std::size_t index) const {
  const auto& identity = topology.hosts[index].report.identity;
  if (!accepted_ || primary_ == index || identity.timeline > accepted_->timeline || identity.is_still(*accepted_))
    return false;
  const auto& former = topology.hosts[*primary_].report;
  return !(former.reachable && former.identity.in_recovery);
}

// An old primary that comes back looks just as it did before it was lost. So a server process that has not had the
// writes gets them only when it is on a later timeline than any before it, or when every other host has been asked, or
// failed to answer, since it was first seen.
bool Judge::may_have_writes(const Topology& topology, std::size_t index) const {
  const auto& identity = topology.hosts[index].report.identity;
  if (!accepted_) return topology.complete();
  if (primary_ == index && identity.is_still(*accepted_)) return true;
  if (identity.timeline > accepted_->timeline) return true;
  return std::ranges::all_of(topology.hosts,
                             [&](const Host& host) { return host.report.asked_at >= sightings_[index]->at; });
}

void Judge::choose_primary(Topology& topology) {
  auto newest = candidates(topology);
  if (newest.size() > 1) {
    std::string names;
    for (const auto i : newest) {
      names += (names.empty() ? "" : " and ") + topology.hosts[i].label;
      topology.hosts[i].not_routed = "it is a second primary";
    }
    topology.problems.push_back(
        fmt::format("{} all take writes on timeline {} (split brain): stop all but one and re-seed them as replicas.",
                    names, timeline_));
    // The one that has had the writes keeps them; else the operator's word, DATABASE_URL, decides.
    const auto known = std::ranges::find(newest, primary_.value_or(0));
    if (known == newest.end()) {
      topology.no_primary = names + " all take writes, and nothing tells which of them is the primary";
      newest.clear();
    } else {
      newest = {*known};
    }
  }
  if (!newest.empty() && is_rival(topology, newest.front())) {
    auto& host = topology.hosts[newest.front()];
    host.not_routed = "it is a second primary";
    topology.problems.push_back(host.label +
                                " takes writes on the timeline of the primary, which is another host: stop "
                                "it and re-seed it as a replica.");
    newest.clear();
  }
  if (!newest.empty()) {
    auto& host = topology.hosts[newest.front()];
    if (!may_have_writes(topology, newest.front())) {
      topology.undecided = true;
      topology.no_primary = host.label + " has just appeared, and all other hosts are asked first";
      host.not_routed = "it has just appeared";
      return;
    }
    primary_ = newest.front();
    accepted_ = host.report.identity;
    host.state = HostState::primary;
    host.not_routed = "it is the primary";
    topology.primary = primary_;
    return;
  }
  // Silence is no news: the host may be back before anybody is promoted, and nobody else can be written to.
  if (primary_ && topology.hosts[*primary_].state == HostState::unreachable && accepted_->timeline == timeline_) {
    topology.primary = primary_;
    topology.problems.push_back("The primary " + topology.hosts[*primary_].label +
                                " does not answer: " + topology.hosts[*primary_].report.failure + ".");
    return;
  }
  if (topology.no_primary.empty()) {
    topology.no_primary = topology.complete() ? "no reachable host takes writes" : "the hosts have not been asked yet";
    for (const auto& host : topology.hosts) {
      if (!host.report.failure.empty()) topology.no_primary += "; " + host.label + ": " + host.report.failure;
    }
  }
  if (topology.complete()) topology.problems.push_back("There is no primary: " + topology.no_primary + ".");
}

void Judge::remember(const Host& primary) {
  const auto& report = primary.report;
  if (marks_timeline_ != report.identity.timeline) marks_.clear();
  marks_timeline_ = report.identity.timeline;
  if (!marks_.empty() && report.lsn <= marks_.back().lsn) return;
  if (marks_.size() >= marks_max) {
    // Half the resolution of the past is enough to see that a replica is hours behind.
    std::deque<Mark> thinned;
    for (std::size_t i = 0; i < marks_.size(); i += 2) thinned.push_back(marks_[i]);
    marks_ = std::move(thinned);
  }
  marks_.push_back({report.asked_at, report.lsn});
}

// The age of the oldest part of the log that the standby lacks, by our own clock: an idle primary writes nothing, so
// its replicas cannot fall behind, however long ago its last transaction was.
std::optional<milliseconds> Judge::lag_of(const HostReport& report, Instant now) const {
  const auto missing = std::ranges::find_if(marks_, [&](const Mark& mark) { return mark.lsn > report.lsn; });
  if (missing == marks_.end()) return milliseconds{0};
  if (missing != marks_.begin()) return std::chrono::ceil<milliseconds>(now - missing->at);
  // It was behind before we first looked: only the replica itself can tell since when.
  return report.replay_age;
}

void Judge::place_standby(const Topology& topology, Host& host, Instant now) const {
  const auto& report = host.report;
  const bool receives =
      report.receiver == HostReport::Receiver::streaming || report.receiver == HostReport::Receiver::hidden;
  if (report.replay_paused) {
    host.state = HostState::paused;
  } else {
    host.state = receives ? HostState::streaming : HostState::disconnected;
  }
  if (report.identity.timeline == marks_timeline_ && !marks_.empty()) {
    const auto end = std::max(marks_.back().lsn, report.receive_lsn.value_or(0));
    host.lag_bytes = end - std::min(end, report.lsn);
    if (topology.primary_answers()) host.lag = lag_of(report, now);
  }
  if (!topology.primary_answers()) {
    host.not_routed = "the primary does not answer, so how far it is behind is not known";
  } else if (report.identity.timeline != marks_timeline_) {
    host.not_routed = fmt::format("it is on timeline {}, the primary on {}", report.identity.timeline, marks_timeline_);
  } else if (!receives) {
    host.not_routed = "it receives no log from the primary";
  } else if (!host.lag) {
    host.not_routed = "how far it is behind is not known";
  } else if (*host.lag > lag_max_) {
    host.not_routed = fmt::format("it is {} ms behind, the limit is {} ms", host.lag->count(), lag_max_.count());
  } else {
    host.routed = true;
  }
}

}  // namespace cognive::pg
