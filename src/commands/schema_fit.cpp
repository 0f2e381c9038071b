#include "commands/schema_fit.hpp"

#include "backups/backups.hpp"
#include "commands/local.hpp"
#include "observe/log.hpp"
#include "runtime/async.hpp"
#include "schema/migrator.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::minutes lock_timeout{15};  // another process may be building an index
constexpr std::chrono::milliseconds look_timeout{5'000};

Async<schema::Fit> look_at_tables(const Settings& settings) {
  const auto executor = co_await boost::asio::this_coro::executor;
  auto url = co_await primary_url(settings);
  const auto connection =
      co_await pg::Connection::open(executor, std::move(url), look_timeout, Deadline::in(look_timeout));
  if (co_await backups::is_unfinished(*connection, Deadline::in(look_timeout))) {
    co_return schema::Fit{.kind = schema::Fit::Kind::incompatible,
                          .detail =
                              "A restore into this database was not finished: drop the database, make a new one "
                              "(createdb) and restore again"};
  }
  const auto state = co_await schema::read_state(*connection, schema::History::embedded(), Deadline::in(look_timeout));
  co_return schema::fit_of(state, schema::History::embedded());
}

Async<Result<void>> bring_forward(const Settings& settings) {
  const auto executor = co_await boost::asio::this_coro::executor;
  auto url = co_await primary_url(settings);
  const auto migrator =
      co_await schema::Migrator::open(executor, std::move(url), schema::History::embedded(), Deadline::in(lock_timeout),
                                      [] { log(Level::info, "waiting for another migration to end"); });
  co_return co_await migrator->upgrade("head", [](const schema::Revision& revision) {
    log(Level::info, "applying a revision", {{"revision", revision.id}, {"what", revision.message}});
  });
}

}  // namespace

Result<void> check_tables(const Settings& settings, bool migrate) {
  schema::Fit fit;
  try {
    fit = run(look_at_tables(settings));
  } catch (const Unavailable& error) {
    if (migrate) throw;
    log(Level::warning, "the tables could not be looked at yet", {{"reason", error.what()}});
    return {};
  }
  if (fit.usable()) return {};
  const bool can_be_brought = fit.kind == schema::Fit::Kind::empty || fit.kind == schema::Fit::Kind::older;
  if (migrate && can_be_brought) return run(bring_forward(settings));
  return fail(Code::conflict, fit.detail + (can_be_brought ? ", or start with --migrate" : ""));
}

}  // namespace cognive::commands
