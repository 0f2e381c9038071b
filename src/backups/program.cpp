#include "backups/program.hpp"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <boost/process.hpp>
#include <boost/process/extend.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/crypto.hpp"
#include "base/text.hpp"

namespace cognive::backups {
namespace {

namespace process = boost::process;

constexpr std::size_t piece_bytes = 256 << 10;
constexpr std::size_t complaint_bytes_max = 2'000;

// Where it complains to; gone with us.
class Complaints {
 public:
  Complaints() : path_(std::filesystem::temp_directory_path() / ("cognive-" + random_token(20))) {
    std::ofstream{path_};
    std::filesystem::permissions(path_, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  }
  Complaints(const Complaints&) = delete;
  Complaints& operator=(const Complaints&) = delete;
  ~Complaints() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::string text() const {
    std::ifstream in(path_);
    std::string out(complaint_bytes_max, '\0');
    in.read(out.data(), static_cast<std::streamsize>(out.size()));
    out.resize(static_cast<std::size_t>(in.gcount()));
    return std::string(trim(out));
  }

 private:
  std::filesystem::path path_;
};

process::environment environment_of(const Program& program) {
  process::environment out;
  out["PATH"] = "/usr/local/bin:/usr/bin:/bin";
  out["LC_ALL"] = "C.UTF-8";
  // What libpq heeds besides the URL, as it does in this process: PGPASSFILE, PGSSLROOTCERT.
  for (const auto* const* one = environ; *one != nullptr; ++one) {
    const std::string_view text(*one);
    const auto equals = text.find('=');
    if (text.starts_with("PG") && equals != std::string_view::npos)
      out[std::string(text.substr(0, equals))] = std::string(text.substr(equals + 1));
  }
  for (const auto& one : program.environment) {
    const auto equals = one.find('=');
    out[one.substr(0, equals)] = one.substr(equals + 1);
  }
  return out;
}

// In the child: whoever waits for it may be killed.
constexpr auto end_with_us = [](auto&) { ::prctl(PR_SET_PDEATHSIG, SIGTERM); };

std::string name_of(const Program& program) {
  return std::filesystem::path(program.arguments.front()).filename().native();
}

Result<void> end_of(const Program& program, process::child& child, const Complaints& complaints) {
  child.wait();
  if (child.exit_code() == 0) return {};
  const auto text = complaints.text();
  return fail(Code::unprocessable,
              fmt::format("{} has failed: {}", name_of(program), text.empty() ? "it does not say why." : text));
}

Error cannot_start(const Program& program, const std::error_code& error) {
  return {
      Code::unprocessable, fmt::format("{} cannot be started: {}.", program.arguments.front(), error.message()), {}};
}

}  // namespace

Result<void> read_from(const Program& program, const std::function<Result<void>(std::string_view)>& take) {
  const Complaints complaints;
  process::pipe out;
  std::error_code error;
  process::child child(process::exe = program.arguments.front(),
                       process::args = std::vector(program.arguments.begin() + 1, program.arguments.end()),
                       environment_of(program), (process::std_in < process::null), (process::std_out > out),
                       process::std_err > complaints.path().native(), process::extend::on_exec_setup = end_with_us,
                       error);
  if (error) return std::unexpected(cannot_start(program, error));
  std::string piece(piece_bytes, '\0');
  for (;;) {
    const auto count = out.read(piece.data(), static_cast<int>(piece.size()));
    if (count <= 0) break;
    if (auto taken = take(std::string_view(piece).substr(0, static_cast<std::size_t>(count))); !taken) {
      child.terminate();
      child.wait();
      return taken;
    }
  }
  return end_of(program, child, complaints);
}

Result<void> write_to(const Program& program, const std::function<Result<std::string>()>& give) {
  std::signal(SIGPIPE, SIG_IGN);  // when it ends early, its own words say why
  const Complaints complaints;
  process::opstream in;
  std::error_code error;
  process::child child(process::exe = program.arguments.front(),
                       process::args = std::vector(program.arguments.begin() + 1, program.arguments.end()),
                       environment_of(program), (process::std_in < in), (process::std_out > process::null),
                       process::std_err > complaints.path().native(), process::extend::on_exec_setup = end_with_us,
                       error);
  if (error) return std::unexpected(cannot_start(program, error));
  while (in) {
    auto piece = give();
    if (!piece) {
      child.terminate();
      child.wait();
      return std::unexpected(std::move(piece.error()));
    }
    if (piece->empty()) break;
    in.write(piece->data(), std::ssize(*piece));
  }
  in.flush();
  in.pipe().close();
  return end_of(program, child, complaints);
}

}  // namespace cognive::backups
