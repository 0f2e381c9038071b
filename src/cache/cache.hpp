// What has been read from the database and may be read again from somewhere nearer. Nothing is decided by it: whatever
// allows, refuses, or charges asks the primary.
//
// A value is read from the database by one reader at a time (from the primary, where processes share the cache), and
// forgotten once a change of it is committed. While the store is away, or has something else, everybody reads for
// himself.
#pragma once

#include <atomic>
#include <concepts>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/crypto.hpp"
#include "base/time.hpp"
#include "base/uuid.hpp"
#include "cache/doubts.hpp"
#include "cache/store.hpp"
#include "json/bind.hpp"
#include "json/schema.hpp"
#include "observe/metrics.hpp"
#include "runtime/call.hpp"

namespace cognive::cache {

enum class Kind { agent, budget };

// What became of the readers of a process. Shared by its threads.
class Counts {
 public:
  explicit Counts(Metrics& metrics);

  struct Read {
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
    std::uint64_t errors = 0;  // of the store; most are misses as well
  };
  [[nodiscard]] Read read() const;

  void hit();
  void miss();
  void error();

 private:
  std::atomic<std::uint64_t> hits_ = 0;
  std::atomic<std::uint64_t> misses_ = 0;
  std::atomic<std::uint64_t> errors_ = 0;
  Counter hits_total_;
  Counter misses_total_;
  Counter errors_total_;
};

struct Options {
  std::chrono::milliseconds agent_lifetime{300'000};
  std::chrono::milliseconds budget_lifetime{60'000};
  // A change whose outcome is not known has come to its end by then.
  std::chrono::milliseconds changes_settle{30'000};
  // Whether other processes read what this one puts there, and are told of changes: then values come from the primary.
  bool is_shared = false;
};

// For one I/O thread.
class Cache {
 public:
  // A reader waits that long for the store, and for another one that reads the same, at most.
  static constexpr std::chrono::milliseconds patience{50};

  // `executor`: of the thread. `doubts`: of all threads.
  Cache(Executor executor, std::unique_ptr<Store> store, Doubts& doubts, Counts& counts, Options options);
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;
  ~Cache();

  // The value, from the store if it is there and no older than the call wants; else what `load` reads, an
  // Async<std::optional<T>>() that asks the primary, or, where the cache is not shared, whom it would ask anyway.
  // Throws whatever the load throws.
  template <json::Described T, typename Load>
  Async<std::optional<T>> get(Kind kind, Uuid id, const Call& call, Load load);

  // The value has been changed, and that is committed: nobody of this process is shown it from now on. The store has
  // yet to be told, by `tell`.
  void note_change(Kind kind, Uuid id);
  // It may have been changed, or may be within moments.
  void note_doubt(Kind kind, Uuid id);
  // Tells the store, now if it can be reached, else as soon as it can.
  Async<> tell(Kind kind, Uuid id);

  // Throws Unavailable.
  Async<StoreInfo> info(Deadline deadline) { return store_->info(deadline); }
  [[nodiscard]] const Counts& counts() const { return counts_; }
  [[nodiscard]] bool is_shared() const { return options_.is_shared; }

  // Tells the store what it has not been told.
  Async<> close(Deadline deadline);

 private:
  struct Found {
    std::optional<std::string> text;   // JSON
    std::optional<std::string> lease;  // nothing: what is read is not to be put there
    bool is_wanted = true;             // false: the caller wants it from the database
  };
  // What stands there under a schema of this digest.
  Async<Found> find(std::string key, const std::string& schema, std::optional<std::chrono::seconds> age_max);
  Async<> put(Kind kind, std::string key, std::string lease, std::optional<std::string> text);
  Async<Looked> look(const std::string& key);
  Async<Looked> look_for_usable(const std::string& key, const std::string& schema,
                                std::optional<std::chrono::seconds> age_max);
  Async<bool> told(std::string key, Deadline deadline);
  Async<> tell_all();
  [[nodiscard]] std::chrono::milliseconds lifetime(Kind kind) const;

  template <typename T>
  static const std::string& schema_of();
  // As a value is kept: the digest of its schema, when it was read, and its JSON.
  static std::string kept_text(const std::string& schema, Timestamp read_at, const std::string& json);

  std::unique_ptr<Store> store_;
  Counts& counts_;
  Options options_;

  Doubts& doubts_;
  bool is_telling_ = false;
  TaskGroup tasks_;
};

// A digest of the shape of a type, so that a value is only read by who means the same by it.
template <typename T>
const std::string& Cache::schema_of() {
  static const std::string digest = [] {
    json::Writer schema;
    json::Components components;
    json::schema_object<T>(schema, {}, components);
    auto text = std::move(schema).text();
    for (const auto& [name, part] : components.schemas) text += part;  // to which the schema only refers
    const auto whole = sha256(text);
    return to_hex(std::span(whole).first(8));
  }();
  return digest;
}

std::string key_of(Kind kind, const Uuid& id);

template <json::Described T, typename Load>
Async<std::optional<T>> Cache::get(Kind kind, Uuid id, const Call& call, Load load) {
  const auto key = key_of(kind, id);
  const auto& schema = schema_of<T>();
  auto found = co_await find(key, schema, call.age_max);
  if (found.text) {
    if (auto value = json::decode<T>(std::move(*found.text))) {
      counts_.hit();
      co_return std::move(*value);
    }
    counts_.error();
  }
  if (found.is_wanted) counts_.miss();
  std::exception_ptr failure;
  std::optional<T> value;
  const auto read_at = Timestamp::now();
  try {
    value = co_await load();
  } catch (...) {
    failure = std::current_exception();
  }
  if (found.lease) {
    std::optional<std::string> text;
    if (value) text = kept_text(schema, read_at, json::encode(*value));
    co_await put(kind, key, std::move(*found.lease), std::move(text));
  }
  if (failure) std::rethrow_exception(failure);
  co_return value;
}

// Runs a change of the value, whose id it writes to `changed` as soon as it is about to change it.
template <typename T>
Async<Result<T>> forgetting(Cache& cache, Kind kind, const std::optional<Uuid>& changed, Async<Result<T>> change) {
  std::optional<Result<T>> result;
  std::exception_ptr failure;
  try {
    result.emplace(co_await std::move(change));
  } catch (...) {
    failure = std::current_exception();
  }
  // Noted before anything else is waited for: the caller may be about to be cancelled.
  const bool is_committed = result && result->has_value();
  if (changed && is_committed) cache.note_change(kind, *changed);
  if (changed && failure) cache.note_doubt(kind, *changed);
  if (changed && (is_committed || failure)) co_await cache.tell(kind, *changed);
  if (failure) std::rethrow_exception(failure);
  co_return std::move(*result);
}

}  // namespace cognive::cache
