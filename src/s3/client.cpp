#include "s3/client.hpp"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <thread>

#include "base/crypto.hpp"
#include "base/text.hpp"
#include "client/retry.hpp"

namespace cognive::s3 {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t document_bytes_max = std::size_t{8} << 20U;
constexpr milliseconds first_try_again{50};

std::string path_of(const std::string& bucket, const std::string& key) {
  return '/' + bucket + '/' + key;
}

Request request_for(std::string method, std::string path, Fields query = {}) {
  return {.method = std::move(method), .host = {}, .path = std::move(path), .query = std::move(query), .headers = {}};
}

// Whether the same request may do better later.
bool may_pass(const Answer& answer) {
  if (answer.status == 429 || answer.status >= 500) return answer.status != 501;
  if (answer.status != 400 && answer.status != 409) return false;
  const auto fault = read_fault(answer.body);
  return fault && (fault->code == "RequestTimeout" || fault->code == "OperationAborted" ||
                   fault->code == "ConcurrentModification" || fault->code == "SlowDown");
}

std::uint64_t number(std::string_view text) {
  std::uint64_t out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

std::optional<Timestamp> time_of(std::string_view http_date) {
  const auto seconds = curl_getdate(std::string(http_date).c_str(), nullptr);
  if (seconds < 0) return std::nullopt;
  return Timestamp::of(std::chrono::sys_seconds(std::chrono::seconds(seconds)));
}

std::string unquoted(std::string_view etag) {
  if (etag.starts_with('"')) etag.remove_prefix(1);
  if (etag.ends_with('"')) etag.remove_suffix(1);
  return std::string(etag);
}

std::unexpected<Error> no_document(const Endpoint& endpoint, std::string_view what) {
  return fail(Code::unprocessable, fmt::format("{} answers with no {}; is it an S3 store?", endpoint.text(), what));
}

}  // namespace

Client::Client(ClientOptions options)
    : options_(std::move(options)), transport_(options_.endpoint, options_.credentials, options_.authority_file) {}

std::chrono::seconds Client::stall_of(Silence silence) const {
  constexpr int longer = 6;
  return silence == Silence::is_long ? longer * options_.stall : options_.stall;
}

Client::Called Client::call(const Request& request, std::string_view body, std::size_t answer_bytes_max,
                            Deadline deadline, Silence silence) {
  client::Backoff backoff;
  for (int attempt = 1;; ++attempt) {
    auto answer = transport_.send(request, body, answer_bytes_max, deadline, stall_of(silence));
    if (answer && answer->status < 300) return std::move(*answer);
    auto refusal = answer ? refused(request, *answer) : Refused{.error = std::move(answer.error()), .code = {}};
    const auto wait = attempt == 1 ? first_try_again : backoff.next({});
    if (refusal.error.code != Code::unavailable || attempt == options_.tries_max || deadline.remaining() <= wait)
      return std::unexpected(std::move(refusal));
    std::this_thread::sleep_for(wait);
  }
}

Client::Refused Client::refused(const Request& request, const Answer& answer) const {
  auto fault = read_fault(answer.body).value_or(Fault());
  // Answers to HEAD have no body.
  if (fault.code.empty() && answer.status == 404) fault.code = "NoSuchKey";
  const auto what = fmt::format("{} answers {} to {} {}", transport_.endpoint().text(), answer.status, request.method,
                                shortened(request.path, 200));
  auto detail = what;
  if (!fault.code.empty()) detail += ": " + shortened(fault.code, 100);
  if (!fault.message.empty()) detail += ", " + shortened(fault.message, 300);
  detail += '.';
  const auto& code = fault.code;
  const auto because = [&](Code kind, std::string_view advice = {}) {
    return Refused{.error = {kind, detail + std::string(advice), {}}, .code = code};
  };
  if (may_pass(answer)) return because(Code::unavailable);
  if (code == "InvalidAccessKeyId" || code == "SignatureDoesNotMatch" || code == "InvalidToken" || answer.status == 401)
    return because(Code::unauthenticated, " Are STORAGE_ACCESS_KEY, STORAGE_SECRET_KEY and STORAGE_REGION right?");
  if (code == "RequestTimeTooSkewed")
    return because(Code::unauthenticated, " The clock of this machine differs from the store's.");
  if (answer.status == 404) return because(Code::not_found);
  if (answer.status == 403) return because(Code::forbidden);
  if (answer.status == 409 || answer.status == 412) return because(Code::conflict);
  if (answer.status == 301 || answer.status == 307)
    return because(Code::unprocessable, " The bucket is in another region than STORAGE_REGION says.");
  return because(Code::unprocessable);
}

Result<std::vector<Bucket>> Client::buckets(Deadline deadline) {
  const auto answer = call(request_for("GET", "/"), {}, document_bytes_max, deadline);
  if (!answer) return std::unexpected(answer.error().error);
  auto found = read_buckets(answer->body);
  if (!found) return no_document(endpoint(), "list of buckets");
  return std::move(*found);
}

Result<void> Client::make_bucket(const std::string& bucket, Deadline deadline) {
  // Where buckets are made when nothing is said; it must not be said there.
  constexpr std::string_view region_of_old = "us-east-1";
  const auto& region = options_.credentials.region;
  const auto request = request_for("PUT", '/' + bucket);
  auto answer = call(request, region == region_of_old ? "" : location_of(region), document_bytes_max, deadline);
  // Stores of one place know regions as nothing but a word of the signature.
  if (!answer && answer.error().code == "InvalidLocationConstraint")
    answer = call(request, {}, document_bytes_max, deadline);
  if (answer || answer.error().code == "BucketAlreadyOwnedByYou") return {};
  return std::unexpected(std::move(answer.error().error));
}

Result<bool> Client::has_bucket(const std::string& bucket, Deadline deadline) {
  const auto answer = call(request_for("HEAD", '/' + bucket), {}, 0, deadline);
  if (!answer && answer.error().error.code == Code::not_found) return false;
  if (!answer) return std::unexpected(answer.error().error);
  return true;
}

Result<void> Client::remove_bucket(const std::string& bucket, Deadline deadline) {
  const auto answer = call(request_for("DELETE", '/' + bucket), {}, document_bytes_max, deadline);
  if (!answer && answer.error().error.code != Code::not_found) return std::unexpected(answer.error().error);
  return {};
}

Result<void> Client::set_lifetime(const std::string& bucket, std::int64_t days, Deadline deadline) {
  const auto body = lifetime_of(days);
  auto request = request_for("PUT", '/' + bucket, {{"lifecycle", ""}});
  request.headers = {{"Content-MD5", to_base64(md5(body))}, {"Content-Type", "application/xml"}};
  const auto answer = call(request, body, document_bytes_max, deadline);
  if (!answer) return std::unexpected(answer.error().error);
  return {};
}

Result<std::int64_t> Client::lifetime(const std::string& bucket, Deadline deadline) {
  const auto answer = call(request_for("GET", '/' + bucket, {{"lifecycle", ""}}), {}, document_bytes_max, deadline);
  if (!answer && answer.error().code == "NoSuchLifecycleConfiguration") return 0;
  if (!answer) return std::unexpected(answer.error().error);
  const auto found = read_lifetime(answer->body);
  if (!found) return no_document(endpoint(), "lifecycle");
  return *found;
}

Fields Client::encryption_fields() const {
  Fields out;
  if (options_.encryption.empty()) return out;
  out.emplace_back("x-amz-server-side-encryption", options_.encryption);
  if (!options_.kms_key_id.empty())
    out.emplace_back("x-amz-server-side-encryption-aws-kms-key-id", options_.kms_key_id);
  return out;
}

Result<void> Client::put(const std::string& bucket, const std::string& key, std::string_view bytes,
                         std::string_view content_type, Deadline deadline) {
  auto request = request_for("PUT", path_of(bucket, key));
  request.headers = encryption_fields();
  request.headers.emplace_back("Content-Type", content_type);
  const auto answer = call(request, bytes, document_bytes_max, deadline, Silence::is_long);
  if (!answer) return std::unexpected(answer.error().error);
  return {};
}

Result<Piece> Client::get(const std::string& bucket, const std::string& key, std::uint64_t first, std::size_t count,
                          const std::string& etag, Deadline deadline) {
  auto request = request_for("GET", path_of(bucket, key));
  request.headers = {{"Range", fmt::format("bytes={}-{}", first, first + count - 1)}};
  if (!etag.empty()) request.headers.emplace_back("If-Match", '"' + etag + '"');
  const auto answer = call(request, {}, std::max(count, document_bytes_max), deadline);
  if (!answer && answer.error().code == "InvalidRange") {
    // It ends before, or is empty.
    const auto object = find(bucket, key, deadline);
    if (!object) return std::unexpected(object.error());
    return Piece{.bytes = {}, .object_bytes = object->bytes, .etag = object->etag};
  }
  if (!answer) return std::unexpected(answer.error().error);
  Piece out{.bytes = answer->body, .object_bytes = answer->body.size(), .etag = unquoted(answer->header("etag"))};
  const auto range = answer->header("content-range");  // bytes 0-99/1234
  if (answer->status == 206 && range.find('/') != std::string_view::npos) {
    out.object_bytes = number(range.substr(range.find('/') + 1));
    const auto wanted = std::min<std::uint64_t>(count, out.object_bytes - std::min(first, out.object_bytes));
    if (range.starts_with(fmt::format("bytes {}-", first)) && out.bytes.size() == wanted) return out;
  } else if (first == 0 && out.bytes.size() <= count) {
    return out;
  }
  return no_document(endpoint(), "part of the object that was asked for");
}

Result<Object> Client::find(const std::string& bucket, const std::string& key, Deadline deadline) {
  const auto answer = call(request_for("HEAD", path_of(bucket, key)), {}, 0, deadline);
  if (!answer) return std::unexpected(answer.error().error);
  return Object{.key = key,
                .bytes = number(answer->header("content-length")),
                .etag = unquoted(answer->header("etag")),
                .modified_at = time_of(answer->header("last-modified"))};
}

Result<void> Client::copy(const std::string& bucket, const std::string& from, const std::string& to,
                          std::string_view content_type, Deadline deadline) {
  auto request = request_for("PUT", path_of(bucket, to));
  request.headers = encryption_fields();
  request.headers.emplace_back("x-amz-copy-source", percent_encoded(path_of(bucket, from), Slash::separates));
  request.headers.emplace_back("x-amz-metadata-directive", "REPLACE");
  request.headers.emplace_back("Content-Type", content_type);
  const auto answer = call(request, {}, document_bytes_max, deadline, Silence::is_long);
  // Ceph copies nothing that is encrypted.
  if (!answer && answer.error().code == "NotImplemented")
    return copy_through_us(bucket, from, to, content_type, deadline);
  if (!answer) return std::unexpected(answer.error().error);
  // It may have said that all is well before it was.
  if (read_fault(answer->body)) return std::unexpected(refused(request, *answer).error);
  return {};
}

Result<void> Client::copy_through_us(const std::string& bucket, const std::string& from, const std::string& to,
                                     std::string_view content_type, Deadline deadline) {
  constexpr std::size_t piece_bytes = std::size_t{16} << 20U;
  constexpr std::chrono::milliseconds abort_patience{10'000};  // also when there was too little time
  auto piece = get(bucket, from, 0, piece_bytes, {}, deadline);
  if (!piece) return std::unexpected(std::move(piece.error()));
  const auto bytes = piece->object_bytes;
  if (bytes <= piece_bytes) return put(bucket, to, piece->bytes, content_type, deadline);
  const auto upload = begin_upload(bucket, to, content_type, deadline);
  if (!upload) return std::unexpected(upload.error());
  const auto given_up = [&](Error error) {
    (void)abort_upload(bucket, to, *upload, Deadline::in(abort_patience));
    return std::unexpected(std::move(error));
  };
  std::vector<Part> parts;
  for (std::uint64_t at = 0;;) {
    const auto part = put_part(bucket, to, *upload, std::ssize(parts) + 1, piece->bytes, deadline);
    if (!part) return given_up(part.error());
    parts.push_back(*part);
    at += piece->bytes.size();
    if (at >= bytes) break;
    piece = get(bucket, from, at, piece_bytes, piece->etag, deadline);
    if (!piece) return given_up(piece.error());
    if (piece->bytes.empty()) return given_up({Code::conflict, "The object has become shorter.", {}});
  }
  if (const auto done = complete_upload(bucket, to, *upload, parts, deadline); !done) return given_up(done.error());
  return {};
}

Result<void> Client::remove(const std::string& bucket, const std::string& key, Deadline deadline) {
  const auto answer = call(request_for("DELETE", path_of(bucket, key)), {}, document_bytes_max, deadline);
  if (!answer && answer.error().code != "NoSuchKey") return std::unexpected(answer.error().error);
  return {};
}

Result<ObjectPage> Client::objects(const std::string& bucket, const std::string& prefix, const std::string& next,
                                   std::int64_t count, Deadline deadline) {
  Fields query{{"list-type", "2"}, {"prefix", prefix}, {"max-keys", std::to_string(count)}, {"encoding-type", "url"}};
  if (!next.empty()) query.emplace_back("continuation-token", next);
  const auto answer = call(request_for("GET", '/' + bucket, std::move(query)), {}, document_bytes_max, deadline);
  if (!answer) return std::unexpected(answer.error().error);
  auto page = read_objects(answer->body);
  if (!page) return no_document(endpoint(), "list of objects");
  return std::move(*page);
}

Result<std::string> Client::begin_upload(const std::string& bucket, const std::string& key,
                                         std::string_view content_type, Deadline deadline) {
  auto request = request_for("POST", path_of(bucket, key), {{"uploads", ""}});
  request.headers = encryption_fields();
  request.headers.emplace_back("Content-Type", content_type);
  const auto answer = call(request, {}, document_bytes_max, deadline);
  if (!answer) return std::unexpected(answer.error().error);
  auto id = read_upload_id(answer->body);
  if (!id) return no_document(endpoint(), "id of the upload");
  return std::move(*id);
}

Result<Part> Client::put_part(const std::string& bucket, const std::string& key, const std::string& upload,
                              std::int64_t part, std::string_view bytes, Deadline deadline) {
  const auto request =
      request_for("PUT", path_of(bucket, key), {{"partNumber", std::to_string(part)}, {"uploadId", upload}});
  const auto answer = call(request, bytes, document_bytes_max, deadline, Silence::is_long);
  if (!answer) return std::unexpected(answer.error().error);
  const auto etag = unquoted(answer->header("etag"));
  if (etag.empty()) return no_document(endpoint(), "ETag of the part");
  return Part{.number = part, .etag = etag, .bytes = bytes.size()};
}

// An earlier try may have done it, and only its answer was lost: then the upload is not found, for which some stores
// have the status 500.
bool Client::is_there(const std::string& bucket, const std::string& key, const std::vector<Part>& parts,
                      Deadline deadline) {
  const auto object = find(bucket, key, deadline);
  std::uint64_t bytes = 0;
  for (const auto& part : parts) bytes += part.bytes;
  return object && object->bytes == bytes && object->etag.ends_with(fmt::format("-{}", parts.size()));
}

Result<void> Client::complete_upload(const std::string& bucket, const std::string& key, const std::string& upload,
                                     const std::vector<Part>& parts, Deadline deadline) {
  const auto request = request_for("POST", path_of(bucket, key), {{"uploadId", upload}});
  const auto body = completion_of(parts);
  Error last;
  client::Backoff backoff;
  for (int attempt = 1; attempt <= options_.tries_max; ++attempt) {
    const auto answer = transport_.send(request, body, document_bytes_max, deadline, stall_of(Silence::is_long));
    // It may take minutes, and the store may have told that all is well before it was.
    if (answer && answer->status < 300 && is_completed(answer->body)) return {};
    last = answer ? refused(request, *answer).error : answer.error();
    if (answer && answer->status < 300) last.code = Code::unavailable;
    if (attempt > 1 && is_there(bucket, key, parts, deadline)) return {};
    const auto wait = backoff.next({});
    if (last.code != Code::unavailable || deadline.remaining() <= wait) break;
    std::this_thread::sleep_for(wait);
  }
  return std::unexpected(std::move(last));
}

Result<void> Client::abort_upload(const std::string& bucket, const std::string& key, const std::string& upload,
                                  Deadline deadline) {
  const auto request = request_for("DELETE", path_of(bucket, key), {{"uploadId", upload}});
  const auto answer = call(request, {}, document_bytes_max, deadline);
  if (!answer && answer.error().error.code != Code::not_found) return std::unexpected(answer.error().error);
  return {};
}

Result<UploadPage> Client::uploads(const std::string& bucket, const UploadPage& before, Deadline deadline) {
  Fields query{{"uploads", ""}, {"encoding-type", "url"}};
  if (!before.next_key.empty()) {
    query.emplace_back("key-marker", before.next_key);
    query.emplace_back("upload-id-marker", before.next_id);
  }
  const auto answer = call(request_for("GET", '/' + bucket, std::move(query)), {}, document_bytes_max, deadline);
  if (!answer) return std::unexpected(answer.error().error);
  auto page = read_uploads(answer->body);
  if (!page) return no_document(endpoint(), "list of uploads");
  return std::move(*page);
}

std::string Client::presigned_get(const std::string& bucket, const std::string& key, const std::string& disposition,
                                  std::chrono::seconds lifetime) const {
  auto request = request_for("GET", path_of(bucket, key));
  if (!disposition.empty()) request.query.emplace_back("response-content-disposition", disposition);
  return transport_.presigned(std::move(request), lifetime);
}

std::string Client::presigned_put(const std::string& bucket, const std::string& key, const std::string& content_type,
                                  std::chrono::seconds lifetime) const {
  auto request = request_for("PUT", path_of(bucket, key));
  request.headers = encryption_fields();
  request.headers.emplace_back("Content-Type", content_type);
  return transport_.presigned(std::move(request), lifetime);
}

}  // namespace cognive::s3
