#include "ingest/interruption.hpp"

#include <signal.h>

#include <stdexcept>

namespace cognive::bench {
namespace {

volatile sig_atomic_t signal_came = 0;

}  // namespace

void catch_signals() {
  struct sigaction action{};
  action.sa_handler = [](int) { signal_came = 1; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

void throw_if_interrupted() {
  if (signal_came != 0) throw std::runtime_error("interrupted");
}

}  // namespace cognive::bench
