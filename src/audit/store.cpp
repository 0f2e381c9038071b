#include "audit/store.hpp"

#include <fmt/format.h>

#include "audit/audit.hpp"
#include "keyring/purposes.hpp"

namespace cognive::audit {
namespace {

constexpr pg::Query lock_query{
    "audit_chain_lock",
    "SELECT sequence, seal, clock_timestamp(), coalesce(key_id, $1) = $1 FROM audit_chain FOR UPDATE"};

// $1 … $4: of all of them. $5 … $12: of each. $13, $14: the chain's new end.
constexpr pg::Query append_query{
    "audit_append",
    "WITH added AS (INSERT INTO audit_logs (id, occurred_at, actor_kind, actor_id, action, resource_kind, resource_id, "
    "team_id, request_id, details, sequence, seal) SELECT e.id, $1::timestamptz, $2::text, $3::uuid, e.action, "
    "e.resource_kind, e.resource_id, e.team_id, $4::text, e.details::json, e.sequence, decode(e.seal, 'hex') "
    "FROM unnest($5::uuid[], $6::text[], $7::text[], $8::text[], $9::uuid[], $10::text[], $11::bigint[], $12::text[]) "
    "AS e (id, action, resource_kind, resource_id, team_id, details, sequence, seal)) "
    "UPDATE audit_chain SET sequence = $13, seal = $14, key_id = $15"};

// In one snapshot; each commit moves both.
constexpr pg::Query end_query{
    "audit_end",
    "SELECT c.sequence, c.seal, coalesce((SELECT min(sequence) FROM audit_logs WHERE sequence > c.sequence), 0), "
    "(SELECT min(sequence) FROM audit_logs WHERE sequence < 1), c.key_id FROM audit_chain c"};

constexpr pg::Query earlier_query{
    "audit_earlier",
    "SELECT count(*), sha256(convert_to(coalesce(string_agg(concat_ws('|', id, "
    "(extract(epoch FROM occurred_at) * 1000000)::bigint, actor_kind, actor_id, action, resource_kind, resource_id, "
    "team_id, request_id, details::text), E'\\n' ORDER BY occurred_at, id), ''), 'UTF8')) FROM audit_logs "
    "WHERE sequence IS NULL"};

constexpr std::int64_t page_size = 1'000;
constexpr pg::Query page_query{
    "audit_page",
    "SELECT sequence, id, occurred_at, actor_kind, actor_id, action, resource_kind, resource_id, team_id, request_id, "
    "details::text, coalesce(seal, '') FROM audit_logs WHERE sequence > $1 AND sequence <= $2 ORDER BY sequence LIMIT "
    "$3"};

Digest digest_of(const std::string& bytes) {
  Digest out{};
  if (bytes.size() == out.size()) std::ranges::copy(bytes, out.begin());
  return out;
}

std::string_view actor_kind(Principal::Kind kind) {
  switch (kind) {
    case Principal::Kind::api_key:
      return "api_key";
    case Principal::Kind::user:
      return "user";
    case Principal::Kind::anonymous:
      return "anonymous";
    case Principal::Kind::operator_:
      return "operator";
  }
  return "";
}

std::optional<Uuid> actor_of(const Principal& principal) {
  return principal.id.is_nil() ? std::nullopt : std::optional(principal.id);
}

// Who does it, and what; the rest is known when the chain is locked.
Async<> append(pg::Transaction& transaction, keyring::DerivedKey derived, StoredEntry common,
               const std::vector<Entry>& entries) {
  using Type = pg::ArrayBuilder::Type;
  const auto& key = derived.get();
  const auto key_id = id_of(key);
  const auto end = co_await transaction.execute(lock_query, pg::Params::of(pg::Bytes{key_id}));
  if (end.empty()) throw Unavailable("the audit trail has no end to go on from: table audit_chain is empty");
  std::string stored_seal;
  bool is_same_key = false;
  end[0].read(common.sequence, stored_seal, common.occurred_at, is_same_key);
  // One entry under another key would break the chain for good.
  if (!is_same_key)
    throw Unavailable("the audit trail was sealed under another root key than that of this process: start it anew");
  Digest seal{};
  if (stored_seal.size() != seal.size()) throw Unavailable("the end of the audit trail is no seal");
  std::ranges::copy(stored_seal, seal.begin());
  pg::ArrayBuilder ids(Type::uuid);
  pg::ArrayBuilder actions(Type::text);
  pg::ArrayBuilder kinds(Type::text);
  pg::ArrayBuilder resources(Type::text);
  pg::ArrayBuilder teams(Type::uuid);
  pg::ArrayBuilder details(Type::text);
  pg::ArrayBuilder sequences(Type::int8);
  pg::ArrayBuilder seals(Type::text);
  for (const auto& entry : entries) {
    auto& stored = common;
    stored.sequence += 1;
    stored.id = Uuid::make();
    stored.action = entry.action;
    stored.resource_kind = entry.resource_kind;
    stored.resource_id = entry.resource_id;
    stored.team_id = entry.team_id;
    stored.details = entry.details;
    seal = seal_of(key, seal, stored);
    ids.add(stored.id);
    actions.add(std::string_view(stored.action));
    kinds.add(std::string_view(stored.resource_kind));
    resources.add(std::string_view(stored.resource_id));
    teams.add(stored.team_id);
    details.add(std::string_view(stored.details));
    sequences.add(stored.sequence);
    seals.add(std::string_view(to_hex(seal)));
  }
  auto params = pg::Params::of(common.occurred_at, common.actor_kind, common.actor_id, common.request_id);
  for (auto* column : {&ids, &actions, &kinds, &resources, &teams, &details, &sequences, &seals})
    std::move(*column).move_into(params);
  params.add(common.sequence);
  params.add(pg::Bytes{seal});
  params.add(pg::Bytes{key_id});
  try {
    co_await transaction.execute(append_query, std::move(params));
  } catch (const pg::SqlError& error) {
    // Not the fault of what is recorded: whoever sent it shall repeat it.
    throw Unavailable(
        fmt::format("the audit trail could not be extended, `cognive audit verify` may say why: {}", error.what()));
  }
}

}  // namespace

Trail::Trail(const keyring::RootKey& root) : key_(root, std::string(keyring::purpose::audit_chain)) {}

void Trail::record(pg::Transaction& transaction, const Call& call, Entry entry) const {
  std::vector<Entry> entries;
  entries.push_back(std::move(entry));
  record(transaction, call, std::move(entries));
}

void Trail::record(pg::Transaction& transaction, const Call& call, std::vector<Entry> entries) const {
  if (entries.empty()) return;
  StoredEntry common;
  common.actor_kind = actor_kind(call.principal.kind);
  common.actor_id = actor_of(call.principal);
  if (!call.request_id.empty()) common.request_id = call.request_id;
  transaction.before_commit([key = key_, common = std::move(common), entries = std::move(entries)](
                                pg::Transaction& last) { return append(last, key, common, entries); });
}

}  // namespace cognive::audit

