// Writes exports: reads what is wanted in one snapshot, in pieces of time and of rows, so that neither we nor the
// database ever hold much of it.
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include "base/compression.hpp"
#include "exports/rows.hpp"
#include "exports/store.hpp"
#include "json/cursor.hpp"
#include "observe/log.hpp"
#include "pg/error.hpp"

namespace cognive::exports {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr milliseconds progress_interval{2'000};
constexpr milliseconds statement_patience{10'000};
constexpr milliseconds store_patience{30'000};
// To store the last part, to end the file, and to say that there was too little time.
constexpr milliseconds end_patience{480'000};
// After each piece, in times of what it took: nobody waits for an export as others do for their answers, and the
// busier the machine is, the longer it leaves it to them. bench_exports says what that is worth.
constexpr int rest_factor = 1;
constexpr milliseconds rest_max{1'000};  // a store that is slow is no busy machine
constexpr std::string_view too_long = "It takes longer than an export may: ask for less time at once.";
// Each looks at whatever has come in since its index was brought up to date, so there must not be many.
constexpr std::int64_t windows = 24;
constexpr microseconds window_min = std::chrono::minutes{1};
constexpr microseconds window_max = std::chrono::days{1};
constexpr milliseconds indexes_patience{300'000};
constexpr std::int64_t swept_together_max = 200;

// Somebody has removed the export, or another worker writes it by now.
class NotOurs : public std::exception {};

// The object storage has not taken something.
class StoreTrouble : public Unavailable {
 public:
  using Unavailable::Unavailable;
};

void check(const Result<void>& done) {
  if (!done) throw StoreTrouble(done.error().detail);
}

// Where a piece of time ends that begins at `at`. Sums are of whole days.
Timestamp end_of_window(const Export& one, Timestamp at) {
  if (one.kind == ExportKind::costs) {
    const auto next = std::chrono::floor<std::chrono::days>(at.point()) + std::chrono::days{1};
    return std::min(Timestamp::of(next), *one.to);
  }
  const microseconds all{one.to->micros - one.from->micros};
  return std::min(at.plus(std::clamp(all / windows, window_min, window_max)), *one.to);
}

constexpr std::string_view file_type = "application/gzip";

Async<Result<void>> remove_object(objects::Objects& objects, ExportKind kind, const std::string& key) {
  const objects::Objects::Question<void> question = [&](objects::Store& store, Deadline deadline) {
    return store.remove(objects.bucket(place_of(kind)), key, deadline);
  };
  co_return co_await objects.ask<void>("remove", store_patience, question);
}

// One attempt at one export.
class Attempt {
 public:
  Attempt(pg::Cluster& database, objects::Objects& objects, BlockingThreads& threads, const Row& row)
      : database_(database),
        objects_(objects),
        threads_(threads),
        one_(row.shown),
        key_(row.object_key),
        columns_(one_.format == ExportFormat::csv ? columns_of(one_.kind) : std::span<const std::string_view>{}),
        writer_(objects, place_of(one_.kind), key_, std::string(file_type)) {}

  Async<> run(Deadline deadline) {
    co_await bring_indexes_up_to_date(deadline);
    auto transaction = co_await database_.begin(deadline);
    co_await transaction.execute(sql::one_moment(), {});
    co_await transaction.execute(sql::patience(), {});
    if (!columns_.empty()) append_header(text_, columns_);
    if (one_.kind == ExportKind::replay) {
      co_await copy(transaction, pg::Params::of(*one_.run_id, bucket_of(*one_.run_id)), 0);
    } else {
      const auto all = static_cast<double>(one_.to->micros - one_.from->micros);
      for (auto at = *one_.from; at < *one_.to;) {
        const auto end = end_of_window(one_, at);
        const auto before = static_cast<double>(at.micros - one_.from->micros) / all;
        co_await copy(transaction, pg::Params::of(at, end, one_.team_id, one_.agent_id), before);
        at = end;
      }
    }
    co_await transaction.commit();
    co_await finish();
  }

  Async<> abort() { co_await writer_.abort(); }

 private:
  // BRIN indexes know nothing of what has come lately: every question reads all of that. What goes wrong costs time
  // only.
  Async<> bring_indexes_up_to_date(Deadline deadline) {
    const auto table = sql::series_of(one_.kind);
    if (table.empty()) co_return;
    const Deadline until{std::min(deadline.at, Deadline::in(indexes_patience).at)};
    try {
      auto transaction = co_await database_.begin(until);
      co_await transaction.execute(sql::patience(), {});
      co_await transaction.execute(sql::impatience(), {});
      co_await transaction.execute(sql::summarize(), pg::Params::of(table));
      co_await transaction.commit();
    } catch (const Unavailable& error) {
      tell_of_indexes(error.what());
    } catch (const pg::SqlError& error) {
      tell_of_indexes(error.what());
    }
  }

  void tell_of_indexes(std::string_view reason) const {
    log(Level::warning, "indexes could not be brought up to date for an export",
        {{"export", one_.id.text()}, {"reason", reason}});
  }

  Async<> copy(pg::Transaction& transaction, pg::Params params, double progress) {
    co_await transaction.execute(sql::open(one_.kind), std::move(params));
    for (;;) {
      const auto begun = std::chrono::steady_clock::now();
      const auto rows = co_await transaction.execute(sql::fetch(one_.kind), {});
      if (rows.empty()) break;
      co_await add(rows);
      co_await tell(progress);
      const auto took = std::chrono::ceil<milliseconds>(std::chrono::steady_clock::now() - begun);
      co_await sleep_for(std::min(took * rest_factor, rest_max));
    }
    co_await transaction.execute(sql::close(), {});
    co_await tell(progress);
  }

  Async<> add(const pg::Rows& rows) {
    std::string compressed;
    // Parsing and compressing take long enough for others on this thread to notice.
    co_await threads_.run([&] {
      std::string row;
      for (int i = 0; i < rows.size(); ++i) {
        row = rows[i].at<std::string>(0);
        if (columns_.empty()) {
          text_ += row;
          text_ += '\n';
        } else {
          append_csv(text_, row, columns_);
        }
      }
      compressed = gzip_.append(text_);
      text_.clear();
    });
    rows_ += rows.size();
    if (!compressed.empty()) check(co_await writer_.write(compressed));
  }

  Call call() const {
    Call out;
    out.deadline = Deadline::in(statement_patience);
    return out;
  }

  Async<> tell(double progress) {
    if (!told_.passed()) co_return;
    told_ = Deadline::in(progress_interval);
    std::int64_t noted = 1;
    try {
      auto params = pg::Params::of(one_.id, key_, progress, rows_);
      noted = (co_await database_.primary().write(sql::progress(), std::move(params), call())).affected();
    } catch (const Unavailable&) {  // NOLINT(bugprone-empty-catch): whether it is ours is asked again at the end
    }
    if (noted == 0) throw NotOurs();
  }

  Async<> finish() {
    check(co_await writer_.write(gzip_.append(text_) + gzip_.finish()));
    const auto written = co_await writer_.finish();
    if (!written) throw StoreTrouble(written.error().detail);
    const auto object = co_await objects_.find(place_of(one_.kind), key_, store_patience);
    if (!object) throw StoreTrouble(object.error().detail);
    const auto days = co_await objects_.lifetime(place_of(one_.kind));
    auto params = pg::Params::of(one_.id, key_, rows_, static_cast<std::int64_t>(written->bytes),
                                 to_hex(written->sha256), object->etag, days);
    const auto done = co_await database_.primary().write(sql::done(), std::move(params), call());
    if (done.affected() == 0) throw NotOurs();
  }

  pg::Cluster& database_;
  objects::Objects& objects_;
  BlockingThreads& threads_;
  Export one_;
  std::string key_;
  std::span<const std::string_view> columns_;
  objects::Writer writer_;
  GzipWriter gzip_;
  std::string text_;
  std::int64_t rows_ = 0;
  Deadline told_ = Deadline::in(milliseconds{0});
};

// For whoever asked for the export; the log has the rest.
std::string_view told_of(const std::exception_ptr& fault) {
  try {
    std::rethrow_exception(fault);
  } catch (const StoreTrouble&) {
    return "The object storage did not answer, or refused.";
  } catch (const Unavailable&) {
    return "The database did not answer in time.";
  } catch (const std::exception&) {
    return "Something is wrong with Cognive or its database; the log of its workers says what.";
  }
}

bool is_stop(const std::exception_ptr& fault) {
  try {
    std::rethrow_exception(fault);
  } catch (const boost::system::system_error& error) {
    return error.code() == boost::asio::error::operation_aborted;
  } catch (...) {
    return false;
  }
}

bool is_not_ours(const std::exception_ptr& fault) {
  try {
    std::rethrow_exception(fault);
  } catch (const NotOurs&) {
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace

Uuid id_of(const std::string& payload) {
  auto text = payload;
  std::optional<Uuid> id;
  const auto walked = json::walk(text, [&](json::Cursor& root) {
    root.each_field([&](std::string_view key, json::Cursor& value) {
      if (key == "id" && value.kind() == json::Kind::string) id = Uuid::parse(value.string());
    });
  });
  if (!walked || !id) throw std::runtime_error("it does not say which export is meant");
  return *id;
}

Async<> write(pg::Cluster& database, objects::Objects& objects, BlockingThreads& threads, Uuid id, bool is_last,
              Deadline deadline) {
  Call call;
  call.deadline = Deadline::in(statement_patience);
  const auto former = co_await database.primary().execute(sql::former(), pg::Params::of(id), call.deadline);
  if (former.empty()) co_return;  // it is done, or was removed
  ExportKind kind{};
  std::string key_before;
  former[0].read(kind, key_before);
  // Its key is known as long as the object may be there.
  if (!key_before.empty()) {
    if (const auto removed = co_await remove_object(objects, kind, key_before); !removed) {
      const StoreTrouble trouble(removed.error().detail);
      const auto told = told_of(std::make_exception_ptr(trouble));
      call.deadline = Deadline::in(statement_patience);
      co_await database.primary().write(sql::failed(), pg::Params::of(id, key_before, told, is_last), call);
      throw StoreTrouble(trouble);
    }
  }
  const auto key = fmt::format("{}/{}", id.text(), random_token(12));
  call.deadline = Deadline::in(statement_patience);
  const auto begun = co_await database.primary().write(sql::begin(), pg::Params::of(id, key, key_before), call);
  if (begun.empty()) co_return;  // somebody else writes it, or it was removed
  const auto row = sql::read(begun).front();
  if (!key_before.empty())
    log(Level::warning, "an export that was not ended is written anew",
        {{"export", id.text()}, {"kind", json::enum_text(kind)}, {"error", row.shown.error.value_or("")}});
  // What takes too long now does so the next time.
  const Deadline until{deadline.at - end_patience};
  Attempt attempt(database, objects, threads, row);
  std::exception_ptr fault;
  try {
    co_await attempt.run(until);
  } catch (...) {
    fault = std::current_exception();
  }
  if (!fault) co_return;
  if (is_stop(fault)) std::rethrow_exception(fault);
  // What the store has of it; of what cannot be aborted nothing is ever to be seen, and it expires there.
  co_await attempt.abort();
  if (is_not_ours(fault)) {
    // It may have been complete by then.
    (void)co_await remove_object(objects, row.shown.kind, key);
    co_return;
  }
  call.deadline = Deadline::in(statement_patience);
  const auto told = until.passed() ? too_long : told_of(fault);
  co_await database.primary().write(sql::failed(), pg::Params::of(id, key, told, is_last || until.passed()), call);
  std::rethrow_exception(fault);
}

Async<> sweep(pg::Cluster& database, objects::Objects& objects, Deadline deadline) {
  Call call;
  call.deadline = deadline;
  co_await database.primary().write(sql::given_up(), pg::Params::of(write_task, asked_topic), call);
  co_await database.primary().write(sql::over(), {}, call);
  const auto rows = co_await database.primary().execute(sql::removed(), pg::Params::of(swept_together_max), deadline);
  for (int i = 0; i < rows.size() && !deadline.passed(); ++i) {
    Uuid id;
    ExportKind kind{};
    std::string key;
    rows[i].read(id, kind, key);
    auto removed = Result<void>();
    if (!key.empty()) removed = co_await remove_object(objects, kind, key);
    if (!removed && removed.error().code == Code::unavailable) throw Unavailable(removed.error().detail);
    if (!removed)
      log(Level::warning, "the file of an export could not be removed",
          {{"key", key}, {"reason", removed.error().detail}});
    co_await database.primary().write(removed ? sql::forget() : sql::put_off(), pg::Params::of(id), call);
  }
}

}  // namespace cognive::exports
