// Where PostgreSQL's programs are, and which version they have.
#pragma once

#include <filesystem>
#include <optional>

#include "base/error.hpp"
#include "embedded/process.hpp"

namespace cognive::embedded {

// The oldest version that works, and the one we prefer when we are free to choose.
inline constexpr int postgres_major = 15;

struct Binaries {
  std::filesystem::path directory;
  int major;

  [[nodiscard]] std::string program(const char* name) const { return (directory / name).native(); }
};

// COGNIVE_POSTGRES_BIN when it is set; else the installed version `wanted` (that of an existing data directory), else
// the oldest usable one of /usr/lib/postgresql/*/bin and PATH. The caller compares versions: an existing data directory
// may need another one than what is found. Fails with a sentence that names the package when there is none.
Result<Binaries> find_binaries(const Identity& identity, std::optional<int> wanted);

}  // namespace cognive::embedded
