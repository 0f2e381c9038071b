// What commands on the machine share: where the data directory is, how to find the database and the API, how to explain
// a failure.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "amqp/url.hpp"
#include "client/api.hpp"
#include "config/settings.hpp"
#include "keyring/root_key.hpp"
#include "objects/objects.hpp"
#include "pg/cluster.hpp"
#include "redis/client.hpp"
#include "runtime/call.hpp"

namespace cognive::commands {

// Where `cognive up` keeps its data when nobody says otherwise: COGNIVE_DATA, else /var/lib/cognive for root, else
// $XDG_DATA_HOME/cognive or ~/.local/share/cognive.
std::filesystem::path default_data_directory();
// The same without COGNIVE_DATA.
std::filesystem::path usual_data_directory();

// The environment and `.env`, and what `cognive up` wrote to DIR/env, so that tools find a running installation by
// themselves. `data` is what --data said: that directory wins over the environment. Empty: the default directory, which
// only fills gaps.
Result<Variables> tool_variables(const std::string& data);

// The API of a running installation: flags first, then the variables, then DIR/api-key.
struct ApiFlags {
  std::string url;
  std::string key;
  std::string data;
};
Result<client::ApiOptions> api_options(const ApiFlags& flags);

// How the hosts of DATABASE_URL and DATABASE_READ_URLS are watched.
pg::MonitorOptions monitor_options(const Settings& settings);

// How the Redis of REDIS_URL, which must be set, is reached; what is wrong with that.
Result<redis::ClientOptions> redis_options(const Settings& settings);

struct RabbitMq {
  amqp::Url url;
  std::vector<std::string> task_queues;  // from which workers of ours take tasks of Celery's clients; at least one
};

// What RABBITMQ_URL, which must be set, and CELERY_QUEUES say; what is wrong with that.
Result<RabbitMq> rabbitmq_of(const Settings& settings);

// For tools that ask no database: none has to be named.
Variables without_database(Variables variables);

// Runs `task` with the object storage, which has to be configured; the exit status. `data`: as of tool_variables.
enum class DatabaseUrl { needed, unused };
int with_store(const std::string& data, DatabaseUrl database,
               const std::function<int(Settings&, objects::Store&)>& task);

// Opens what STORAGE_ENDPOINT or STORAGE_DIRECTORY names, if anything; what is wrong with them.
Result<void> open_storage(const Settings& settings, objects::Storage& storage);

// The URL of the host that takes the writes: DATABASE_URL, unless another one has been promoted since. Throws
// Unavailable when there is no primary.
Async<std::string> primary_url(Settings settings);

// Prints the error, all of its field errors included, to standard error; returns the exit status.
int explain(const Error& error);

// Runs `task` with a pool of connections to the database, as the operator at the command line.
using DatabaseTask = std::function<Async<int>(pg::Cluster& database, const Call& call)>;
// Follows the primary as the API does: after a failover that is another host than DATABASE_URL names.
int with_database(const Settings& settings, std::chrono::milliseconds deadline, const DatabaseTask& task);

// The same for what goes by the keys of the installation. Another master key than the installation's is told.
enum class Access {
  looks,    // the root key is not known
  proves,   // it is, but none is made
  changes,  // it is, and made when there is none yet
};
using InstallationTask =
    std::function<Async<int>(pg::Cluster& database, const Call& call, const keyring::RootKey& root)>;
int with_installation(const Settings& settings, std::chrono::milliseconds deadline, Access access,
                      const InstallationTask& task);

}  // namespace cognive::commands
