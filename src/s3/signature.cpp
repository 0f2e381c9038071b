#include "s3/signature.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/crypto.hpp"
#include "base/text.hpp"

namespace cognive::s3 {
namespace {

constexpr std::string_view algorithm = "AWS4-HMAC-SHA256";

// 20130524T000000Z
std::string date_time(Timestamp time) {
  std::string out;
  const auto text = time.text();
  for (const char letter : std::string_view(text).substr(0, text.find('.'))) {
    if (letter != '-' && letter != ':' && letter != 'Z') out += letter;
  }
  return out + 'Z';
}

std::string scope_of(std::string_view when, const Credentials& credentials) {
  return fmt::format("{}/{}/s3/aws4_request", when.substr(0, 8), credentials.region);
}

Fields encoded(const Fields& query) {
  Fields out;
  for (const auto& [name, value] : query)
    out.emplace_back(percent_encoded(name, Slash::is_encoded), percent_encoded(value, Slash::is_encoded));
  // By the encoded names, then the encoded values.
  std::ranges::sort(out);
  return out;
}

std::string query_text(const Fields& query) {
  std::string out;
  for (const auto& [name, value] : encoded(query)) {
    if (!out.empty()) out += '&';
    out += name + '=' + value;
  }
  return out;
}

// Names in lower case, values without blanks around them and with one in place of several.
Fields canonical(const Request& request) {
  Fields out{{"host", request.host}};
  for (const auto& [name, value] : request.headers) {
    std::string words;
    for (const char letter : trim(value)) {
      if (letter != ' ' || !words.ends_with(' ')) words += letter;
    }
    out.emplace_back(lower(name), std::move(words));
  }
  std::ranges::sort(out);
  return out;
}

std::string names_of(const Fields& headers) {
  std::string out;
  for (const auto& [name, value] : headers) out += (out.empty() ? "" : ";") + name;
  return out;
}

std::string signature_of(const Credentials& credentials, const Request& request, std::string_view payload,
                         std::string_view when) {
  const auto headers = canonical(request);
  std::string text = fmt::format("{}\n{}\n{}\n", request.method, percent_encoded(request.path, Slash::separates),
                                 query_text(request.query));
  for (const auto& [name, value] : headers) text += name + ':' + value + '\n';
  text += fmt::format("\n{}\n{}", names_of(headers), payload);
  const auto to_sign =
      fmt::format("{}\n{}\n{}\n{}", algorithm, when, scope_of(when, credentials), to_hex(sha256(text)));
  const auto secret = "AWS4" + credentials.secret_key;
  auto key = hmac_sha256({reinterpret_cast<const std::uint8_t*>(secret.data()), secret.size()}, when.substr(0, 8));
  for (const std::string_view part : {std::string_view(credentials.region), std::string_view("s3"),
                                      std::string_view("aws4_request"), std::string_view(to_sign)})
    key = hmac_sha256(key, part);
  return to_hex(key);
}

}  // namespace

std::string percent_encoded(std::string_view text, Slash slash) {
  std::string out;
  for (const char letter : text) {
    const bool is_unreserved = (letter >= 'A' && letter <= 'Z') || (letter >= 'a' && letter <= 'z') ||
                               (letter >= '0' && letter <= '9') ||
                               std::string_view("-._~").find(letter) != std::string_view::npos;
    if (is_unreserved || (letter == '/' && slash == Slash::separates)) {
      out += letter;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(letter));
    }
  }
  return out;
}

std::string target_of(const Request& request) {
  const auto path = percent_encoded(request.path, Slash::separates);
  return request.query.empty() ? path : path + '?' + query_text(request.query);
}

Fields signed_headers(const Credentials& credentials, const Request& request, std::string_view payload, Timestamp now) {
  const auto when = date_time(now);
  Fields out{{"x-amz-content-sha256", std::string(payload)}, {"x-amz-date", when}};
  auto whole = request;
  whole.headers.insert(whole.headers.end(), out.begin(), out.end());
  out.emplace_back("Authorization",
                   fmt::format("{} Credential={}/{},SignedHeaders={},Signature={}", algorithm, credentials.access_key,
                               scope_of(when, credentials), names_of(canonical(whole)),
                               signature_of(credentials, whole, payload, when)));
  return out;
}

std::string presigned_target(const Credentials& credentials, Request request, std::chrono::seconds lifetime,
                             Timestamp now) {
  const auto when = date_time(now);
  const auto names = names_of(canonical(request));
  for (auto& field : Fields{{"X-Amz-Algorithm", std::string(algorithm)},
                            {"X-Amz-Credential", credentials.access_key + '/' + scope_of(when, credentials)},
                            {"X-Amz-Date", when},
                            {"X-Amz-Expires", std::to_string(lifetime.count())},
                            {"X-Amz-SignedHeaders", names}})
    request.query.push_back(field);
  const auto signature = signature_of(credentials, request, unsigned_payload, when);
  return target_of(request) + "&X-Amz-Signature=" + signature;
}

}  // namespace cognive::s3
