// Objects for coroutines: the store is asked on threads that may block, and large objects go and come piece by piece.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/crypto.hpp"
#include "objects/buckets.hpp"
#include "objects/store.hpp"
#include "observe/metrics.hpp"
#include "runtime/async.hpp"
#include "runtime/blocking.hpp"

namespace cognive::objects {

// What all threads of a process share.
struct Storage {
  // How many questions are asked at a time.
  static constexpr std::size_t threads_count = 12;
  // How many wait for that; more are refused.
  static constexpr int waiting_max = 256;
  // Uploads and downloads under way at a time: each holds some megabytes.
  static constexpr int transfers_max = 64;

  std::unique_ptr<Store> store = nullptr;  // null: there is none
  std::string bucket_prefix = {};
  std::atomic<int> waiting = 0;
  std::atomic<int> transfers = 0;
  BlockingThreads threads{threads_count};
  BlockingThreads probes{2};  // for who asks whether it is there, and must not wait for the others

  // While the executors of those who wait are still there.
  void stop();
};

// One of those that may be under way, until it is destroyed.
class Transfer {
 public:
  // Code::unavailable when there are too many.
  static Result<Transfer> begin(Storage& storage);
  Transfer(Transfer&& other) noexcept : storage_(std::exchange(other.storage_, nullptr)) {}
  Transfer& operator=(Transfer&&) = delete;
  ~Transfer() {
    if (storage_ != nullptr) --storage_->transfers;
  }

 private:
  explicit Transfer(Storage& storage) : storage_(&storage) {}

  Storage* storage_;
};

// Of one thread.
class Objects {
 public:
  // Without a store everything is Code::unavailable, and says what to configure. Both must outlive it.
  Objects(Storage& storage, Metrics& metrics) : storage_(storage), metrics_(metrics) {}

  [[nodiscard]] bool is_configured() const { return storage_.store != nullptr; }
  // Of the store as it is configured: "file:///…" or "http://…". Empty: there is none.
  [[nodiscard]] std::string place() const { return is_configured() ? storage_.store->place() : std::string(); }
  static Error not_configured();
  [[nodiscard]] std::string bucket(Kind kind) const;
  // How to reach an object without us; null when there is no store.
  [[nodiscard]] const Store* store() const { return storage_.store.get(); }
  [[nodiscard]] Result<Transfer> begin_transfer() { return Transfer::begin(storage_); }

  // Does one thing with the store, on a thread that may block, within so long, the wait for a thread included.
  template <typename T>
  using Question = std::function<Result<T>(Store&, Deadline)>;
  template <typename T>
  Async<Result<T>> ask(std::string_view what, std::chrono::milliseconds patience, Question<T> question);

  // Buckets that are missing are made, as many as can be; the error tells of the first that cannot.
  Async<Result<void>> make_buckets(std::chrono::milliseconds patience);
  // What has outlived its time in our buckets goes, where the store does not see to it.
  Async<Result<void>> expire(std::chrono::milliseconds patience);
  // Those of ours that are there; whatever else is under way. The error is for anybody, what the store said in the log.
  Async<Result<std::vector<Bucket>>> probe(std::chrono::milliseconds patience);
  Async<Result<Object>> find(Kind kind, std::string key, std::chrono::milliseconds patience);
  // Days for which objects are kept; 0: for ever. As the bucket has it, or had it a few minutes ago.
  Async<std::int64_t> lifetime(Kind kind);

 private:
  // `work`: the error; null: none.
  Async<> run(BlockingThreads& threads, std::string_view what, std::function<const Error*()> work);
  [[nodiscard]] std::vector<std::string> our_buckets() const;

  struct Lifetime {
    std::int64_t days = 0;
    Deadline until;
  };

  Storage& storage_;
  Metrics& metrics_;
  std::map<Kind, Lifetime> lifetimes_;
};

// What has been written.
struct Written {
  std::uint64_t bytes = 0;
  Digest sha256{};
};

// Writes one object. It appears when it is finished; what is given up, or forgotten, never does. Holds one part in
// memory: 8 MiB, and 64 MiB beyond 8 GB.
class Writer {
 public:
  Writer(Objects& objects, Kind kind, std::string key, std::string content_type);
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer();

  // Code::too_large when there are more parts than an object may have. After an error only `abort` is of use.
  Async<Result<void>> write(std::string_view bytes);
  Async<Result<Written>> finish();
  // What the store has of it is removed; when that fails, it expires there.
  Async<> abort();

  [[nodiscard]] std::uint64_t bytes() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Reads one object from `first` on, `count` bytes of it at most. `etag`: the object that is meant.
class Reader {
 public:
  enum class Checksum { none, wanted };
  Reader(Objects& objects, Kind kind, std::string key, std::uint64_t first, std::uint64_t count,
         Checksum checksum = Checksum::none, std::string etag = {});

  // The next bytes; empty: all of them have been read. Code::conflict when the object became another one meanwhile.
  Async<Result<std::string>> next();
  // How many are still to come, if there are as many.
  [[nodiscard]] std::uint64_t left() const { return left_; }
  // Of what has been read, when that is wanted; once.
  Digest sha256() { return digest_->finish(); }

 private:
  Objects& objects_;
  Kind kind_;
  std::string key_;
  std::uint64_t at_;
  std::uint64_t left_;
  std::string etag_;
  std::unique_ptr<Sha256> digest_;
};

template <typename T>
Async<Result<T>> Objects::ask(std::string_view what, std::chrono::milliseconds patience, Question<T> question) {
  if (!is_configured()) co_return std::unexpected(not_configured());
  Result<T> answer = fail(Code::unavailable, "The object storage has too much to do.");
  if (storage_.waiting >= Storage::waiting_max) co_return answer;
  const auto deadline = Deadline::in(patience);
  co_await run(storage_.threads, what, [&]() -> const Error* {
    // Nobody waits for it any more.
    if (!deadline.passed()) answer = question(*storage_.store, deadline);
    return answer ? nullptr : &answer.error();
  });
  co_return answer;
}

}  // namespace cognive::objects
