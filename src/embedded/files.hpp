// Descriptors and small files: what the POSIX calls of this folder share.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.hpp"

namespace cognive::embedded {

// Owns a file descriptor and closes it.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() { close(); }

  void close();
  [[nodiscard]] int number() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }

 private:
  int number_ = -1;
};

// "Cannot open /srv/x: Permission denied." from an error number, which must be read before anything else can change it.
[[nodiscard]] std::unexpected<Error> system_failure(std::string_view doing, const std::filesystem::path& path,
                                                    int error);

// Replaces the whole file or nothing, and returns when the new content is on disk. The file belongs to this process's
// user.
Result<void> write_file(const std::filesystem::path& path, std::string_view content, mode_t mode);

// Nothing when there is no such file. Not for files of unbounded size.
Result<std::optional<std::string>> read_file(const std::filesystem::path& path);

// Makes everything on the file system of `path` durable. For a tree of many new files this takes one turn of the disk,
// where their own fsync calls would take one each.
Result<void> sync_file_system(const std::filesystem::path& path);

// Makes the names inside a directory durable: new files, renames, removals.
Result<void> sync_directory(const std::filesystem::path& path);

}  // namespace cognive::embedded
