#include "artifacts/artifacts.hpp"
#include "base/text.hpp"
#include "http/download.hpp"
#include "http/problem.hpp"
#include "http/router.hpp"
#include "identity/permissions.hpp"

namespace cognive::artifacts {
namespace {

namespace permission = identity::permission;

constexpr std::string_view tag = "Artifacts";
constexpr std::string_view unknown_type = "application/octet-stream";
constexpr std::string_view any_type = "*/*";

struct ArtifactPath {
  Uuid id;
  static constexpr auto fields() { return json::fields(json::field("id", &ArtifactPath::id, "The artifact's id.")); }
};

struct PartInput {
  Uuid id;
  std::int64_t number = 1;
  std::optional<std::string> sha256;
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &PartInput::id, "The artifact's id."),
        json::field("number", &PartInput::number, "From 1, in any order.", {.min = 1, .max = objects::parts_max}),
        json::field("sha256", &PartInput::sha256, "Of the part: it is refused when it is not this.",
                    {.min_length = 64, .max_length = 64}));
  }
};

struct UrlInput {
  Uuid id;
  std::int64_t lifetime_s = 3'600;
  static constexpr auto fields() {
    return json::fields(json::field("id", &UrlInput::id, "The artifact's id."),
                        json::field("lifetime_s", &UrlInput::lifetime_s, "Seconds for which the URL is good.",
                                    {.min = 1, .max = 7 * 86'400, .optional = true}));
  }
};

Source source_of(const http::Request& request) {
  if (request.stream != nullptr) {
    return [stream = request.stream] { return stream->read(); };
  }
  struct Once {
    static Async<Result<std::string>> of(std::shared_ptr<std::string> body) { co_return std::exchange(*body, {}); }
  };
  return [body = std::make_shared<std::string>(request.body)] { return Once::of(body); };
}

// As it is stored, parameters included: "text/plain; charset=utf-8".
Result<std::string> content_type_of(const http::Request& request) {
  const auto type = trim(request.header("content-type"));
  if (type.empty()) return std::string(unknown_type);
  const bool is_plain = std::ranges::all_of(type, [](char letter) { return letter >= ' ' && letter < 0x7F; });
  if (!is_plain || type.find('/') == std::string_view::npos || type.size() > 127)
    return fail(Code::unsupported_media, "Content-Type must be a media type of at most 127 characters.");
  return std::string(type);
}

Async<http::Response> upload(Artifacts& artifacts, const Call& call, ArtifactBegin input,
                             const http::Request& request) {
  auto type = content_type_of(request);
  if (!type) co_return http::problem(type.error(), request);
  const auto length = request.stream != nullptr ? request.stream->length() : std::optional(request.body.size());
  auto stored = co_await artifacts.upload(call, std::move(input), std::move(*type), length, source_of(request));
  if (!stored) co_return http::problem(stored.error(), request);
  co_return http::Response{.status = stored->is_new ? 201 : 200, .body = json::encode(stored->artifact)};
}

Async<http::Response> download(Artifacts& artifacts, const Call& call, ArtifactPath path,
                               const http::Request& request) {
  const auto artifact = co_await artifacts.get(call, path.id);
  if (!artifact) co_return http::problem(artifact.error(), request);
  if (artifact->state != ArtifactState::stored)
    co_return http::problem({Code::conflict, "Not all of this artifact is there yet.", {}}, request);
  // What is stored under an id never changes.
  const http::Downloadable file{.content_type = artifact->content_type,
                                .name = artifact->name,
                                .etag = '"' + artifact->id.text() + '"',
                                .bytes = static_cast<std::uint64_t>(*artifact->bytes),
                                .sha256 = artifact->sha256,
                                .open = [&](std::uint64_t first, std::uint64_t count) {
                                  return artifacts.download(call, *artifact, {first, count});
                                }};
  co_return co_await http::download(request, file);
}

Async<http::Response> put_part(Artifacts& artifacts, const Call& call, PartInput input, const http::Request& request) {
  auto part = co_await artifacts.put_part(call, input.id, input.number, input.sha256.value_or(""), request.body);
  if (!part) co_return http::problem(part.error(), request);
  co_return http::Response{.status = 200, .body = json::encode(*part)};
}

Async<Result<http::Reply<Upload>>> begin(Artifacts& artifacts, const Call& call, UploadBegin body) {
  auto upload = co_await artifacts.begin(call, std::move(body));
  if (!upload) co_return std::unexpected(upload.error());
  const bool is_there = upload->artifact.state == ArtifactState::stored;
  co_return http::Reply<Upload>{.body = std::move(*upload), .status = is_there ? 200 : 201};
}

http::Router::Description bytes_in(std::string answer) {
  return {.parameters = {},
          .body = R"({"type":"string","format":"binary"})",
          .body_types = {std::string(any_type)},
          .answer = std::move(answer)};
}

void add_uploads(http::Router& router, Artifacts& artifacts) {
  router.add_raw<ArtifactBegin>(
      {.method = "POST",
       .path = "/api/v1/artifacts",
       .id = "artifact_upload",
       .tag = tag,
       .summary = "Store an artifact in one go",
       .description = "The body is its bytes, as they are, however many; Content-Type is kept. It is there when all of "
                      "it is, or not at all. With an id of the caller's own it can be repeated.",
       .permission = permission::artifacts_write,
       .status = 201,
       .also = {200, 408, 409, 503},
       .streams_body = true},
      bytes_in(router.answer_schema<Artifact>()),
      [&artifacts](const Call& call, ArtifactBegin input, const http::Request& request) {
        return upload(artifacts, call, std::move(input), request);
      });
  router.add({.method = "POST",
              .path = "/api/v1/artifact-uploads",
              .id = "artifact_upload_begin",
              .tag = tag,
              .summary = "Begin to store an artifact in parts, or straight to the object storage",
              .description = "What is not gone on with for a day is dropped. A repeat with the same id goes on.",
              .permission = permission::artifacts_write,
              .status = 201,
              .also = {200, 409, 503}},
             [&artifacts](const Call& call, http::NoInput, UploadBegin body) {
               return begin(artifacts, call, std::move(body));
             });
  router.add(
      {.method = "GET",
       .path = "/api/v1/artifact-uploads/{id}",
       .id = "artifact_upload_get",
       .tag = tag,
       .summary = "Which parts are there",
       .description = "To go on after an interruption.",
       .permission = permission::artifacts_write,
       .also = {409}},
      [&artifacts](const Call& call, ArtifactPath path, http::NoInput) { return artifacts.get_upload(call, path.id); });
  router.add_raw<PartInput>(
      {.method = "PUT",
       .path = "/api/v1/artifact-uploads/{id}/parts/{number}",
       .id = "artifact_part_put",
       .tag = tag,
       .summary = "Store one part",
       .description = "The body is its bytes, at least 5 MiB but for the last part, and at most 16 MiB. A repeat takes "
                      "the place of the part before.",
       .permission = permission::artifacts_write,
       .also = {409, 503}},
      bytes_in(router.answer_schema<UploadPart>()),
      [&artifacts](const Call& call, PartInput input, const http::Request& request) {
        return put_part(artifacts, call, std::move(input), request);
      });
  router.add(
      {.method = "POST",
       .path = "/api/v1/artifact-uploads/{id}/complete",
       .id = "artifact_upload_complete",
       .tag = tag,
       .summary = "Say that all parts are there, or all bytes at the URL",
       .description = "With a declared checksum it is read once. A repeat changes nothing.",
       .permission = permission::artifacts_write,
       .also = {409, 413, 422, 503}},
      [&artifacts](const Call& call, ArtifactPath path, http::NoInput) { return artifacts.complete(call, path.id); });
}

}  // namespace

void add_routes(http::Router& router, Artifacts& artifacts) {
  add_uploads(router, artifacts);
  router.add({.method = "GET",
              .path = "/api/v1/artifacts",
              .id = "artifact_list",
              .tag = tag,
              .summary = "List artifacts",
              .description = "The newest first.",
              .permission = permission::artifacts_read},
             [&artifacts](const Call& call, ArtifactQuery query, http::NoInput) {
               return artifacts.list(call, std::move(query));
             });
  router.add({.method = "GET",
              .path = "/api/v1/artifacts/{id}",
              .id = "artifact_get",
              .tag = tag,
              .summary = "Get what is known of an artifact",
              .description = "Its state, length, checksum and when it goes; its bytes are at its content.",
              .permission = permission::artifacts_read},
             [&artifacts](const Call& call, ArtifactPath path, http::NoInput) { return artifacts.get(call, path.id); });
  router.add_raw<ArtifactPath>(
      {.method = "GET",
       .path = "/api/v1/artifacts/{id}/content",
       .id = "artifact_download",
       .tag = tag,
       .summary = "Get an artifact's bytes",
       .description = "With the Content-Type that they were stored with. Range gives a part of "
                      "them. They are checked against what was stored: "
                      "when they are not the same, the connection ends before they do.",
       .permission = permission::artifacts_read,
       .also = {206, 409, 416, 503}},
      {.parameters = {},
       .body = {},
       .answer = R"({"type":"string","format":"binary"})",
       .answer_type = std::string(any_type)},
      [&artifacts](const Call& call, ArtifactPath path, const http::Request& request) {
        return download(artifacts, call, path, request);
      });
  router.add({.method = "POST",
              .path = "/api/v1/artifacts/{id}/url",
              .id = "artifact_url",
              .tag = tag,
              .summary = "Get a URL of the object storage to download from, without credentials",
              .description = "For as long as asked. Who asked is in the audit trail. A directory has no URLs: 409.",
              .permission = permission::artifacts_read,
              .also = {409, 503}},
             [&artifacts](const Call& call, UrlInput input, http::NoInput) {
               return artifacts.url(call, input.id, std::chrono::seconds{input.lifetime_s});
             });
  router.add(
      {.method = "DELETE",
       .path = "/api/v1/artifacts/{id}",
       .id = "artifact_remove",
       .tag = tag,
       .summary = "Delete an artifact",
       .description = "Its bytes go within minutes. Of one that is being uploaded, what is there.",
       .permission = permission::artifacts_write},
      [&artifacts](const Call& call, ArtifactPath path, http::NoInput) { return artifacts.remove(call, path.id); });
}

}  // namespace cognive::artifacts
