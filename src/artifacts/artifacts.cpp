#include "artifacts/artifacts.hpp"

#include <algorithm>

#include "artifacts/store.hpp"
#include "base/text.hpp"
#include "json/writer.hpp"
#include "pg/transact.hpp"

namespace cognive::artifacts {

using std::chrono::milliseconds;

namespace {

// Leftovers of uploads in one go are removed after it.
constexpr milliseconds upload_time_max{6 * 3'600'000};
constexpr milliseconds statement_patience{10'000};
constexpr milliseconds store_patience{30'000};
constexpr milliseconds completion_patience{300'000};
constexpr std::chrono::seconds put_url_lifetime{3'600};
constexpr auto kind = objects::Kind::artifacts;

bool is_hex(std::string_view text) {
  return from_hex(text).has_value();
}

Error not_found() {
  return {Code::not_found, "There is no such artifact.", {}};
}

Error too_large(std::int64_t bytes_max) {
  return {Code::too_large, fmt::format("An artifact has at most {} bytes (ARTIFACT_BYTES_MAX).", bytes_max), {}};
}

Error mismatch() {
  return unprocessable("?sha256", "The bytes that came have another SHA-256 than was declared; nothing was stored.")
      .error();
}

Call anew(const Call& call) {
  auto out = call;
  out.deadline = Deadline::in(statement_patience);
  return out;
}

}  // namespace

void ArtifactBegin::check(json::Faults& faults) const {
  if (sha256 && !is_hex(*sha256)) faults.add_at("sha256", "It must be 64 hexadecimal digits.");
  const bool is_plain = std::ranges::none_of(
      name, [](char letter) { return static_cast<unsigned char>(letter) < 0x20 || letter == 0x7F; });
  if (!is_plain) faults.add_at("name", "It must have no control characters.");
}

void UploadBegin::check(json::Faults& faults) const {
  ArtifactBegin::check(faults);
  const bool is_type = content_type.find('/') != std::string::npos &&
                       std::ranges::all_of(content_type, [](char letter) { return letter >= ' ' && letter < 0x7F; });
  if (!is_type) faults.add_at("content_type", "It must be a media type: type/subtype.");
}

namespace {

std::string details_of(const Artifact& artifact) {
  json::Writer out;
  out.begin_object();
  out.field("name", artifact.name);
  out.field("agent_id", artifact.agent_id.text());
  if (artifact.run_id) out.field("run_id", artifact.run_id->text());
  if (artifact.bytes) {
    out.key("bytes");
    out.integer(*artifact.bytes);
  }
  if (artifact.sha256) out.field("sha256", *artifact.sha256);
  out.end_object();
  return std::move(out).text();
}

audit::Entry entry(std::string_view action, const Artifact& artifact) {
  return {.action = action,
          .resource_kind = "artifact",
          .resource_id = artifact.id.text(),
          .team_id = artifact.team_id,
          .details = details_of(artifact)};
}

}  // namespace

Async<Result<Row>> Artifacts::find(const Call& call, Uuid id, From from) {
  auto params = sql::by_id(id, call.principal);
  auto rows =
      sql::read(from == From::primary
                    ? co_await database_.primary().execute(sql::get(), std::move(params), call.deadline)
                    : co_await database_.read_preferred(call).find(sql::get(), std::move(params), call.deadline));
  if (rows.empty()) co_return std::unexpected(not_found());
  co_return std::move(rows.front());
}

Async<Result<Row>> Artifacts::insert(const Call& call, const ArtifactBegin& request, std::string content_type,
                                     Way way) {
  const auto id = call.id_or_new(request.id);
  const auto key = fmt::format("{}/{}/{}", request.agent_id.text(), id.text(), random_token(12));
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Row>> {
    const auto agent = co_await transaction.execute(sql::agent(), sql::by_id(request.agent_id, call.principal));
    if (agent.empty()) co_return unprocessable("?agent_id", "There is no such agent.");
    if (agent[0].at<bool>(1)) co_return fail(Code::conflict, "The agent is archived, and stores nothing any more.");
    const auto team_id = agent[0].at<Uuid>(0);
    if (request.run_id) {
      const auto run = co_await transaction.execute(
          sql::run(), pg::Params::of(*request.run_id, bucket_of(*request.run_id), request.agent_id));
      if (run.empty()) co_return unprocessable("?run_id", "The agent has no such run.");
    }
    auto params = pg::Params::of(id, team_id, request.agent_id, request.run_id, request.name, content_type, key, way,
                                 request.sha256);
    const bool is_new = (co_await transaction.execute(sql::insert(), std::move(params))).affected() > 0;
    auto rows = sql::read(co_await transaction.execute(sql::lock(), sql::by_id(id, call.principal)));
    const bool is_same = !rows.empty() && rows[0].artifact.agent_id == request.agent_id &&
                         rows[0].artifact.run_id == request.run_id && rows[0].artifact.name == request.name;
    if (!is_same)
      co_return fail(Code::conflict, "The id belongs to another artifact, or to one that has just expired.");
    auto& row = rows.front();
    if (is_new) co_return std::move(row);
    if (row.artifact.state == ArtifactState::stored) {
      if (request.sha256 && row.artifact.sha256 && lower(*request.sha256) != *row.artifact.sha256)
        co_return fail(Code::conflict, "The artifact of this id is stored, with other bytes.");
      co_return std::move(row);
    }
    if (row.way != way) co_return fail(Code::conflict, "The upload of this artifact has begun in another way.");
    if (way == Way::one_go) {
      row.object_key = key;
      row.declared_sha256 = request.sha256;
      co_await transaction.execute(sql::take_over(), pg::Params::of(id, key, request.sha256, content_type));
    } else if (request.sha256 && (!row.declared_sha256 || lower(*request.sha256) != *row.declared_sha256)) {
      co_return fail(Code::conflict, "The upload of this artifact has begun with another checksum.");
    }
    co_return std::move(row);
  };
  co_return co_await pg::transact(database_, "artifact_begin", call, body);
}

Async<> Artifacts::give_up(const Row& row) {
  try {
    Call call;
    call.deadline = Deadline::in(statement_patience);
    co_await database_.primary().write(sql::give_up(), pg::Params::of(row.artifact.id, row.object_key), call);
  } catch (const Unavailable&) {  // NOLINT(bugprone-empty-catch): it is swept within a day
  }
}

Async<Error> Artifacts::gone(const Row& row) {
  co_await give_up(row);
  co_return Error{Code::conflict, "The object storage has dropped this upload, or parts of it; begin anew.", {}};
}

Async<Result<Artifact>> Artifacts::note_stored(const Call& call, const Row& row, std::string key, std::uint64_t bytes,
                                               std::optional<std::string> sha256) {
  const auto object = co_await objects_.find(kind, key, store_patience);
  if (!object) co_return std::unexpected(objects::for_callers(object.error()));
  const auto days = co_await objects_.lifetime(kind);
  const auto later = anew(call);
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Artifact>> {
    const auto stored = co_await transaction.execute(
        sql::stored(), pg::Params::of(row.artifact.id, row.object_key, static_cast<std::int64_t>(bytes), sha256,
                                      object->etag, key, days));
    auto rows = sql::read(co_await transaction.execute(sql::lock(), sql::by_id(row.artifact.id, call.principal)));
    if (rows.empty()) co_return std::unexpected(not_found());
    const auto& now = rows.front();
    if (stored.affected() > 0) {
      if (key != row.object_key)
        co_await transaction.execute(sql::exchange_leftover(), pg::Params::of(key, row.object_key));
      trail_.record(transaction, call, entry("artifact_store", now.artifact));
      // A commit whose answer was lost, or somebody else, has stored what was asked for.
    } else if (now.artifact.state != ArtifactState::stored || (now.way == Way::one_go && now.object_key != key)) {
      co_return fail(Code::conflict, "Another upload of this artifact has begun meanwhile.");
    }
    co_return now.artifact;
  };
  co_return co_await pg::transact(database_, "artifact_stored", later, body);
}

Async<Result<Stored>> Artifacts::upload(const Call& call, ArtifactBegin request, std::string content_type,
                                        std::optional<std::uint64_t> length, Source source) {
  if (!objects_.is_configured()) co_return std::unexpected(objects::Objects::not_configured());
  if (length && *length > static_cast<std::uint64_t>(bytes_max_)) co_return std::unexpected(too_large(bytes_max_));
  const auto transfer = objects_.begin_transfer();
  if (!transfer) co_return std::unexpected(transfer.error());
  auto begun = co_await insert(call, request, content_type, Way::one_go);
  if (!begun) co_return std::unexpected(std::move(begun.error()));
  const auto row = std::move(*begun);
  if (row.artifact.state == ArtifactState::stored) co_return Stored{row.artifact, false};

  objects::Writer writer(objects_, kind, row.object_key, std::move(content_type));
  const auto until = Deadline::in(upload_time_max);
  std::optional<Error> fault;
  while (!fault) {
    auto piece = co_await source();
    if (!piece) {
      fault = std::move(piece.error());
    } else if (piece->empty()) {
      break;
    } else if (writer.bytes() + piece->size() > static_cast<std::uint64_t>(bytes_max_)) {
      fault = too_large(bytes_max_);
    } else if (until.passed()) {
      fault = Error{Code::timed_out, "An upload takes at most six hours.", {}};
    } else if (auto written = co_await writer.write(*piece); !written) {
      fault = objects::for_callers(written.error());
    }
  }
  objects::Written written;
  if (!fault) {
    if (auto finished = co_await writer.finish()) {
      written = *finished;
    } else {
      fault = objects::for_callers(finished.error());
    }
  }
  const auto digest = to_hex(written.sha256);
  if (!fault && row.declared_sha256 && lower(*row.declared_sha256) != digest) fault = mismatch();
  if (fault) {
    co_await writer.abort();
    co_await give_up(row);
    co_return std::unexpected(std::move(*fault));
  }
  // What cannot be noted is left over from whoever has taken it over, or is swept within a day.
  auto stored = co_await note_stored(call, row, row.object_key, written.bytes, digest);
  if (!stored) co_return std::unexpected(std::move(stored.error()));
  co_return Stored{std::move(*stored), true};
}

Async<Result<Upload>> Artifacts::upload_of(const Call& call, Row row) {
  Upload out{.artifact = row.artifact,
             .parts = {},
             .part_bytes_min = static_cast<std::int64_t>(objects::part_bytes_min),
             .part_bytes_max = part_bytes_max_,
             .put = {}};
  if (row.artifact.state == ArtifactState::stored) co_return out;
  if (row.way == Way::one_go)
    co_return fail(Code::conflict, "This artifact is uploaded in one go: it can be repeated, and has no parts.");
  if (!objects_.is_configured()) co_return std::unexpected(objects::Objects::not_configured());
  if (row.way == Way::direct) {
    const auto form = objects_.store()->url_to_put(objects_.bucket(kind), row.object_key, row.artifact.content_type,
                                                   put_url_lifetime);
    if (!form) co_return fail(Code::conflict, "The object storage here is a directory, which has no URLs.");
    out.put = SignedUrl{
        .method = "PUT", .url = form->url, .headers = {}, .expires_at = Timestamp::now().plus(put_url_lifetime)};
    for (const auto& [name, value] : form->headers) out.put->headers.push_back({name, value});
    co_return out;
  }
  const auto rows = co_await database_.primary().execute(sql::parts(), pg::Params::of(row.artifact.id), call.deadline);
  for (int i = 0; i < rows.size(); ++i) {
    UploadPart part;
    std::string etag;
    rows[i].read(part.number, part.bytes, part.sha256, etag);
    out.parts.push_back(std::move(part));
  }
  co_return out;
}

Async<Result<Upload>> Artifacts::begin(const Call& call, UploadBegin request) {
  if (!objects_.is_configured()) co_return std::unexpected(objects::Objects::not_configured());
  if (request.direct && !objects_.store()->url_to_put("x", "x", "x/x", put_url_lifetime))
    co_return unprocessable("/direct", "The object storage here is a directory, which has no URLs.");
  if (!request.direct && part_bytes_max_ < static_cast<std::int64_t>(objects::part_bytes_min))
    co_return fail(Code::conflict, "HTTP_BODY_BYTES_MAX is too small here for parts; store it in one go.");
  auto begun = co_await insert(call, request, request.content_type, request.direct ? Way::direct : Way::parts);
  if (!begun) {
    for (auto& field : begun.error().fields) {
      if (field.pointer.starts_with('?')) field.pointer.front() = '/';
    }
    co_return std::unexpected(std::move(begun.error()));
  }
  auto row = std::move(*begun);
  // The store's upload begins when the row is there, so that none is without one.
  if (row.artifact.state == ArtifactState::uploading && row.way == Way::parts && row.upload_id.empty()) {
    const objects::Objects::Question<std::string> question = [&](objects::Store& store, Deadline deadline) {
      return store.begin(objects_.bucket(kind), row.object_key, row.artifact.content_type, deadline);
    };
    const auto upload = co_await objects_.ask<std::string>("begin", store_patience, question);
    if (!upload) co_return std::unexpected(objects::for_callers(upload.error()));
    const auto noted = co_await database_.primary().write(
        sql::begun(), pg::Params::of(row.artifact.id, row.object_key, *upload), anew(call));
    if (noted.affected() == 0) {
      // Somebody else has been faster: theirs is the one.
      const objects::Objects::Question<void> abort = [&](objects::Store& store, Deadline deadline) {
        return store.abort(objects_.bucket(kind), row.object_key, *upload, deadline);
      };
      (void)co_await objects_.ask<void>("abort", store_patience, abort);
      auto now = co_await find(call, row.artifact.id, From::primary);
      if (!now) co_return std::unexpected(std::move(now.error()));
      row = std::move(*now);
    }
  }
  co_return co_await upload_of(call, std::move(row));
}

Async<Result<Upload>> Artifacts::get_upload(const Call& call, Uuid id) {
  auto row = co_await find(call, id, From::primary);
  if (!row) co_return std::unexpected(std::move(row.error()));
  co_return co_await upload_of(call, std::move(*row));
}

Async<Result<UploadPart>> Artifacts::put_part(const Call& call, Uuid id, std::int64_t number, std::string declared,
                                              std::string bytes) {
  const auto row = co_await find(call, id, From::primary);
  if (!row) co_return std::unexpected(row.error());
  if (row->artifact.state == ArtifactState::stored)
    co_return fail(Code::conflict, "All of this artifact is stored already.");
  if (row->upload_id.empty())
    co_return fail(Code::conflict, "No upload in parts has begun for this artifact: POST /api/v1/artifact-uploads.");
  if (bytes.empty()) co_return fail(Code::malformed, "The part is empty.");
  if (std::ssize(bytes) > part_bytes_max_)
    co_return fail(Code::too_large, fmt::format("A part has at most {} bytes.", part_bytes_max_));
  const auto others =
      co_await database_.primary().execute(sql::other_parts(), pg::Params::of(id, number), call.deadline);
  if (others[0].at<std::int64_t>(0) + std::ssize(bytes) > bytes_max_) co_return std::unexpected(too_large(bytes_max_));
  UploadPart out{.number = number, .bytes = std::ssize(bytes), .sha256 = {}};
  Digest digest{};
  const objects::Objects::Question<objects::Part> question = [&](objects::Store& store,
                                                                 Deadline deadline) -> Result<objects::Part> {
    digest = sha256(bytes);
    out.sha256 = to_hex(digest);
    if (!declared.empty() && lower(declared) != out.sha256) return std::unexpected(mismatch());
    return store.put_part(objects_.bucket(kind), row->object_key, row->upload_id, number, bytes, deadline);
  };
  const auto part = co_await objects_.ask<objects::Part>("put_part", store_patience, question);
  if (!part && !part.error().fields.empty()) co_return std::unexpected(part.error());
  if (!part && part.error().code == Code::not_found) co_return std::unexpected(co_await gone(*row));
  if (!part) co_return std::unexpected(objects::for_callers(part.error()));
  const auto noted = co_await database_.primary().write(
      sql::put_part(), pg::Params::of(id, number, part->etag, out.bytes, pg::Bytes{digest}), anew(call));
  if (noted.affected() == 0) co_return fail(Code::conflict, "The upload has ended meanwhile.");
  co_return out;
}

Async<Result<std::string>> Artifacts::digest_of(const std::string& key, const objects::Object& object) {
  objects::Reader reader(objects_, kind, key, 0, object.bytes, objects::Reader::Checksum::wanted, object.etag);
  for (;;) {
    const auto piece = co_await reader.next();
    if (!piece) co_return std::unexpected(piece.error());
    if (piece->empty()) co_return to_hex(reader.sha256());
  }
}

// Makes one object of the parts.
Async<Result<void>> Artifacts::complete_parts(const Call& call, const Row& row) {
  const auto rows = co_await database_.primary().execute(sql::parts(), pg::Params::of(row.artifact.id), call.deadline);
  std::vector<objects::Part> parts;
  for (int i = 0; i < rows.size(); ++i) {
    std::int64_t part_bytes = 0;
    std::string sha256;
    objects::Part part;
    rows[i].read(part.number, part_bytes, sha256, part.etag);
    part.bytes = static_cast<std::uint64_t>(part_bytes);
    if (part.number != i + 1) co_return fail(Code::conflict, fmt::format("Part {} is missing.", i + 1));
    if (i + 1 < rows.size() && part.bytes < objects::part_bytes_min)
      co_return fail(Code::conflict, fmt::format("Part {} is shorter than {} bytes, and not the last.", i + 1,
                                                 objects::part_bytes_min));
    parts.push_back(std::move(part));
  }
  if (parts.empty()) co_return fail(Code::conflict, "There is no part yet.");
  const objects::Objects::Question<void> question = [&](objects::Store& store, Deadline deadline) {
    return store.complete(objects_.bucket(kind), row.object_key, row.upload_id, parts, deadline);
  };
  const auto completed = co_await objects_.ask<void>("complete", completion_patience, question);
  if (completed) co_return Result<void>();
  // An earlier try may have done it.
  if (co_await objects_.find(kind, row.object_key, store_patience)) co_return Result<void>();
  if (completed.error().code == Code::not_found) co_return std::unexpected(co_await gone(row));
  if (completed.error().code == Code::unprocessable)
    co_return fail(Code::conflict, "The object storage has other parts than were noted; put them again.");
  co_return std::unexpected(objects::for_callers(completed.error()));
}

// Where nobody has a URL to write to: what is looked at then stays as it is.
Async<Result<std::string>> Artifacts::copy_of(const Call& call, const Row& row) {
  auto key = fmt::format("{}/{}/{}", row.artifact.agent_id.text(), row.artifact.id.text(), random_token(12));
  co_await database_.primary().write(sql::expect_leftover(), pg::Params::of(key), anew(call));
  const objects::Objects::Question<void> question = [&](objects::Store& store, Deadline deadline) {
    return store.copy(objects_.bucket(kind), row.object_key, key, row.artifact.content_type, deadline);
  };
  const auto copied = co_await objects_.ask<void>("copy", completion_patience, question);
  if (!copied && copied.error().code == Code::not_found)
    co_return fail(Code::conflict, "Nothing has been put to the URL yet.");
  if (!copied) co_return std::unexpected(objects::for_callers(copied.error()));
  co_return key;
}

Async<Result<Artifact>> Artifacts::complete(const Call& call, Uuid id) {
  const auto found = co_await find(call, id, From::primary);
  if (!found) co_return std::unexpected(found.error());
  const auto& row = *found;
  if (row.artifact.state == ArtifactState::stored) co_return row.artifact;
  if (row.way == Way::one_go)
    co_return fail(Code::conflict, "This artifact is uploaded in one go: it can be repeated, and has no parts.");
  if (row.way == Way::parts) {
    if (row.upload_id.empty()) co_return fail(Code::conflict, "There is no part yet.");
    if (auto completed = co_await complete_parts(call, row); !completed)
      co_return std::unexpected(std::move(completed.error()));
  }
  auto key = row.object_key;
  if (row.way == Way::direct) {
    auto copied = co_await copy_of(call, row);
    if (!copied) co_return std::unexpected(std::move(copied.error()));
    key = std::move(*copied);
  }
  const auto object = co_await objects_.find(kind, key, store_patience);
  if (!object) co_return std::unexpected(objects::for_callers(object.error()));
  if (object->bytes > static_cast<std::uint64_t>(bytes_max_)) {
    co_await give_up(row);
    co_return std::unexpected(too_large(bytes_max_));
  }
  if (row.declared_sha256) {
    const auto digest = co_await digest_of(key, *object);
    if (!digest) co_return std::unexpected(objects::for_readers(digest.error()));
    if (*digest != lower(*row.declared_sha256)) {
      co_await give_up(row);
      co_return unprocessable("/sha256",
                              "The bytes that came have another SHA-256 than was declared; nothing is stored.");
    }
  }
  co_return co_await note_stored(call, row, std::move(key), object->bytes, row.declared_sha256);
}

Async<Result<Artifact>> Artifacts::get(const Call& call, Uuid id) {
  auto row = co_await find(call, id, From::anywhere);
  if (!row) co_return std::unexpected(std::move(row.error()));
  co_return std::move(row->artifact);
}

Async<Result<json::Page<Artifact>>> Artifacts::list(const Call& call, ArtifactQuery query) {
  auto params = pg::Params::of(call.principal.team_id, call.principal.agent_id, query.agent_id, query.run_id,
                               query.name, query.state, query.cursor, query.limit + 1);
  auto rows = sql::read(co_await database_.read_preferred(call).execute(sql::list(), std::move(params), call.deadline));
  std::vector<Artifact> found;
  for (auto& row : rows) found.push_back(std::move(row.artifact));
  co_return json::page_of(std::move(found), query.limit,
                          [](const Artifact& one) { return json::PagePosition{one.created_at, one.id}; });
}

Async<Result<objects::Pieces>> Artifacts::download(const Call& call, const Artifact& artifact, Range range) {
  const auto row = co_await find(call, artifact.id, From::anywhere);
  if (!row) co_return std::unexpected(row.error());
  const objects::Wanted wanted{.kind = kind,
                               .key = row->object_key,
                               .etag = row->etag,
                               .first = range.first,
                               .count = range.count,
                               .bytes = static_cast<std::uint64_t>(artifact.bytes.value_or(0)),
                               .sha256 = artifact.sha256};
  auto transfer = objects_.begin_transfer();
  if (!transfer) co_return std::unexpected(transfer.error());
  auto begun = co_await objects::read_checked(objects_, std::move(*transfer), wanted);
  if (!begun && begun.error().code == Code::not_found)
    co_return fail(Code::not_found, "The artifact's bytes are not in the object storage any more.");
  if (!begun) co_return std::unexpected(objects::for_readers(begun.error()));
  co_return std::move(*begun);
}

Async<Result<SignedUrl>> Artifacts::url(const Call& call, Uuid id, std::chrono::seconds lifetime) {
  if (!objects_.is_configured()) co_return std::unexpected(objects::Objects::not_configured());
  const auto expires_at = Timestamp::now().plus(lifetime);
  // Whoever has it needs no credentials: who gave it to whom is worth knowing.
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<SignedUrl>> {
    const auto rows = sql::read(co_await transaction.execute(sql::get(), sql::by_id(id, call.principal)));
    if (rows.empty()) co_return std::unexpected(not_found());
    const auto& row = rows.front();
    if (row.artifact.state != ArtifactState::stored)
      co_return fail(Code::conflict, "Not all of this artifact is there yet.");
    auto url = objects_.store()->url_to_get(objects_.bucket(kind), row.object_key, "attachment", lifetime);
    if (!url)
      co_return fail(Code::conflict,
                     "The object storage here is a directory, which has no URLs; GET the content from us.");
    trail_.record(transaction, call, entry("artifact_url", row.artifact));
    co_return SignedUrl{.method = "GET", .url = std::move(*url), .headers = {}, .expires_at = expires_at};
  };
  co_return co_await pg::transact(database_, "artifact_url", call, body);
}

Async<Result<Artifact>> Artifacts::remove(const Call& call, Uuid id) {
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Artifact>> {
    auto rows = sql::read(co_await transaction.execute(sql::lock(), sql::by_id(id, call.principal)));
    if (rows.empty()) co_return std::unexpected(not_found());
    co_await transaction.execute(sql::remove(), pg::Params::of(id));
    trail_.record(transaction, call, entry("artifact_remove", rows.front().artifact));
    co_return std::move(rows.front().artifact);
  };
  co_return co_await pg::transact(database_, "artifact_remove", call, body);
}

}  // namespace cognive::artifacts
