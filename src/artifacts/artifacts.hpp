// Artifacts: files that agents make or need, kept in the object storage, with a row each that says whose they are. One
// is uploaded as a whole, while it comes; in parts, which can be repeated and gone on with; or straight to the store
// by a URL that we sign. It is there when all of it is, and as it was declared.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "audit/audit.hpp"
#include "json/bind.hpp"
#include "json/page.hpp"
#include "objects/checked.hpp"
#include "pg/cluster.hpp"
#include "runtime/call.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::artifacts {

enum class ArtifactState { uploading, stored };

constexpr auto enum_names(ArtifactState) {
  return std::array{json::name(ArtifactState::uploading, "uploading"), json::name(ArtifactState::stored, "stored")};
}

struct Artifact {
  Uuid id;
  Uuid team_id;
  Uuid agent_id;
  std::optional<Uuid> run_id;
  std::string name;
  std::string content_type;
  ArtifactState state = ArtifactState::uploading;
  std::optional<std::int64_t> bytes;
  std::optional<std::string> sha256;
  Timestamp created_at;
  std::optional<Timestamp> stored_at;
  std::optional<Timestamp> expires_at;

  static constexpr std::string_view schema_name = "Artifact";
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &Artifact::id, ""), json::field("team_id", &Artifact::team_id, ""),
        json::field("agent_id", &Artifact::agent_id, ""),
        json::field("run_id", &Artifact::run_id, "null: it belongs to no run."),
        json::field("name", &Artifact::name, "As a download is called. Not unique."),
        json::field("content_type", &Artifact::content_type, ""), json::field("state", &Artifact::state, ""),
        json::field("bytes", &Artifact::bytes, "null: not all of it is there."),
        json::field(
            "sha256", &Artifact::sha256,
            "64 hexadecimal digits; null when it came in parts or straight to the store, and none was declared."),
        json::field("created_at", &Artifact::created_at, ""), json::field("stored_at", &Artifact::stored_at, ""),
        json::field("expires_at", &Artifact::expires_at, "When it goes by itself; null: before it is stored."));
  }
};

// What is said of an artifact before its bytes come.
struct ArtifactBegin {
  std::optional<Uuid> id;
  Uuid agent_id;
  std::optional<Uuid> run_id;
  std::string name;
  std::optional<std::string> sha256;

  void check(json::Faults& faults) const;

  template <typename T>
  static constexpr auto fields_of() {
    return json::fields(
        json::field("id", &T::id, "The caller's own id, so that it can be repeated; ours when absent."),
        json::field("agent_id", &T::agent_id, "Whose it is."),
        json::field("run_id", &T::run_id, "The run that made it, of the same agent."),
        json::field("name", &T::name, "For people, and for downloads.",
                    {.min_length = 1, .max_length = 255, .example = "\"report.pdf\""}),
        json::field("sha256", &T::sha256, "64 hexadecimal digits: what comes is refused when it is not this.",
                    {.min_length = 64, .max_length = 64}));
  }
  static constexpr auto fields() { return fields_of<ArtifactBegin>(); }
};

struct UploadBegin : ArtifactBegin {
  std::string content_type = "application/octet-stream";
  bool direct = false;

  void check(json::Faults& faults) const;

  static constexpr std::string_view schema_name = "ArtifactUploadBegin";
  static constexpr auto fields() {
    return std::tuple_cat(
        fields_of<UploadBegin>(),
        json::fields(json::field("content_type", &UploadBegin::content_type, "",
                                 {.min_length = 3, .max_length = 127, .optional = true}),
                     json::field("direct", &UploadBegin::direct,
                                 "Straight to the store, by the URL of the answer, in one PUT of at most 5 GiB.",
                                 {.optional = true})));
  }
};

struct UploadPart {
  std::int64_t number = 0;
  std::int64_t bytes = 0;
  std::string sha256;

  static constexpr std::string_view schema_name = "ArtifactPart";
  static constexpr auto fields() {
    return json::fields(json::field("number", &UploadPart::number, "From 1."),
                        json::field("bytes", &UploadPart::bytes, ""),
                        json::field("sha256", &UploadPart::sha256, "Of this part, as it arrived."));
  }
};

struct SignedHeader {
  std::string name;
  std::string value;

  static constexpr std::string_view schema_name = "ArtifactSignedHeader";
  static constexpr auto fields() {
    return json::fields(json::field("name", &SignedHeader::name, ""), json::field("value", &SignedHeader::value, ""));
  }
};

// A URL that needs no credentials.
struct SignedUrl {
  std::string method;
  std::string url;
  std::vector<SignedHeader> headers;
  Timestamp expires_at;

  static constexpr std::string_view schema_name = "ArtifactUrl";
  static constexpr auto fields() {
    return json::fields(json::field("method", &SignedUrl::method, ""), json::field("url", &SignedUrl::url, ""),
                        json::field("headers", &SignedUrl::headers, "To be sent with it, exactly."),
                        json::field("expires_at", &SignedUrl::expires_at, ""));
  }
};

struct Upload {
  Artifact artifact;
  std::vector<UploadPart> parts;
  std::int64_t part_bytes_min = 0;
  std::int64_t part_bytes_max = 0;
  std::optional<SignedUrl> put;

