#include "artifacts/store.hpp"
#include "observe/log.hpp"

namespace cognive::artifacts {

namespace {

constexpr auto kind = objects::Kind::artifacts;
constexpr std::int64_t swept_together_max = 200;

Async<Result<void>> remove_leftover(objects::Objects& objects, const std::string& key, const std::string& upload) {
  std::function<Result<void>(objects::Store&, Deadline)> question = [&](objects::Store& store,
                                                                        Deadline deadline) -> Result<void> {
    const auto bucket = objects.bucket(kind);
    if (!upload.empty()) {
      if (auto aborted = store.abort(bucket, key, upload, deadline); !aborted) return aborted;
    }
    return store.remove(bucket, key, deadline);
  };
  co_return co_await objects.ask<void>("remove", std::chrono::seconds{20}, std::move(question));
}

}  // namespace

Async<> sweep(pg::Cluster& database, objects::Objects& objects, Deadline deadline) {
  if (!objects.is_configured()) co_return;
  Call call;
  call.deadline = deadline;
  for (auto moved = swept_together_max; moved == swept_together_max && !deadline.passed();)
    moved = (co_await database.primary().write(sql::over(), pg::Params::of(swept_together_max), call)).affected();
  for (auto found = swept_together_max; found == swept_together_max && !deadline.passed();) {
    const auto rows = co_await database.primary().write(sql::leftovers(), pg::Params::of(swept_together_max), call);
    found = rows.size();
    for (int i = 0; i < rows.size() && !deadline.passed(); ++i) {
      std::string key;
      std::string upload;
      rows[i].read(key, upload);
      const auto removed = co_await remove_leftover(objects, key, upload);
      if (!removed && removed.error().code == Code::unavailable) throw Unavailable(removed.error().detail);
      if (!removed)
        log(Level::warning, "an object could not be removed", {{"key", key}, {"reason", removed.error().detail}});
      co_await database.primary().write(removed ? sql::forget() : sql::put_off(), pg::Params::of(key), call);
    }
  }
}

}  // namespace cognive::artifacts
