// What PostgreSQL's programs say when something is wrong, in their output and in their logs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace cognive::embedded {

// The line that says why a program gave up: the last FATAL or PANIC, else the last error, else the last line.
std::string complaint(std::string_view text);

// At most so much of a file.
inline constexpr std::size_t read_bytes_max = 64UL * 1024;
std::string read_from(const std::filesystem::path& path, std::uintmax_t offset);

}  // namespace cognive::embedded
