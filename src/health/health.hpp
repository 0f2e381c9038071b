// What probes, people and Prometheus ask of a process: alive, ready, who are you, metrics, API description.
#pragma once

#include <optional>
#include <string>

#include "config/settings.hpp"
#include "observe/metrics.hpp"
#include "pg/pool.hpp"
#include "runtime/call.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::health {

struct Readiness {
  bool ready = false;
  std::string detail;  // `Not ready (database unavailable): …`
};

class Health {
 public:
  // `settings` and `metrics` must outlive it.
  Health(pg::Pool& database, const Settings& settings, Metrics& metrics)
      : database_(database), settings_(settings), metrics_(metrics) {}

  // Asks every required dependency, together, each with a short deadline.
  Async<Readiness> readiness();

  [[nodiscard]] const Settings& settings() const { return settings_; }
  [[nodiscard]] Metrics& metrics() { return metrics_; }

 private:
  pg::Pool& database_;
  const Settings& settings_;
  Metrics& metrics_;
};

// Registers the routes that need no credentials. Call after all other routes: the API description is made here, once.
void add_routes(http::Router& router, Health& health);

}  // namespace cognive::health
