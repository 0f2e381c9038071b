#include "artifacts/store.hpp"

namespace cognive::artifacts {

namespace {

constexpr auto kind = objects::Kind::artifacts;
constexpr std::int64_t swept_together_max = 200;

}  // namespace

Async<> sweep(pg::Cluster& database, objects::Objects& objects, Deadline deadline) {
  if (!objects.is_configured()) co_return;
  // Who downloads one that was removed may finish.
  constexpr std::int64_t removed_since_s = 60;
  Call call;
  call.deadline = deadline;
  for (auto found = swept_together_max; found == swept_together_max && !deadline.passed();) {
    const auto rows =
        co_await database.primary().write(sql::over, pg::Params::of(swept_together_max, removed_since_s), call);
    found = rows.size();
    for (int i = 0; i < rows.size() && !deadline.passed(); ++i) {
      Uuid id;
      std::string key;
      std::string upload;
      rows[i].read(id, key, upload);
      std::function<Result<void>(objects::Store&)> question = [&](objects::Store& store) -> Result<void> {
        const auto bucket = objects.bucket(kind);
        if (!upload.empty() && upload != "-") {
          if (auto aborted = store.abort(bucket, key, upload, deadline); !aborted) return aborted;
        }
        return store.remove(bucket, key, deadline);
      };
      const auto removed = co_await objects.ask<void>("remove", std::move(question));
      if (!removed) throw Unavailable(removed.error().detail);
      co_await database.primary().write(sql::forget, pg::Params::of(id, key), call);
    }
  }
}

}  // namespace cognive::artifacts
