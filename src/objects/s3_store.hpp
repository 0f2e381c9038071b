// Objects in an S3-compatible store, which keeps lifetimes by itself.
#pragma once

#include "objects/store.hpp"
#include "s3/client.hpp"

namespace cognive::objects {

class S3Store final : public Store {
 public:
  explicit S3Store(s3::ClientOptions options) : client_(std::move(options)) {}

  [[nodiscard]] std::string place() const override { return client_.endpoint().text(); }
  Result<std::vector<Bucket>> buckets(Deadline deadline) override;
  Result<void> make_bucket(const std::string& bucket, std::int64_t days, Deadline deadline) override;
  Result<std::int64_t> lifetime(const std::string& bucket, Deadline deadline) override;
  Result<void> put(const std::string& bucket, const std::string& key, std::string_view bytes,
                   std::string_view content_type, Deadline deadline) override;
  Result<Piece> get(const std::string& bucket, const std::string& key, std::uint64_t first, std::size_t count,
                    const std::string& etag, Deadline deadline) override;
  Result<Object> find(const std::string& bucket, const std::string& key, Deadline deadline) override;
  Result<void> remove(const std::string& bucket, const std::string& key, Deadline deadline) override;
  Result<Page> list(const std::string& bucket, const std::string& prefix, const std::string& next, std::int64_t count,
                    Deadline deadline) override;
  Result<std::string> begin(const std::string& bucket, const std::string& key, std::string_view content_type,
                            Deadline deadline) override;
  Result<Part> put_part(const std::string& bucket, const std::string& key, const std::string& upload,
                        std::int64_t number, std::string_view bytes, Deadline deadline) override;
  Result<void> complete(const std::string& bucket, const std::string& key, const std::string& upload,
                        const std::vector<Part>& parts, Deadline deadline) override;
  Result<void> abort(const std::string& bucket, const std::string& key, const std::string& upload,
                     Deadline deadline) override;
  Result<void> copy(const std::string& bucket, const std::string& from, const std::string& to,
                    std::string_view content_type, Deadline deadline) override;
  Result<void> expire(const std::vector<std::string>& buckets, Deadline deadline) override;
  [[nodiscard]] std::optional<std::string> url_to_get(const std::string& bucket, const std::string& key,
                                                      const std::string& disposition,
                                                      std::chrono::seconds lifetime) const override;
  [[nodiscard]] std::optional<Form> url_to_put(const std::string& bucket, const std::string& key,
                                               const std::string& content_type,
                                               std::chrono::seconds lifetime) const override;
  void stop() override { client_.stop(); }

 private:
  s3::Client client_;
};

}  // namespace cognive::objects
