// Measurements that take turns with a server of their own: the flags that all of them have, and how they begin and
// fail.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <functional>

#include "ingest/processes.hpp"

namespace cognive::bench {

struct TurnFlags {
  ServerOptions server;
  int rounds = 3;
  std::chrono::milliseconds duration{4'000};
};

// Adds those flags to `app`, reads the command line, and measures. `app` and `flags` must outlive the call. The exit
// status of the process.
int run_in_turns(CLI::App& app, TurnFlags& flags, int argc, char** argv, const std::function<int()>& measure);

}  // namespace cognive::bench
