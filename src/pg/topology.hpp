// Who is who among the database servers: the rules that turn what each host says of itself into one primary, replicas
// that may be read, and reasons for everything else. No I/O: the monitor asks, this decides.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "pg/server_identity.hpp"

namespace cognive::pg {

using Instant = std::chrono::steady_clock::time_point;

// What a host said when it was last asked, or why it said nothing.
struct HostReport {
  // How a standby gets its log. `hidden`: it has a receiver, but the role may not see its state (pg_monitor lets it).
  enum class Receiver { none, waiting, streaming, hidden };

  Instant asked_at{};  // just before the question; the epoch: never asked
  bool reachable = false;
  Instant answered_at{};  // the last time that it was; the epoch: never
  std::string failure;    // when it is not reachable
  ServerIdentity identity;
  std::uint64_t lsn = 0;                     // of a primary: flushed; of a standby: replayed
  std::optional<std::uint64_t> receive_lsn;  // of a standby, flushed there; none when it never received anything
  Receiver receiver = Receiver::none;
  bool replay_paused = false;
  std::optional<std::chrono::milliseconds> replay_age;  // since the commit that a standby replayed last

  [[nodiscard]] bool asked() const { return asked_at != Instant{}; }
};

enum class HostState {
  unknown,       // not asked yet
  unreachable,   // does not answer
  primary,       // takes the writes
  streaming,     // a standby that receives the log
  paused,        // a standby whose replay somebody has paused
  disconnected,  // a standby that receives nothing
  outdated,      // no standby, but not the primary either: an old primary, or a second one
  foreign,       // belongs to another database system, or is another database of it
};

std::string_view text_of(HostState state);

struct Host {
  std::string label;  // host:port
  HostReport report;
  HostState state = HostState::unknown;
  std::optional<std::chrono::milliseconds> lag;  // of a standby: the age of what it has not replayed yet
  std::optional<std::uint64_t> lag_bytes;        // of a standby: log that it has not replayed yet
  bool routed = false;                           // reads may go there
  std::string not_routed;                        // why not, in a sentence
};

// An immutable picture, replaced as a whole.
struct Topology {
  std::vector<Host> hosts;             // in the order configured: the host of DATABASE_URL first
  std::optional<std::size_t> primary;  // where writes go. Stays while that host merely does not answer
  std::string no_primary;              // why there is none
  bool undecided = false;              // a primary is found once every host has been asked again: do so at once
  std::vector<std::string> problems;   // what an operator has to look at, in sentences

  [[nodiscard]] bool primary_answers() const { return primary && hosts[*primary].state == HostState::primary; }
  [[nodiscard]] bool complete() const;  // every host has been asked at least once
};

// Forms the picture, and remembers what must not be forgotten between two of them: how far the log had come when, the
// latest timeline, and which database system this is. Lives on the monitor's thread.
class Judge {
 public:
  // `labels` has the host of DATABASE_URL first.
  Judge(std::vector<std::string> labels, std::chrono::milliseconds lag_max);

  // `reports` in the order of the labels.
  Topology judge(const std::vector<HostReport>& reports, Instant now);

 private:
  // When the log of the primary was first seen to be at `lsn`.
  struct Mark {
    Instant at;
    std::uint64_t lsn;
  };

  // When a server process was first seen, in the role that it has now.
  struct Sighting {
    ServerIdentity identity;
    Instant at;
  };

  void settle_system(const std::vector<HostReport>& reports);
  void note_sightings(const std::vector<HostReport>& reports);
  std::vector<std::size_t> candidates(Topology& topology) const;
  void choose_primary(Topology& topology);
  [[nodiscard]] bool is_rival(const Topology& topology, std::size_t index) const;
  [[nodiscard]] bool may_have_writes(const Topology& topology, std::size_t index) const;
  void remember(const Host& primary);
  void place_standby(const Topology& topology, Host& host, Instant now) const;
  [[nodiscard]] std::optional<std::chrono::milliseconds> lag_of(const HostReport& report, Instant now) const;

  std::vector<std::string> labels_;
  std::chrono::milliseconds lag_max_;
  std::string system_;
  std::uint32_t timeline_ = 0;                      // the latest that any host has shown
  std::vector<std::optional<Sighting>> sightings_;  // by host
  std::optional<std::size_t> primary_;
  std::optional<ServerIdentity> accepted_;  // of the primary
  std::uint32_t marks_timeline_ = 0;
  std::deque<Mark> marks_;  // ascending
};

}  // namespace cognive::pg
