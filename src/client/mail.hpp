// E-mail by SMTP (RFC 5321), one message at a time.
#pragma once

#include <atomic>
#include <chrono>
#include <string>

#include "base/error.hpp"
#include "base/time.hpp"

namespace cognive::client {

struct MailServer {
  // smtp://host:587 (STARTTLS where the server offers it; always when there is a password) or smtps://host:465, with
  // user:password@ before the host where the server asks for them.
  std::string url;
  std::string from;  // an address
};

struct Mail {
  std::string to;  // an address
  std::string subject;
  std::string text;
  std::string message_id;  // what stands before the @; the same message sent again has the same
  Timestamp date;
};

// Errors:
//   unavailable      no answer within `timeout`, it refused for now, or `stop` was set
//   unauthenticated  the certificate, user or password is not accepted
//   malformed        no URL of a mail server
// No message contains the password.
Result<void> send_mail(const MailServer& server, const Mail& mail, std::chrono::milliseconds timeout,
                       const std::atomic<bool>& stop);

// The text of a header field with characters that it could not hold as they are (RFC 2047).
std::string header_text(std::string_view text);

}  // namespace cognive::client
