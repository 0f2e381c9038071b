// Objects for coroutines: the store is asked on threads that may block, and large objects go and come piece by piece.
#pragma once

#include <functional>
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
  // How many uploads, downloads and the like are under way at a time.
  static constexpr std::size_t threads_count = 8;

  std::unique_ptr<Store> store = nullptr;  // null: there is none
  std::string bucket_prefix = {};
  BlockingThreads threads{threads_count};
  BlockingThreads probes{2};  // for who asks whether it is there, and must not wait for the others

  // While the executors of those who wait are still there.
  void stop();
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

  // Does one thing with the store, on a thread that may block.
  template <typename T>
  Async<Result<T>> ask(std::string_view what, std::function<Result<T>(Store&)> question);

  // Buckets that are missing are made.
  Async<Result<void>> make_buckets(Deadline deadline);
  // Whatever else is under way.
  Async<Result<std::vector<Bucket>>> probe(Deadline deadline);
  Async<Result<void>> remove(Kind kind, std::string key, Deadline deadline);
  Async<Result<Object>> find(Kind kind, std::string key, Deadline deadline);

 private:
  Async<> run(BlockingThreads& threads, std::string_view what, std::function<bool()> work);

  Storage& storage_;
  Metrics& metrics_;
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

// Reads one object from `first` on, `count` bytes of it at most.
class Reader {
 public:
  enum class Checksum { none, wanted };
  Reader(Objects& objects, Kind kind, std::string key, std::uint64_t first, std::uint64_t count,
         Checksum checksum = Checksum::none);

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
Async<Result<T>> Objects::ask(std::string_view what, std::function<Result<T>(Store&)> question) {
  if (!is_configured()) co_return std::unexpected(not_configured());
  Result<T> answer = fail(Code::unavailable, "The object storage was not asked.");
  co_await run(storage_.threads, what, [&] {
    answer = question(*storage_.store);
    return answer.has_value();
  });
  co_return answer;
}

}  // namespace cognive::objects
