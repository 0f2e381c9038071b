#include "objects/objects.hpp"

#include <algorithm>

namespace cognive::objects {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds begin_timeout{20'000};
constexpr std::size_t slowest_bytes_per_second = std::size_t{1} << 20U;
constexpr milliseconds completion_timeout{300'000};
constexpr milliseconds abort_timeout{10'000};
constexpr milliseconds piece_timeout{30'000};
constexpr std::size_t part_bytes = std::size_t{8} << 20U;
constexpr std::size_t later_part_bytes = std::size_t{64} << 20U;
constexpr std::int64_t first_parts = 1'000;
constexpr std::size_t piece_bytes = std::size_t{2} << 20U;

// So that a store that hangs is told soon, and a slow one has its time.
Deadline within(std::size_t bytes) {
  return Deadline::in(begin_timeout + std::chrono::seconds{bytes / slowest_bytes_per_second});
}

}  // namespace

void Storage::stop() {
  if (store) store->stop();
  threads.join();
  probes.join();
}

Error Objects::not_configured() {
  return {Code::unavailable, "No object storage is configured here: STORAGE_ENDPOINT names one.", {}};
}

std::string Objects::bucket(Kind kind) const {
  const auto found = std::ranges::find(expected, kind, &Expected::kind);
  return storage_.bucket_prefix + std::string(found->name);
}

Async<> Objects::run(BlockingThreads& threads, std::string_view what, std::function<bool()> work) {
  const auto begun = std::chrono::steady_clock::now();
  bool is_well = false;
  co_await threads.run([&] { is_well = work(); });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
  metrics_
      .histogram("storage_request_seconds", "Time for the object storage to do something, with all tries",
                 {{"operation", std::string(what)}}, duration_buckets())
      .observe(seconds.count());
  if (!is_well)
    metrics_
        .counter("storage_failures_total", "What the object storage has not done", {{"operation", std::string(what)}})
        .add();
}

Async<Result<void>> Objects::make_buckets(Deadline deadline) {
  std::function<Result<void>(Store&)> question = [this, deadline](Store& store) -> Result<void> {
    for (const auto& one : expected) {
      if (auto made = store.make_bucket(bucket(one.kind), one.days, deadline); !made) return made;
    }
    return {};
  };
  co_return co_await ask<void>("make_bucket", std::move(question));
}

Async<Result<std::vector<Bucket>>> Objects::probe(Deadline deadline) {
  if (!is_configured()) co_return std::unexpected(not_configured());
  Result<std::vector<Bucket>> answer = fail(Code::unavailable, "The object storage was not asked.");
  co_await run(storage_.probes, "buckets", [&] {
    answer = storage_.store->buckets(deadline);
    return answer.has_value();
  });
  co_return answer;
}

Async<Result<void>> Objects::remove(Kind kind, std::string key, Deadline deadline) {
  std::function<Result<void>(Store&)> question = [&](Store& store) {
    return store.remove(bucket(kind), key, deadline);
  };
  co_return co_await ask<void>("remove", std::move(question));
}

Async<Result<Object>> Objects::find(Kind kind, std::string key, Deadline deadline) {
  std::function<Result<Object>(Store&)> question = [&](Store& store) {
    return store.find(bucket(kind), key, deadline);
  };
  co_return co_await ask<Object>("find", std::move(question));
}

struct Writer::State {
  Objects& objects;
  std::string bucket;
  std::string key;
  std::string content_type;
  std::string upload;  // empty: not begun
  std::string buffer;
  std::vector<Part> parts;
  Sha256 digest;
  std::uint64_t bytes = 0;

  [[nodiscard]] std::size_t wanted() const { return std::ssize(parts) < first_parts ? part_bytes : later_part_bytes; }

  // What is in the buffer becomes a part.
  Async<Result<void>> put_part() {
    if (std::ssize(parts) == parts_max)
      co_return fail(Code::too_large, "It is larger than an object of the store may be.");
    std::function<Result<void>(Store&)> question = [this](Store& store) -> Result<void> {
      if (upload.empty()) {
        auto begun = store.begin(bucket, key, content_type, Deadline::in(begin_timeout));
        if (!begun) return std::unexpected(std::move(begun.error()));
        upload = std::move(*begun);
      }
      auto part = store.put_part(bucket, key, upload, std::ssize(parts) + 1, buffer, within(buffer.size()));
      if (!part) return std::unexpected(std::move(part.error()));
      parts.push_back(std::move(*part));
      digest.update(buffer);
      return {};
    };
    auto put = co_await objects.ask<void>("put_part", std::move(question));
    if (put) buffer.clear();
    co_return put;
  }
};

Writer::Writer(Objects& objects, Kind kind, std::string key, std::string content_type)
    : state_(new State{.objects = objects,
                       .bucket = objects.bucket(kind),
                       .key = std::move(key),
                       .content_type = std::move(content_type),
                       .upload = {},
                       .buffer = {},
                       .parts = {},
                       .digest = {}}) {}

Writer::~Writer() = default;

std::uint64_t Writer::bytes() const {
  return state_->bytes;
}

Async<Result<void>> Writer::write(std::string_view bytes) {
  const auto state = state_;
  while (!bytes.empty()) {
    const auto taken = bytes.substr(0, state->wanted() - state->buffer.size());
    state->buffer += taken;
    state->bytes += taken.size();
    bytes.remove_prefix(taken.size());
    if (state->buffer.size() < state->wanted()) continue;
    if (auto put = co_await state->put_part(); !put) co_return put;
  }
  co_return Result<void>();
}

Async<Result<Written>> Writer::finish() {
  const auto state = state_;
  std::function<Result<Written>(Store&)> question = [state](Store& store) -> Result<Written> {
    Result<void> done;
    if (state->parts.empty()) {
      state->digest.update(state->buffer);
      done = store.put(state->bucket, state->key, state->buffer, state->content_type, within(state->buffer.size()));
    } else {
      done = store.complete(state->bucket, state->key, state->upload, state->parts, Deadline::in(completion_timeout));
    }
    if (!done) return std::unexpected(std::move(done.error()));
    return Written{.bytes = state->bytes, .sha256 = state->digest.finish()};
  };
  if (!state->parts.empty() && !state->buffer.empty()) {
    if (auto put = co_await state->put_part(); !put) co_return std::unexpected(std::move(put.error()));
  }
  co_return co_await state->objects.ask<Written>("finish", std::move(question));
}

Async<> Writer::abort() {
  const auto state = state_;
  state->buffer = {};
  if (state->upload.empty()) co_return;
  std::function<Result<void>(Store&)> question = [state](Store& store) {
    return store.abort(state->bucket, state->key, state->upload, Deadline::in(abort_timeout));
  };
  (void)co_await state->objects.ask<void>("abort", std::move(question));
}

Reader::Reader(Objects& objects, Kind kind, std::string key, std::uint64_t first, std::uint64_t count,
               Checksum checksum)
    : objects_(objects),
      kind_(kind),
      key_(std::move(key)),
      at_(first),
      left_(count),
      digest_(checksum == Checksum::wanted ? std::make_unique<Sha256>() : nullptr) {}

Async<Result<std::string>> Reader::next() {
  if (left_ == 0) co_return std::string();
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(left_, piece_bytes));
  std::function<Result<Piece>(Store&)> question = [&](Store& store) {
    auto piece = store.get(objects_.bucket(kind_), key_, at_, wanted, etag_, Deadline::in(piece_timeout));
    if (piece && digest_) digest_->update(piece->bytes);
    return piece;
  };
  auto piece = co_await objects_.ask<Piece>("get", std::move(question));
  if (!piece) co_return std::unexpected(std::move(piece.error()));
  etag_ = std::move(piece->etag);
  at_ += piece->bytes.size();
  left_ = piece->bytes.empty() ? 0 : left_ - piece->bytes.size();
  co_return std::move(piece->bytes);
}

}  // namespace cognive::objects
