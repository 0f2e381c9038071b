#include "client/webhook.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>

#include "client/curl.hpp"

namespace cognive::client {
namespace {

// Nothing of an answer is used but its status; what is longer is cut off.
constexpr std::size_t answer_bytes_max = std::size_t{64} << 10;

// Behind an address.
constexpr std::string_view not_allowed =
    "is of this machine, of a private network or another that is not public, and not in ALERTS_PRIVATE_NETWORKS";

bool may_reach(const InternetAddress& address, const std::vector<Network>& allowed) {
  return (is_public(address) && !is_own(address)) ||
         std::ranges::any_of(allowed, [&](const Network& network) { return network.contains(address); });
}

struct Gate {
  const std::vector<Network>& allowed;
  std::optional<InternetAddress> refused;
};

curl_socket_t open_socket(void* target, curlsocktype, curl_sockaddr* to) {
  auto& gate = *static_cast<Gate*>(target);
  const auto address = InternetAddress::of(to->addr);
  if (!address || !may_reach(*address, gate.allowed)) {
    gate.refused = address;
    return CURL_SOCKET_BAD;
  }
  return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

std::size_t discard(char*, std::size_t one, std::size_t count, void* target) {
  auto& received = *static_cast<std::size_t*>(target);
  received += one * count;
  return received > answer_bytes_max ? 0 : one * count;
}

}  // namespace

std::string webhook_fault(const std::string& url, const std::vector<Network>& allowed) {
  const auto parts = parse_url(url);
  if (!parts || (parts->scheme != "https" && parts->scheme != "http"))
    return "It must be a URL like https://hooks.example.com/cognive; http:// is possible, too.";
  if (!parts->user.empty()) return "It must not have a user or password; requests are signed instead.";
  const auto address = parts->is_loopback() && parts->host == "localhost" ? InternetAddress::parse("127.0.0.1")
                                                                          : InternetAddress::parse(parts->host);
  if (address && !may_reach(*address, allowed)) {
    return fmt::format("{} {}.", address->text(), not_allowed);
  }
  return {};
}

std::string webhook_origin(const std::string& url) {
  const auto parts = parse_url(url);
  return parts ? parts->origin : std::string();
}

Result<int> post_webhook(const WebhookRequest& request, const std::vector<Network>& allowed,
                         std::chrono::milliseconds timeout, const std::atomic<bool>& stop) {
  const auto parts = parse_url(request.url);
  if (!parts) return std::unexpected(parts.error());
  Gate gate{.allowed = allowed, .refused = {}};
  std::size_t received = 0;
  std::array<char, CURL_ERROR_SIZE> details{};
  Lines headers;
  headers.add("Content-Type: application/json");
  headers.add("Expect:");
  for (const auto& [name, value] : request.headers) {
    std::string line = name;
    line += ": ";
    line += value;
    headers.add(line);
  }
  const auto handle = make_handle();
  CURL* easy = handle.get();
  curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, &open_socket);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &gate);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "cognive");
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);  // a name server that hangs keeps nobody
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, static_cast<long>(connect_timeout.count()));
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, std::max(1L, static_cast<long>(timeout.count())));
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, details.data());
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &discard);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &received);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.c_str());
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers.get());
  stop_with(easy, stop);

  const CURLcode code = curl_easy_perform(easy);
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && received > answer_bytes_max)) return static_cast<int>(status);
  if (code == CURLE_COULDNT_CONNECT && gate.refused) {
    return fail(Code::forbidden,
                fmt::format("{} has the address {}, which {}.", parts->origin, gate.refused->text(), not_allowed));
  }
  return fail(Code::unavailable,
              fmt::format("No answer from {}: {}.", parts->origin, reason_of(code, details.data(), timeout)));
}

}  // namespace cognive::client
