#include "cache/cache.hpp"

#include <gtest/gtest.h>

#include <boost/asio/this_coro.hpp>

#include <thread>

#include "base/error.hpp"
#include "cache/memory.hpp"

namespace cognive::cache {
namespace {

using namespace std::chrono_literals;

struct Thing {
  std::string name;
  std::int64_t count = 0;

  static constexpr std::string_view schema_name = "Thing";
  static constexpr auto fields() {
    return json::fields(json::field("name", &Thing::name, ""), json::field("count", &Thing::count, ""));
  }
};

// The same name as a binary of another version knows it.
struct OtherThing {
  std::string name;
  std::optional<std::string> owner;

  static constexpr std::string_view schema_name = "Thing";
  static constexpr auto fields() {
    return json::fields(json::field("name", &OtherThing::name, ""), json::field("owner", &OtherThing::owner, ""));
  }
};

constexpr auto now = Memory::Clock::time_point{} + 1h;
constexpr std::size_t plenty = 1 << 20;

// Keeps nothing, as if it were away.
class Away final : public Store {
 public:
  Async<Looked> look(std::string, Deadline) override { throw Unavailable("away"); }
  Async<> fill(std::string, std::string, std::optional<std::string>, std::chrono::milliseconds, Deadline) override {
    throw Unavailable("away");
  }
  Async<> forget(std::string, Deadline) override {
    ++asked_to_forget;
    if (is_away) throw Unavailable("away");
    co_return;
  }
  Async<StoreInfo> info(Deadline) override { throw Unavailable("away"); }

  bool is_away = true;
  int asked_to_forget = 0;
};

// A cache over a store, and a database of one value.
struct World {
  explicit World(std::unique_ptr<Store> store, Executor executor)
      : counts(metrics), cache(std::move(executor), std::move(store), doubts, counts, {}) {}

  Metrics metrics;
  Doubts doubts;
  Counts counts;
  Cache cache;
  Uuid id = Uuid::make();
  std::optional<Thing> stored = Thing{"first", 1};
  int loads = 0;

