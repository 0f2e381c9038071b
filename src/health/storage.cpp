#include "health/health.hpp"
#include "http/problem.hpp"
#include "http/router.hpp"

namespace cognive::health {
namespace {

constexpr std::chrono::milliseconds ask_timeout{800};

struct BucketState {
  std::string name;
  std::optional<Timestamp> created;

  static constexpr std::string_view schema_name = "Bucket";
  static constexpr auto fields() {
    return json::fields(json::field("name", &BucketState::name, ""), json::field("created", &BucketState::created, ""));
  }
};

struct StorageState {
  std::string status = "healthy";
  std::string endpoint;
  bool accessible = true;
  std::int64_t bucket_count = 0;
  std::vector<std::string> expected_buckets;
  std::vector<std::string> missing_buckets;
  bool healthy = true;
  std::vector<BucketState> buckets;

  static constexpr std::string_view schema_name = "StorageHealth";
  static constexpr auto fields() {
    return json::fields(
        json::field("status", &StorageState::status, "`healthy`, or `degraded`: a bucket is missing."),
        json::field("endpoint", &StorageState::endpoint, "A `file:` URL where a directory keeps the objects."),
        json::field("accessible", &StorageState::accessible, "Whether it answers, and takes our credentials."),
        json::field("bucket_count", &StorageState::bucket_count, "How many of them are there."),
        json::field("expected_buckets", &StorageState::expected_buckets, "What this installation uses."),
        json::field("missing_buckets", &StorageState::missing_buckets,
                    "They are made at the start, and by `cognive storage init`."),
        json::field("healthy", &StorageState::healthy, ""),
        json::field("buckets", &StorageState::buckets, "Those of them that are there."));
  }
};

// Beside the members of a problem document, of which `status` is one.
struct StorageLoss {
  std::string endpoint;
  bool accessible = false;
  std::int64_t bucket_count = 0;
  std::vector<std::string> expected_buckets;
  std::vector<std::string> missing_buckets;
  bool healthy = false;
  std::vector<BucketState> buckets;

  static constexpr auto fields() {
    return json::fields(
        json::field("endpoint", &StorageLoss::endpoint, ""), json::field("accessible", &StorageLoss::accessible, ""),
        json::field("bucket_count", &StorageLoss::bucket_count, ""),
        json::field("expected_buckets", &StorageLoss::expected_buckets, ""),
        json::field("missing_buckets", &StorageLoss::missing_buckets, ""),
        json::field("healthy", &StorageLoss::healthy, ""), json::field("buckets", &StorageLoss::buckets, ""));
  }
};

Async<http::Response> state_of(objects::Objects& objects, const http::Request& request) {
  StorageState out{.endpoint = objects.place()};
  for (const auto& one : objects::expected) out.expected_buckets.push_back(objects.bucket(one.kind));
  auto found = co_await objects.probe(ask_timeout);
  if (!found) {
    const StorageLoss loss{
        .endpoint = out.endpoint, .expected_buckets = out.expected_buckets, .missing_buckets = out.expected_buckets};
    co_return http::problem(found.error(), request, json::encode(loss));
  }
  for (auto& bucket : *found) out.buckets.push_back({.name = std::move(bucket.name), .created = bucket.created_at});
  out.bucket_count = std::ssize(out.buckets);
  std::ranges::copy_if(out.expected_buckets, std::back_inserter(out.missing_buckets), [&](const std::string& name) {
    return std::ranges::find(out.buckets, name, &BucketState::name) == out.buckets.end();
  });
  out.healthy = out.missing_buckets.empty();
  if (!out.healthy) out.status = "degraded";
  co_return http::Response{.status = 200, .body = json::encode(out)};
}

}  // namespace

void add_storage_route(http::Router& router, objects::Objects& objects) {
  http::Router::Description description;
  description.answer = router.answer_schema<StorageState>();
  router.add_raw({.method = "GET",
                  .path = "/api/v1/health/storage",
                  .id = "health_storage",
                  .tag = "System",
                  .summary = "Whether the object storage answers, and has its buckets",
                  .description = "503 when it does not answer, or does not take our credentials; the problem document "
                                 "then has the same members.",
                  .permission = http::open_to_all,
                  .also = {503}},
                 std::move(description),
                 [&objects](const Call&, const http::Request& request) { return state_of(objects, request); });
}

}  // namespace cognive::health
