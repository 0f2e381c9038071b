// Settings of the process: environment over `.env` over defaults; one struct, every fault named at once, secrets never
// printed.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/networks.hpp"
#include "config/masked.hpp"

namespace cognive {

struct Settings {
  std::string app_name;
  std::string app_environment;
  std::string log_level;

  std::string database_url;                      // libpq form, postgresql://…
  std::vector<std::string> database_read_urls;   // the same; empty: reads go to the primary
  std::int64_t database_replica_lag_max_ms = 0;  // a replica further behind is not read
  std::int64_t database_probe_interval_ms = 0;   // between two looks at each database host
  std::int64_t database_connections = 0;         // per I/O thread and host, for transactions
  std::int64_t database_timeout_ms = 0;          // longest statement and longest wait for one

  std::string redis_url;
  std::chrono::milliseconds redis_connect_timeout{0};  // until signed in
  std::chrono::milliseconds redis_timeout{0};          // for a reply; then the connection is given up
  std::int64_t prices_lifetime_s = 0;   // after which they are read again although nothing tells of a change
  std::int64_t agents_lifetime_s = 0;   // of the cached configuration of an agent
  std::int64_t budgets_lifetime_s = 0;  // of the cached state of a budget
  std::string rabbitmq_url;
  std::string celery_queues;           // comma-separated
  std::int64_t rabbitmq_prefetch = 0;  // messages of each queue at a time
  std::string storage_endpoint;        // host:port or a URL; empty: no S3
  std::string storage_access_key;
  std::string storage_secret_key;
  std::string storage_region;
  bool storage_is_secure = false;  // when the endpoint has no scheme: HTTPS
  std::string storage_addressing;  // auto, path or host
  std::string storage_encryption;  // empty, AES256 or aws:kms
  std::string storage_kms_key_id;
  std::string storage_bucket_prefix;
  std::string storage_authority_file;
  std::int64_t artifact_bytes_max = 0;
  std::string storage_directory;  // in place of S3; empty: none
  std::string
      readiness_requires;  // comma-separated: database, redis, rabbitmq, storage; empty: all that are configured

  std::string master_key;  // resolved from COGNIVE_MASTER_KEY or COGNIVE_MASTER_KEY_FILE; empty when neither is set

  std::int64_t run_silence_timeout_s = 0;    // of agents that say nothing else; 0: never
  std::int64_t run_silence_grace_max_s = 0;  // for agents to be heard again after an outage of ours

  bool worker_in_server = false;        // the API server runs background tasks as well
  std::int64_t worker_concurrency = 0;  // tasks at a time
  std::int64_t worker_lease_s = 0;      // a worker that is not heard of for so long has lost its tasks
  std::int64_t retention_days = 0;      // 0: everything is kept

  std::string smtp_url;                          // smtp:// or smtps://; empty: no e-mail is sent
  std::string smtp_from;                         // the address that it comes from
  std::string audit_archive_file;                // that entries of the audit trail and checkpoints are appended to
  std::vector<Network> alerts_private_networks;  // that webhooks may reach

  std::string http_host;
  std::string tls_certificate_file;  // empty: nothing is encrypted
  std::string tls_key_file;
  std::int64_t http_port = 0;
  std::int64_t http_threads = 0;
  std::int64_t http_body_bytes_max = 0;
  std::int64_t http_header_bytes_max = 0;
  std::int64_t http_connections_max = 0;  // per I/O thread
  std::int64_t http_requests_max = 0;     // being answered at a time, per I/O thread
  std::vector<std::string> http_cors_origins;
  std::int64_t rate_limit_per_caller = 0;     // requests a second; 0: none
  std::int64_t rate_limit_per_address = 0;    // the same
  std::vector<Network> http_trusted_proxies;  // whose X-Forwarded-For counts
  std::int64_t http_request_timeout_ms =
      0;  // from the first byte of a request to the end of its body, and for writing the answer
  std::int64_t http_idle_timeout_ms = 0;
  std::int64_t http_handler_timeout_ms = 0;  // for answering, once the request is read
  std::int64_t shutdown_timeout_ms = 0;
};

inline constexpr std::size_t master_key_length_min = 32;

// A source of variables: the value, or nothing when it is not set.
using Variables = std::function<std::optional<std::string>(std::string_view name)>;

// Reads every variable. Variables that are set but empty count as unset. The error's detail has one line per fault,
// each naming its variable.
enum class MasterKey { optional, required };
Result<Settings> load_settings(const Variables& variables, MasterKey master_key = MasterKey::optional);

// The process environment over the file `.env` of the working directory (or the file named by COGNIVE_ENV_FILE).
Result<Variables> process_variables();

// `.env` syntax: KEY=VALUE lines, `export` and quotes allowed, # comments, ${NAME} and ${NAME:-default} in unquoted and
// double-quoted values, looked up in `environment` first and then in the lines above.
Result<std::map<std::string, std::string>> parse_env_file(std::string_view content, const Variables& environment);

// One row per variable: name, value in force (secrets masked), meaning.
struct SettingRow {
  std::string name;
  std::string value;
  std::string meaning;
};
std::vector<SettingRow> describe(const Settings& settings);

}  // namespace cognive
