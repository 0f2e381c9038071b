#include "cache/cache.hpp"

#include <fmt/format.h>

#include <charconv>

#include "base/error.hpp"

namespace cognive::cache {
namespace {

constexpr std::chrono::milliseconds look_again{5};
constexpr std::chrono::milliseconds tell_again{250};
constexpr std::chrono::milliseconds tell_timeout{1'000};

// The JSON of what is kept, if it is of that schema and new enough.
std::optional<std::string_view> usable(std::string_view text, const std::string& schema,
                                       std::optional<std::chrono::seconds> age_max) {
  const auto begin = schema.size() + 1;
  if (text.size() <= begin || !text.starts_with(schema)) return std::nullopt;
  const auto space = text.find(' ', begin);
  if (space == std::string_view::npos) return std::nullopt;
  std::int64_t read_at = 0;
  std::from_chars(text.data() + begin, text.data() + space, read_at);
  if (age_max) {
    // From the future it may be of any age.
    const auto now = Timestamp::now();
    if (Timestamp{read_at} > now || Timestamp{read_at} < now.plus(-*age_max)) return std::nullopt;
  }
  return text.substr(space + 1);
}

}  // namespace

Counts::Counts(Metrics& metrics)
    : hits_total_(metrics.counter("cache_hits_total", "Values that were read from the cache")),
      misses_total_(metrics.counter("cache_misses_total", "Values that the cache did not have")),
      errors_total_(metrics.counter("cache_errors_total", "Failures of what keeps the cached values")) {}

Counts::Read Counts::read() const {
  return {.hits = hits_, .misses = misses_, .errors = errors_};
}

void Counts::hit() {
  ++hits_;
  hits_total_.add();
}

void Counts::miss() {
  ++misses_;
  misses_total_.add();
}

void Counts::error() {
  ++errors_;
  errors_total_.add();
}

std::string key_of(Kind kind, const Uuid& id) {
  return fmt::format("{}:{}", kind == Kind::agent ? "agent" : "budget", id.text());
}

Cache::Cache(Executor executor, std::unique_ptr<Store> store, Doubts& doubts, Counts& counts, Options options)
    : store_(std::move(store)),
      counts_(counts),
      options_(options),
      doubts_(doubts),
      tasks_(std::move(executor), [](const std::exception_ptr&) {}) {}

std::chrono::milliseconds Cache::lifetime(Kind kind) const {
  return kind == Kind::agent ? options_.agent_lifetime : options_.budget_lifetime;
}

Cache::~Cache() = default;

std::string Cache::kept_text(const std::string& schema, Timestamp read_at, const std::string& json) {
  return fmt::format("{} {} {}", schema, read_at.micros, json);
}

// What the store has, after a while if somebody else is just reading it.
Async<Looked> Cache::look(const std::string& key) {
  const auto deadline = Deadline::in(patience);
  for (;;) {
    auto looked = co_await store_->look(key, deadline);
    if (looked.outcome != Looked::Outcome::taken || deadline.remaining() <= look_again) co_return looked;
    co_await sleep_for(look_again);
  }
}

// What cannot be used makes room for what can.
Async<Looked> Cache::look_for_usable(const std::string& key, const std::string& schema,
                                     std::optional<std::chrono::seconds> age_max) {
  auto looked = co_await look(key);
  if (looked.outcome != Looked::Outcome::found || usable(looked.text, schema, age_max)) co_return looked;
  co_await store_->forget(key, Deadline::in(patience));
  co_return co_await look(key);
}

Async<Cache::Found> Cache::find(std::string key, const std::string& schema,
                                std::optional<std::chrono::seconds> age_max) {
  Found out;
  if (age_max && *age_max <= std::chrono::seconds{0}) {
    out.is_wanted = false;
    co_return out;
  }
  if (doubts_.contains(key)) co_return out;
  Looked looked;
  try {
    looked = co_await look_for_usable(key, schema, age_max);
  } catch (const Unavailable&) {
    counts_.error();
    co_return out;
  }
  if (looked.outcome == Looked::Outcome::leased) out.lease = std::move(looked.text);
  if (looked.outcome != Looked::Outcome::found) co_return out;
  if (const auto text = usable(looked.text, schema, age_max)) out.text = std::string(*text);
  co_return out;
}

Async<> Cache::put(Kind kind, std::string key, std::string lease, std::optional<std::string> text) {
  try {
    co_await store_->fill(std::move(key), std::move(lease), std::move(text), lifetime(kind), Deadline::in(patience));
  } catch (const Unavailable&) {
    counts_.error();
  }
}

void Cache::note_change(Kind kind, Uuid id) {
  doubts_.note(key_of(kind, id), lifetime(kind));
}

void Cache::note_doubt(Kind kind, Uuid id) {
  const auto key = key_of(kind, id);
  doubts_.note(key, lifetime(kind));
  doubts_.note_again(key, Doubts::Clock::now() + options_.changes_settle, lifetime(kind));
}

// Whether the store could be told.
Async<bool> Cache::told(std::string key, Deadline deadline) {
  const auto since = Doubts::Clock::now();
  try {
    co_await store_->forget(key, deadline);
  } catch (const Unavailable&) {
    counts_.error();
    co_return false;
  }
  doubts_.told(key, since);
  co_return true;
}

Async<> Cache::tell(Kind kind, Uuid id) {
  co_await told(key_of(kind, id), Deadline::in(patience));
  if (is_telling_ || doubts_.empty()) co_return;
  is_telling_ = true;
  tasks_.spawn(tell_all());
}

Async<> Cache::tell_all() {
  while (!doubts_.empty()) {
    co_await sleep_for(tell_again);
    for (const auto& key : doubts_.due(Doubts::Clock::now())) {
      if (!co_await told(key, Deadline::in(tell_timeout))) break;
    }
  }
  is_telling_ = false;
}

Async<> Cache::close(Deadline deadline) {
  tasks_.stop();
  co_await tasks_.join(deadline);
  for (const auto& key : doubts_.all()) {
    if (!co_await told(key, deadline)) break;
  }
}

}  // namespace cognive::cache