  Async<std::optional<Thing>> get(Call call = {}) {
    const auto load = [this]() -> Async<std::optional<Thing>> {
      ++loads;
      co_return stored;
    };
    co_return co_await cache.get<Thing>(Kind::agent, id, call, load);
  }
};

// Runs `body`, an Async<>(World&), over a store of `memory`.
template <typename Body>
void with_memory(Memory& memory, const Body& body) {
  run_to_end([](Memory& of, const Body& what) -> Async<> {
    World world(std::make_unique<MemoryStore>(of), co_await boost::asio::this_coro::executor);
    co_await what(world);
  }(memory, body));
}

TEST(Memory, whoever_misses_gets_a_lease_and_others_are_told_so) {
  Memory memory(plenty);
  const auto first = memory.look("a", now);
  EXPECT_EQ(first.outcome, Looked::Outcome::leased);
  EXPECT_EQ(memory.look("a", now).outcome, Looked::Outcome::taken);
  memory.fill("a", first.text, "text", 1s, now);
  const auto found = memory.look("a", now);
  EXPECT_EQ(found.outcome, Looked::Outcome::found);
  EXPECT_EQ(found.text, "text");
}

TEST(Memory, what_was_read_before_a_change_cannot_be_put_there_after_it) {
  Memory memory(plenty);
  const auto before = memory.look("a", now);
  memory.forget("a");
  memory.fill("a", before.text, "old", 1s, now);
  const auto after = memory.look("a", now);
  EXPECT_EQ(after.outcome, Looked::Outcome::leased);
  memory.fill("a", before.text, "old", 1s, now);
  EXPECT_EQ(memory.look("a", now).outcome, Looked::Outcome::taken);
  memory.fill("a", after.text, "new", 1s, now);
  EXPECT_EQ(memory.look("a", now).text, "new");
}

TEST(Memory, texts_and_leases_end) {
  Memory memory(plenty);
  memory.fill("a", memory.look("a", now).text, "text", 1s, now);
  EXPECT_EQ(memory.look("a", now + 1s).outcome, Looked::Outcome::leased);
  EXPECT_EQ(memory.look("a", now + 1s + Store::lease_max - 1ms).outcome, Looked::Outcome::taken);
  EXPECT_EQ(memory.look("a", now + 1s + Store::lease_max).outcome, Looked::Outcome::leased);
}

TEST(Memory, a_lease_that_is_given_back_is_free) {
  Memory memory(plenty);
  const auto lease = memory.look("a", now);
  memory.fill("a", lease.text, std::nullopt, 1s, now);
  EXPECT_EQ(memory.look("a", now).outcome, Looked::Outcome::leased);
}

TEST(Memory, is_bounded_and_what_was_not_used_goes_first) {
  constexpr std::size_t text_bytes = 1'000;
  Memory memory(20 * text_bytes);
  for (int i = 0; i < 100; ++i) {
    const auto key = std::to_string(i);
    const auto lease = memory.look(key, now);
    ASSERT_EQ(lease.outcome, Looked::Outcome::leased);
    memory.fill(key, lease.text, std::string(text_bytes, 'x'), 1s, now);
    ASSERT_EQ(memory.look("0", now).outcome, Looked::Outcome::found) << i;
  }
  EXPECT_EQ(memory.look("1", now).outcome, Looked::Outcome::leased);
  EXPECT_EQ(memory.info().maxmemory, "19.53K");
}

TEST(Sizes, are_written_as_redis_does) {
  EXPECT_EQ(human_size(0), "0B");
  EXPECT_EQ(human_size(1023), "1023B");
  EXPECT_EQ(human_size(1536), "1.50K");
  EXPECT_EQ(human_size(std::uint64_t{3} << 30), "3.00G");
}

TEST(Cache, reads_the_database_once_until_it_is_told_of_a_change) {
  Memory memory(plenty);
  with_memory(memory, [](World& world) -> Async<> {
    EXPECT_EQ((co_await world.get())->name, "first");
    EXPECT_EQ((co_await world.get())->count, 1);
    EXPECT_EQ(world.loads, 1);
    world.stored->name = "second";
    world.cache.note_change(Kind::agent, world.id);
    co_await world.cache.tell(Kind::agent, world.id);
    EXPECT_EQ((co_await world.get())->name, "second");
    EXPECT_EQ((co_await world.get())->name, "second");
    EXPECT_EQ(world.loads, 2);
    const auto read = world.counts.read();
    EXPECT_EQ(read.hits, 2);
    EXPECT_EQ(read.misses, 2);
    EXPECT_EQ(read.errors, 0);
  });
}

TEST(Cache, what_is_not_there_is_not_remembered) {
  Memory memory(plenty);
  with_memory(memory, [](World& world) -> Async<> {
    world.stored.reset();
    EXPECT_FALSE(co_await world.get());
    world.stored = Thing{"made", 1};
    EXPECT_EQ((co_await world.get())->name, "made");
  });
}

TEST(Cache, a_value_is_no_older_than_the_caller_accepts) {
  Memory memory(plenty);
  with_memory(memory, [](World& world) -> Async<> {
    co_await world.get();
    world.stored->name = "second";
    co_await sleep_for(2ms);
    Call call;
    call.age_max = 60s;
    EXPECT_EQ((co_await world.get(call))->name, "first");
    call.age_max = 0s;
    EXPECT_EQ((co_await world.get(call))->name, "second");
    EXPECT_EQ((co_await world.get())->name, "first");
    co_await sleep_for(1100ms);
    call.age_max = 1s;
    EXPECT_EQ((co_await world.get(call))->name, "second");
    // And what was read instead has taken its place.
    world.stored->name = "third";
    EXPECT_EQ((co_await world.get(call))->name, "second");
    EXPECT_EQ(world.loads, 3);
  });
}

TEST(Cache, a_value_of_another_shape_is_not_read) {
  Memory memory(plenty);
  with_memory(memory, [](World& world) -> Async<> {
    const auto load = []() -> Async<std::optional<OtherThing>> { co_return OtherThing{"first", "ann"}; };
    co_await world.cache.get<OtherThing>(Kind::agent, world.id, Call{}, load);
    EXPECT_EQ((co_await world.get())->count, 1);
    EXPECT_EQ((co_await world.get())->count, 1);
    EXPECT_EQ(world.loads, 1);
  });
}

TEST(Cache, many_readers_of_one_value_ask_the_database_once) {
  Memory memory(plenty);
  with_memory(memory, [](World& world) -> Async<> {
    const auto executor = co_await boost::asio::this_coro::executor;
    int answered = 0;
    TaskGroup readers(executor, [](const std::exception_ptr&) {});
    for (int i = 0; i < 100; ++i) {
      readers.spawn([](World& of, int& count) -> Async<> {
        const auto load = [&of]() -> Async<std::optional<Thing>> {
          ++of.loads;
          co_await sleep_for(10ms);
          co_return of.stored;
        };
        const auto found = co_await of.cache.get<Thing>(Kind::agent, of.id, Call{}, load);
        if (found) ++count;
      }(world, answered));
    }
    co_await readers.join(Deadline::in(5s));
    EXPECT_EQ(answered, 100);
    EXPECT_EQ(world.loads, 1);
  });
}

TEST(Cache, a_failure_to_read_is_the_callers_and_the_lease_is_given_back) {
  Memory memory(plenty);
  with_memory(memory, [](World& world) -> Async<> {
    const auto load = []() -> Async<std::optional<Thing>> { throw Unavailable("no database"); };
    bool has_failed = false;
    try {
      co_await world.cache.get<Thing>(Kind::agent, world.id, Call{}, load);
    } catch (const Unavailable&) {
      has_failed = true;
    }
    EXPECT_TRUE(has_failed);
    co_await world.get();
    co_await world.get();
    EXPECT_EQ(world.loads, 1);
  });
}

TEST(Cache, reads_the_database_while_the_store_is_away_and_tells_it_of_changes_later) {
  run_to_end([]() -> Async<> {
    auto store = std::make_unique<Away>();
    auto& away = *store;
    World world(std::move(store), co_await boost::asio::this_coro::executor);
    EXPECT_EQ((co_await world.get())->name, "first");
    EXPECT_EQ(world.counts.read().errors, 1);
    world.cache.note_change(Kind::agent, world.id);
    co_await world.cache.tell(Kind::agent, world.id);
    EXPECT_EQ(away.asked_to_forget, 1);
    EXPECT_TRUE(world.doubts.contains(key_of(Kind::agent, world.id)));
    away.is_away = false;
    for (int i = 0; i < 100 && away.asked_to_forget < 2; ++i) co_await sleep_for(20ms);
    EXPECT_EQ(away.asked_to_forget, 2);
    EXPECT_TRUE(world.doubts.empty());
    co_await world.cache.close(Deadline::in(1s));
  }());
}

TEST(Cache, whatever_comes_of_a_change_is_forgotten) {
  Memory memory(plenty);
  with_memory(memory, [](World& world) -> Async<> {
    co_await world.get();
    world.stored->name = "second";
    const std::optional<Uuid> changed = world.id;
    const auto change = []() -> Async<Result<int>> {
      throw Unavailable("whether it was committed is not known");
      co_return 0;
    };
    bool has_failed = false;
    try {
      co_await forgetting(world.cache, Kind::agent, changed, change());
    } catch (const Unavailable&) {
      has_failed = true;
    }
    EXPECT_TRUE(has_failed);
    // Until that is settled nothing is put there.
    EXPECT_EQ((co_await world.get())->name, "second");
    world.stored->name = "third";
    EXPECT_EQ((co_await world.get())->name, "third");
    co_await world.cache.close(Deadline::in(1s));
  });
}

TEST(Cache, what_is_refused_ends_nothing) {
  Memory memory(plenty);
  with_memory(memory, [](World& world) -> Async<> {
    co_await world.get();
    const std::optional<Uuid> changed = world.id;
    const auto change = []() -> Async<Result<int>> { co_return fail(Code::not_found, "There is none."); };
    EXPECT_FALSE(co_await forgetting(world.cache, Kind::agent, changed, change()));
    co_await world.get();
    EXPECT_EQ(world.loads, 1);
  });
}

TEST(Cache, tells_what_is_untold_when_it_is_closed) {
  run_to_end([]() -> Async<> {
    auto store = std::make_unique<Away>();
    auto& away = *store;
    World world(std::move(store), co_await boost::asio::this_coro::executor);
    world.cache.note_doubt(Kind::agent, world.id);
    co_await world.cache.tell(Kind::agent, world.id);
    away.is_away = false;
    co_await world.cache.close(Deadline::in(1s));
    EXPECT_EQ(away.asked_to_forget, 2);
  }());
}

TEST(Doubts, what_may_still_change_is_told_again) {
  Doubts doubts;
  const auto soon = Doubts::Clock::now();
  doubts.note("a", 1s);
  doubts.note_again("a", soon + 10s, 1s);
  EXPECT_EQ(doubts.due(soon).size(), 1);
  doubts.told("a", Doubts::Clock::now());
  EXPECT_TRUE(doubts.contains("a"));
  EXPECT_TRUE(doubts.due(soon).empty());
  EXPECT_EQ(doubts.due(soon + 10s).size(), 1);
  // Changed meanwhile, before that was told.
  doubts.note("a", 1s);
  doubts.told("a", soon);
  EXPECT_EQ(doubts.due(soon).size(), 1);
  doubts.told("a", soon + 10s);
  EXPECT_TRUE(doubts.empty());
}

TEST(Doubts, when_there_are_too_many_nothing_is_believed_for_a_while) {
  Doubts doubts;
  for (int i = 0; i < 10'000; ++i) doubts.note(std::to_string(i), 50ms);
  EXPECT_FALSE(doubts.contains("another"));
  doubts.note("one more", 50ms);
  EXPECT_TRUE(doubts.contains("another"));
  EXPECT_TRUE(doubts.contains("0"));
  std::this_thread::sleep_for(60ms);
  EXPECT_FALSE(doubts.contains("another"));
}

}  // namespace
}  // namespace cognive::cache
