// Objects as files of one directory: DIR/<bucket>/objects/<key>, with whatever no file name may hold as %XX. For one
// machine; several processes may share it.
#pragma once

#include <filesystem>

#include "objects/store.hpp"

namespace cognive::objects {

class DirectoryStore final : public Store {
 public:
  // Is made with the first bucket.
  explicit DirectoryStore(std::filesystem::path root) : root_(std::move(root)) {}

  [[nodiscard]] std::string place() const override { return "file://" + root_.string(); }
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
  [[nodiscard]] std::optional<std::string> url_to_get(const std::string&, const std::string&, const std::string&,
                                                      std::chrono::seconds) const override {
    return std::nullopt;
  }
  [[nodiscard]] std::optional<Form> url_to_put(const std::string&, const std::string&, const std::string&,
                                               std::chrono::seconds) const override {
    return std::nullopt;
  }
  void stop() override {}

 private:
  std::filesystem::path root_;
};

// The path of an object below its bucket's directory, and back. Names of files have at most 255 bytes: longer keys go
// over several directories, whose names end in "%+".
std::filesystem::path path_of_key(std::string_view key);
std::optional<std::string> key_of_path(const std::filesystem::path& path);

}  // namespace cognive::objects
