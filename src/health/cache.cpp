#include "cache/cache.hpp"

#include "health/health.hpp"
#include "http/router.hpp"

namespace cognive::health {
namespace {

constexpr std::chrono::milliseconds ask_timeout{1'000};

struct StoreState {
  std::string used_memory_human;
  std::string used_memory_peak_human;
  std::string maxmemory_human;
  std::int64_t connected_clients = 0;

  static constexpr std::string_view schema_name = "CacheStore";
  static constexpr auto fields() {
    return json::fields(
        json::field("used_memory_human", &StoreState::used_memory_human, "As Redis writes sizes: 1.50M."),
        json::field("used_memory_peak_human", &StoreState::used_memory_peak_human, ""),
        json::field("maxmemory_human", &StoreState::maxmemory_human, "0B: no limit."),
        json::field("connected_clients", &StoreState::connected_clients, ""));
  }
};

struct CacheState {
  std::int64_t hits = 0;
  std::int64_t misses = 0;
  std::int64_t errors = 0;
  std::int64_t total = 0;
  double hit_rate_percent = 0;
  std::optional<StoreState> redis_info;

  static constexpr std::string_view schema_name = "CacheState";
  static constexpr auto fields() {
    return json::fields(
        json::field("hits", &CacheState::hits, "Since this process started; so are the others."),
        json::field("misses", &CacheState::misses, ""),
        json::field("errors", &CacheState::errors, "Failures of what keeps the values; they are read elsewhere then."),
        json::field("total", &CacheState::total, "hits + misses."),
        json::field("hit_rate_percent", &CacheState::hit_rate_percent, "With two decimals; 0 as long as total is."),
        json::field("redis_info", &CacheState::redis_info,
                    "Of Redis, or of the cache in this process when none is configured; null: Redis does not answer."));
  }
};

Async<Result<CacheState>> state_of(cache::Cache& cache) {
  const auto read = cache.counts().read();
  CacheState out{.hits = static_cast<std::int64_t>(read.hits),
                 .misses = static_cast<std::int64_t>(read.misses),
                 .errors = static_cast<std::int64_t>(read.errors),
                 .total = static_cast<std::int64_t>(read.hits + read.misses)};
  if (out.total > 0)
    out.hit_rate_percent = std::round(1e4 * static_cast<double>(out.hits) / static_cast<double>(out.total)) / 100;
  try {
    auto info = co_await cache.info(Deadline::in(ask_timeout));
    out.redis_info = StoreState{.used_memory_human = std::move(info.used_memory),
                                .used_memory_peak_human = std::move(info.used_memory_peak),
                                .maxmemory_human = std::move(info.maxmemory),
                                .connected_clients = info.connected_clients};
  } catch (const Unavailable&) {  // NOLINT(bugprone-empty-catch): the answer says so
  }
  co_return out;
}

}  // namespace

void add_cache_route(http::Router& router, cache::Cache& cache) {
  router.add(
      {.method = "GET",
       .path = "/api/v1/health/cache",
       .id = "health_cache",
       .tag = "System",
       .summary = "How often the cache had what was read, and how full it is",
       .description =
           "Hits and misses of this process since it was started; redis_info describes the cache in memory where there "
           "is no Redis.",
       .permission = http::open_to_all},
      [&cache](const Call&, http::NoInput, http::NoInput) { return state_of(cache); });
}

}  // namespace cognive::health