  static constexpr std::string_view schema_name = "ArtifactUpload";
  static constexpr auto fields() {
    return json::fields(json::field("artifact", &Upload::artifact, ""),
                        json::field("parts", &Upload::parts, "Those that are there, by number."),
                        json::field("part_bytes_min", &Upload::part_bytes_min, "Of all parts but the last."),
                        json::field("part_bytes_max", &Upload::part_bytes_max, "The usual one is a good choice."),
                        json::field("put", &Upload::put, "Where the bytes go; null: to us, in parts."));
  }
};

struct ArtifactQuery {
  std::optional<Uuid> agent_id;
  std::optional<Uuid> run_id;
  std::optional<std::string> name;
  std::optional<ArtifactState> state;
  std::int64_t limit = 50;
  std::optional<json::PagePosition> cursor;

  static constexpr auto fields() {
    return json::fields(json::field("agent_id", &ArtifactQuery::agent_id, "Only of this agent."),
                        json::field("run_id", &ArtifactQuery::run_id, "Only of this run."),
                        json::field("name", &ArtifactQuery::name, "Only those that are called exactly this.",
                                    {.min_length = 1, .max_length = 255}),
                        json::field("state", &ArtifactQuery::state, "Only those in this state."),
                        json::field("limit", &ArtifactQuery::limit, "Items per page.", json::page_limit_rules),
                        json::field("cursor", &ArtifactQuery::cursor, "next_cursor of the page before."));
  }
};

struct Row;
enum class Way;

// Bytes as they come; empty: that was all.
using Source = std::function<Async<Result<std::string>>()>;

// Of an object; both in bytes.
struct Range {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

struct Stored {
  Artifact artifact;
  bool is_new = false;
};

// Of one part: bodies of requests are in memory.
inline constexpr std::int64_t part_bytes_max = 16 << 20;

class Artifacts {
 public:
  // `bytes_max`: of one artifact; `body_bytes_max`: of the body of a request, which a part is. All must outlive it.
  Artifacts(pg::Cluster& database, audit::Trail trail, objects::Objects& objects, std::int64_t bytes_max,
            std::int64_t body_bytes_max)
      : database_(database),
        trail_(std::move(trail)),
        objects_(objects),
        bytes_max_(bytes_max),
        part_bytes_max_(std::min(part_bytes_max, body_bytes_max)) {}

  // Takes the bytes as they come. A repeat with the same id returns what is stored, without reading any. Code::conflict
  // when the id is another artifact's, or somebody else has taken the upload over; Code::unprocessable when the bytes
  // are not what was declared; Code::unavailable while the store is away. Then nothing of it is there.
  Async<Result<Stored>> upload(const Call& call, ArtifactBegin request, std::string content_type,
                               std::optional<std::uint64_t> length, Source source);

  Async<Result<Upload>> begin(const Call& call, UploadBegin request);
  Async<Result<Upload>> get_upload(const Call& call, Uuid id);
  // `declared`: its SHA-256 in hexadecimal digits, or empty. In place of an earlier one of the number.
  Async<Result<UploadPart>> put_part(const Call& call, Uuid id, std::int64_t number, std::string declared,
                                     std::string bytes);
  // Takes minutes for what is large and has a declared checksum: then it is read once.
  Async<Result<Artifact>> complete(const Call& call, Uuid id);

  Async<Result<Artifact>> get(const Call& call, Uuid id);
  Async<Result<json::Page<Artifact>>> list(const Call& call, ArtifactQuery query);
  Async<Result<objects::Pieces>> download(const Call& call, const Artifact& artifact, Range range);
  // Code::conflict where the store has no such URLs.
  Async<Result<SignedUrl>> url(const Call& call, Uuid id, std::chrono::seconds lifetime);
  // Nobody sees it from then on; the bytes go within minutes.
  Async<Result<Artifact>> remove(const Call& call, Uuid id);

 private:
  // What decides is read from the primary.
  enum class From { primary, anywhere };
  Async<Result<Row>> find(const Call& call, Uuid id, From from);
  // The row of an upload that begins in this way, or of the artifact that is there already.
  Async<Result<Row>> insert(const Call& call, const ArtifactBegin& request, std::string content_type, Way way);
  // `key`: under which it is by now.
  Async<Result<Artifact>> note_stored(const Call& call, const Row& row, std::string key, std::uint64_t bytes,
                                      std::optional<std::string> sha256);
  Async<Result<std::string>> digest_of(const std::string& key, const objects::Object& object);
  Async<Result<std::string>> copy_of(const Call& call, const Row& row);
  Async<Result<void>> complete_parts(const Call& call, const Row& row);
  Async<Result<Upload>> upload_of(const Call& call, Row row);
  // The row goes, and the object with the sweep.
  Async<> give_up(const Row& row);
  Async<Error> gone(const Row& row);

  pg::Cluster& database_;
  audit::Trail trail_;
  objects::Objects& objects_;
  std::int64_t bytes_max_;
  std::int64_t part_bytes_max_;
};

// Removes what was removed, has expired, or was not gone on with for a day: objects first, rows then. Throws
// Unavailable while the store is away.
Async<> sweep(pg::Cluster& database, objects::Objects& objects, Deadline deadline);

void add_routes(http::Router& router, Artifacts& artifacts);

}  // namespace cognive::artifacts
