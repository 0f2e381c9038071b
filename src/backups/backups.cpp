#include "backups/backups.hpp"

#include <fmt/chrono.h>

#include <algorithm>

#include "backups/program.hpp"
#include "base/crypto.hpp"
#include "pg/conninfo.hpp"

namespace cognive::backups {
namespace {

constexpr std::chrono::minutes store_patience{5};
constexpr std::size_t first_part_bytes = std::size_t{16} << 20U;
constexpr std::size_t later_part_bytes = std::size_t{128} << 20U;
constexpr std::int64_t first_parts = 1'000;
constexpr std::size_t piece_bytes = std::size_t{4} << 20U;
constexpr std::size_t manifest_bytes_max = std::size_t{4} << 20U;
constexpr std::int64_t listed_together = 1'000;
constexpr std::string_view manifest_name = "/manifest.json";

constexpr pg::Query one_moment{"backup_one_moment", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"};
// The text of rows must be the same on both sides, and a dump takes as long as it takes.
constexpr pg::Query settings{
    "backup_settings",
    "SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true), "
    "set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true), set_config('IntervalStyle', "
    "'postgres', true), set_config('bytea_output', 'hex', true), set_config('extra_float_digits', '1', true), "
    "set_config('search_path', 'public', true)"};
constexpr pg::Query snapshot{
    "backup_snapshot",
    "SELECT pg_export_snapshot(), current_setting('server_version'), now(), EXISTS (SELECT FROM pg_extension WHERE "
    "extname = 'timescaledb'), EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN "
    "('r', 'p', 'v', 'm')), to_regclass('public.cognive_restore_unfinished') IS NOT NULL"};
constexpr pg::Query begin_restore{"backup_begin_restore",
                                  "CREATE TABLE public.cognive_restore_unfinished AS SELECT now() AS begun_at"};
constexpr pg::Query look_for_ruin{"backup_look_for_ruin",
                                  "SELECT to_regclass('public.cognive_restore_unfinished') IS NOT NULL"};
constexpr pg::Query end_restore{"backup_end_restore", "DROP TABLE public.cognive_restore_unfinished"};
constexpr pg::Query revision{"backup_revision",
                             "SELECT coalesce(string_agg(version_num, ', '), '') FROM alembic_version"};
// A count and a sum of hashes for each table: the order of rows does not count. Queries of queries, since names of
// tables cannot be parameters.
constexpr pg::Query content{
    "backup_content",
    "SELECT c.relname::text, (xpath('/table/row/n/text()', x.found))[1]::text::bigint, (xpath('/table/row/h/text()', "
    "x.found))[1]::text FROM pg_class c CROSS JOIN LATERAL (SELECT query_to_xml(format('SELECT count(*) AS n, "
    "coalesce(sum(hashtextextended(t::text, 0)), 0) AS h FROM %I.%I t', 'public', c.relname), false, false, '') AS "
    "found) x WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND "
    "c.relname <> 'cognive_restore_unfinished' ORDER BY c.relname"};

Async<std::vector<TableContent>> content_of(pg::Transaction& transaction) {
  const auto rows = co_await transaction.execute(content, {});
  std::vector<TableContent> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& one = out[static_cast<std::size_t>(i)];
    rows[i].read(one.name, one.rows, one.checksum);
  }
  co_return out;
}

Deadline soon(Deadline deadline) {
  return {std::min(deadline.at, Deadline::in(store_patience).at)};
}

// Writes an object while it comes.
class Upload {
 public:
  Upload(objects::Store& store, std::string bucket, std::string key, Deadline deadline)
      : store_(store), bucket_(std::move(bucket)), key_(std::move(key)), deadline_(deadline) {}

  Result<void> begin() {
    auto id = store_.begin(bucket_, key_, "application/octet-stream", soon(deadline_));
    if (!id) return std::unexpected(std::move(id.error()));
    id_ = std::move(*id);
    return {};
  }

  Result<void> take(std::string_view bytes) {
    digest_.update(bytes);
    bytes_ += std::ssize(bytes);
    held_ += bytes;
    return held_.size() < (std::ssize(parts_) < first_parts ? first_part_bytes : later_part_bytes) ? Result<void>()
                                                                                                   : put();
  }

  Result<void> finish() {
    if (!held_.empty()) {
      if (auto done = put(); !done) return done;
    }
    return store_.complete(bucket_, key_, id_, parts_, soon(deadline_));
  }

  void abort() { (void)store_.abort(bucket_, key_, id_, Deadline::in(store_patience)); }

  [[nodiscard]] std::int64_t bytes() const { return bytes_; }
  std::string sha256() { return to_hex(digest_.finish()); }

 private:
  Result<void> put() {
    auto part = store_.put_part(bucket_, key_, id_, std::ssize(parts_) + 1, held_, soon(deadline_));
    if (!part) return std::unexpected(std::move(part.error()));
    parts_.push_back(std::move(*part));
    held_.clear();
    return {};
  }

