#include <boost/asio/experimental/awaitable_operators.hpp>

#include "base/text.hpp"
#include "health/health.hpp"
#include "schema/migrator.hpp"

namespace cognive::health {
namespace {

constexpr std::chrono::milliseconds probe_timeout{1000};
// It ends by itself, and not at once.
constexpr std::chrono::milliseconds storage_timeout{800};

// Empty when all is well.
Async<std::string> check_database(pg::Cluster& database, Deadline deadline) {
  const schema::Ask ask = [&database, deadline](const pg::Query& query, pg::Params params) {
    return database.primary().execute(query, std::move(params), deadline);
  };
  try {
    const auto state = co_await schema::read_state(ask, schema::History::embedded());
    co_return schema::fit_of(state, schema::History::embedded()).detail;
  } catch (const pg::SqlError& error) {
    co_return error.what();
  } catch (const Unavailable& error) {
    co_return error.what();
  }
}

Async<std::string> check_redis(redis::Client* client, Deadline deadline) {
  if (client == nullptr) co_return "";
  try {
    const auto reply = co_await client->execute({"PING"}, deadline);
    co_return reply.kind == redis::Reply::Kind::error ? reply.text : "";
  } catch (const Unavailable& error) {
    co_return error.what();
  }
}

Async<std::string> check_rabbitmq(amqp::Connection* connection, Deadline deadline) {
  if (connection == nullptr) co_return "";
  co_return co_await connection->check(deadline);
}

Async<std::string> check_storage(objects::Objects* objects, std::chrono::milliseconds patience) {
  if (objects == nullptr) co_return "";
  const auto found = co_await objects->probe(patience);
  co_return found ? "" : found.error().detail;
}

bool requires_dependency(std::string_view list, std::string_view name) {
  if (trim(list).empty()) return true;
  while (!list.empty()) {
    const auto end = list.find(',');
    if (trim(list.substr(0, end)) == name) return true;
    list = end == std::string_view::npos ? std::string_view{} : list.substr(end + 1);
  }
  return false;
}

}  // namespace

Async<Readiness> Health::readiness() {
  using namespace boost::asio::experimental::awaitable_operators;
  const auto deadline = Deadline::in(probe_timeout);
  const auto wanted = [&](std::string_view name, const std::string& url) {
    return requires_dependency(settings_.readiness_requires, name) ? url : std::string();
  };
  auto database = check_database(database_, deadline);
  auto redis = check_redis(wanted("redis", settings_.redis_url).empty() ? nullptr : redis_, deadline);
  const bool wants_storage = objects_.is_configured() && requires_dependency(settings_.readiness_requires, "storage");
  auto storage = check_storage(wants_storage ? &objects_ : nullptr, storage_timeout);
  auto rabbitmq = check_rabbitmq(wanted("rabbitmq", settings_.rabbitmq_url).empty() ? nullptr : rabbitmq_, deadline);
  const auto [database_fault, redis_fault, storage_fault, rabbitmq_fault] =
      co_await (std::move(database) && std::move(redis) && std::move(storage) && std::move(rabbitmq));
  Readiness out;
  // Nobody who has to say who they are could be answered.
  const auto without_root_key =
      root_.is_known() ? std::string() : std::string("its root key is not known here; the log says why");
  const std::pair<std::string_view, std::string> faults[] = {
      {"database", requires_dependency(settings_.readiness_requires, "database")
                       ? (database_fault.empty() ? without_root_key : database_fault)
                       : std::string()},
      {"redis", redis_fault},
      {"storage", storage_fault},
      {"rabbitmq", rabbitmq_fault}};
  for (const auto& [name, fault] : faults) {
    if (fault.empty()) continue;
    out.detail = fmt::format("Not ready ({} unavailable): {}", name, fault);
    co_return out;
  }
  out.ready = true;
  co_return out;
}

}  // namespace cognive::health
