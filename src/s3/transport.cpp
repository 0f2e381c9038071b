#include "s3/transport.hpp"

#include <fmt/format.h>

#include <array>
#include <mutex>

#include "base/crypto.hpp"
#include "base/text.hpp"
#include "client/curl.hpp"

namespace cognive::s3 {
namespace {

constexpr std::size_t idle_handles_max = 32;

struct Received {
  std::string text;
  std::size_t max = 0;
  bool is_too_large = false;
};

std::size_t receive(char* data, std::size_t one, std::size_t count, void* target) {
  auto& received = *static_cast<Received*>(target);
  if (received.text.size() + one * count > received.max) {
    received.is_too_large = true;
    return 0;
  }
  received.text.append(data, one * count);
  return one * count;
}

// Moves the bucket to where the store wants it.
void address(const Endpoint& endpoint, Request& request) {
  request.host = endpoint.host;
  if (endpoint.addressing == Addressing::path || request.path == "/") return;
  const auto end = request.path.find('/', 1);
  const auto bucket = request.path.substr(1, end == std::string::npos ? end : end - 1);
  // Certificates stand for one label below the host.
  if (bucket.find('.') != std::string::npos) return;
  request.host = bucket + '.' + endpoint.host;
  request.path = end == std::string::npos ? "/" : request.path.substr(end);
}

Fields headers_of(CURL* handle) {
  Fields out;
  curl_header* previous = nullptr;
  while ((previous = curl_easy_nextheader(handle, CURLH_HEADER, -1, previous)) != nullptr)
    out.emplace_back(lower(previous->name), previous->value);
  return out;
}

}  // namespace

std::string_view Answer::header(std::string_view lower_case_name) const {
  const auto found = std::ranges::find(headers, lower_case_name, &std::pair<std::string, std::string>::first);
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

struct Transport::State {
  Endpoint endpoint;
  Credentials credentials;
  std::string authority_file;
  std::atomic<bool> is_stopping = false;
  std::mutex mutex;
  std::vector<client::EasyHandle> idle;

  client::EasyHandle take() {
    const std::lock_guard lock(mutex);
    if (idle.empty()) return client::make_handle();
    auto out = std::move(idle.back());
    idle.pop_back();
    return out;
  }

  void give_back(client::EasyHandle handle) {
    curl_easy_reset(handle.get());
    const std::lock_guard lock(mutex);
    if (idle.size() < idle_handles_max) idle.push_back(std::move(handle));
  }
};

Transport::Transport(Endpoint endpoint, Credentials credentials, std::string authority_file)
    : state_(std::make_unique<State>()) {
  state_->endpoint = std::move(endpoint);
  state_->credentials = std::move(credentials);
  state_->authority_file = std::move(authority_file);
}

Transport::~Transport() = default;

const Endpoint& Transport::endpoint() const {
  return state_->endpoint;
}

void Transport::stop() {
  state_->is_stopping = true;
}

std::string Transport::presigned(Request request, std::chrono::seconds lifetime) const {
  address(state_->endpoint, request);
  const auto origin = (state_->endpoint.is_encrypted ? "https://" : "http://") + request.host;
  return origin + presigned_target(state_->credentials, std::move(request), lifetime, Timestamp::now());
}

Result<Answer> Transport::send(Request request, std::string_view body, std::size_t answer_bytes_max, Deadline deadline,
                               std::chrono::seconds stall) {
  address(state_->endpoint, request);
  const bool has_body = request.method == "PUT" || request.method == "POST";
  const auto payload = body.empty() ? std::string(empty_payload) : to_hex(sha256(body));
  const auto url = (state_->endpoint.is_encrypted ? "https://" : "http://") + request.host + target_of(request);
  client::Lines lines;
  // The host is written by libcurl as the URL has it, which is as it is signed.
  for (const auto& [name, value] : request.headers) lines.add(fmt::format("{}: {}", name, value));
  for (const auto& [name, value] : signed_headers(state_->credentials, request, payload, Timestamp::now()))
    lines.add(fmt::format("{}: {}", name, value));
  lines.add("Expect:");
  if (std::ranges::none_of(request.headers, [](const auto& one) { return lower(one.first) == "content-type"; }))
    lines.add("Content-Type:");

  auto owned = state_->take();
  CURL* handle = owned.get();
  std::array<char, CURL_ERROR_SIZE> details{};
  Received received{.text = {}, .max = answer_bytes_max};
  curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);
  if (!state_->authority_file.empty()) curl_easy_setopt(handle, CURLOPT_CAINFO, state_->authority_file.c_str());
  curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
  curl_easy_setopt(handle, CURLOPT_USERAGENT, "cognive");
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_TCP_NODELAY, 1L);
  const auto left = std::max(deadline.remaining(), std::chrono::milliseconds{1});
  const auto connecting = std::min<std::chrono::milliseconds>(left, client::connect_timeout);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(connecting.count()));
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(left.count()));
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, static_cast<long>(stall.count()));
  if (const auto parts = client::parse_url(url); parts && parts->is_loopback())
    curl_easy_setopt(handle, CURLOPT_PROXY, "");
  client::stop_with(handle, state_->is_stopping);
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, details.data());
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &receive);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &received);
  if (has_body) {
    curl_easy_setopt(handle, CURLOPT_POSTFIELDS, body.empty() ? "" : body.data());
    curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  }
  if (request.method == "HEAD") curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
  if (request.method != "GET" && request.method != "HEAD")
    curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, lines.get());

  const CURLcode code = curl_easy_perform(handle);
  Answer answer;
  long status = 0;
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
  answer.status = static_cast<int>(status);
  answer.headers = headers_of(handle);
  state_->give_back(std::move(owned));

  const auto place = state_->endpoint.text();
  if (received.is_too_large) return fail(Code::too_large, "The answer of " + place + " is larger than was asked for.");
  if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_ISSUER_ERROR)
    return fail(Code::unauthenticated,
                fmt::format("The certificate of {} is not trusted: {}. STORAGE_CA_FILE names who vouches for it.",
                            place, client::reason_of(code, details.data(), left)));
  if (code == CURLE_OPERATION_TIMEDOUT) return fail(Code::unavailable, "No answer from " + place + " in time.");
  if (code != CURLE_OK)
    return fail(Code::unavailable,
                fmt::format("No answer from {}: {}.", place, client::reason_of(code, details.data(), left)));
  answer.body = std::move(received.text);
  return answer;
}

}  // namespace cognive::s3
