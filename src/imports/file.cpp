#include "imports/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace cognive::imports {
namespace {

struct CloseFile {
  int file;
  explicit CloseFile(int descriptor) : file(descriptor) {}
  CloseFile(const CloseFile&) = delete;
  CloseFile& operator=(const CloseFile&) = delete;
  ~CloseFile() { close(file); }
};

std::unexpected<Error> unreadable(const std::string& path, int error) {
  const Code code = error == ENOENT || error == ENOTDIR ? Code::not_found
                    : error == EACCES || error == EPERM ? Code::forbidden
                                                        : Code::internal;
  return fail(code, fmt::format("{} cannot be read: {}.", path, std::generic_category().message(error)));
}

}  // namespace

std::unexpected<Error> file_too_large(std::string_view name) {
  return fail(Code::too_large, fmt::format("{} is larger than {} GiB: split it.", name, file_bytes_max >> 30));
}

Result<std::string> read_file(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return unreadable(path, errno);
  const CloseFile closing(file);
  struct stat status{};
  if (fstat(file, &status) != 0) return unreadable(path, errno);
  if (S_ISDIR(status.st_mode)) return unreadable(path, EISDIR);
  if (status.st_size > static_cast<off_t>(file_bytes_max)) return file_too_large(path);

  // Pipes have no size, and a file may grow while it is read: the size is where to begin, the end is where reading
  // ends.
  constexpr std::size_t step = 1 << 20;
  std::string text;
  std::size_t length = 0;
  text.resize(static_cast<std::size_t>(status.st_size) + 1);
  while (true) {
    if (length == text.size()) text.resize(length + std::max(step, length / 2));
    const ssize_t got = read(file, text.data() + length, text.size() - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return unreadable(path, errno);
    if (got == 0) break;
    length += static_cast<std::size_t>(got);
    if (length > file_bytes_max) return file_too_large(path);
  }
  text.resize(length);
  return text;
}

}  // namespace cognive::imports
