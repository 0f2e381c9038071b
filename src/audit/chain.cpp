#include "audit/chain.hpp"

#include <fmt/format.h>

#include "json/writer.hpp"
#include "keyring/purposes.hpp"

namespace cognive::audit {
namespace {

void add(json::Writer& out, const std::optional<Uuid>& id) {
  if (id) {
    out.string(id->text());
  } else {
    out.null();
  }
}

}  // namespace

Digest chain_key(const keyring::RootKey& root) {
  return root.derive(keyring::purpose::audit_chain);
}

Digest id_of(const Digest& key) {
  return hmac_sha256(key, keyring::purpose::audit_chain_id);
}

Digest seal_of(const Digest& key, const Digest& previous, const StoredEntry& entry) {
  json::Writer out;
  out.begin_array();
  out.string(to_hex(previous));
  out.integer(entry.sequence);
  out.string(entry.id.text());
  out.integer(entry.occurred_at.micros);
  out.string(entry.actor_kind);
  add(out, entry.actor_id);
  out.string(entry.action);
  out.string(entry.resource_kind);
  out.string(entry.resource_id);
  add(out, entry.team_id);
  if (entry.request_id) {
    out.string(*entry.request_id);
  } else {
    out.null();
  }
  out.string(entry.details);
  out.end_array();
  return hmac_sha256(key, out.text());
}

Break missing(std::int64_t first, std::int64_t last) {
  if (first == last) return {first, fmt::format("Entry {} is missing.", first)};
  return {first, fmt::format("Entries {} to {} are missing.", first, last)};
}

std::optional<Break> Prover::take(const StoredEntry& entry, const Digest& seal) {
  const auto expected = proved_ + 1;
  if (entry.sequence != expected) return missing(expected, entry.sequence - 1);
  const auto right = seal_of(key_, seal_, entry);
  if (!equal_constant_time(right, seal)) {
    auto what = fmt::format("Entry {} is not what was recorded. It says now: {}, {} of {} {}.", entry.sequence,
                            entry.occurred_at.text(), entry.action, entry.resource_kind, entry.resource_id);
    if (entry.sequence == 1) what += " Or what was recorded before there was a chain is not what it was.";
    return Break{expected, std::move(what)};
  }
  seal_ = right;
  proved_ = expected;
  return std::nullopt;
}

}  // namespace cognive::audit
