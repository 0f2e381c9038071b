// What one request wants stored, shared by the request's thread and the writer's.
#pragma once

#include <atomic>

#include "budgets/charging.hpp"
#include "events/item.hpp"
#include "events/room.hpp"
#include "rollups/deltas.hpp"

namespace cognive::events {

struct Submission {
  // `of_thread`: the same address for all submissions of one thread.
  Submission(const Executor& executor, const void* of_thread, const Call& call, std::vector<Event> what, Room taken)
      : home(executor),
        thread(of_thread),
        sender{.principal = call.principal, .request_id = call.request_id, .deadline = call.deadline},
        events(std::move(what)),
        fates(events.size()),
        room(std::move(taken)),
        settled(executor) {}
  Submission(const Submission&) = delete;
  Submission& operator=(const Submission&) = delete;

  Executor home;  // of the request
  const void* thread;
  Call sender;
  std::vector<Event> events;
  std::vector<Fate> fates;
  Room room;
  std::atomic<bool> abandoned = false;  // nobody waits any more

  // Everything below `is_plain` is filled in when all that can be decided about the events has been, on the request's
  // thread: they can be copied as they are, if none of them is a repeat.
  bool is_plain = false;
  std::vector<Item> items;                             // those that are to be stored
  std::shared_ptr<const prices::Catalogue> catalogue;  // to which the prices of the items belong
  std::chrono::steady_clock::time_point planned_at;    // when their runs went on
  struct Rows {
    std::string bytes;                // for COPY, one behind the other
    std::vector<std::size_t> ends{};  // of each
    std::vector<store::Key> keys{};
  };
  std::array<Rows, 3> rows;  // by type
  rollups::Deltas deltas;
  std::int64_t budget_edition = 0;  // by which it was decided which budgets cover the items
  budgets::Charging charging;
  void forget_plan() {
    items.clear();
    rows = {};
    deltas = {};
    charging = {};
  }

  // Of the request's thread.
  Signal settled;
  bool done = false;
  Position position;  // of the commit that settled it
  std::exception_ptr failure;
};

}  // namespace cognive::events