namespace cognive::audit::store {

Async<std::optional<End>> end(pg::Pool& database, Deadline deadline) {
  const auto rows = co_await database.execute_apart(end_query, {}, deadline);
  if (rows.empty()) co_return std::nullopt;
  End out;
  std::string seal;
  std::optional<std::string> key_id;
  rows[0].read(out.sequence, seal, out.behind, out.before, key_id);
  out.seal = digest_of(seal);
  if (key_id) out.key_id = digest_of(*key_id);
  co_return out;
}

Async<Earlier> earlier(pg::Pool& database, Deadline deadline) {
  const auto rows = co_await database.execute_apart(earlier_query, {}, deadline);
  Earlier out;
  std::string digest;
  rows[0].read(out.count, digest);
  out.digest = digest_of(digest);
  co_return out;
}

Async<std::vector<Sealed>> page(pg::Pool& database, std::int64_t after, std::int64_t until, Deadline deadline) {
  const auto rows = co_await database.execute_apart(page_query, pg::Params::of(after, until, page_size), deadline);
  std::vector<Sealed> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& [entry, seal] = out[static_cast<std::size_t>(i)];
    std::string stored;
    rows[i].read(entry.sequence, entry.id, entry.occurred_at, entry.actor_kind, entry.actor_id, entry.action,
                 entry.resource_kind, entry.resource_id, entry.team_id, entry.request_id, entry.details, stored);
    seal = digest_of(stored);
  }
  co_return out;
}

}  // namespace cognive::audit::store
