// The processes of a measurement: the server under test with its PostgreSQL, and what each of them uses.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "embedded/process.hpp"
#include "ingest/load.hpp"

namespace cognive::bench {

struct ServerOptions {
  std::filesystem::path binary;
  std::filesystem::path directory;         // where data directories are made
  std::vector<std::string> environment{};  // NAME=value of the server; it inherits nothing
  std::size_t budgets = 0;                 // that every call of the load is charged to
};

// `cognive up` on a data directory of its own, which is removed in the end. Ends with us, however we end.
class ServerProcess {
 public:
  // Returns when the API answers. Throws std::runtime_error with the end of the log when it does not.
  explicit ServerProcess(const ServerOptions& options);
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  [[nodiscard]] pid_t pid() const { return child_->pid(); }
  [[nodiscard]] const std::string& database_url() const { return database_url_; }
  // With the agents of the load, which are registered on the first call.
  const Target& target();

 private:
  void wait_until_ready();
  [[nodiscard]] std::string end_of_log() const;

  // Removed with everything in it.
  struct Removed {
    std::filesystem::path path{};
    ~Removed();
  };

  Removed data_;
  Removed log_;
  std::unique_ptr<embedded::Child> child_;  // ends before its files go
  std::string database_url_;
  std::string url_;
  std::size_t budgets_;
  Target target_;
};

// Seconds of processor time since each process began.
struct CpuTimes {
  double server = 0;
  double postgres = 0;  // all processes of the cluster, also those that ended meanwhile
  double generator = 0;
  double others = 0;  // the rest of the machine, with the kernel's own work: should be next to nothing
  std::map<std::string, double> postgres_parts{};  // by "backend 4711", "walwriter" and so on; living ones only
};

// `postmaster`: the process id of PostgreSQL's first process.
CpuTimes cpu_times(pid_t server, pid_t postmaster);

// What was used between two samples, as processors: 1.0 is one processor all the time.
CpuTimes cpu_shares(const CpuTimes& before, const CpuTimes& after, double seconds);

// The parent of a process: the postmaster of a backend.
pid_t parent_of(pid_t pid);

// Megabytes (1e6 bytes) of resident memory: now, and the highest ever.
struct Memory {
  double resident_mb = 0;
  double highest_mb = 0;
};
Memory memory_of(pid_t pid);

}  // namespace cognive::bench
