#include "client/mail.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <new>

#include "base/crypto.hpp"
#include "base/text.hpp"
#include "client/curl.hpp"

namespace cognive::client {
namespace {

struct FreeMime {
  void operator()(curl_mime* mime) const { curl_mime_free(mime); }
};

std::string_view domain_of(std::string_view address) {
  return address.substr(address.rfind('@') + 1);
}

// RFC 5322 section 3.3.
std::string date_text(Timestamp time) {
  const auto point = std::chrono::floor<std::chrono::seconds>(time.point());
  return fmt::format("{:%a, %d %b %Y %H:%M:%S} +0000", fmt::gmtime(std::chrono::system_clock::to_time_t(point)));
}

// CRLF, which the encoder keeps as it is (RFC 2045 section 6.7).
std::string with_line_ends_of_mail(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') out += '\r';
    out += c;
  }
  return out;
}

}  // namespace

std::string header_text(std::string_view text) {
  const bool is_plain = text.size() <= 200 && std::ranges::all_of(text, [](char c) { return c >= ' ' && c < '\x7F'; });
  if (is_plain && text.find("=?") == std::string_view::npos) return std::string(text);
  // An encoded word has at most 75 characters, and characters are not cut.
  constexpr std::size_t word_bytes = 45;
  std::string out;
  while (!text.empty()) {
    std::size_t length = std::min(word_bytes, text.size());
    while (length > 1 && length < text.size() && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
    if (!out.empty()) out += "\r\n ";
    const auto word = text.substr(0, length);
    out += "=?UTF-8?B?" + to_base64({reinterpret_cast<const std::uint8_t*>(word.data()), word.size()}) + "?=";
    text.remove_prefix(length);
  }
  return out;
}

Result<void> send_mail(const MailServer& server, const Mail& mail, std::chrono::milliseconds timeout,
                       const std::atomic<bool>& stop) {
  const auto parts = parse_url(server.url);
  if (!parts || (parts->scheme != "smtp" && parts->scheme != "smtps"))
    return fail(Code::malformed, "The mail server's address must start with smtp:// or smtps://.");
  std::array<char, CURL_ERROR_SIZE> details{};  // outlives the handle, whose end may write to it
  const auto handle = make_handle();
  CURL* easy = handle.get();
  Lines recipients;
  recipients.add("<" + mail.to + ">");
  Lines headers;
  headers.add("Date: " + date_text(mail.date));
  headers.add("From: Cognive <" + server.from + ">");
  headers.add("To: <" + mail.to + ">");
  headers.add("Subject: " + header_text(mail.subject));
  headers.add(fmt::format("Message-ID: <{}@{}>", mail.message_id, domain_of(server.from)));
  // RFC 3834: no answers of absent people, please.
  headers.add("Auto-Submitted: auto-generated");
  const std::unique_ptr<curl_mime, FreeMime> mime(curl_mime_init(easy));
  curl_mimepart* part = mime ? curl_mime_addpart(mime.get()) : nullptr;
  if (part == nullptr) throw std::bad_alloc();
  const auto text = with_line_ends_of_mail(mail.text);
  curl_mime_data(part, text.data(), text.size());
  curl_mime_type(part, "text/plain; charset=utf-8");
  curl_mime_encoder(part, "quoted-printable");

  curl_easy_setopt(easy, CURLOPT_URL, server.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
  const bool needs_tls = !parts->user.empty() && !parts->is_loopback();
  curl_easy_setopt(easy, CURLOPT_USE_SSL, long{needs_tls ? CURLUSESSL_ALL : CURLUSESSL_TRY});
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
  // Also for the answer to the goodbye, to which the other limit does not apply.
  curl_easy_setopt(easy, CURLOPT_SERVER_RESPONSE_TIMEOUT, static_cast<long>(connect_timeout.count()));
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, static_cast<long>(connect_timeout.count()));
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, std::max(1L, static_cast<long>(timeout.count())));
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, details.data());
  const std::string sender = "<" + server.from + ">";
  curl_easy_setopt(easy, CURLOPT_MAIL_FROM, sender.c_str());
  curl_easy_setopt(easy, CURLOPT_MAIL_RCPT, recipients.get());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy, CURLOPT_MIMEPOST, mime.get());
  stop_with(easy, stop);

  const CURLcode code = curl_easy_perform(easy);
  if (code == CURLE_OK) return {};
  long reply = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &reply);
  const std::string_view said = details.data();
  const auto reason = reply >= 400 ? fmt::format("it answered {}{}{}", reply, said.empty() ? "" : ", ", trim(said))
                                   : reason_of(code, said, timeout);
  const bool is_refused =
      code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_LOGIN_DENIED || code == CURLE_USE_SSL_FAILED;
  return fail(is_refused ? Code::unauthenticated : Code::unavailable,
              fmt::format("The mail server {} did not take the message: {}.", parts->shown, reason));
}

}  // namespace cognive::client
