// Feeds rubbish to what reads short texts of requests: targets with their queries, cursors, tokens, ids, times,
// numbers, addresses. What is accepted must say the same when it is written and read again.
#include "base/decimal.hpp"
#include "base/networks.hpp"
#include "base/position.hpp"
#include "http/forwarded.hpp"
#include "http/target.hpp"
#include "json/cursor.hpp"
#include "json/page.hpp"

namespace {

using namespace cognive;

void expect(bool holds) {
  if (!holds) __builtin_trap();
}

bool is_uri_reference(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c > ' ' && c < 127; });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  http::Request request;
  if (http::read_target(text, request)) {
    for (const auto& [name, value] : request.query) expect(json::valid_utf8(name) && json::valid_utf8(value));
  }
  expect(is_uri_reference(http::instance_of(text)));
  if (const auto position = json::PagePosition::parse(text)) {
    const auto again = json::PagePosition::parse(position->cursor());
    expect(again && again->created_at == position->created_at && again->id == position->id);
  }
  if (const auto position = Position::parse_token(text)) expect(Position::parse_token(position->token()) == position);
  if (const auto id = Uuid::parse(text)) expect(Uuid::parse(id->text()) == id);
  if (const auto time = Timestamp::parse(text)) expect(Timestamp::parse(time->text()) == time);
  if (const auto number = Decimal::parse(text)) expect(Decimal::parse(number->text()).has_value());
  if (const auto address = InternetAddress::parse(text)) {
    const auto again = InternetAddress::parse(address->text());
    expect(again && again->bytes == address->bytes && !address->holder_text().empty());
  }
  if (const auto network = Network::parse(text)) expect(Network::parse(network->text()).has_value());
  static_cast<void>(parse_networks(text));
  static_cast<void>(parse_date(text));
  static const auto trusted = parse_networks("10.0.0.0/8,fd00::/8").value();
  const auto peer = InternetAddress::parse("10.1.2.3").value();
  const auto client = http::client_address(peer, text, trusted);
  expect(InternetAddress::parse(client) || Network::parse(client));
  return 0;
}