  objects::Store& store_;
  std::string bucket_;
  std::string key_;
  Deadline deadline_;
  std::string id_;
  std::string held_;
  std::vector<objects::Part> parts_;
  Sha256 digest_;
  std::int64_t bytes_ = 0;
};

// In the order of time.
std::string new_id(Timestamp at) {
  return fmt::format("{:%Y%m%dT%H%M%S}Z-{}", std::chrono::floor<std::chrono::seconds>(at.point()), random_token(6));
}

std::string no_backup(std::string_view id) {
  return fmt::format("There is no backup {}: `cognive backup list` shows those that are.", id);
}

Error unfinished() {
  return {
      Code::conflict,
      "A restore into this database was not finished, and what is there is not whole: drop the database, make a new "
      "one (createdb) and restore again.",
      {}};
}

Result<Manifest> read_manifest(objects::Store& store, const std::string& bucket, const std::string& id,
                               Deadline deadline) {
  const auto piece = store.get(bucket, id + std::string(manifest_name), 0, manifest_bytes_max, {}, soon(deadline));
  if (!piece && piece.error().code == Code::not_found) return fail(Code::not_found, no_backup(id));
  if (!piece) return std::unexpected(piece.error());
  auto manifest = json::decode<Manifest>(piece->bytes);
  if (!manifest) return fail(Code::unprocessable, fmt::format("The manifest of {} cannot be read.", id));
  return std::move(*manifest);
}

}  // namespace

Async<Result<Manifest>> create(pg::Cluster& database, Place from, objects::Store& store, std::string bucket,
                               Progress progress, Deadline deadline) {
  if (auto made = store.make_bucket(bucket, 0, soon(deadline)); !made) co_return std::unexpected(made.error());
  // What was left of attempts a week ago, where the store does not see to it; whatever comes of that.
  (void)store.expire({bucket}, soon(deadline));
  auto transaction = co_await database.begin(deadline);
  co_await transaction.execute(one_moment, {});
  co_await transaction.execute(settings, {});
  std::string snapshot_id;
  bool is_timescale = false;
  bool has_tables = false;
  Manifest out;
  const auto about = co_await transaction.execute(snapshot, {});
  bool is_ruin = false;
  about[0].read(snapshot_id, out.server, out.made_at, is_timescale, has_tables, is_ruin);
  if (is_ruin) co_return fail(unfinished());
  if (is_timescale)
    co_return fail(Code::unprocessable,
                   "This database has TimescaleDB, whose tables pg_dump alone does not keep whole: use the tools that "
                   "copy its servers (pgBackRest, pg_basebackup).");
  if (!has_tables) co_return fail(Code::unprocessable, "This database has no tables.");
  out.revision = (co_await transaction.execute(revision, {}))[0].at<std::string>(0);
  out.tables = co_await content_of(transaction);
  out.id = new_id(out.made_at);
  out.dump = out.id + "/database.dump";
  Upload upload(store, bucket, out.dump, deadline);
  if (auto begun = upload.begin(); !begun) co_return std::unexpected(begun.error());
  const Program pg_dump{.arguments = {from.programs + "/pg_dump", "--format=custom", "--no-owner", "--no-privileges",
                                      "--no-password", "--snapshot=" + snapshot_id},
                        .environment = pg::environment_of(from.url)};
  auto done = read_from(pg_dump, [&](std::string_view bytes) {
    auto taken = upload.take(bytes);
    progress(upload.bytes());
    return taken;
  });
  if (done) done = upload.finish();
  if (!done) upload.abort();
  out.bytes = upload.bytes();
  out.sha256 = upload.sha256();
  // Without it there is no backup.
  if (done)
    done =
        store.put(bucket, out.id + std::string(manifest_name), json::encode(out), "application/json", soon(deadline));
  if (!done) {
    // It may be there all the same.
    (void)store.remove(bucket, out.dump, Deadline::in(store_patience));
    co_return std::unexpected(std::move(done.error()));
  }
  co_return out;
}

Result<std::vector<Listed>> list(objects::Store& store, const std::string& bucket, Deadline deadline) {
  std::vector<objects::Object> objects;
  std::string next;
  do {
    auto page = store.list(bucket, {}, next, listed_together, deadline);
    if (!page && page.error().code == Code::not_found)
      return fail(Code::not_found, fmt::format("There is no bucket {} in {}: `cognive backup create` makes it with the "
                                               "first backup.",
                                               bucket, store.place()));
    if (!page) return std::unexpected(page.error());
    std::ranges::move(page->objects, std::back_inserter(objects));
    next = page->next;
  } while (!next.empty());
  std::vector<Listed> out;
  for (const auto& object : objects) {
    if (!object.key.ends_with(manifest_name)) continue;
    const auto id = object.key.substr(0, object.key.size() - manifest_name.size());
    auto manifest = read_manifest(store, bucket, id, deadline);
    if (!manifest && manifest.error().code == Code::not_found) continue;  // removed meanwhile
    if (!manifest && manifest.error().code != Code::unprocessable) return std::unexpected(manifest.error());
    Listed listed;
    if (manifest) {
      const auto dump = std::ranges::find(objects, manifest->dump, &objects::Object::key);
      if (dump == objects.end()) {
        listed.trouble = "Its dump is missing.";
      } else if (std::cmp_not_equal(dump->bytes, manifest->bytes)) {
        listed.trouble = fmt::format("Its dump has {} bytes in place of {}.", dump->bytes, manifest->bytes);
      }
      listed.manifest = std::move(*manifest);
    } else {
      listed.trouble = manifest.error().detail;
      listed.manifest.id = id;
    }
    out.push_back(std::move(listed));
  }
  std::ranges::sort(out, std::ranges::greater(), [](const Listed& one) { return one.manifest.made_at.micros; });
  return out;
}

Result<void> remove(objects::Store& store, const std::string& bucket, const std::string& id, Deadline deadline) {
  const auto page = store.list(bucket, id + "/", {}, listed_together, deadline);
  if (!page) return std::unexpected(page.error());
  if (page->objects.empty()) return fail(Code::not_found, no_backup(id));
  // The manifest first: what has none is no backup.
  if (auto removed = store.remove(bucket, id + std::string(manifest_name), soon(deadline)); !removed) return removed;
  for (const auto& object : page->objects) {
    if (auto removed = store.remove(bucket, object.key, soon(deadline)); !removed) return removed;
  }
  return {};
}

Async<bool> is_unfinished(pg::Connection& database, Deadline deadline) {
  const auto rows = co_await database.execute(look_for_ruin, {}, deadline);
  co_return rows[0].at<bool>(0);
}

Result<Manifest> find(objects::Store& store, const std::string& bucket, const std::string& id, Deadline deadline) {
  if (id != "latest") return read_manifest(store, bucket, id, deadline);
  auto all = list(store, bucket, deadline);
  if (!all) return std::unexpected(all.error());
  const auto whole = std::ranges::find_if(*all, [](const Listed& one) { return one.trouble.empty(); });
  if (whole == all->end())
    return fail(Code::not_found, all->empty() ? "There is no backup yet: `cognive backup create` makes one."
                                              : "None of the backups is whole: `cognive backup list` says why.");
  return std::move(whole->manifest);
}

Async<Result<void>> restore(pg::Cluster& database, Place to, objects::Store& store, std::string bucket,
                            const Manifest& manifest, Progress progress, Deadline deadline) {
  const auto about = co_await database.primary().execute(snapshot, {}, deadline);
  if (about[0].at<bool>(5)) co_return fail(unfinished());
  if (about[0].at<bool>(4))
    co_return fail(Code::conflict, "The database has tables already: restore into a new one (createdb).");
  const auto object = store.find(bucket, manifest.dump, soon(deadline));
  if (!object && object.error().code == Code::not_found)
    co_return fail(Code::not_found, fmt::format("The dump of {} is missing: restore another backup.", manifest.id));
  if (!object) co_return std::unexpected(object.error());
  Call call;
  call.deadline = deadline;
  // Until all of it is there, and compared.
  co_await database.primary().write(begin_restore, {}, call);
  const auto failed = [&](const Error& error) {
    return fail(error.code, fmt::format("{} The restore of {} was not finished: drop the database before another.",
                                        error.detail, manifest.id));
  };
  std::uint64_t at = 0;
  Sha256 digest;
  const auto database_name = pg::database_of(to.url);
  const Program pg_restore{.arguments = {to.programs + "/pg_restore", "--exit-on-error", "--no-owner",
                                         "--no-privileges", "--no-password", "--dbname=" + database_name},
                           .environment = pg::environment_of(to.url)};
  auto done = write_to(pg_restore, [&]() -> Result<std::string> {
    if (at >= object->bytes) return std::string();
    auto piece = store.get(bucket, manifest.dump, at, piece_bytes, object->etag, soon(deadline));
    if (!piece) return std::unexpected(std::move(piece.error()));
    digest.update(piece->bytes);
    at += piece->bytes.size();
    progress(static_cast<std::int64_t>(at));
    return std::move(piece->bytes);
  });
  const bool is_dump = to_hex(digest.finish()) == manifest.sha256;
  if (!is_dump && at == object->bytes)
    co_return failed({Code::unprocessable, "The dump in the object storage is not what was written.", {}});
  if (!done) co_return failed(done.error());
  auto transaction = co_await database.begin(deadline);
  co_await transaction.execute(one_moment, {});
  co_await transaction.execute(settings, {});
  const auto wrong = difference(manifest.tables, co_await content_of(transaction));
  co_await transaction.commit();
  if (!wrong.empty()) co_return failed({Code::unprocessable, "What was restored is not what was dumped. " + wrong, {}});
  co_await database.primary().write(end_restore, {}, call);
  co_return Result<void>();
}

}  // namespace cognive::backups
