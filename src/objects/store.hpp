// The port for what the database should not hold: artifacts, exports, archives, bundles, backups. Objects have a key
// within a bucket, are written whole or in parts, and are there as a whole or not at all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/time.hpp"
#include "runtime/async.hpp"

namespace cognive::objects {

struct Bucket {
  std::string name;
  std::optional<Timestamp> created_at;
};

struct Object {
  std::string key;
  std::uint64_t bytes = 0;
  std::string etag;  // another one whenever the object is written again
  std::optional<Timestamp> modified_at;
};

struct Page {
  std::vector<Object> objects;  // in the order of the bytes of their keys
  std::string next;             // to go on with; empty: there are no more
};

struct Part {
  std::int64_t number = 0;  // from 1
  std::string etag;
  std::uint64_t bytes = 0;
};

struct Piece {
  std::string bytes;
  std::uint64_t object_bytes = 0;  // all of it
  std::string etag;
};

// All but the last part of an object have at least so many bytes.
inline constexpr std::size_t part_bytes_min = std::size_t{5} << 20U;
inline constexpr std::int64_t parts_max = 10'000;

// For any number of threads, which block until the deadline at most. Errors of all calls, whose details are for
// operators:
//   unavailable      no answer in time, or the store has trouble; whether it has acted is unknown
//   unauthenticated  the store does not take our credentials
//   forbidden        they may not do that
//   not_found        no such bucket, object or upload
//   conflict         the object is another one by now, or somebody else has the bucket
//   unprocessable    whatever else is refused
class Store {
 public:
  Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  virtual ~Store() = default;

  // For people: the URL of the server, or of the directory.
  [[nodiscard]] virtual std::string place() const = 0;

  virtual Result<std::vector<Bucket>> buckets(Deadline deadline) = 0;
  // One that is there already stays as it is. Objects of a new one expire after so many days (0: never), and uploads
  // that nobody ends after seven.
  virtual Result<void> make_bucket(const std::string& bucket, std::int64_t days, Deadline deadline) = 0;
  virtual Result<std::int64_t> lifetime(const std::string& bucket, Deadline deadline) = 0;

  virtual Result<void> put(const std::string& bucket, const std::string& key, std::string_view bytes,
                           std::string_view content_type, Deadline deadline) = 0;
  // At most `count` bytes from `first`; none when the object ends before. `etag`: of the object that is meant; empty:
  // whichever is there.
  virtual Result<Piece> get(const std::string& bucket, const std::string& key, std::uint64_t first, std::size_t count,
                            const std::string& etag, Deadline deadline) = 0;
  virtual Result<Object> find(const std::string& bucket, const std::string& key, Deadline deadline) = 0;
  // One that is not there has been removed.
  virtual Result<void> remove(const std::string& bucket, const std::string& key, Deadline deadline) = 0;
  // `next`: of the page before; empty: the first. `count`: at most 1,000.
  virtual Result<Page> list(const std::string& bucket, const std::string& prefix, const std::string& next,
                            std::int64_t count, Deadline deadline) = 0;

  // The id of an upload.
  virtual Result<std::string> begin(const std::string& bucket, const std::string& key, std::string_view content_type,
                                    Deadline deadline) = 0;
  // Again: in place of the one before.
  virtual Result<Part> put_part(const std::string& bucket, const std::string& key, const std::string& upload,
                                std::int64_t number, std::string_view bytes, Deadline deadline) = 0;
  // The object appears, or is another one. `parts`: all of them, by number.
  virtual Result<void> complete(const std::string& bucket, const std::string& key, const std::string& upload,
                                const std::vector<Part>& parts, Deadline deadline) = 0;
  // One that is not there has been aborted.
  virtual Result<void> abort(const std::string& bucket, const std::string& key, const std::string& upload,
                             Deadline deadline) = 0;

  // Another object with the same bytes, at most 5 GiB.
  virtual Result<void> copy(const std::string& bucket, const std::string& from, const std::string& to,
                            std::string_view content_type, Deadline deadline) = 0;

  // Removes what has outlived its time in these buckets, and uploads of a week ago, where the store does not by itself.
  virtual Result<void> expire(const std::vector<std::string>& buckets, Deadline deadline) = 0;

  // A URL for whoever has no credentials, for at most seven days; nothing where there is no such thing. `disposition`:
  // of RFC 6266, what a browser is to do with it.
  [[nodiscard]] virtual std::optional<std::string> url_to_get(const std::string& bucket, const std::string& key,
                                                              const std::string& disposition,
                                                              std::chrono::seconds lifetime) const = 0;
  struct Form {
    std::string url;
    std::vector<std::pair<std::string, std::string>> headers;  // to be sent with the PUT
  };
  [[nodiscard]] virtual std::optional<Form> url_to_put(const std::string& bucket, const std::string& key,
                                                       const std::string& content_type,
                                                       std::chrono::seconds lifetime) const = 0;

  // What is on its way fails soon, and so does all that comes later.
  virtual void stop() = 0;
};

}  // namespace cognive::objects
