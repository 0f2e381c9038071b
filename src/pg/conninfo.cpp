#include "pg/conninfo.hpp"

#include <libpq-fe.h>

#include <boost/asio.hpp>

#include "base/error.hpp"
#include "base/text.hpp"

namespace cognive::pg {

namespace asio = boost::asio;

namespace {

// What the URL itself says, as libpq reads it; not the environment.
ConnectionParameters parse(const std::string& url, std::string& fault) {
  char* message = nullptr;
  PQconninfoOption* options = PQconninfoParse(url.c_str(), &message);
  ConnectionParameters out;
  if (options == nullptr) {
    fault = message == nullptr ? "it cannot be read" : trim(message);
    PQfreemem(message);
    return out;
  }
  for (const auto* option = options; option->keyword != nullptr; ++option) {
    if (option->val != nullptr && *option->val != '\0') out.emplace_back(option->keyword, option->val);
  }
  PQconninfoFree(options);
  return out;
}

std::string* find(ConnectionParameters& parameters, std::string_view keyword) {
  const auto found = std::ranges::find(parameters, keyword, [](const auto& p) -> std::string_view { return p.first; });
  return found == parameters.end() ? nullptr : &found->second;
}

std::vector<std::string> split(const std::string* list) {
  std::vector<std::string> out;
  if (list == nullptr) return out;
  std::string_view rest = *list;
  for (;;) {
    const auto end = rest.find(',');
    out.emplace_back(rest.substr(0, end));
    if (end == std::string_view::npos) return out;
    rest.remove_prefix(end + 1);
  }
}

std::string joined(const std::vector<std::string>& items) {
  return fmt::format("{}", fmt::join(items, ","));
}

// Sockets and addresses need no look-up.
bool is_name(const std::string& host) {
  if (host.empty() || host.front() == '/' || host.front() == '@') return false;
  boost::system::error_code not_an_address;
  asio::ip::make_address(host, not_an_address);
  return static_cast<bool>(not_an_address);
}

struct Lookup {
  explicit Lookup(const Executor& executor) : resolver(executor), answered(executor) {}

  asio::ip::tcp::resolver resolver;
  Signal answered;
  bool done = false;
  boost::system::error_code error;
  std::vector<std::string> addresses;
};

// Empty when the name has none. A look-up cannot be broken off: one that is late is left to itself.
Async<std::vector<std::string>> addresses_of(Executor executor, std::string host, Deadline deadline,
                                             std::string& fault) {
  // Asio asks on a thread of its own.
  const auto lookup = std::make_shared<Lookup>(executor);
  lookup->resolver.async_resolve(host, "", [lookup](boost::system::error_code error, const auto& results) {
    lookup->error = error;
    for (const auto& entry : results) {
      auto address = entry.endpoint().address().to_string();
      if (std::ranges::find(lookup->addresses, address) == lookup->addresses.end())
        lookup->addresses.push_back(std::move(address));
    }
    lookup->done = true;
    lookup->answered.notify_all();
  });
  while (!lookup->done) {
    const bool notified = co_await lookup->answered.wait(deadline);
    if (!notified && !lookup->done) throw Unavailable("no answer in time for the address of the database host " + host);
  }
  if (lookup->error) fault = "the database host " + host + " has no address: " + lookup->error.message();
  co_return lookup->addresses;
}

void add_missing(ConnectionParameters& parameters) {
  constexpr std::pair<const char*, const char*> wanted[] = {
      {"client_encoding", "UTF8"}, {"fallback_application_name", "cognive"},
      {"keepalives_idle", "10"},   {"keepalives_interval", "3"},
      {"keepalives_count", "3"},   {"tcp_user_timeout", "10000"},
  };
  for (const auto& [keyword, value] : wanted) {
    if (find(parameters, keyword) == nullptr) parameters.emplace_back(keyword, value);
  }
}

}  // namespace

std::string host_label(std::string_view url) {
  std::string fault;
  auto parameters = parse(std::string(url), fault);
  if (!fault.empty()) return "unreadable";
  auto hosts = split(find(parameters, "host"));
  if (hosts.empty()) hosts = split(find(parameters, "hostaddr"));
  if (hosts.empty()) hosts = {"local"};
  const auto ports = split(find(parameters, "port"));
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    const std::string port = ports.empty() ? "" : ports[std::min(i, ports.size() - 1)];
    const bool is_v6 = hosts[i].find(':') != std::string::npos;
    hosts[i] = (is_v6 ? "[" + hosts[i] + "]" : hosts[i]) + ":" + (port.empty() ? "5432" : port);
  }
  return joined(hosts);
}

Async<ConnectionParameters> connection_parameters(Executor executor, std::string url, Deadline deadline) {
  std::string fault;
  auto parameters = parse(url, fault);
  // libpq quotes the part that it does not understand, which may be half of a password.
  if (!fault.empty()) throw Unavailable("the database URL cannot be read");
  add_missing(parameters);
  const auto hosts = split(find(parameters, "host"));
  if (find(parameters, "hostaddr") != nullptr || std::ranges::none_of(hosts, is_name)) co_return parameters;

  // A name with several addresses becomes several hosts, which libpq tries in this order.
  const auto ports = split(find(parameters, "port"));
  std::vector<std::string> out_hosts;
  std::vector<std::string> out_addresses;
  std::vector<std::string> out_ports;
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    std::vector<std::string> addresses{""};
    if (is_name(hosts[i])) addresses = co_await addresses_of(executor, hosts[i], deadline, fault);
    for (auto& address : addresses) {
      out_hosts.push_back(hosts[i]);
      out_addresses.push_back(std::move(address));
      if (ports.size() > 1) out_ports.push_back(ports[std::min(i, ports.size() - 1)]);
    }
  }
  // One name that is unknown does not keep the others of the URL from being tried.
  if (out_hosts.empty()) throw Unavailable(fault);
  *find(parameters, "host") = joined(out_hosts);
  if (!out_ports.empty()) *find(parameters, "port") = joined(out_ports);
  parameters.emplace_back("hostaddr", joined(out_addresses));
  co_return parameters;
}

std::vector<std::string> environment_of(const std::string& url) {
  std::string fault;
  const auto parameters = parse(url, fault);
  if (!fault.empty()) throw std::invalid_argument("the URL of the database: " + fault);
  std::vector<std::string> out;
  PQconninfoOption* known = PQconndefaults();
  for (const auto* option = known; option != nullptr && option->keyword != nullptr; ++option) {
    const auto found = std::ranges::find(parameters, std::string_view(option->keyword),
                                         [](const auto& one) -> std::string_view { return one.first; });
    if (found != parameters.end() && option->envvar != nullptr)
      out.push_back(fmt::format("{}={}", option->envvar, found->second));
  }
  PQconninfoFree(known);
  return out;
}

std::string database_of(const std::string& url) {
  std::string fault;
  auto parameters = parse(url, fault);
  const auto* name = find(parameters, "dbname");
  return name == nullptr ? std::string() : *name;
}

}  // namespace cognive::pg
