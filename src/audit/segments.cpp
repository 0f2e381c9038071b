#include "audit/segments.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "audit/archive_lines.hpp"
#include "audit/store.hpp"
#include "base/compression.hpp"
#include "json/bind.hpp"

namespace cognive::audit {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds store_patience{60'000};
constexpr auto kind = objects::Kind::audit;
constexpr std::size_t segment_bytes_max = std::size_t{8} << 20U;
constexpr std::size_t page_bytes_max = std::size_t{128} << 20U;  // a page of the trail behind that: 1,000 entries
constexpr std::size_t manifest_bytes_max = 16 << 10;
constexpr std::int64_t listed_together = 1'000;
constexpr std::string_view head_key = "head.json";
constexpr std::string_view manifests = "manifests/";
constexpr std::string_view json_type = "application/json";
constexpr std::string_view next_step =
    " Keep a copy of the bucket; `cognive audit verify --from-storage` says what is left of it. Once what is "
    "wrong is removed there, the archive goes on from the last manifest that is left.";

struct Manifest {
  std::string segment;
  std::int64_t first = 0;
  std::int64_t last = 0;
  std::string begins;  // seal of the entry before the first
  std::string ends;    // seal of the last
  std::int64_t bytes = 0;
  std::string sha256;
  Timestamp at;
  std::string public_key;  // the root key's own is what counts
  std::string signature;

