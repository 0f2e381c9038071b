// Feeds rubbish to what reads keys and tokens. Nobody makes one that is accepted without the master key, and what is
// changed in a genuine one makes it none.
#include "identity/keys.hpp"
#include "identity/tokens.hpp"

namespace {

using namespace cognive;

void expect(bool holds) {
  if (!holds) __builtin_trap();
}

const auto root = keyring::RootKey::of("a root key that is long enough");
constexpr Timestamp noon{1'800'000'000'000'000};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const identity::AccessTokens access(root);
  static const identity::RefreshTokens refresh(root);
  static const auto session = Uuid::parse("01930000-0000-7000-8000-000000000001").value();
  static const auto access_token = access.issue({session, session}, noon);
  static const auto refresh_token = refresh.issue({session, 1});
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto key = identity::KeyText::parse(text)) {
    const auto again = identity::KeyText::parse(key->text());
    expect(again && again->id == key->id && again->secret == key->secret);
  }
  expect(!access.verify(text, noon));
  expect(!refresh.verify(text));
  // A genuine one with bytes of the input in it.
  if (size < 3) return 0;
  const auto changed = [&](const std::string& genuine) {
    const std::size_t at = (data[0] | static_cast<std::size_t>(data[1]) << 8) % genuine.size();
    return genuine.substr(0, at) + text.substr(2) + genuine.substr(std::min(genuine.size(), at + size - 2));
  };
  if (const auto other = changed(access_token); other != access_token) expect(!access.verify(other, noon));
  // Its code is hexadecimal in either case.
  if (const auto other = changed(refresh_token); !std::ranges::equal(other, refresh_token, {}, tolower, tolower))
    expect(!refresh.verify(other));
  return 0;
}
