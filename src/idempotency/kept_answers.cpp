#include "idempotency/kept_answers.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include "json/bind.hpp"
#include "keyring/purposes.hpp"
#include "observe/log.hpp"
#include "pg/transact.hpp"

namespace cognive::idempotency {
namespace {

constexpr std::chrono::milliseconds statement_patience{5'000};

// A row is returned to whoever may answer: the key is new, its answer has been kept for a day, or whoever had it is
// lost and has changed nothing. The same resource is made then.
constexpr pg::Query claim_query{
    "idempotency_claim",
    "INSERT INTO idempotency_keys AS k (principal_id, key, request, made_id, attempt) VALUES ($1, $2, decode($3, "
    "'hex'), $4, $5) ON CONFLICT (principal_id, key) DO UPDATE SET attempt = excluded.attempt, claimed_at = now(), "
    "request = excluded.request, answer = NULL, has_changed = false, "
    "made_id = CASE WHEN k.created_at < now() - interval '1 day' THEN excluded.made_id ELSE k.made_id END, "
    "created_at = CASE WHEN k.created_at < now() - interval '1 day' THEN now() ELSE k.created_at END "
    "WHERE k.created_at < now() - interval '1 day' OR (k.answer IS NULL AND NOT k.has_changed AND k.request = "
    "excluded.request AND k.claimed_at < now() - $6 * interval '1 ms') RETURNING k.made_id"};
constexpr pg::Query kept_query{"idempotency_kept",
                               "SELECT request = decode($3, 'hex'), has_changed AND claimed_at < now() - $4 * interval "
                               "'1 ms', encode(answer, 'hex') FROM idempotency_keys WHERE principal_id = "
                               "$1 AND key = $2"};
constexpr pg::Query changed_query{
    "idempotency_changed",
    "UPDATE idempotency_keys SET has_changed = true WHERE principal_id = $1 AND key = $2 AND attempt = $3"};
constexpr pg::Query answered_query{
    "idempotency_answered",
    "UPDATE idempotency_keys SET answer = $4 WHERE principal_id = $1 AND key = $2 AND attempt = $3"};
// Waits for a transaction of the attempt that has not ended yet.
constexpr pg::Query free_query{
    "idempotency_free",
    "DELETE FROM idempotency_keys WHERE principal_id = $1 AND key = $2 AND attempt = $3 AND NOT has_changed"};
// Whoever comes next may claim it, for the same resource: what the attempt has made without a transaction of ours, or
// is about to, has that id.
constexpr pg::Query unclaim_query{
    "idempotency_unclaim",
    "UPDATE idempotency_keys SET claimed_at = '-infinity' WHERE principal_id = $1 AND key = $2 AND attempt = $3 AND "
    "NOT has_changed"};
constexpr pg::Query forget_query{
    "idempotency_forget",
    "DELETE FROM idempotency_keys WHERE (principal_id, key) IN (SELECT principal_id, key FROM idempotency_keys WHERE "
    "created_at < now() - interval '1 day' LIMIT $1)"};

struct Header {
  std::string name;
  std::string value;
  static constexpr auto fields() {
    return json::fields(json::field("name", &Header::name, ""), json::field("value", &Header::value, ""));
  }
};

struct KeptAnswer {
  std::int64_t status = 200;
  std::string content_type;
  std::string body;
  std::vector<Header> headers;
  static constexpr auto fields() {
    return json::fields(json::field("status", &KeptAnswer::status, ""),
                        json::field("content_type", &KeptAnswer::content_type, ""),
                        json::field("body", &KeptAnswer::body, ""), json::field("headers", &KeptAnswer::headers, ""));
  }
};

// What makes two requests the same.
std::string digest_of(const Principal& principal, const http::Request& request) {
  std::string text = principal.team_id ? principal.team_id->text() : std::string("organisation");
  if (principal.agent_id) text += '/' + principal.agent_id->text();
  text += '\n' + request.method + '\n' + request.instance + '\n';
  for (const auto& [name, value] : request.query) text += name + '=' + value + '\n';
  return to_hex(sha256(text + '\n' + request.body));
}

std::string context_of(const Uuid& principal_id, std::string_view key) {
  return principal_id.text() + '/' + std::string(key);
}

}  // namespace

// Of one attempt to answer.
class KeptAnswers::Claim final : public First, public pg::Together {
 public:
  Claim(KeptAnswers& owner, Uuid principal_id, std::string key, Uuid made_id, Uuid attempt)
      : owner_(owner), principal_id_(principal_id), key_(std::move(key)), made_id_(made_id), attempt_(attempt) {}

  void go_along(Call& call) override {
    call.together = this;
    call.made_id = made_id_;
  }

