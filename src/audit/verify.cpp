#include "audit/verify.hpp"

#include <fmt/format.h>

#include "audit/store.hpp"

namespace cognive::audit {

Async<Verification> verify(pg::Pool& database, const keyring::RootKey& root, const std::optional<Checkpoint>& kept,
                           Deadline deadline, const std::function<void(std::int64_t proved)>& progress) {
  Verification out;
  const auto end = co_await store::end(database, deadline);
  if (!end) {
    out.broken = Break{1, "Table audit_chain, which says where the chain ends, is empty."};
    co_return out;
  }
  const auto key = chain_key(root);
  if (end->key_id && !equal_constant_time(*end->key_id, id_of(key)))
    throw Unavailable(
        "the audit trail was sealed under another key than that of this installation, or table audit_chain was "
        "tampered with");
  if (end->before) {
    out.broken = Break{*end->before, fmt::format("Entry {} was added: the first has the number 1.", *end->before)};
    co_return out;
  }
  const auto earlier = co_await store::earlier(database, deadline);
  out.earlier = earlier.count;
  Prover prover(key, earlier.digest);
  for (;;) {
    const auto page = co_await store::page(database, prover.proved(), end->sequence, deadline);
    if (page.empty()) break;
    for (const auto& [entry, seal] : page) {
      out.broken = prover.take(entry, seal);
      out.entries = prover.proved();
      if (out.broken) co_return out;
      if (kept && kept->sequence == entry.sequence && !equal_constant_time(kept->seal, seal)) {
        out.broken = Break{entry.sequence, "The trail up to here is another one than that of the archive."};
        co_return out;
      }
    }
    progress(out.entries);
  }
  if (out.entries < end->sequence) {
    out.broken = missing(out.entries + 1, end->sequence);
  } else if (end->behind > 0) {
    out.broken = Break{end->behind, fmt::format("Entry {} lies behind the end of the chain, which is at {}: it was "
                                                "added, or the end was set back.",
                                                end->behind, end->sequence)};
  } else if (!equal_constant_time(prover.seal(), end->seal)) {
    out.broken = end->sequence == 0 ? Break{0, "What was recorded before there was a chain is not what it was."}
                                    : Break{end->sequence,
                                            "The end of the chain, in table audit_chain, is not the seal of its last "
                                            "entry."};
  } else if (kept && kept->sequence > out.entries) {
    out.broken = missing(out.entries + 1, kept->sequence);
  }
  co_return out;
}

}  // namespace cognive::audit
