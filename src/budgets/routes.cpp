#include "base/text.hpp"
#include "budgets/authorise.hpp"
#include "budgets/budgets.hpp"
#include "budgets/windows.hpp"
#include "http/router.hpp"
#include "identity/permissions.hpp"

namespace cognive::budgets {
namespace {

struct BudgetPath {
  Uuid id;
  static constexpr auto fields() { return json::fields(json::field("id", &BudgetPath::id, "The budget's id.")); }
};

Async<Result<http::Reply<Budget>>> create(Budgets& budgets, const Call& call, BudgetCreate body) {
  auto answer = co_await budgets.create(call, std::move(body));
  if (!answer) co_return std::unexpected(answer.error());
  co_return http::Reply<Budget>{.body = std::move(answer->budget), .status = answer->created ? 201 : 200};
}

struct ReservationPath {
  Uuid id;
  static constexpr auto fields() {
    return json::fields(json::field("id", &ReservationPath::id, "The reservation's id."));
  }
};

void add_amount(json::Writer& out, std::string_view name, Metric metric, std::int64_t amount) {
  out.key(name);
  out.raw(amount_of(metric, amount).text());
}

// Which budget refuses, and when asking again may help.
http::Response refuse(const Refusal& refusal, const http::Request& request) {
  json::Writer extension;
  extension.begin_object();
  extension.key("budget");
  extension.begin_object();
  extension.field("id", refusal.budget_id.text());
  extension.field("metric", json::enum_text(refusal.metric));
  add_amount(extension, "limit", refusal.metric, refusal.limit);
  add_amount(extension, "spent", refusal.metric, refusal.spent);
  add_amount(extension, "reserved", refusal.metric, refusal.reserved);
  add_amount(extension, "wanted", refusal.metric, refusal.wanted);
  extension.key("resets_at");
  if (refusal.resets_at) {
    extension.string(refusal.resets_at->text());
  } else {
    extension.null();
  }
  extension.end_object();
  extension.end_object();
  // Where nothing is wanted, something must be left: what is counted cannot be known beforehand.
  const auto why =
      refusal.wanted == 0
          ? std::string("it is used up")
          : fmt::format("{} more do not fit", amount_text(refusal.metric, amount_of(refusal.metric, refusal.wanted)));
  const Error error{Code::too_many,
                    fmt::format("Budget {} has {} spent and {} reserved of {}: {}.", refusal.budget_id.text(),
                                amount_text(refusal.metric, amount_of(refusal.metric, refusal.spent)),
                                amount_text(refusal.metric, amount_of(refusal.metric, refusal.reserved)),
                                amount_text(refusal.metric, amount_of(refusal.metric, refusal.limit)), why),
                    {}};
  auto response = http::problem(error, request, extension.text());
  // What is reserved may come back any moment, what is spent only with the next window.
  const bool may_come_back = refusal.reserved > 0 && refusal.spent <= refusal.limit - refusal.wanted;
  if (!may_come_back) {
    // Where nothing resets it, somebody has to raise the limit.
    constexpr std::int64_t hour = 3'600;
    const auto seconds =
        refusal.resets_at ? std::max<std::int64_t>((refusal.resets_at->micros - Timestamp::now().micros) / 1'000'000, 1)
                          : hour;
    for (auto& [name, value] : response.headers) {
      if (name == "Retry-After") value = std::to_string(seconds);
    }
  }
  return response;
}

Async<http::Response> authorise(Authorisation& authorisation, const Call& call, const http::Request& request) {
  auto text = http::json_body(request);
  if (!text) co_return http::problem(text.error(), request);
  auto body = json::decode<AuthoriseRequest>(std::move(*text));
  if (!body) co_return http::problem(body.error(), request);
  const auto verdict = co_await authorisation.authorise(call, std::move(*body));
  if (!verdict) co_return http::problem(verdict.error(), request);
  if (const auto* refusal = std::get_if<Refusal>(&*verdict)) co_return refuse(*refusal, request);
  co_return http::Response{.status = 200, .body = json::encode(std::get<AuthoriseAnswer>(*verdict))};
}

}  // namespace

void add_routes(http::Router& router, Authorisation& authorisation) {
  namespace permission = identity::permission;
  constexpr std::string_view tag = "Budgets";
  http::Router::Description description;
  json::Writer body;
  json::schema_object<AuthoriseRequest>(body, {}, router.components());
  description.body = std::move(body).text();
  json::Writer answer;
  router.components().answers = true;
  json::schema_object<AuthoriseAnswer>(answer, {}, router.components());
  router.components().answers = false;
  description.answer = std::move(answer).text();
  router.add_raw(
      {.method = "POST",
       .path = "/api/v1/budgets/authorize",
       .id = "budget_authorize",
       .tag = tag,
       .summary = "Ask before a call whether it may be made, and set its money aside",
       .description = "On every budget that covers the call, or on none: then 429 names one that has no room "
                      "(member `budget`). The event of the call settles the reservation by naming it. With a "
                      "reservation_id of the caller's own it can be repeated.",
       .permission = permission::budgets_reserve,
       .also = {403, 404, 409, 429}},
      std::move(description), [&authorisation](const Call& call, const http::Request& request) {
        return authorise(authorisation, call, request);
      });
  router.add(
      {.method = "GET",
       .path = "/api/v1/budgets/reservations/{id}",
       .id = "reservation_get",
       .tag = tag,
       .summary = "Get one reservation",
       .description = "Whether it is held, settled, released or expired, and what it has set aside on which budgets.",
       .permission = permission::budgets_reserve},
      [&authorisation](const Call& call, ReservationPath path, http::NoInput) {
        return authorisation.get(call, path.id);
      });
  router.add({.method = "POST",
              .path = "/api/v1/budgets/reservations/{id}/release",
              .id = "reservation_release",
              .tag = tag,
              .summary = "Give back what a call that is not made had set aside",
              .description = "A repeat changes nothing.",
              .permission = permission::budgets_reserve,
              .also = {404, 409}},
             [&authorisation](const Call& call, ReservationPath path, http::NoInput) {
               return authorisation.release(call, path.id);
             });
  router.add({.method = "POST",
              .path = "/api/v1/budgets/reservations/{id}/renew",
              .id = "reservation_renew",
              .tag = tag,
              .summary = "Hold a reservation for longer",
              .description = "For so many seconds from now on. One that has ended cannot be held again.",
              .permission = permission::budgets_reserve,
              .also = {404, 409}},
             [&authorisation](const Call& call, ReservationPath path, Renewal body) {
               return authorisation.renew(call, path.id, std::move(body));
             });
}

void add_routes(http::Router& router, Budgets& budgets) {
  namespace permission = identity::permission;
  constexpr std::string_view tag = "Budgets";
  router.add({.method = "POST",
              .path = "/api/v1/budgets",
              .id = "budget_create",
              .tag = tag,
              .summary = "Limit what a scope may use up in each window",
              .description = "Counts from now on. With an id of the caller's own it can be repeated.",
              .permission = permission::budgets_write,
              .status = 201,
              .also = {200, 409}},
             [&budgets](const Call& call, http::NoInput, BudgetCreate body) {
               return create(budgets, call, std::move(body));
             });
  router.add(
      {.method = "GET",
       .path = "/api/v1/budgets",
       .id = "budget_list",
       .tag = tag,
       .summary = "List budgets",
       .description = "The newest first.",
       .permission = permission::budgets_read},
      [&budgets](const Call& call, BudgetList query, http::NoInput) { return budgets.list(call, std::move(query)); });
  router.add({.method = "GET",
              .path = "/api/v1/budgets/{id}",
              .id = "budget_get",
              .tag = tag,
              .summary = "Get one budget",
              .description = "Its limit, scope and window. What it has spent is in its status.",
              .permission = permission::budgets_read},
             [&budgets](const Call& call, BudgetPath path, http::NoInput) { return budgets.get(call, path.id); });
  router.add({.method = "PATCH",
              .path = "/api/v1/budgets/{id}",
              .id = "budget_update",
              .tag = tag,
              .summary = "Change a budget",
              .description = "Holds for the windows that have not ended, at once. Lowering a limit takes nothing back.",
              .permission = permission::budgets_write,
              .heeds_if_match = true},
             [&budgets](const Call& call, BudgetPath path, BudgetChange body) {
               return budgets.update(call, path.id, std::move(body));
             });
  router.add({.method = "DELETE",
              .path = "/api/v1/budgets/{id}",
              .id = "budget_delete",
              .tag = tag,
              .summary = "Delete a budget",
              .description = "It covers nothing any more; what it has counted stays.",
              .permission = permission::budgets_write,
              .heeds_if_match = true},
             [&budgets](const Call& call, BudgetPath path, http::NoInput) { return budgets.remove(call, path.id); });
}

void add_routes(http::Router& router, Windows& windows) {
  namespace permission = identity::permission;
  router.add({.method = "GET",
              .path = "/api/v1/budgets/{id}/status",
              .id = "budget_status",
              .tag = "Budgets",
              .summary = "What a budget has spent, reserved and left now",
              .description = "Of the window that is open now. Cache-Control: no-cache asks the database rather than a "
                             "cache of some seconds.",
              .permission = permission::budgets_read},
             [&windows](const Call& call, StatusQuery query, http::NoInput) { return windows.status(call, query); });
  router.add({.method = "GET",
              .path = "/api/v1/budgets/{id}/windows",
              .id = "budget_windows",
              .tag = "Budgets",
              .summary = "What a budget has counted, window by window",
              .description = "The newest first: what was spent and reserved, and how much of it nobody had reserved.",
              .permission = permission::budgets_read},
             [&windows](const Call& call, WindowQuery query, http::NoInput) { return windows.list(call, query); });
}

}  // namespace cognive::budgets
