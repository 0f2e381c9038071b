#include "exports/exports.hpp"
#include "http/download.hpp"
#include "http/problem.hpp"
#include "http/router.hpp"
#include "identity/permissions.hpp"

namespace cognive::exports {
namespace {

constexpr std::string_view tag = "Exports";
// Of whoever may export anything; what an export is of needs its own, which is looked at where it is known.
constexpr auto permission = identity::permission::analytics_read;

struct ExportPath {
  Uuid id;
  static constexpr auto fields() { return json::fields(json::field("id", &ExportPath::id, "The export's id.")); }
};

struct UrlInput {
  Uuid id;
  std::int64_t lifetime_s = 3'600;
  static constexpr auto fields() {
    return json::fields(json::field("id", &UrlInput::id, "The export's id."),
                        json::field("lifetime_s", &UrlInput::lifetime_s, "Seconds for which the URL is good.",
                                    {.min = 1, .max = 7 * 86'400, .optional = true}));
  }
};

Async<Result<http::Reply<Export>>> ask(Exports& exports, const Call& call, ExportCreate body) {
  auto asked = co_await exports.ask(call, std::move(body));
  if (!asked) co_return std::unexpected(std::move(asked.error()));
  co_return http::Reply<Export>{.body = std::move(asked->wanted), .status = asked->is_new ? 202 : 200};
}

Async<http::Response> download(Exports& exports, const Call& call, ExportPath path, const http::Request& request) {
  const auto one = co_await exports.get(call, path.id);
  if (!one) co_return http::problem(one.error(), request);
  if (one->state != ExportState::done)
    co_return http::problem({Code::conflict, "The export is not done; its state and progress tell how far it is.", {}},
                            request);
  // What is stored under an id never changes.
  const http::Downloadable file{
      .content_type = "application/gzip",
      .name = file_name(*one),
      .etag = '"' + one->id.text() + '"',
      .bytes = static_cast<std::uint64_t>(*one->bytes),
      .sha256 = one->sha256,
      .open = [&](std::uint64_t first, std::uint64_t count) { return exports.content(call, *one, first, count); }};
  co_return co_await http::download(request, file);
}

}  // namespace

void add_routes(http::Router& router, Exports& exports) {
  router.add(
      {.method = "POST",
       .path = "/api/v1/exports",
       .id = "export_create",
       .tag = tag,
       .summary = "Export calls, runs, costs, the audit trail or one run into a file",
       .description = "A worker writes it, and GET tells how far it is. All of it is of one moment. Calls and "
                      "costs need analytics:read, runs and replays also runs:read, the audit trail also "
                      "audit:read. Ten exports of a team wait or are written at a time.",
       .permission = permission,
       .status = 202,
       .also = {200, 403, 409, 429, 503}},
      [&exports](const Call& call, http::NoInput, ExportCreate body) { return ask(exports, call, std::move(body)); });
  router.add(
      {.method = "GET",
       .path = "/api/v1/exports",
       .id = "export_list",
       .tag = tag,
       .summary = "List exports",
       .description = "Those of the caller's team, of kinds that the caller may read; the newest first.",
       .permission = permission},
      [&exports](const Call& call, ExportQuery query, http::NoInput) { return exports.list(call, std::move(query)); });
  router.add({.method = "GET",
              .path = "/api/v1/exports/{id}",
              .id = "export_get",
              .tag = tag,
              .summary = "Get how far an export is",
              .description = "Ask again every few seconds until its state is done or failed.",
              .permission = permission},
             [&exports](const Call& call, ExportPath path, http::NoInput) { return exports.get(call, path.id); });
  router.add_raw<ExportPath>({.method = "GET",
                              .path = "/api/v1/exports/{id}/content",
                              .id = "export_download",
                              .tag = tag,
                              .summary = "Get the file of an export",
                              .description = "Compressed with gzip. Range gives a part of it. It is checked against "
                                             "what was stored: when it is not the same, the connection ends before "
                                             "it does.",
                              .permission = permission,
                              .also = {206, 409, 416, 503}},
                             {.parameters = {},
                              .body = {},
                              .answer = R"({"type":"string","format":"binary"})",
                              .answer_type = "application/gzip"},
                             [&exports](const Call& call, ExportPath path, const http::Request& request) {
                               return download(exports, call, path, request);
                             });
  router.add({.method = "POST",
              .path = "/api/v1/exports/{id}/url",
              .id = "export_url",
              .tag = tag,
              .summary = "Get a URL of the object storage to download from, without credentials",
              .description = "For as long as asked. Who asked is in the audit trail. A directory has no URLs: 409.",
              .permission = permission,
              .also = {409, 503}},
             [&exports](const Call& call, UrlInput input, http::NoInput) {
               return exports.url(call, input.id, std::chrono::seconds{input.lifetime_s});
             });
  router.add({.method = "DELETE",
              .path = "/api/v1/exports/{id}",
              .id = "export_remove",
              .tag = tag,
              .summary = "Delete an export",
              .description = "Its file goes within minutes. One that is being written ends.",
              .permission = permission},
             [&exports](const Call& call, ExportPath path, http::NoInput) { return exports.remove(call, path.id); });
}

}  // namespace cognive::exports
