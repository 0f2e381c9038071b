#include "objects/s3_store.hpp"

#include <algorithm>

#include "observe/log.hpp"

namespace cognive::objects {
namespace {

constexpr auto upload_lifetime = std::chrono::hours{7 * 24};

Object object_of(s3::Object object) {
  return {.key = std::move(object.key),
          .bytes = object.bytes,
          .etag = std::move(object.etag),
          .modified_at = object.modified_at};
}

}  // namespace

Result<std::vector<Bucket>> S3Store::buckets(Deadline deadline) {
  auto found = client_.buckets(deadline);
  if (!found) return std::unexpected(std::move(found.error()));
  std::vector<Bucket> out;
  for (auto& bucket : *found) out.push_back({.name = std::move(bucket.name), .created_at = bucket.created_at});
  return out;
}

Result<void> S3Store::make_bucket(const std::string& bucket, std::int64_t days, Deadline deadline) {
  const auto all = client_.buckets(deadline);
  // Whoever may not list them has made it beforehand.
  if (!all && all.error().code != Code::forbidden) return std::unexpected(all.error());
  const bool is_there = all ? std::ranges::find(*all, bucket, &s3::Bucket::name) != all->end()
                            : client_.has_bucket(bucket, deadline).value_or(false);
  if (is_there) return {};
  if (auto made = client_.make_bucket(bucket, deadline); !made) return made;
  auto set = client_.set_lifetime(bucket, days, deadline);
  if (!set && set.error().code == Code::unavailable) {
    // One that is there already is taken as it is: it must not be there without its lifetime.
    constexpr std::chrono::milliseconds patience{10'000};
    (void)client_.remove_bucket(bucket, Deadline::in(patience));
    return set;
  }
  if (!set)
    log(Level::warning, "a bucket keeps objects for ever: its lifetime cannot be set",
        {{"bucket", bucket}, {"reason", set.error().detail}});
  return {};
}

Result<std::int64_t> S3Store::lifetime(const std::string& bucket, Deadline deadline) {
  return client_.lifetime(bucket, deadline);
}

Result<void> S3Store::put(const std::string& bucket, const std::string& key, std::string_view bytes,
                          std::string_view content_type, Deadline deadline) {
  return client_.put(bucket, key, bytes, content_type, deadline);
}

Result<Piece> S3Store::get(const std::string& bucket, const std::string& key, std::uint64_t first, std::size_t count,
                           const std::string& etag, Deadline deadline) {
  auto piece = client_.get(bucket, key, first, count, etag, deadline);
  if (!piece) return std::unexpected(std::move(piece.error()));
  return Piece{.bytes = std::move(piece->bytes), .object_bytes = piece->object_bytes, .etag = std::move(piece->etag)};
}

Result<Object> S3Store::find(const std::string& bucket, const std::string& key, Deadline deadline) {
  auto found = client_.find(bucket, key, deadline);
  if (!found) return std::unexpected(std::move(found.error()));
  return object_of(std::move(*found));
}

Result<void> S3Store::remove(const std::string& bucket, const std::string& key, Deadline deadline) {
  return client_.remove(bucket, key, deadline);
}

Result<Page> S3Store::list(const std::string& bucket, const std::string& prefix, const std::string& next,
                           std::int64_t count, Deadline deadline) {
  auto found = client_.objects(bucket, prefix, next, count, deadline);
  if (!found) return std::unexpected(std::move(found.error()));
  Page out{.objects = {}, .next = std::move(found->next)};
  for (auto& object : found->objects) out.objects.push_back(object_of(std::move(object)));
  return out;
}

Result<std::string> S3Store::begin(const std::string& bucket, const std::string& key, std::string_view content_type,
                                   Deadline deadline) {
  return client_.begin_upload(bucket, key, content_type, deadline);
}

Result<Part> S3Store::put_part(const std::string& bucket, const std::string& key, const std::string& upload,
                               std::int64_t number, std::string_view bytes, Deadline deadline) {
  auto part = client_.put_part(bucket, key, upload, number, bytes, deadline);
  if (!part) return std::unexpected(std::move(part.error()));
  return Part{.number = part->number, .etag = std::move(part->etag), .bytes = part->bytes};
}

Result<void> S3Store::complete(const std::string& bucket, const std::string& key, const std::string& upload,
                               const std::vector<Part>& parts, Deadline deadline) {
  std::vector<s3::Part> all;
  for (const auto& part : parts) all.push_back({.number = part.number, .etag = part.etag, .bytes = part.bytes});
  return client_.complete_upload(bucket, key, upload, all, deadline);
}

Result<void> S3Store::abort(const std::string& bucket, const std::string& key, const std::string& upload,
                            Deadline deadline) {
  return client_.abort_upload(bucket, key, upload, deadline);
}

Result<void> S3Store::copy(const std::string& bucket, const std::string& from, const std::string& to,
                           std::string_view content_type, Deadline deadline) {
  return client_.copy(bucket, from, to, content_type, deadline);
}

// Objects expire by the lifecycle. Uploads do where that says so, which an operator's own need not.
Result<void> S3Store::expire(const std::vector<std::string>& buckets, Deadline deadline) {
  const auto now = Timestamp::now();
  Result<void> out;
  for (const auto& bucket : buckets) {
    s3::UploadPage page;
    do {
      auto found = client_.uploads(bucket, page, deadline);
      if (!found) {
        if (out) out = std::unexpected(std::move(found.error()));
        break;
      }
      page = std::move(*found);
      for (const auto& upload : page.uploads) {
        if (!upload.begun_at || upload.begun_at->plus(upload_lifetime) > now) continue;
        if (auto aborted = client_.abort_upload(bucket, upload.key, upload.id, deadline); !aborted && out)
          out = aborted;
      }
    } while (!page.next_key.empty() && !deadline.passed());
  }
  return out;
}

std::optional<std::string> S3Store::url_to_get(const std::string& bucket, const std::string& key,
                                               const std::string& disposition, std::chrono::seconds lifetime) const {
  return client_.presigned_get(bucket, key, disposition, lifetime);
}

std::optional<Store::Form> S3Store::url_to_put(const std::string& bucket, const std::string& key,
                                               const std::string& content_type, std::chrono::seconds lifetime) const {
  Form out{.url = client_.presigned_put(bucket, key, content_type, lifetime), .headers = client_.encryption_fields()};
  out.headers.emplace_back("Content-Type", content_type);
  return out;
}

}  // namespace cognive::objects
