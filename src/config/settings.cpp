#include "config/settings.hpp"

#include <charconv>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/text.hpp"

namespace cognive {
namespace {

struct TextSetting {
  std::string_view name;
  std::string Settings::* member;
  std::string_view fallback;
  std::string_view meaning;
  bool secret = false;
};

struct NumberSetting {
  std::string_view name;
  std::int64_t Settings::* member;
  std::int64_t fallback;
  std::int64_t min;
  std::int64_t max;
  std::string_view meaning;
};

// As the existing backend has them: seconds, with decimals.
struct SecondsSetting {
  std::string_view name;
  std::chrono::milliseconds Settings::* member;
  std::chrono::milliseconds fallback;
  std::string_view meaning;
};

struct FlagSetting {
  std::string_view name;
  bool Settings::* member;
  bool fallback;
  std::string_view meaning;
};

struct NetworkSetting {
  std::string_view name;
  std::vector<Network> Settings::* member;
  std::string_view meaning;
};

constexpr NetworkSetting network_settings[] = {
    {"ALERTS_PRIVATE_NETWORKS", &Settings::alerts_private_networks,
     "private networks that webhooks may reach, separated by commas"},
    {"HTTP_TRUSTED_PROXIES", &Settings::http_trusted_proxies,
     "networks of proxies whose X-Forwarded-For says where a request comes from, separated by commas"},
};

constexpr TextSetting text_settings[] = {
    {"APP_NAME", &Settings::app_name, "Cognive Control Plane API", "title shown in / and the API documentation"},
    {"APP_ENV", &Settings::app_environment, "development", "label of the environment"},
    {"LOG_LEVEL", &Settings::log_level, "info", "debug, info, warning or error"},
    {"READINESS_REQUIRES", &Settings::readiness_requires, "",
     "dependencies that readiness asks: database, redis, rabbitmq, storage; empty means every configured one"},
    {"SMTP_FROM", &Settings::smtp_from, "", "address that e-mail comes from"},
    {"AUDIT_ARCHIVE_FILE", &Settings::audit_archive_file, "",
     "file that the audit trail is appended to every minute, with signed checkpoints"},
    {"CELERY_QUEUES", &Settings::celery_queues, "celery",
     "queues of RabbitMQ from which workers take the tasks of Celery's clients, separated by commas"},
    {"STORAGE_ACCESS_KEY", &Settings::storage_access_key, "", "key of the object storage"},
    {"STORAGE_SECRET_KEY", &Settings::storage_secret_key, "", "and the secret that belongs to it", true},
    {"STORAGE_REGION", &Settings::storage_region, "us-east-1", "region of the object storage, which is signed"},
    {"STORAGE_ADDRESSING", &Settings::storage_addressing, "auto",
     "where the name of a bucket stands: path, host, or auto (host at amazonaws.com, else path)"},
    {"STORAGE_SSE", &Settings::storage_encryption, "", "encryption of what is uploaded: AES256 or aws:kms"},
    {"STORAGE_SSE_KMS_KEY_ID", &Settings::storage_kms_key_id, "", "key for aws:kms; empty: the store's own"},
    {"STORAGE_BUCKET_PREFIX", &Settings::storage_bucket_prefix, "",
     "in front of the names of buckets, which AWS wants to be unique in the world"},
    {"STORAGE_CA_FILE", &Settings::storage_authority_file, "",
     "authorities that the certificate of the object storage may come from, in PEM; empty: those of the system"},
    {"STORAGE_DIRECTORY", &Settings::storage_directory, "",
     "directory for objects in place of STORAGE_ENDPOINT, where one machine is all there is"},
    {"TLS_CERT_FILE", &Settings::tls_certificate_file, "",
     "certificate to serve HTTPS with, in PEM with what leads to its authority; read again when it changes"},
    {"TLS_KEY_FILE", &Settings::tls_key_file, "", "private key of that certificate, in PEM"},
    {"HTTP_HOST", &Settings::http_host, "127.0.0.1", "address to listen on; 0.0.0.0 for all"},
};

constexpr TextSetting url_settings[] = {
    {"REDIS_URL", &Settings::redis_url, "",
     "where processes share their cache and count rate limits together: redis://[user:password@]host:6379/0, rediss:// "
     "or unix://",
     true},
    {"RABBITMQ_URL", &Settings::rabbitmq_url, "",
     "where agents publish events and tasks wait: amqp://user:password@host:5672// (the last / is the virtual host) or "
     "amqps://",
     true},
    {"STORAGE_ENDPOINT", &Settings::storage_endpoint, "",
     "S3-compatible object storage for artifacts: host:port or a URL", true},
    {"SMTP_URL", &Settings::smtp_url, "",
     "mail server for alerts: smtp://user:password@host:587 or smtps://host:465; empty means none", true},
};

constexpr FlagSetting flag_settings[] = {
    {"STORAGE_SECURE", &Settings::storage_is_secure, false, "true: HTTPS, when STORAGE_ENDPOINT has no scheme"},
    {"WORKER_IN_SERVER", &Settings::worker_in_server, true,
     "true: the API server runs background tasks as well; false: only `cognive worker` does"},
};

constexpr SecondsSetting seconds_settings[] = {
    {"REDIS_SOCKET_CONNECT_TIMEOUT", &Settings::redis_connect_timeout, std::chrono::milliseconds{5'000},
     "for Redis to be connected, seconds"},
    {"REDIS_SOCKET_TIMEOUT", &Settings::redis_timeout, std::chrono::milliseconds{5'000},
     "for a reply of Redis, seconds; then the connection is given up"},
};

constexpr NumberSetting number_settings[] = {
    {"RABBITMQ_PREFETCH", &Settings::rabbitmq_prefetch, 200, 1, 10'000,
     "messages of each queue of RabbitMQ that are being worked on at a time, per process"},
    {"DATABASE_CONNECTIONS", &Settings::database_connections, 8, 1, 256,
     "connections for transactions, per I/O thread"},
    {"DATABASE_MAX_REPLICA_LAG_MS", &Settings::database_replica_lag_max_ms, 5'000, 0, 3'600'000,
     "replicas further behind are not read, milliseconds"},
    {"DATABASE_PROBE_INTERVAL_MS", &Settings::database_probe_interval_ms, 1'000, 100, 60'000,
     "between two looks at every database host, milliseconds"},
    {"CACHE_TTL_LLM_PRICING", &Settings::prices_lifetime_s, 3'600, 1, 86'400,
     "prices are read again after so long although nothing tells of a change, seconds"},
    {"CACHE_TTL_AGENT_CONFIG", &Settings::agents_lifetime_s, 300, 1, 86'400,
     "agents are kept in Redis for so long at most, seconds; without Redis one second"},
    {"CACHE_TTL_BUDGET", &Settings::budgets_lifetime_s, 60, 1, 86'400,
     "states of budgets, for whoever accepts old ones, are kept for so long at most, seconds"},
    {"DATABASE_TIMEOUT_MS", &Settings::database_timeout_ms, 10'000, 100, 600'000, "longest statement, milliseconds"},
    {"RUN_SILENCE_TIMEOUT_S", &Settings::run_silence_timeout_s, 86'400, 0, 30LL * 86'400,
     "running runs without a sign of life for so long are terminated, seconds; 0 means never; agents may say "
     "otherwise"},
    {"RUN_SILENCE_GRACE_MAX_S", &Settings::run_silence_grace_max_s, 3'600, 0, 30LL * 86'400,
     "after a start, or an outage of the database, silent runs are spared for as long as their limit, but no longer "
     "than this, seconds"},
    {"WORKER_CONCURRENCY", &Settings::worker_concurrency, 4, 1, 256, "background tasks at a time, per process"},
    {"WORKER_LEASE_S", &Settings::worker_lease_s, 15, 2, 3'600,
     "background tasks of a worker that has not been heard of for so long are taken by others, seconds"},
    {"RETENTION_DAYS", &Settings::retention_days, 90, 0, 36'500,
     "runs and events are dropped so many days after they arrived; 0 means never; `cognive up` never does unless this "
     "is set"},
    {"ARTIFACT_BYTES_MAX", &Settings::artifact_bytes_max, std::int64_t{5} << 30, 1, std::int64_t{500} << 30,
     "longest artifact, bytes"},
    {"HTTP_PORT", &Settings::http_port, 8000, 0, 65535, "port to listen on; 0 picks a free one"},
    {"HTTP_THREADS", &Settings::http_threads, 0, 0, 256, "I/O threads; 0 means half of the processors"},
    {"HTTP_BODY_BYTES_MAX", &Settings::http_body_bytes_max, 16 << 20, 1024, 1 << 30,
     "longest request body, also after gzip"},
    {"HTTP_HEADER_BYTES_MAX", &Settings::http_header_bytes_max, 16 << 10, 1024, 1 << 20, "longest request head"},
    {"HTTP_CONNECTIONS_MAX", &Settings::http_connections_max, 10'000, 1, 1'000'000, "open connections per I/O thread"},
    {"HTTP_REQUESTS_MAX", &Settings::http_requests_max, 2'048, 1, 1'000'000,
     "requests being answered at a time, per I/O thread; more get 503"},
    {"RATE_LIMIT_PER_CALLER", &Settings::rate_limit_per_caller, 0, 0, 10'000'000,
     "requests a second of one API key or user, in each process, or with REDIS_URL in all together; 0 means no limit"},
    {"RATE_LIMIT_PER_ADDRESS", &Settings::rate_limit_per_address, 0, 0, 10'000'000,
     "requests a second from one address, counted likewise; 0 means no limit"},
    {"HTTP_REQUEST_TIMEOUT_MS", &Settings::http_request_timeout_ms, 30'000, 100, 600'000,
     "for a client to send a request, and to take its answer"},
    {"HTTP_IDLE_TIMEOUT_MS", &Settings::http_idle_timeout_ms, 75'000, 100, 3'600'000,
     "for a connection without a request"},
    {"HTTP_HANDLER_TIMEOUT_MS", &Settings::http_handler_timeout_ms, 15'000, 100, 600'000, "for answering a request"},
    {"SHUTDOWN_TIMEOUT_MS", &Settings::shutdown_timeout_ms, 15'000, 0, 600'000, "for finishing requests in flight"},
};

class Faults {
 public:
  void add(std::string_view name, std::string_view what) {
    if (!text_.empty()) text_ += '\n';
    text_ += fmt::format("{}: {}", name, what);
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::optional<std::string> set_value(const Variables& variables, std::string_view name) {
  auto value = variables(name);
  if (value && trim(*value).empty()) value.reset();
  return value;
}

bool looks_like_url(std::string_view text) {
  const auto scheme = text.find("://");
  return scheme != std::string_view::npos && scheme > 0 && text.size() > scheme + 3 &&
         text.find_first_of(" \t\r\n") == std::string_view::npos;
}

// SQLAlchemy names the driver in the scheme: postgresql+asyncpg://. Nothing when it is no PostgreSQL URL.
std::optional<std::string> libpq_url(std::string_view text) {
  text = trim(text);
  const auto scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos || !looks_like_url(text)) return std::nullopt;
  // Two URLs with something else than a comma between them would be one with a password in its path.
  if (text.find("://", scheme_end + 3) != std::string_view::npos) return std::nullopt;
  const auto scheme = text.substr(0, text.find_first_of("+:"));
  if (scheme != "postgresql" && scheme != "postgres") return std::nullopt;
  auto rest = text.substr(scheme_end + 3);
  const auto path = std::min(rest.find_first_of("/?"), rest.size());
  // With a slash in the password, a part of it would be taken for a host and shown in messages.
  const auto query = std::min(rest.find('?'), rest.size());
  if (path < query && rest.substr(path, query - path).find('@') != std::string_view::npos) return std::nullopt;
  std::string authority(rest.substr(0, path));
  // libpq ends the password at its first @, people at the last one.
  for (auto at = authority.find('@'); at != authority.rfind('@'); at = authority.find('@'))
    authority.replace(at, 1, "%40");
  return "postgresql://" + authority + std::string(rest.substr(path));
}

std::string without_query(std::string_view url) {
  return std::string(url.substr(0, url.find('?')));
}

std::optional<bool> flag_of(std::string_view text) {
  for (const std::string_view yes : {"true", "yes", "on", "1"}) {
    if (equal_ignoring_case(text, yes)) return true;
  }
  for (const std::string_view no : {"false", "no", "off", "0"}) {
    if (equal_ignoring_case(text, no)) return false;
  }
  return std::nullopt;
}

void load_database(const Variables& variables, Settings& out, Faults& faults) {
  constexpr std::string_view expected =
      "must be a PostgreSQL URL, for instance postgresql://user:password@host:5432/database (in the password, write / "
      "as "
      "%2F and @ as %40)";
  if (const auto url = set_value(variables, "DATABASE_URL")) {
    if (const auto normal = libpq_url(*url)) {
      out.database_url = *normal;
    } else {
      faults.add("DATABASE_URL", expected);
    }
  } else {
    faults.add("DATABASE_URL", "is required: " + std::string(expected));
  }

  if (const auto url = set_value(variables, "DATABASE_URL_ASYNC")) {
    const auto normal = libpq_url(*url);
    if (!normal) {
      faults.add("DATABASE_URL_ASYNC", expected);
    } else if (!out.database_url.empty() && without_query(*normal) != without_query(out.database_url)) {
      faults.add("DATABASE_URL_ASYNC",
                 "names another database than DATABASE_URL; set it to the same one or leave it out");
    }
  }

  for (const std::string_view name : {"DATABASE_READ_URLS", "DATABASE_READ_URLS_ASYNC"}) {
    const auto list = set_value(variables, name);
    if (!list) continue;
    std::vector<std::string> urls;
    std::string_view rest = *list;
    while (!rest.empty()) {
      const auto end = rest.find_first_of(",\n");
      const auto item = trim(rest.substr(0, end));
      rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
      if (item.empty()) continue;
      if (const auto normal = libpq_url(item)) {
        urls.push_back(*normal);
      } else {
        faults.add(name, "must be PostgreSQL URLs, separated by commas or line ends");
      }
    }
    // Both forms name the same replicas; the plain one wins when it is set.
    if (out.database_read_urls.empty()) out.database_read_urls = std::move(urls);
  }
}

void load_master_key(const Variables& variables, MasterKey need, Settings& out, Faults& faults) {
  std::string_view source = "COGNIVE_MASTER_KEY";
  if (set_value(variables, source) && set_value(variables, "COGNIVE_MASTER_KEY_FILE")) {
    return faults.add(source,
                      "is set, and so is COGNIVE_MASTER_KEY_FILE; keep the one that the installation was made with");
  }
  if (const auto key = set_value(variables, source)) {
    out.master_key = trim(*key);
  } else if (const auto file = set_value(variables, "COGNIVE_MASTER_KEY_FILE")) {
    source = "COGNIVE_MASTER_KEY_FILE";
    std::ifstream in(*file);
    std::stringstream content;
    content << in.rdbuf();
    if (!in) return faults.add(source, "cannot be read: " + *file);
    out.master_key = trim(content.str());
  } else {
    if (need == MasterKey::required) {
      faults.add(source,
                 "is required, it opens all other keys of the installation; make one with: openssl rand -hex 32");
    }
    return;
  }
  if (out.master_key.size() < master_key_length_min) {
    faults.add(source, "must have at least 32 characters; make one with: openssl rand -hex 32");
  }
}

void check_mail(const Settings& out, Faults& faults) {
  const bool is_mail_url = out.smtp_url.starts_with("smtp://") || out.smtp_url.starts_with("smtps://");
  if (!out.smtp_url.empty() && !is_mail_url) faults.add("SMTP_URL", "must start with smtp:// or smtps://");
  if (!out.smtp_url.empty() && out.smtp_from.empty()) faults.add("SMTP_FROM", "is required with SMTP_URL");
  if (!out.smtp_from.empty() && !looks_like_mail_address(out.smtp_from))
    faults.add("SMTP_FROM", "must be an e-mail address, without a name before it");
}

void check_storage(const Settings& out, Faults& faults) {
  const auto& how = out.storage_addressing;
  if (how != "auto" && how != "path" && how != "host") faults.add("STORAGE_ADDRESSING", "must be auto, path or host");
  const auto& encryption = out.storage_encryption;
  if (!encryption.empty() && encryption != "AES256" && encryption != "aws:kms")
    faults.add("STORAGE_SSE", "must be AES256 or aws:kms");
  const bool is_prefix = std::ranges::all_of(out.storage_bucket_prefix, [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') || letter == '-';
  });
  // Names of buckets have at most 63 characters, of which ours take 21.
  if (!is_prefix || out.storage_bucket_prefix.starts_with('-') || out.storage_bucket_prefix.size() > 40)
    faults.add("STORAGE_BUCKET_PREFIX", "must be at most 40 characters of a-z, 0-9 and -, the first of them no -");
  if (out.storage_endpoint.empty()) return;
  if (out.storage_access_key.empty()) faults.add("STORAGE_ACCESS_KEY", "is required with STORAGE_ENDPOINT");
  if (out.storage_secret_key.empty()) faults.add("STORAGE_SECRET_KEY", "is required with STORAGE_ENDPOINT");
}

// As browsers send them: a scheme and a host, without a path.
bool is_origin(std::string_view text) {
  const auto scheme = text.find("://");
  return (text.starts_with("https://") || text.starts_with("http://")) &&
         text.find_first_of("/?#@*, \t", scheme + 3) == std::string_view::npos && text.size() > scheme + 3;
}

void load_origins(const Variables& variables, Settings& out, Faults& faults) {
  const auto value = set_value(variables, "HTTP_CORS_ORIGINS").value_or("");
  for (std::string_view rest = value; !rest.empty();) {
    const auto end = rest.find(',');
    const auto origin = trim(rest.substr(0, end));
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    if (is_origin(origin)) {
      out.http_cors_origins.emplace_back(origin);
    } else if (!origin.empty()) {
      faults.add("HTTP_CORS_ORIGINS", "must be origins separated by commas, for instance https://console.example.com");
      return;
    }
  }
}

void load_networks(const Variables& variables, Settings& out, Faults& faults) {
  for (const auto& setting : network_settings) {
    auto networks = parse_networks(set_value(variables, setting.name).value_or(""));
    if (!networks) {
      faults.add(setting.name, "must be networks separated by commas, for instance 10.0.0.0/8,fd00::/8");
    } else {
      out.*setting.member = std::move(*networks);
    }
  }
}

}  // namespace

Result<Settings> load_settings(const Variables& variables, MasterKey master_key) {
  Settings out;
  Faults faults;
  for (const auto& setting : text_settings) {
    out.*setting.member = set_value(variables, setting.name).value_or(std::string(setting.fallback));
  }
  for (const auto& setting : url_settings) {
    const auto value = set_value(variables, setting.name);
    if (value && !looks_like_url(trim(*value)) && setting.name != "STORAGE_ENDPOINT") {
      faults.add(setting.name, "must be a URL");
    } else if (value) {
      out.*setting.member = trim(*value);
    }
  }
  for (const auto& setting : flag_settings) {
    const auto text = set_value(variables, setting.name);
    const auto value = text ? flag_of(trim(*text)) : setting.fallback;
    if (!value) faults.add(setting.name, "must be true or false");
    out.*setting.member = value.value_or(setting.fallback);
  }
  for (const auto& setting : number_settings) {
    const auto text = set_value(variables, setting.name);
    std::int64_t value = setting.fallback;
    if (text) {
      const auto digits = trim(*text);
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
      if (error != std::errc{} || end != digits.data() + digits.size() || value < setting.min || value > setting.max) {
        faults.add(setting.name, fmt::format("must be a whole number from {} to {}", setting.min, setting.max));
        continue;
      }
    }
    out.*setting.member = value;
  }
  for (const auto& setting : seconds_settings) {
    constexpr std::chrono::duration<double> longest{600};
    auto value = std::chrono::duration<double>(setting.fallback);
    if (const auto text = set_value(variables, setting.name)) {
      const auto digits = trim(*text);
      double number = 0;
      const auto [end, error] =
          std::from_chars(digits.data(), digits.data() + digits.size(), number, std::chars_format::fixed);
      value = std::chrono::duration<double>(number);
      // Written so that what is no number at all is refused, too.
      const bool is_fine = error == std::errc{} && end == digits.data() + digits.size() &&
                           value >= std::chrono::milliseconds{1} && value <= longest;
      if (!is_fine) {
        faults.add(setting.name, "must be seconds from 0.001 to 600");
        continue;
      }
    }
    out.*setting.member = std::chrono::round<std::chrono::milliseconds>(value);
  }
  if (out.http_threads == 0) {
    out.http_threads = std::max<std::int64_t>(1, std::thread::hardware_concurrency() / 2);
  }
  if (out.log_level != "debug" && out.log_level != "info" && out.log_level != "warning" && out.log_level != "error") {
    faults.add("LOG_LEVEL", "must be debug, info, warning or error");
  }
  check_mail(out, faults);
  check_storage(out, faults);
  if (out.tls_certificate_file.empty() != out.tls_key_file.empty()) {
    faults.add(out.tls_key_file.empty() ? "TLS_KEY_FILE" : "TLS_CERT_FILE",
               "is required: TLS_CERT_FILE and TLS_KEY_FILE go together");
  }
  load_networks(variables, out, faults);
  load_origins(variables, out, faults);
  load_database(variables, out, faults);
  load_master_key(variables, master_key, out, faults);
  if (!faults.text().empty()) return fail(Code::unprocessable, faults.text());
  return out;
}

Result<std::map<std::string, std::string>> parse_env_file(std::string_view content, const Variables& environment) {
  std::map<std::string, std::string> out;
  const auto look_up = [&](const std::string& name) -> std::string {
    if (const auto value = environment(name)) return *value;
    const auto found = out.find(name);
    return found == out.end() ? std::string() : found->second;
  };
  const auto interpolate = [&](std::string_view text) {
    std::string result;
    for (std::size_t at = 0; at < text.size();) {
      const auto begin = text.find("${", at);
      const auto end = begin == std::string_view::npos ? begin : text.find('}', begin);
      if (end == std::string_view::npos) {
        result += text.substr(at);
        break;
      }
      result += text.substr(at, begin - at);
      const auto expression = text.substr(begin + 2, end - begin - 2);
      const auto fallback = expression.find(":-");
      auto value = look_up(std::string(expression.substr(0, fallback)));
      if (value.empty() && fallback != std::string_view::npos) value = expression.substr(fallback + 2);
      result += value;
      at = end + 1;
    }
    return result;
  };

  int number = 0;
  while (!content.empty()) {
    ++number;
    const auto end = content.find('\n');
    auto line = trim(content.substr(0, end));
    content = end == std::string_view::npos ? std::string_view{} : content.substr(end + 1);
    if (line.empty() || line.front() == '#') continue;
    if (line.starts_with("export ")) line = trim(line.substr(7));
    const auto equals = line.find('=');
    const auto key = trim(line.substr(0, equals));
    if (equals == std::string_view::npos || key.empty() || key.find_first_of(" \t\"'") != std::string_view::npos) {
      return fail(Code::malformed, fmt::format(".env line {}: expected NAME=VALUE", number));
    }
    auto value = trim(line.substr(equals + 1));
    if (!value.empty() && (value.front() == '"' || value.front() == '\'')) {
      const auto close = value.find(value.front(), 1);
      if (close == std::string_view::npos) {
        return fail(Code::malformed, fmt::format(".env line {}: the quote of {} is not closed", number, key));
      }
      const bool literal = value.front() == '\'';
      value = value.substr(1, close - 1);
      out[std::string(key)] = literal ? std::string(value) : interpolate(value);
    } else {
      // A comment needs a space before it: passwords may contain #.
      const auto comment = value.find(" #");
      out[std::string(key)] = interpolate(trim(value.substr(0, comment)));
    }
  }
  return out;
}

Result<Variables> process_variables() {
  const Variables environment = [](std::string_view name) -> std::optional<std::string> {
    const char* value =
        std::getenv(std::string(name).c_str());  // NOLINT(concurrency-mt-unsafe): read before threads start
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
  std::ifstream in(environment("COGNIVE_ENV_FILE").value_or(".env"));
  if (!in) return environment;
  std::stringstream content;
  content << in.rdbuf();
  auto file = parse_env_file(content.str(), environment);
  if (!file) return std::unexpected(file.error());
  return [environment, values = std::move(*file)](std::string_view name) -> std::optional<std::string> {
    if (auto value = environment(name)) return value;
    const auto found = values.find(std::string(name));
    return found == values.end() ? std::nullopt : std::optional<std::string>(found->second);
  };
}

std::vector<SettingRow> describe(const Settings& settings) {
  std::vector<SettingRow> rows;
  const auto add = [&](std::string_view name, std::string value, std::string_view meaning) {
    rows.push_back({std::string(name), std::move(value), std::string(meaning)});
  };
  for (const auto& setting : text_settings) {
    const auto& value = settings.*setting.member;
    add(setting.name, setting.secret && !value.empty() ? "***" : value, setting.meaning);
  }
  add("DATABASE_URL", masked_url(settings.database_url), "primary database (required)");
  std::string replicas;
  for (const auto& url : settings.database_read_urls) {
    if (!replicas.empty()) replicas += ",";
    replicas += masked_url(url);
  }
  add("DATABASE_READ_URLS", replicas, "replicas for reads, separated by commas");
  for (const auto& setting : url_settings)
    add(setting.name, masked_endpoint(settings.*setting.member), setting.meaning);
  add("COGNIVE_MASTER_KEY", settings.master_key.empty() ? "" : "***",
      "opens all other keys of the installation; or COGNIVE_MASTER_KEY_FILE");
  add("HTTP_CORS_ORIGINS", fmt::format("{}", fmt::join(settings.http_cors_origins, ",")),
      "origins whose pages may call the API from a browser, separated by commas; empty means none");
  for (const auto& setting : network_settings) {
    std::string networks;
    for (const auto& network : settings.*setting.member) {
      if (!networks.empty()) networks += ",";
      networks += network.text();
    }
    add(setting.name, networks, setting.meaning);
  }
  for (const auto& setting : flag_settings) {
    add(setting.name, settings.*setting.member ? "true" : "false", setting.meaning);
  }
  for (const auto& setting : seconds_settings) {
    const std::chrono::duration<double> value = settings.*setting.member;
    add(setting.name, fmt::format("{}", value.count()), setting.meaning);
  }
  for (const auto& setting : number_settings) {
    add(setting.name, std::to_string(settings.*setting.member), setting.meaning);
  }
  return rows;
}

}  // namespace cognive