  Async<> join(pg::Transaction& transaction) override {
    const auto noted = co_await transaction.execute(changed_query, params());
    if (noted.affected() == 0) throw Unavailable("a repeat with the same Idempotency-Key has taken over");
  }

  Async<> answered(const http::Response& response) override {
    if (response.status >= 500) co_return co_await given_up();
    if (response.status >= 400 || response.stream) {
      co_await write(free_query, [&] { return params(); });
      co_return;
    }
    KeptAnswer kept{
        .status = response.status, .content_type = response.content_type, .body = response.body, .headers = {}};
    for (const auto& [name, value] : response.headers) kept.headers.push_back({name, value});
    co_await write(answered_query, [&] {
      const auto sealed = encrypt(owner_.key_.get(), json::encode(kept), context_of(principal_id_, key_));
      return params(pg::Bytes{std::span(reinterpret_cast<const std::uint8_t*>(sealed.data()), sealed.size())});
    });
  }

  Async<> given_up() override {
    co_await write(unclaim_query, [&] { return params(); });
  }

 private:
  template <typename... More>
  pg::Params params(More&&... more) const {
    return pg::Params::of(principal_id_, key_, attempt_, std::forward<More>(more)...);
  }

  // What fails costs a repeat that is told to come again, or that its answer was lost: no reason to lose this one.
  Async<> write(const pg::Query& query, std::function<pg::Params()> params) {
    Call call;
    call.deadline = Deadline::in(statement_patience);
    try {
      co_await owner_.database_.primary().write(query, params(), call);
    } catch (const Unavailable& error) {
      log(Level::warning, "an answer could not be kept for its Idempotency-Key", {{"reason", error.what()}});
    }
  }

  KeptAnswers& owner_;
  Uuid principal_id_;
  std::string key_;
  Uuid made_id_;
  Uuid attempt_;
};

KeptAnswers::KeptAnswers(pg::Cluster& database, keyring::RootKey root, std::chrono::milliseconds claim)
    : database_(database), key_(std::move(root), std::string(keyring::purpose::kept_answers)), claim_(claim) {}

Async<Result<std::variant<http::Response, std::unique_ptr<http::Repeats::First>>>> KeptAnswers::look(
    const Call& call, std::string key, const http::Request& request) {
  const auto& principal_id = call.principal.id;
  const auto digest = digest_of(call.principal, request);
  const auto attempt = Uuid::make();
  auto params = pg::Params::of(principal_id, key, digest, Uuid::make(), attempt, claim_.count());
  const auto claimed = co_await database_.primary().write(claim_query, std::move(params), call);
  if (!claimed.empty())
    co_return std::make_unique<Claim>(*this, principal_id, std::move(key), claimed[0].at<Uuid>(0), attempt);
  const auto rows = co_await database_.primary().execute(
      kept_query, pg::Params::of(principal_id, key, digest, claim_.count()), call.deadline);
  Error busy{Code::conflict, "The request with this Idempotency-Key is being answered at this moment.", {}};
  if (rows.empty()) co_return std::unexpected(std::move(busy));  // it has just been freed
  bool is_same = false;
  bool is_lost = false;
  std::optional<std::string> answer;
  auto row = rows[0];
  row.read(is_same, is_lost, answer);
  if (!is_same) co_return unprocessable("Idempotency-Key", "It belongs to another request.");
  if (!answer && is_lost)
    co_return fail(
        Code::conflict,
        "The request with this Idempotency-Key took effect, but its answer was lost: look what it has made.");
  if (!answer) co_return std::unexpected(std::move(busy));
  const auto sealed = from_hex(*answer);
  const auto text = decrypt(key_.get(), std::string(sealed->begin(), sealed->end()), context_of(principal_id, key));
  if (!text) throw std::runtime_error("a kept answer was not made by this installation");
  auto kept = json::decode<KeptAnswer>(*text);
  if (!kept) throw std::runtime_error("a kept answer cannot be read: " + kept.error().detail);
  http::Response response{.status = static_cast<int>(kept->status),
                          .content_type = std::move(kept->content_type),
                          .body = std::move(kept->body),
                          .headers = {}};
  for (auto& [name, value] : kept->headers) response.headers.emplace_back(std::move(name), std::move(value));
  co_return response;
}

Async<> forget_old(pg::Cluster& database, Deadline deadline) {
  Call call;
  call.deadline = deadline;
  constexpr std::int64_t together = 5'000;
  for (std::int64_t last = together; last == together && !deadline.passed();)
    last = (co_await database.primary().write(forget_query, pg::Params::of(together), call)).affected();
}

}  // namespace cognive::idempotency
