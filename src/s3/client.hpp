// What Cognive does with an S3-compatible store: each call is signed, and tried again while the store is away or asks
// to be spared. Every body is in memory, and bounded: large objects go and come in parts.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "runtime/async.hpp"
#include "s3/answers.hpp"
#include "s3/transport.hpp"

namespace cognive::s3 {

struct ClientOptions {
  Endpoint endpoint;
  Credentials credentials;
  std::string authority_file;  // PEM; empty: the authorities of the system
  std::string encryption;      // of what is uploaded: empty (as the bucket has it), AES256 or aws:kms
  std::string kms_key_id;      // empty: the store's own
  std::chrono::seconds stall{5};
  int tries_max = 6;
};

// A part of an object.
struct Piece {
  std::string bytes;
  std::uint64_t object_bytes = 0;  // all of it
  std::string etag;
};

// For any number of threads, which block until the deadline at most. Errors of all calls, whose details are for people:
//   unavailable      no answer in time, or the store has trouble; whether it has acted is unknown
//   unauthenticated  the store does not know the key, or its certificate is not trusted
//   forbidden        the key may not do that
//   not_found        no such bucket, object or upload
//   conflict         the object is another one by now, or somebody else's bucket has that name
//   unprocessable    whatever else the store refuses
class Client {
 public:
  explicit Client(ClientOptions options);

  Result<std::vector<Bucket>> buckets(Deadline deadline);
  // Whether we may use it.
  Result<bool> has_bucket(const std::string& bucket, Deadline deadline);
  // Ours may be there already. Code::conflict when it is somebody else's.
  Result<void> make_bucket(const std::string& bucket, Deadline deadline);
  // One that is empty.
  Result<void> remove_bucket(const std::string& bucket, Deadline deadline);
  Result<void> set_lifetime(const std::string& bucket, std::int64_t days, Deadline deadline);
  // Days; 0: for ever.
  Result<std::int64_t> lifetime(const std::string& bucket, Deadline deadline);

  Result<void> put(const std::string& bucket, const std::string& key, std::string_view bytes,
                   std::string_view content_type, Deadline deadline);
  // At most `count` bytes from `first`; none when the object ends before. `etag`: of the object that is meant; empty:
  // whichever is there.
  Result<Piece> get(const std::string& bucket, const std::string& key, std::uint64_t first, std::size_t count,
                    const std::string& etag, Deadline deadline);
  Result<Object> find(const std::string& bucket, const std::string& key, Deadline deadline);
  // Another object with the same bytes, at most 5 GiB.
  Result<void> copy(const std::string& bucket, const std::string& from, const std::string& to,
                    std::string_view content_type, Deadline deadline);
  // One that is not there has been removed.
  Result<void> remove(const std::string& bucket, const std::string& key, Deadline deadline);
  // In the order of their bytes. `next`: of the page before.
  Result<ObjectPage> objects(const std::string& bucket, const std::string& prefix, const std::string& next,
                             std::int64_t count, Deadline deadline);

  // The object appears when the upload is completed. Parts have at least 5 MiB, but for the last, and there are at most
  // 10,000.
  Result<std::string> begin_upload(const std::string& bucket, const std::string& key, std::string_view content_type,
                                   Deadline deadline);
  Result<Part> put_part(const std::string& bucket, const std::string& key, const std::string& upload,
                        std::int64_t number, std::string_view bytes, Deadline deadline);
  Result<void> complete_upload(const std::string& bucket, const std::string& key, const std::string& upload,
                               const std::vector<Part>& parts, Deadline deadline);
  // One that is not there has been aborted.
  Result<void> abort_upload(const std::string& bucket, const std::string& key, const std::string& upload,
                            Deadline deadline);
  Result<UploadPage> uploads(const std::string& bucket, const UploadPage& before, Deadline deadline);

  // URLs for people without a key: at most seven days. `disposition`: what browsers are told to do with it, may be
  // empty.
  [[nodiscard]] std::string presigned_get(const std::string& bucket, const std::string& key,
                                          const std::string& disposition, std::chrono::seconds lifetime) const;
  // Whoever uses it must send that Content-Type, and what `encryption_fields` says.
  [[nodiscard]] std::string presigned_put(const std::string& bucket, const std::string& key,
                                          const std::string& content_type, std::chrono::seconds lifetime) const;
  [[nodiscard]] Fields encryption_fields() const;

  [[nodiscard]] const Endpoint& endpoint() const { return transport_.endpoint(); }
  void stop() { transport_.stop(); }

 private:
  // Where the store cannot copy by itself.
  Result<void> copy_through_us(const std::string& bucket, const std::string& from, const std::string& to,
                               std::string_view content_type, Deadline deadline);
  struct Refused {
    Error error;
    std::string code;  // the store's: "NoSuchKey"; empty: it has not said any
  };
  using Called = std::expected<Answer, Refused>;
  // How long the store may say nothing: it takes its time to store much.
  enum class Silence { is_short, is_long };
  Called call(const Request& request, std::string_view body, std::size_t answer_bytes_max, Deadline deadline,
              Silence silence = Silence::is_short);
  [[nodiscard]] std::chrono::seconds stall_of(Silence silence) const;
  bool is_there(const std::string& bucket, const std::string& key, const std::vector<Part>& parts, Deadline deadline);
  [[nodiscard]] Refused refused(const Request& request, const Answer& answer) const;

  ClientOptions options_;
  Transport transport_;
};

}  // namespace cognive::s3
