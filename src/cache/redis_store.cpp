#include "cache/redis_store.hpp"

#include <fmt/format.h>

#include <charconv>

#include "base/crypto.hpp"
#include "base/error.hpp"
#include "base/time.hpp"
#include "keyring/purposes.hpp"

namespace cognive::cache {
namespace {

constexpr char leased = 'L';  // what stands behind it is the lease
constexpr char filled = 'V';

// KEYS[1]: of the text. ARGV: the lease as it stands there, what takes its place (empty: nothing), milliseconds.
constexpr std::string_view fill_script = R"(
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
)";

std::string name_of(std::string_view key) {
  return fmt::format("cognive:cache:{}", key);
}

std::optional<std::int64_t> integer_of(std::string_view text) {
  std::int64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return out;
}

// Whether somebody has that lease. One without an end, or far behind it, nobody has: it would stand there for ever.
bool is_lease(std::string_view text, Timestamp now) {
  constexpr std::chrono::minutes clocks_differ{1};
  if (!text.starts_with(leased)) return false;
  const auto until = integer_of(text.substr(std::min(text.size(), text.rfind(':')) + (text.contains(':') ? 1 : 0)));
  return until && Timestamp{*until} > now.plus(-clocks_differ) && Timestamp{*until} < now.plus(clocks_differ);
}

void expect_well(const redis::Reply& reply) {
  if (reply.kind == redis::Reply::Kind::error) throw Unavailable("Redis: " + reply.text);
}

// Of the answer to INFO: lines of `name:value`.
std::string value_of(std::string_view info, std::string_view name) {
  const auto found = info.find(fmt::format("\n{}:", name));
  if (found == std::string_view::npos) return {};
  const auto begin = found + name.size() + 2;
  return std::string(info.substr(begin, info.find_first_of("\r\n", begin) - begin));
}

}  // namespace

RedisStore::RedisStore(redis::Client& client, keyring::RootKey root)
    : client_(client), code_key_(std::move(root), std::string(keyring::purpose::cached_texts)), fill_(fill_script) {}

std::string RedisStore::sealed(const std::string& key, std::string_view text, Timestamp until) const {
  const auto said = fmt::format("{} {}", until.micros, text);
  const auto code = hmac_sha256(code_key_.get(), fmt::format("{}\n{}\n{}", server_, key, said));
  return fmt::format("{}{} {}", filled, to_hex(code), said);
}

std::optional<std::string> RedisStore::opened(const std::string& key, std::string_view sealed) const {
  constexpr std::size_t code_length = 2 * sizeof(Digest);
  if (sealed.size() < code_length + 2 || sealed[0] != filled || sealed[code_length + 1] != ' ') return std::nullopt;
  const auto code = from_hex(sealed.substr(1, code_length));
  const auto said = sealed.substr(code_length + 2);
  if (!code || !equal_constant_time(*code, hmac_sha256(code_key_.get(), fmt::format("{}\n{}\n{}", server_, key, said))))
    return std::nullopt;
  const auto space = said.find(' ');
  const auto until = integer_of(said.substr(0, space));
  if (space == std::string_view::npos || !until || *until <= Timestamp::now().micros) return std::nullopt;
  return std::string(said.substr(space + 1));
}

Async<> RedisStore::know_server(Deadline deadline) {
  if (connection_ != 0 && connection_ == client_.connection()) co_return;
  const auto reply = co_await client_.execute({"INFO", "server"}, deadline);
  expect_well(reply);
  connection_ = client_.connection();
  server_ = value_of(reply.text, "run_id");
}

Async<Looked> RedisStore::look(std::string key, Deadline deadline) {
  co_await know_server(deadline);
  const auto now = Timestamp::now();
  const auto lease = fmt::format("{}:{}", random_token(16), now.plus(lease_max).micros);
  // With NX and GET together (Redis 7.0): what stands there, else nothing, and the lease stands there now.
  const redis::Command command{
      "SET", name_of(key), leased + lease, "NX", "GET", "PX", std::to_string(lease_max.count())};
  const auto reply = co_await client_.execute(command, deadline);
  if (reply.is_error("WRONGTYPE")) co_await forget(key, deadline);
  expect_well(reply);
  if (connection_ != client_.connection()) throw Unavailable("Redis was connected anew");
  if (reply.kind != redis::Reply::Kind::text) co_return Looked{.outcome = Looked::Outcome::leased, .text = lease};
  if (is_lease(reply.text, now)) co_return Looked{.outcome = Looked::Outcome::taken};
  auto text = opened(key, reply.text);
  if (text) co_return Looked{.outcome = Looked::Outcome::found, .text = std::move(*text)};
  // Not ours, or spoilt: it would stand in the way until it ended.
  co_await forget(key, deadline);
  throw Unavailable("Redis has another text for " + key + " than was put there");
}

Async<> RedisStore::fill(std::string key, std::string lease, std::optional<std::string> text,
                         std::chrono::milliseconds lifetime, Deadline deadline) {
  co_await know_server(deadline);
  std::string replacement;
  if (text) replacement = sealed(key, *text, Timestamp::now().plus(lifetime));
  std::vector<std::string> keys{name_of(key)};
  std::vector<std::string> arguments{leased + lease, std::move(replacement), std::to_string(lifetime.count())};
  const auto reply = co_await fill_.run(client_, std::move(keys), std::move(arguments), deadline);
  expect_well(reply);
}

Async<> RedisStore::forget(std::string key, Deadline deadline) {
  const auto reply = co_await client_.execute({"UNLINK", name_of(key)}, deadline);
  expect_well(reply);
}

Async<StoreInfo> RedisStore::info(Deadline deadline) {
  const auto memory = co_await client_.execute({"INFO", "memory"}, deadline);
  expect_well(memory);
  const auto clients = co_await client_.execute({"INFO", "clients"}, deadline);
  expect_well(clients);
  co_return StoreInfo{.used_memory = value_of(memory.text, "used_memory_human"),
                      .used_memory_peak = value_of(memory.text, "used_memory_peak_human"),
                      .maxmemory = value_of(memory.text, "maxmemory_human"),
                      .connected_clients = integer_of(value_of(clients.text, "connected_clients")).value_or(0)};
}

}  // namespace cognive::cache
