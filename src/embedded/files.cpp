#include "embedded/files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace cognive::embedded {
namespace fs = std::filesystem;

void Descriptor::close() {
  if (number_ >= 0) ::close(std::exchange(number_, -1));
}

std::unexpected<Error> system_failure(std::string_view doing, const fs::path& path, int error) {
  const Code code = error == EACCES || error == EPERM ? Code::forbidden
                    : error == ENOENT                 ? Code::not_found
                                                      : Code::unavailable;
  return fail(code, fmt::format("Cannot {} {}: {}.", doing, path.native(), std::generic_category().message(error)));
}

Result<void> write_file(const fs::path& path, std::string_view content, mode_t mode) {
  fs::path temporary = path;
  temporary += ".new";
  // A leftover of an interrupted write may have another owner or mode, so it is never reused.
  if (::unlink(temporary.c_str()) != 0 && errno != ENOENT) return system_failure("replace", temporary, errno);
  Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return system_failure("create", temporary, errno);
  if (::fchmod(file.number(), mode) != 0) return system_failure("set the mode of", temporary, errno);
  for (std::size_t done = 0; done < content.size();) {
    const auto written = ::write(file.number(), content.data() + done, content.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return system_failure("write", temporary, errno);
    done += static_cast<std::size_t>(written);
  }
  if (::fsync(file.number()) != 0) return system_failure("write", temporary, errno);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return system_failure("replace", path, errno);
  return sync_directory(path.parent_path());
}

Result<std::optional<std::string>> read_file(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file && errno == ENOENT) return std::nullopt;
  if (!file) return system_failure("open", path, errno);
  std::string content;
  std::array<char, 4096> buffer;
  while (true) {
    const auto count = ::read(file.number(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_failure("read", path, errno);
    if (count == 0) return content;
    content.append(buffer.data(), static_cast<std::size_t>(count));
  }
}

Result<void> sync_file_system(const fs::path& path) {
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return system_failure("open", path, errno);
  if (::syncfs(directory.number()) != 0) return system_failure("write", path, errno);
  return {};
}

Result<void> sync_directory(const fs::path& path) {
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return system_failure("open", path, errno);
  // Some file systems cannot do this and say EINVAL: their names are as durable as they will be.
  if (::fsync(directory.number()) != 0 && errno != EINVAL) return system_failure("write", path, errno);
  return {};
}

}  // namespace cognive::embedded
