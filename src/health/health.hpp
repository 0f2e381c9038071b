// What probes, people and Prometheus ask of a process: alive, ready, who are you, metrics, API description.
#pragma once

#include <optional>
#include <string>

#include "amqp/connection.hpp"
#include "cache/cache.hpp"
#include "config/settings.hpp"
#include "keyring/root_key.hpp"
#include "objects/objects.hpp"
#include "observe/metrics.hpp"
#include "pg/cluster.hpp"
#include "redis/client.hpp"
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
  // Everything must outlive it.
  // `redis`, `rabbitmq`: null when there is none.
  Health(pg::Cluster& database, const pg::Monitor& monitor, redis::Client* redis, amqp::Connection* rabbitmq,
         objects::Objects& objects, const Settings& settings, keyring::RootKey root, Metrics& metrics)
      : database_(database),
        monitor_(monitor),
        redis_(redis),
        rabbitmq_(rabbitmq),
        objects_(objects),
        settings_(settings),
        root_(std::move(root)),
        metrics_(metrics) {}

  // Asks every required dependency, together, each with a short deadline.
  Async<Readiness> readiness();

  // As it was when the hosts were last asked, about a second ago at most.
  [[nodiscard]] std::shared_ptr<const pg::Topology> topology() const { return monitor_.topology(); }
  // Of the hosts of the topology, in their order.
  [[nodiscard]] std::vector<std::string> database_urls() const { return monitor_.options().urls(); }

  [[nodiscard]] objects::Objects& objects() { return objects_; }
  [[nodiscard]] const Settings& settings() const { return settings_; }
  [[nodiscard]] Metrics& metrics() { return metrics_; }

 private:
  pg::Cluster& database_;
  const pg::Monitor& monitor_;
  redis::Client* redis_;
  amqp::Connection* rabbitmq_;
  objects::Objects& objects_;
  const Settings& settings_;
  keyring::RootKey root_;
  Metrics& metrics_;
};

// Registers what tells of the cache.
void add_cache_route(http::Router& router, cache::Cache& cache);

// Registers what tells of the object storage.
void add_storage_route(http::Router& router, objects::Objects& objects);

// Registers the routes that need no credentials. Call after all other routes: the API description is made here, once.
void add_routes(http::Router& router, Health& health);

}  // namespace cognive::health
