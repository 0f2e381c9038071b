#include "keyring/slots.hpp"

#include <fmt/format.h>

#include <boost/system/system_error.hpp>

#include "keyring/purposes.hpp"
#include "observe/log.hpp"
#include "pg/transact.hpp"
#include "runtime/async.hpp"

namespace cognive::keyring {
namespace {

constexpr std::chrono::milliseconds patience{10'000};
constexpr std::chrono::milliseconds retry_interval{1'000};
constexpr std::chrono::milliseconds refused_interval{30'000};

constexpr pg::Query find_query{"master_key_find", "SELECT sealed_root_key FROM master_keys WHERE id = $1"};
// Two first starts at once must not make two root keys.
constexpr pg::Query lock_query{"master_key_lock", "LOCK TABLE master_keys IN SHARE ROW EXCLUSIVE MODE"};
// Whatever runs with a master key says so in less than half of that time.
constexpr pg::Query list_query{"master_key_list",
                               "SELECT id, created_at, used_at, coalesce(used_at > now() - interval '25 minutes', "
                               "false) FROM master_keys ORDER BY created_at, id"};
constexpr pg::Query insert_query{
    "master_key_insert",
    "INSERT INTO master_keys (id, sealed_root_key) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING id"};
constexpr pg::Query delete_query{"master_key_delete", "DELETE FROM master_keys WHERE id = $1"};
constexpr pg::Query use_query{"master_key_use",
                              "UPDATE master_keys SET used_at = now() WHERE id = $1 RETURNING sealed_root_key"};

// Of an installation that has been used: the key of its chain, and whether there is anything whose keys had to follow
// from something.
constexpr pg::Query past_query{
    "master_key_past",
    "SELECT (SELECT key_id FROM audit_chain), EXISTS (SELECT FROM api_keys) OR EXISTS (SELECT FROM alert_channels) OR "
    "EXISTS (SELECT FROM audit_logs) OR EXISTS (SELECT FROM agent_runs)"};

std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::vector<KnownMasterKey> read(const pg::Rows& rows) {
  std::vector<KnownMasterKey> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& one = out[static_cast<std::size_t>(i)];
    rows[i].read(one.id, one.created_at, one.used_at, one.is_in_use);
  }
  return out;
}

std::unexpected<Error> another_master_key(const RootKey& root, const std::vector<KnownMasterKey>& known) {
  std::vector<std::string> told;
  for (const auto& one : known) told.push_back(fmt::format("{} (since {})", one.id, one.created_at.text()));
  return fail(Code::conflict,
              fmt::format("The master key (COGNIVE_MASTER_KEY, or COGNIVE_MASTER_KEY_FILE) is none of this "
                          "installation: its id is {}, and what opens it is {}.",
                          root.id(), fmt::join(told, ", ")));
}

Error changed_row(const std::string& id) {
  return {Code::conflict, fmt::format("Row {} of table master_keys is not what was stored there.", id), {}};
}

// Nothing when there is no such row.
Async<std::optional<Slot>> find(pg::Cluster& database, const std::string& id, Deadline deadline) {
  const auto rows = co_await database.primary().execute(find_query, pg::Params::of(id), deadline);
  if (rows.empty()) co_return std::nullopt;
  Slot slot{.id = id, .sealed = {}};
  rows[0].read(slot.sealed);
  co_return slot;
}

Result<void> open(const RootKey& root, const Slot& slot) {
  if (!root.open(slot)) return std::unexpected(changed_row(slot.id));
  return {};
}

// Of an installation that has been used before there were root keys, all keys followed from the master key itself.
// Which that was can be told once something was sealed under a key whose id is known.
Async<Result<Slot>> first_slot(pg::Transaction& transaction, const RootKey& root) {
  const auto rows = co_await transaction.execute(past_query, {});
  std::optional<std::string> key_id;
  bool is_used = false;
  rows[0].read(key_id, is_used);
  if (!is_used && !key_id) co_return root.first_slot();
  const auto before = hmac_sha256(root.derive_as_before(purpose::audit_chain), purpose::audit_chain_id);
  if (!key_id || equal_constant_time(bytes_of(*key_id), before)) co_return root.first_slot_as_before();
  co_return fail(Code::conflict,
                 "Table master_keys is empty, and this installation has been used: restore the table from a backup, or "
                 "its row from the archive of the audit trail.");
}

}  // namespace

Async<Result<void>> unlock(pg::Cluster& database, const RootKey& root, const Call& call) {
  if (root.is_known()) co_return Result<void>{};
  if (!root.has_master_key()) co_return fail(Code::conflict, "COGNIVE_MASTER_KEY is not set.");
  if (const auto slot = co_await find(database, root.id(), call.deadline)) co_return open(root, *slot);
  const auto known = co_await list(database.primary(), call.deadline);
  if (!known.empty()) co_return another_master_key(root, known);
  co_return fail(Code::conflict, "This installation has no root key yet: the first server that starts makes it.");
}

Async<Result<void>> unlock_or_make(pg::Cluster& database, const RootKey& root, const Call& call) {
  if (root.is_known() || !root.has_master_key()) co_return co_await unlock(database, root, call);
  if (const auto slot = co_await find(database, root.id(), call.deadline)) co_return open(root, *slot);
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<std::optional<Slot>>> {
    // Somebody else's first start may have been faster.
    if (!(co_await lock(transaction)).empty()) co_return std::optional<Slot>{};
    auto slot = co_await first_slot(transaction, root);
    if (!slot) co_return std::unexpected(slot.error());
    co_await add(transaction, *slot);
    co_return std::optional(std::move(*slot));
  };
  const auto made = co_await pg::transact(database, "master_key_first", call, body);
  if (!made) co_return std::unexpected(made.error());
  if (!*made) co_return co_await unlock(database, root, call);
  co_return open(root, **made);
}

Async<Result<void>> try_unlock(pg::Cluster& database, const RootKey& root) {
  Call call;
  call.deadline = Deadline::in(patience);
  try {
    co_return co_await unlock_or_make(database, root, call);
  } catch (const std::exception& error) {
    log(Level::warning, "the root key is not known yet", {{"reason", error.what()}});
  }
  co_return Result<void>{};
}

namespace {

// Notes the use. What is wrong with the row without which no process starts again; empty: nothing.
Async<std::string> note_use(pg::Cluster& database, const RootKey& root, Deadline deadline) {
  const auto rows = co_await database.primary().execute(use_query, pg::Params::of(root.id()), deadline);
  if (rows.empty())
    co_return fmt::format("{} opens this installation no longer: this process could not be started again", root.id());
  Slot slot{.id = root.id(), .sealed = {}};
  rows[0].read(slot.sealed);
  co_return root.open(slot) ? std::string() : changed_row(slot.id).detail;
}

}  // namespace

Async<> keep_unlocked(pg::Cluster& database, RootKey root) {
  std::string last_failure;
  for (;;) {
    std::string failure;
    auto level = Level::error;
    auto pause = retry_interval;
    Call call;
    call.deadline = Deadline::in(patience);
    try {
      if (const auto known = co_await unlock_or_make(database, root, call); !known) {
        failure = known.error().detail;
        pause = refused_interval;  // people have to do something
      } else {
        failure = co_await note_use(database, root, call.deadline);
        pause = use_interval;
      }
    } catch (const boost::system::system_error&) {
      throw;  // the process is stopping
    } catch (const std::exception& error) {
      failure = error.what();
      level = Level::warning;
    }
    if (!failure.empty() && failure != last_failure) log(level, "master key", {{"reason", failure}});
    last_failure = failure;
    co_await sleep_for(pause);
  }
}

Async<std::vector<KnownMasterKey>> list(pg::Pool& database, Deadline deadline) {
  co_return read(co_await database.execute(list_query, {}, deadline));
}

Async<std::optional<Slot>> add(pg::Transaction& transaction, const Slot& slot) {
  const auto rows =
      co_await transaction.execute(insert_query, pg::Params::of(slot.id, pg::Bytes{bytes_of(slot.sealed)}));
  if (!rows.empty()) co_return std::nullopt;
  const auto found = co_await transaction.execute(find_query, pg::Params::of(slot.id));
  Slot stored{.id = slot.id, .sealed = {}};
  if (!found.empty()) found[0].read(stored.sealed);
  co_return stored;
}

Async<> remove(pg::Transaction& transaction, const std::string& id) {
  co_await transaction.execute(delete_query, pg::Params::of(id));
}

Async<std::vector<KnownMasterKey>> lock(pg::Transaction& transaction) {
  co_await transaction.execute(lock_query, {});
  co_return read(co_await transaction.execute(list_query, {}));
}

}  // namespace cognive::keyring