  static constexpr auto fields() {
    return json::fields(json::field("segment", &Manifest::segment, ""), json::field("first", &Manifest::first, ""),
                        json::field("last", &Manifest::last, ""), json::field("begins", &Manifest::begins, ""),
                        json::field("ends", &Manifest::ends, ""), json::field("bytes", &Manifest::bytes, ""),
                        json::field("sha256", &Manifest::sha256, ""), json::field("at", &Manifest::at, ""),
                        json::field("public_key", &Manifest::public_key, ""),
                        json::field("signature", &Manifest::signature, ""));
  }
};

std::string signed_text(const Manifest& of) {
  return fmt::format("cognive/audit-manifest/1\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}", of.segment, of.first, of.last,
                     of.begins, of.ends, of.bytes, of.sha256, of.at.text());
}

bool is_ours(const Manifest& manifest, const Digest& public_key) {
  const auto signature = from_hex(manifest.signature);
  return signature && is_signed(public_key, signed_text(manifest), *signature);
}

std::string name_of(std::int64_t first, std::int64_t last) {
  return fmt::format("{:020}-{:020}", first, last);  // in the order of the numbers
}

Result<Manifest> read_manifest(objects::Store& store, const std::string& bucket, const std::string& key,
                               Deadline deadline) {
  const auto piece = store.get(bucket, key, 0, manifest_bytes_max, {}, deadline);
  if (!piece) return std::unexpected(piece.error());
  auto manifest = json::decode<Manifest>(piece->bytes);
  if (!manifest) return fail(Code::unprocessable, key + " is no manifest.");
  return std::move(*manifest);
}

Result<std::vector<std::string>> list_manifests(objects::Store& store, const std::string& bucket, Deadline deadline) {
  std::vector<std::string> out;
  std::string next;
  do {
    auto page = store.list(bucket, std::string(manifests), next, listed_together, deadline);
    if (!page) return std::unexpected(page.error());
    for (auto& object : page->objects) out.push_back(std::move(object.key));
    next = std::move(page->next);
  } while (!next.empty());
  return out;
}

// The manifest to go on from; nothing when there is none.
Result<std::optional<Manifest>> last_manifest(objects::Store& store, const std::string& bucket, Deadline deadline) {
  auto head = read_manifest(store, bucket, std::string(head_key), deadline);
  if (head) return std::optional(std::move(*head));
  if (head.error().code != Code::not_found) return std::unexpected(head.error());
  // It may have expired, if nothing was recorded for so long.
  const auto all = list_manifests(store, bucket, deadline);
  if (!all) return std::unexpected(all.error());
  if (all->empty()) return std::optional<Manifest>();
  auto found = read_manifest(store, bucket, all->back(), deadline);
  if (!found) return std::unexpected(found.error());
  return std::optional(std::move(*found));
}

// Fills in what depends on the bytes, and puts segment, manifest and head, in this order.
Result<void> put_segment(objects::Store& store, const std::string& bucket, const SigningKey& key, Manifest manifest,
                         const std::string& lines, Deadline deadline) {
  GzipWriter gzip;
  auto compressed = gzip.append(lines);
  compressed += gzip.finish();
  manifest.bytes = std::ssize(compressed);
  manifest.sha256 = to_hex(sha256(compressed));
  manifest.at = Timestamp::now();
  manifest.public_key = to_hex(key.public_key());
  manifest.signature = to_hex(key.sign(signed_text(manifest)));
  const auto text = json::encode(manifest) + "\n";
  if (auto put = store.put(bucket, manifest.segment, compressed, "application/gzip", deadline); !put) return put;
  const auto manifest_key = std::string(manifests) + name_of(manifest.first, manifest.last) + ".json";
  if (auto put = store.put(bucket, manifest_key, text, json_type, deadline); !put) return put;
  return store.put(bucket, std::string(head_key), text, json_type, deadline);
}

}  // namespace

Async<std::int64_t> SegmentArchive::extend(pg::Pool& database, Deadline deadline) {
  const auto key = checkpoint_key(root_);
  const auto bucket = objects_.bucket(kind);
  const objects::Objects::Question<std::optional<Manifest>> find = [&](objects::Store& store, Deadline until) {
    return last_manifest(store, bucket, until);
  };
  const auto found = co_await objects_.ask<std::optional<Manifest>>("archive", store_patience, find);
  if (!found && found.error().code == Code::unprocessable)
    throw std::runtime_error(found.error().detail + std::string(next_step));
  if (!found) throw Unavailable(found.error().detail);
  Checkpoint from;
  if (*found) {
    const auto& manifest = **found;
    const auto seal = digest_of(manifest.ends);
    if (!seal || !is_ours(manifest, key.public_key()))
      throw std::runtime_error("The last manifest of the archive is not signed by this installation." +
                               std::string(next_step));
    from = {.sequence = manifest.last, .seal = *seal};
  } else {
    from = {.sequence = 0, .seal = (co_await store::earlier(database, deadline)).digest};
  }
  const auto end = co_await store::end(database, deadline);
  if (!end || end->sequence < from.sequence)
    throw std::runtime_error(
        fmt::format("the audit trail ends at {}, but went to {} when it was archived: `cognive audit verify` says more",
                    end ? end->sequence : 0, from.sequence));
  const auto before = from.sequence;
  // What is not sealed right is no part of the trail, and must not get a signature.
  Prover prover(chain_key(root_), from);
  while (prover.proved() < end->sequence) {
    auto lines = slot_line(root_) + checkpoint_line(key, from);
    while (prover.proved() < end->sequence && lines.size() < segment_bytes_max) {
      const auto page = co_await store::page(database, prover.proved(), end->sequence, deadline);
      if (page.empty()) throw std::runtime_error(missing(prover.proved() + 1, end->sequence).what);
      for (const auto& [entry, seal] : page) {
        if (const auto broken = prover.take(entry, seal)) throw std::runtime_error(broken->what);
        lines += entry_line(entry, seal);
      }
    }
    const Checkpoint reached{.sequence = prover.proved(), .seal = prover.seal()};
    lines += checkpoint_line(key, reached);
    const auto name = name_of(from.sequence + 1, reached.sequence);
    // Of this attempt alone: what another wrote for the same entries has other checkpoints, and a manifest of its own.
    const Manifest manifest{.segment = "segments/" + name + "-" + random_token(8) + ".jsonl.gz",
                            .first = from.sequence + 1,
                            .last = reached.sequence,
                            .begins = to_hex(from.seal),
                            .ends = to_hex(reached.seal),
                            .sha256 = {},
                            .public_key = {},
                            .signature = {}};
    const objects::Objects::Question<void> put = [&](objects::Store& store, Deadline until) {
      return put_segment(store, bucket, key, manifest, lines, until);
    };
    const auto done = co_await objects_.ask<void>("archive", store_patience, put);
    if (!done) throw Unavailable(done.error().detail);
    from = reached;
  }
  co_return from.sequence - before;
}

Result<SegmentVerification> verify_segments(objects::Store& store, const std::string& bucket,
                                            const keyring::RootKey& root, Deadline deadline,
                                            const std::function<void(std::int64_t proved)>& progress) {
  // Before the others: what it names has been there by then, and more may be written meanwhile.
  const auto head = read_manifest(store, bucket, std::string(head_key), deadline);
  if (!head && head.error().code != Code::not_found && head.error().code != Code::unprocessable)
    return std::unexpected(head.error());
  const auto keys = list_manifests(store, bucket, deadline);
  if (!keys) return std::unexpected(keys.error());
  if (keys->empty()) return fail(Code::not_found, fmt::format("{}: there is no archive.", bucket));
  SegmentVerification out;
  std::optional<ArchiveProof> proof;
  const auto proved = [&] { return proof ? proof->proved() : 0; };
  const auto so_far = [&] {
    if (!proof || !proof->has_begun()) return out;
    out.first = proof->first();
    out.last = proof->last();
    out.trail.entries = proof->proved() - proof->first() + 1;
    return out;
  };
  const auto broken = [&](const std::string& what) {
    out.trail.broken = Break{proved() + 1, what};
    return so_far();
  };
  for (const auto& key : *keys) {
    const auto manifest = read_manifest(store, bucket, key, deadline);
    if (!manifest && manifest.error().code == Code::unprocessable) return broken(manifest.error().detail);
    if (!manifest) return std::unexpected(manifest.error());
    // Two have archived the same at once.
    if (proof && manifest->last <= proof->proved()) continue;
    if (proof && manifest->first > proof->proved() + 1)
      return broken(missing(proof->proved() + 1, manifest->first - 1).what + " No manifest names them.");
    const auto piece = store.get(bucket, manifest->segment, 0, segment_bytes_max + page_bytes_max, {}, deadline);
    // The oldest expire object by object.
    if (!piece && piece.error().code == Code::not_found && !proof) continue;
    if (!piece && piece.error().code == Code::not_found) return broken(manifest->segment + " is not there.");
    if (!piece) return std::unexpected(piece.error());
    if (to_hex(sha256(piece->bytes)) != manifest->sha256)
      return broken(manifest->segment + " is not what its manifest says.");
    const auto lines = decompress(piece->bytes, Compression::gzip, segment_bytes_max + page_bytes_max);
    if (!lines) return broken(manifest->segment + ": " + lines.error().detail);
    if (!proof) {
      std::istringstream in(*lines);
      if (auto opened = open_with(in, manifest->segment, root); !opened) return std::unexpected(opened.error());
      proof.emplace(root, ArchiveProof::Begin::anywhere);
    }
    if (!is_ours(*manifest, checkpoint_key(root).public_key()))
      return broken(key + " is not signed by this installation.");
    std::istringstream in(*lines);
    std::string line;
    for (std::int64_t number = 1; !proof->broken() && std::getline(in, line); ++number)
      proof->take(line, manifest->segment, number);
    if (proof->broken()) return broken(proof->broken()->what);
    if (!proof->is_whole() || proof->proved() != manifest->last)
      return broken(manifest->segment + " does not end where its manifest says.");
    ++out.segments;
    progress(proof->proved());
  }
  if (!head && head.error().code == Code::unprocessable) return broken(head.error().detail);
  if (head && !is_ours(*head, checkpoint_key(root).public_key()))
    return broken("head.json is not signed by this installation.");
  if (head && head->last > proved()) return broken(missing(proved() + 1, head->last).what);
  return so_far();
}

}  // namespace cognive::audit
