#include "objects/directory_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <thread>

#include "base/crypto.hpp"

namespace cognive::objects {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t name_bytes_max = 200;
constexpr std::string_view goes_on = "%+";
constexpr auto upload_lifetime = std::chrono::hours{7 * 24};
constexpr std::size_t copied_together = std::size_t{1} << 20U;

bool stands_for_itself(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9') ||
         std::string_view("-_.~ @=,()").find(letter) != std::string_view::npos;
}

// Names begin with no dot: those are ours, and "." and ".." are no files.
std::string encoded(std::string_view key) {
  std::string out;
  for (const char letter : key) {
    if (stands_for_itself(letter) && !(letter == '.' && out.empty())) {
      out += letter;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(letter));
    }
  }
  return out;
}

std::unexpected<Error> trouble(std::string_view what, int number) {
  const auto code = number == ENOENT ? Code::not_found : number == EACCES ? Code::forbidden : Code::unavailable;
  return fail(code, fmt::format("The directory of objects: {}: {}.", what, std::strerror(number)));
}

class File {
 public:
  File(const fs::path& path, int flags) : descriptor_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  [[nodiscard]] bool is_open() const { return descriptor_ >= 0; }
  [[nodiscard]] int descriptor() const { return descriptor_; }

  // False with errno.
  [[nodiscard]] bool write(std::string_view bytes) const {
    while (!bytes.empty()) {
      const auto count = ::write(descriptor_, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }
  [[nodiscard]] bool sync() const { return ::fsync(descriptor_) == 0; }

 private:
  int descriptor_;
};

bool sync_directory(const fs::path& path) {
  const File directory(path, O_RDONLY | O_DIRECTORY);
  return directory.is_open() && directory.sync();
}

std::string etag_of(const struct stat& status) {
  return fmt::format("{:x}-{:x}-{:x}", status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec, status.st_size,
                     status.st_ino);
}

Timestamp time_of(const struct stat& status) {
  return {status.st_mtim.tv_sec * 1'000'000 + status.st_mtim.tv_nsec / 1'000};
}

Object object_of(std::string key, const struct stat& status) {
  return {.key = std::move(key),
          .bytes = static_cast<std::uint64_t>(status.st_size),
          .etag = etag_of(status),
          .modified_at = time_of(status)};
}

// Objects and uploads of one bucket, and what is being written.
struct Places {
  explicit Places(const fs::path& bucket)
      : objects(bucket / "objects"), uploads(bucket / "uploads"), unfinished(bucket / "unfinished") {}

  fs::path objects;
  fs::path uploads;
  fs::path unfinished;

  [[nodiscard]] fs::path new_file() const { return unfinished / random_token(20); }
  // The id is ours: nobody walks to other directories with it.
  [[nodiscard]] std::optional<fs::path> upload(const std::string& id) const {
    if (id.empty() || !std::ranges::all_of(id, [](char one) { return std::isalnum(static_cast<unsigned char>(one)); }))
      return std::nullopt;
    return uploads / id;
  }
};

std::unexpected<Error> no_bucket(const std::string& bucket) {
  return fail(Code::not_found, "The directory of objects has no bucket " + bucket + ".");
}

Result<Places> places_of(const fs::path& root, const std::string& bucket) {
  Places out(root / bucket);
  std::error_code error;
  if (!fs::is_directory(out.objects, error)) return no_bucket(bucket);
  return out;
}

// A whole file, as its final name or not at all.
Result<void> move_into_place(const fs::path& from, const fs::path& to, const fs::path& top) {
  std::error_code error;
  fs::create_directories(to.parent_path(), error);
  if (::rename(from.c_str(), to.c_str()) != 0) return trouble("writing", errno);
  for (auto directory = to.parent_path();; directory = directory.parent_path()) {
    if (!sync_directory(directory)) return trouble("writing", errno);
    if (directory == top || directory == directory.root_path()) return {};
  }
}

Result<void> write_new(const fs::path& path, std::string_view bytes) {
  const File file(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (!file.is_open() || !file.write(bytes) || !file.sync()) {
    const int number = errno;
    ::unlink(path.c_str());
    return trouble("writing", number);
  }
  return {};
}

std::string part_name(std::int64_t number) {
  return fmt::format("{:05}", number);
}

// False with errno.
bool append(const File& to, const fs::path& path) {
  const File from(path, O_RDONLY);
  if (!from.is_open()) return false;
  std::string buffer;
  for (;;) {
    buffer.resize(copied_together);
    const auto count = ::read(from.descriptor(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    if (count == 0) return true;
    if (!to.write(std::string_view(buffer).substr(0, static_cast<std::size_t>(count)))) return false;
  }
}

}  // namespace

fs::path path_of_key(std::string_view key) {
  auto name = encoded(key);
  fs::path out;
  while (name.size() > name_bytes_max) {
    // Never within an escape.
    auto end = name_bytes_max;
    for (const std::size_t back : {1U, 2U}) {
      if (name[name_bytes_max - back] == '%') end = name_bytes_max - back;
    }
    // What follows may begin with a dot, which stands for no hidden file there.
    out /= name.substr(0, end) + std::string(goes_on);
    name.erase(0, end);
    if (name.front() == '.') name.replace(0, 1, "%2E");
  }
  return out / name;
}

std::optional<std::string> key_of_path(const fs::path& path) {
  std::string name;
  for (const auto& step : path) {
    auto text = step.string();
    if (text.ends_with(goes_on)) text.resize(text.size() - goes_on.size());
    name += text;
  }
  std::string out;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] != '%') {
      out += name[i];
      continue;
    }
    const auto byte = i + 2 < name.size() ? from_hex(std::string_view(name).substr(i + 1, 2)) : std::nullopt;
    if (!byte) return std::nullopt;
    out += static_cast<char>(byte->front());
    i += 2;
  }
  if (path_of_key(out) != path) return std::nullopt;
  return out;
}

Result<std::vector<Bucket>> DirectoryStore::buckets(Deadline) {
  std::vector<Bucket> out;
  std::error_code error;
  for (auto entry = fs::directory_iterator(root_, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    struct stat status{};
    if (::stat((entry->path() / "objects").c_str(), &status) != 0) continue;
    // Since it was made its own entries have not changed, unlike those of `objects`.
    if (::stat(entry->path().c_str(), &status) == 0)
      out.push_back({.name = entry->path().filename(), .created_at = time_of(status)});
  }
  if (error && error != std::errc::no_such_file_or_directory) return trouble("reading", error.value());
  std::ranges::sort(out, {}, &Bucket::name);
  return out;
}

Result<void> DirectoryStore::make_bucket(const std::string& bucket, std::int64_t days, Deadline) {
  const Places places(root_ / bucket);
  std::error_code error;
  if (fs::is_directory(places.objects, error)) return {};
  for (const auto& path : {places.uploads, places.unfinished}) {
    if (fs::create_directories(path, error); error) return trouble("making a bucket", error.value());
  }
  if (auto written = write_new(root_ / bucket / "days", std::to_string(days)); !written) return written;
  // By this it is a bucket.
  if (fs::create_directory(places.objects, error); error) return trouble("making a bucket", error.value());
  if (!sync_directory(root_ / bucket) || !sync_directory(root_)) return trouble("making a bucket", errno);
  return {};
}

Result<std::int64_t> DirectoryStore::lifetime(const std::string& bucket, Deadline) {
  if (const auto places = places_of(root_, bucket); !places) return std::unexpected(places.error());
  std::ifstream file(root_ / bucket / "days");
  std::int64_t days = 0;
  file >> days;
  return file.fail() || days < 0 ? 0 : days;
}

Result<void> DirectoryStore::put(const std::string& bucket, const std::string& key, std::string_view bytes,
                                 std::string_view, Deadline) {
  const auto places = places_of(root_, bucket);
  if (!places) return std::unexpected(places.error());
  const auto path = places->new_file();
  if (auto written = write_new(path, bytes); !written) return written;
  return move_into_place(path, places->objects / path_of_key(key), places->objects);
}

Result<Piece> DirectoryStore::get(const std::string& bucket, const std::string& key, std::uint64_t first,
                                  std::size_t count, const std::string& etag, Deadline) {
  const auto places = places_of(root_, bucket);
  if (!places) return std::unexpected(places.error());
  const File file(places->objects / path_of_key(key), O_RDONLY);
  struct stat status{};
  if (!file.is_open() || ::fstat(file.descriptor(), &status) != 0) return trouble("an object", errno);
  Piece out{.bytes = {}, .object_bytes = static_cast<std::uint64_t>(status.st_size), .etag = etag_of(status)};
  if (!etag.empty() && etag != out.etag) return fail(Code::conflict, "The object is another one by now.");
  if (first >= out.object_bytes) return out;
  out.bytes.resize(std::min<std::uint64_t>(count, out.object_bytes - first));
  for (std::size_t at = 0; at < out.bytes.size();) {
    const auto got =
        ::pread(file.descriptor(), out.bytes.data() + at, out.bytes.size() - at, static_cast<off_t>(first + at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return trouble("reading an object", got < 0 ? errno : EIO);
    at += static_cast<std::size_t>(got);
  }
  return out;
}

Result<Object> DirectoryStore::find(const std::string& bucket, const std::string& key, Deadline) {
  const auto places = places_of(root_, bucket);
  if (!places) return std::unexpected(places.error());
  struct stat status{};
  if (::stat((places->objects / path_of_key(key)).c_str(), &status) != 0) return trouble("an object", errno);
  return object_of(key, status);
}

Result<void> DirectoryStore::remove(const std::string& bucket, const std::string& key, Deadline) {
  const auto places = places_of(root_, bucket);
  if (!places) return std::unexpected(places.error());
  if (::unlink((places->objects / path_of_key(key)).c_str()) != 0 && errno != ENOENT && errno != ENOTDIR)
    return trouble("removing an object", errno);
  return {};
}

Result<Page> DirectoryStore::list(const std::string& bucket, const std::string& prefix, const std::string& next,
                                  std::int64_t count, Deadline) {
  const auto places = places_of(root_, bucket);
  if (!places) return std::unexpected(places.error());
  std::vector<std::string> keys;
  std::error_code error;
  for (auto entry = fs::recursive_directory_iterator(places->objects, error);
       !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (!entry->is_regular_file(error)) continue;
    auto key = key_of_path(entry->path().lexically_relative(places->objects));
    if (key && key->starts_with(prefix) && *key > next) keys.push_back(std::move(*key));
  }
  if (error) return trouble("reading", error.value());
  std::ranges::sort(keys);
  Page out;
  for (const auto& key : keys) {
    if (std::ssize(out.objects) == count) {
      out.next = out.objects.back().key;
      break;
    }
    struct stat status{};
    if (::stat((places->objects / path_of_key(key)).c_str(), &status) == 0)
      out.objects.push_back(object_of(key, status));
  }
  return out;
}

Result<std::string> DirectoryStore::begin(const std::string& bucket, const std::string& key, std::string_view,
                                          Deadline) {
  const auto places = places_of(root_, bucket);
  if (!places) return std::unexpected(places.error());
  auto id = random_token(24);
  std::error_code error;
  if (fs::create_directory(places->uploads / id, error); error) return trouble("beginning an upload", error.value());
  if (auto written = write_new(places->uploads / id / "key", key); !written)
    return std::unexpected(std::move(written.error()));
  return id;
}

Result<Part> DirectoryStore::put_part(const std::string& bucket, const std::string&, const std::string& upload,
                                      std::int64_t number, std::string_view bytes, Deadline) {
  const auto places = places_of(root_, bucket);
  if (!places) return std::unexpected(places.error());
  const auto directory = places->upload(upload);
  std::error_code error;
  if (!directory || !fs::is_directory(*directory, error)) return trouble("an upload", ENOENT);
  const auto path = places->new_file();
  if (auto written = write_new(path, bytes); !written) return std::unexpected(std::move(written.error()));
  if (::rename(path.c_str(), (*directory / part_name(number)).c_str()) != 0) return trouble("writing a part", errno);
  return Part{.number = number, .etag = to_hex(md5(bytes)), .bytes = bytes.size()};
}

Result<void> DirectoryStore::complete(const std::string& bucket, const std::string& key, const std::string& upload,
                                      const std::vector<Part>& parts, Deadline deadline) {
  const auto places = places_of(root_, bucket);
  if (!places) return std::unexpected(places.error());
  const auto directory = places->upload(upload);
  std::error_code error;
  if (!directory || !fs::is_directory(*directory, error)) return trouble("an upload", ENOENT);
  // One at a time, of all processes: whoever comes second finds it done.
  const File turn(*directory / "key", O_RDONLY);
  while (turn.is_open() && ::flock(turn.descriptor(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return trouble("completing an upload", errno);
    if (deadline.passed()) return fail(Code::unavailable, "The upload is being completed.");
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  }
  if (!turn.is_open() || !fs::exists(*directory / "key", error)) return trouble("an upload", ENOENT);
  const auto path = places->new_file();
  const File whole(path, O_WRONLY | O_CREAT | O_TRUNC);
  bool is_written = whole.is_open();
  for (std::size_t i = 0; is_written && i < parts.size(); ++i)
    is_written = append(whole, *directory / part_name(parts[i].number));
  if (!is_written || !whole.sync()) {
    const int number = errno;
    ::unlink(path.c_str());
    return number == ENOENT ? fail(Code::unprocessable, "A part of the upload is missing.")
                            : trouble("completing an upload", number);
  }
  if (auto moved = move_into_place(path, places->objects / path_of_key(key), places->objects); !moved) return moved;
  fs::remove_all(*directory, error);  // else it expires
  return {};
}

Result<void> DirectoryStore::abort(const std::string& bucket, const std::string&, const std::string& upload, Deadline) {
  const auto places = places_of(root_, bucket);
  if (!places) return std::unexpected(places.error());
  const auto directory = places->upload(upload);
  std::error_code error;
  if (directory) fs::remove_all(*directory, error);
  if (error) return trouble("aborting an upload", error.value());
  return {};
}

Result<void> DirectoryStore::copy(const std::string& bucket, const std::string& from, const std::string& to,
                                  std::string_view, Deadline) {
  const auto places = places_of(root_, bucket);
  if (!places) return std::unexpected(places.error());
  const auto path = places->new_file();
  const File whole(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (!whole.is_open() || !append(whole, places->objects / path_of_key(from)) || !whole.sync()) {
    const int number = errno;
    ::unlink(path.c_str());
    return trouble("copying an object", number);
  }
  return move_into_place(path, places->objects / path_of_key(to), places->objects);
}

Result<void> DirectoryStore::expire(const std::vector<std::string>& buckets, Deadline deadline) {
  const auto now = fs::file_time_type::clock::now();
  // Others may remove it meanwhile.
  const auto is_older = [&](const fs::directory_entry& entry, auto lifetime) {
    std::error_code gone;
    const auto written = entry.last_write_time(gone);
    return !gone && now - written > lifetime;
  };
  std::error_code error;
  std::error_code ignored;
  for (const auto& bucket : buckets) {
    const Places places(root_ / bucket);
    for (const auto& top : {places.uploads, places.unfinished}) {
      for (auto entry = fs::directory_iterator(top, error); !error && entry != fs::directory_iterator();
           entry.increment(error)) {
        if (is_older(*entry, upload_lifetime)) fs::remove_all(entry->path(), ignored);
      }
    }
    const auto days = lifetime(bucket, deadline);
    if (!days || *days == 0) continue;
    for (auto entry = fs::recursive_directory_iterator(places.objects, error);
         !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
      if (deadline.passed()) return fail(Code::unavailable, "Not all that has expired could be removed in time.");
      if (entry->is_regular_file(ignored) && is_older(*entry, std::chrono::hours{24} * *days))
        fs::remove(entry->path(), ignored);
    }
  }
  return {};
}

}  // namespace cognive::objects
