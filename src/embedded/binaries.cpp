#include "embedded/binaries.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <system_error>
#include <vector>

namespace cognive::embedded {
namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

// The version of the programs in `directory`; nothing when they are not there or do not run.
std::optional<Binaries> look_into(const fs::path& directory, const Identity& identity) {
  for (const auto* name : {"postgres", "initdb", "pg_basebackup", "pg_controldata", "psql"}) {
    if (::access((directory / name).c_str(), X_OK) != 0) return std::nullopt;
  }
  const Command ask{.argv = {(directory / "postgres").native(), "--version"}, .identity = identity};
  const auto answer = run(ask, "", Clock::now() + 10s, {});
  // "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)"
  constexpr std::string_view before = "(PostgreSQL) ";
  if (!answer || !answer->exit.success()) return std::nullopt;
  const auto at = answer->text.find(before);
  if (at == std::string::npos) return std::nullopt;
  int major = 0;
  const char* const number = answer->text.data() + at + before.size();
  if (std::from_chars(number, answer->text.data() + answer->text.size(), major).ec != std::errc{}) return std::nullopt;
  return Binaries{.directory = directory, .major = major};
}

std::vector<fs::path> usual_directories() {
  std::vector<fs::path> out;
  std::error_code none;  // a directory that does not exist simply has no entries
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", none)) out.push_back(entry.path() / "bin");
  const char* const path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "";
  while (!rest.empty()) {
    const auto end = std::min(rest.find(':'), rest.size());
    if (rest.starts_with('/')) out.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return out;
}

}  // namespace

Result<Binaries> find_binaries(const Identity& identity, std::optional<int> wanted) {
  if (const char* const named = std::getenv("COGNIVE_POSTGRES_BIN"); named != nullptr && *named != '\0') {
    auto found = look_into(named, identity);
    if (!found) {
      return fail(
          Code::not_found,
          fmt::format(
              "COGNIVE_POSTGRES_BIN is {}, where postgres, initdb and PostgreSQL's client programs cannot all be "
              "run by user {}.",
              named, identity.name));
    }
    if (found->major >= postgres_major) return *found;
    return fail(Code::not_found, fmt::format("COGNIVE_POSTGRES_BIN is PostgreSQL {}, but {} or newer is needed.",
                                             found->major, postgres_major));
  }

  std::optional<Binaries> best;
  std::optional<Binaries> too_old;
  for (const auto& directory : usual_directories()) {
    auto found = look_into(directory, identity);
    if (!found) continue;
    if (found->major < postgres_major) {
      too_old = found;
    } else if (found->major == wanted) {
      return *found;
    } else if (!best || found->major < best->major) {
      best = found;
    }
  }
  if (best) return *best;
  const auto instead = too_old ? fmt::format(" (only {} is)", too_old->major) : "";
  return fail(Code::not_found, fmt::format("PostgreSQL {0} is not installed{1}: apt-get install postgresql-{0}.",
                                           postgres_major, instead));
}

}  // namespace cognive::embedded
