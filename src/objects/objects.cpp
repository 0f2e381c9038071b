#include "objects/objects.hpp"

#include <algorithm>

#include "observe/log.hpp"

namespace cognive::objects {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds begin_timeout{20'000};
constexpr std::size_t slowest_bytes_per_second = std::size_t{1} << 20U;
constexpr milliseconds completion_timeout{300'000};
constexpr milliseconds lifetime_patience{5'000};
constexpr milliseconds lifetime_known{300'000};
constexpr milliseconds abort_timeout{10'000};
constexpr milliseconds piece_timeout{30'000};
constexpr std::size_t part_bytes = std::size_t{8} << 20U;
constexpr std::size_t later_part_bytes = std::size_t{64} << 20U;
constexpr std::int64_t first_parts = 1'000;
constexpr std::size_t piece_bytes = std::size_t{2} << 20U;

// So that a store that hangs is told soon, and a slow one has its time.
milliseconds patience_for(std::size_t bytes) {
  return begin_timeout + std::chrono::seconds{bytes / slowest_bytes_per_second};
}

}  // namespace

void Storage::stop() {
  if (store) store->stop();
  threads.join();
  probes.join();
}

Result<Transfer> Transfer::begin(Storage& storage) {
  if (++storage.transfers > Storage::transfers_max) {
    --storage.transfers;
    return fail(Code::unavailable, "Too many uploads and downloads are under way; try again in a moment.");
  }
  return Transfer(storage);
}

Error Objects::not_configured() {
  return {Code::unavailable,
          "No object storage is configured here: STORAGE_ENDPOINT names one, or STORAGE_DIRECTORY a directory.",
          {}};
}

std::string Objects::bucket(Kind kind) const {
  const auto found = std::ranges::find(expected, kind, &Expected::kind);
  return storage_.bucket_prefix + std::string(found->name);
}

std::vector<std::string> Objects::our_buckets() const {
  std::vector<std::string> out;
  for (const auto& one : expected) out.push_back(bucket(one.kind));
  return out;
}

Async<> Objects::run(BlockingThreads& threads, std::string_view what, std::function<const Error*()> work) {
  const auto begun = std::chrono::steady_clock::now();
  bool is_well = false;
  ++storage_.waiting;
  struct Leave {
    Storage& storage;
    ~Leave() { --storage.waiting; }
  } const leave{storage_};
  co_await threads.run([&] {
    const auto* error = work();
    // What was not there, or is refused for what was asked, is no failure of the store.
    is_well = error == nullptr || (error->code != Code::unavailable && error->code != Code::unauthenticated &&
                                   error->code != Code::forbidden);
  });
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

Async<Result<void>> Objects::make_buckets(std::chrono::milliseconds patience) {
  const Question<void> question = [this](Store& store, Deadline deadline) -> Result<void> {
    Result<void> out;
    for (const auto& one : expected) {
      auto made = store.make_bucket(bucket(one.kind), one.days, deadline);
      if (!made && out) out = std::move(made);
    }
    return out;
  };
  co_return co_await ask<void>("make_bucket", patience, question);
}

Async<Result<void>> Objects::expire(std::chrono::milliseconds patience) {
  const Question<void> question = [this](Store& store, Deadline deadline) {
    return store.expire(our_buckets(), deadline);
  };
  co_return co_await ask<void>("expire", patience, question);
}

Async<Result<std::vector<Bucket>>> Objects::probe(std::chrono::milliseconds patience) {
  if (!is_configured()) co_return std::unexpected(not_configured());
  Result<std::vector<Bucket>> answer = fail(Code::unavailable, "The object storage was not asked.");
  const auto deadline = Deadline::in(patience);
  co_await run(storage_.probes, "buckets", [&]() -> const Error* {
    answer = storage_.store->buckets(deadline);
    return answer ? nullptr : &answer.error();
  });
  if (answer) {
    const auto ours = our_buckets();
    std::erase_if(*answer, [&](const Bucket& one) { return std::ranges::find(ours, one.name) == ours.end(); });
    co_return answer;
  }
  thread_local LogThrottle throttle;
  if (const auto held_back = throttle.pass())
    log(Level::warning, "the object storage is not well",
        {{"reason", answer.error().detail}, {"more_before", *held_back}});
  co_return fail(Code::unavailable, answer.error().code == Code::unavailable
                                        ? "The object storage does not answer."
                                        : "The object storage does not take our credentials; the log says more.");
}

Async<Result<Object>> Objects::find(Kind kind, std::string key, std::chrono::milliseconds patience) {
  const Question<Object> question = [&](Store& store, Deadline deadline) {
    return store.find(bucket(kind), key, deadline);
  };
  co_return co_await ask<Object>("find", patience, question);
}

Async<std::int64_t> Objects::lifetime(Kind kind) {
  const auto known = lifetimes_.find(kind);
  if (known != lifetimes_.end() && !known->second.until.passed()) co_return known->second.days;
  const Question<std::int64_t> question = [&](Store& store, Deadline deadline) {
    return store.lifetime(bucket(kind), deadline);
  };
  const auto found = co_await ask<std::int64_t>("lifetime", lifetime_patience, question);
  // Credentials may not be allowed to see it: then it is as it was made.
  auto days = std::ranges::find(expected, kind, &Expected::kind)->days;
  if (found) {
    days = *found;
  } else if (known != lifetimes_.end()) {
    days = known->second.days;
  }
  lifetimes_[kind] = {days, Deadline::in(lifetime_known)};
  co_return days;
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
    const Objects::Question<void> question = [this](Store& store, Deadline deadline) -> Result<void> {
      if (upload.empty()) {
        auto begun = store.begin(bucket, key, content_type, deadline);
        if (!begun) return std::unexpected(std::move(begun.error()));
        upload = std::move(*begun);
      }
      auto part = store.put_part(bucket, key, upload, std::ssize(parts) + 1, buffer, deadline);
      if (!part) return std::unexpected(std::move(part.error()));
      parts.push_back(std::move(*part));
      digest.update(buffer);
      return {};
    };
    auto put = co_await objects.ask<void>("put_part", patience_for(buffer.size()), question);
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
  const bool is_whole = state->parts.empty();
  const Objects::Question<Written> question = [state, is_whole](Store& store, Deadline deadline) -> Result<Written> {
    if (is_whole) state->digest.update(state->buffer);
    auto done = is_whole ? store.put(state->bucket, state->key, state->buffer, state->content_type, deadline)
                         : store.complete(state->bucket, state->key, state->upload, state->parts, deadline);
    if (!done) return std::unexpected(std::move(done.error()));
    return Written{.bytes = state->bytes, .sha256 = state->digest.finish()};
  };
  if (!is_whole && !state->buffer.empty()) {
    if (auto put = co_await state->put_part(); !put) co_return std::unexpected(std::move(put.error()));
  }
  const auto patience = is_whole ? patience_for(state->buffer.size()) : completion_timeout;
  co_return co_await state->objects.ask<Written>("finish", patience, question);
}

Async<> Writer::abort() {
  const auto state = state_;
  state->buffer = {};
  if (state->upload.empty()) co_return;
  const Objects::Question<void> question = [state](Store& store, Deadline deadline) {
    return store.abort(state->bucket, state->key, state->upload, deadline);
  };
  (void)co_await state->objects.ask<void>("abort", abort_timeout, question);
}

Reader::Reader(Objects& objects, Kind kind, std::string key, std::uint64_t first, std::uint64_t count,
               Checksum checksum, std::string etag)
    : objects_(objects),
      kind_(kind),
      key_(std::move(key)),
      at_(first),
      left_(count),
      etag_(std::move(etag)),
      digest_(checksum == Checksum::wanted ? std::make_unique<Sha256>() : nullptr) {}

Async<Result<std::string>> Reader::next() {
  if (left_ == 0) co_return std::string();
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(left_, piece_bytes));
  const Objects::Question<Piece> question = [&](Store& store, Deadline deadline) {
    auto piece = store.get(objects_.bucket(kind_), key_, at_, wanted, etag_, deadline);
    if (piece && digest_) digest_->update(piece->bytes);
    return piece;
  };
  auto piece = co_await objects_.ask<Piece>("get", piece_timeout, question);
  if (!piece) co_return std::unexpected(std::move(piece.error()));
  etag_ = std::move(piece->etag);
  at_ += piece->bytes.size();
  left_ = piece->bytes.empty() ? 0 : left_ - piece->bytes.size();
  co_return std::move(piece->bytes);
}

}  // namespace cognive::objects
