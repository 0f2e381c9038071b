// What the tests of this folder share: real servers in directories under /tmp, as root or as an ordinary user.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/text.hpp"
#include "embedded/cluster.hpp"

namespace cognive::embedded::test {
namespace fs = std::filesystem;
using namespace std::chrono_literals;

inline bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds patience = 20s) {
  const auto deadline = Clock::now() + patience;
  while (!condition()) {
    if (Clock::now() > deadline) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

inline Result<Output> psql(const std::string& url, const std::string& sql) {
  static const auto binaries = find_binaries(*Identity::unprivileged(), std::nullopt);
  const Command command{.argv = {binaries->program("psql"), url, "-XAtqc", sql}, .identity = *Identity::current()};
  return run(command, "", Clock::now() + 20s, {});
}

inline std::string answer(const std::string& url, const std::string& sql) {
  const auto output = psql(url, sql);
  return output ? std::string(trim(output->text)) : output.error().detail;
}

// Servers and backends that work somewhere under `root`.
inline std::vector<pid_t> servers_under(const fs::path& root) {
  std::vector<pid_t> out;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const auto name = entry.path().filename().native();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::error_code gone;
    const auto working = fs::read_symlink(entry.path() / "cwd", gone);
    if (!gone && working.native().starts_with(root.native() + "/")) out.push_back(std::stoi(name));
  }
  return out;
}

struct Started {
  DataDirectory directory;
  Result<Cluster> cluster;
};

inline std::unique_ptr<Started> start(const fs::path& path, Cluster::Options options = {}) {
  auto directory = DataDirectory::open(path, *Identity::unprivileged());
  if (!directory) {
    ADD_FAILURE() << directory.error().detail;
    return nullptr;
  }
  auto started = std::make_unique<Started>(Started{std::move(*directory), fail(Code::internal, "not started")});
  started->cluster = Cluster::start(started->directory, std::move(options));
  return started;
}

inline std::string refusal(const fs::path& path, Cluster::Options options = {}) {
  const auto started = start(path, std::move(options));
  if (!started) return "directory refused";
  return started->cluster ? "started" : started->cluster.error().detail;
}

// A directory under /tmp that is gone afterwards, with everything that ran in it.
class TemporaryDirectory : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/cognive-test-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    ::chmod(name.c_str(), 0755);
    temporary_ = name;
    path_ = temporary_ / "data";
  }

  void TearDown() override {
    EXPECT_TRUE(eventually([&] { return servers_under(temporary_).empty(); }));
    for (const auto pid : servers_under(temporary_)) ::kill(pid, SIGKILL);
    EXPECT_TRUE(eventually([&] {
      std::error_code busy;
      fs::remove_all(temporary_, busy);
      return !fs::exists(temporary_);
    }));
  }

  fs::path data() const { return path_ / "postgres/primary"; }

  // The data directory that is being made, once it has a PG_VERSION.
  fs::path unfinished() const {
    std::error_code absent;
    for (const auto& entry : fs::directory_iterator(path_ / "postgres", absent)) {
      if (entry.path().filename().native().starts_with("primary.new-") && fs::exists(entry.path() / "PG_VERSION")) {
        return entry.path();
      }
    }
    return {};
  }

  fs::path temporary_;
  fs::path path_;
};

}  // namespace cognive::embedded::test
