#include "embedded/process.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <thread>

#include "embedded/files.hpp"

namespace cognive::embedded {
namespace {
namespace fs = std::filesystem;
using namespace std::chrono_literals;

Command shell(const std::string& script) {
  return {.argv = {"/bin/sh", "-c", script}, .identity = *Identity::unprivileged()};
}

Result<Output> run_shell(const std::string& script, std::string_view input = "") {
  return run(shell(script), input, Clock::now() + 20s, {});
}

TEST(Process, a_tool_gets_its_input_and_returns_output_and_exit_code) {
  const auto output = run_shell("cat; echo oops >&2; exit 3", "hello\n");
  ASSERT_TRUE(output) << output.error().detail;
  EXPECT_EQ(output->text, "hello\noops\n");
  EXPECT_EQ(output->exit.text(), "exit code 3");
}

TEST(Process, a_tool_runs_as_the_unprivileged_user_with_a_clean_environment) {
  ::setenv("PGPASSWORD", "secret", 1);
  const auto output = run_shell("id -un; pwd; env | cut -d= -f1 | sort | tr '\\n' ' '");
  ::unsetenv("PGPASSWORD");
  ASSERT_TRUE(output) << output.error().detail;
  EXPECT_EQ(output->text, Identity::unprivileged()->name + "\n/\nLC_ALL PATH PWD TZ ");
}

TEST(Process, a_tool_inherits_no_descriptors) {
  const Descriptor leaky(::dup(0));
  const auto output = run_shell("ls /proc/$$/fd");
  ASSERT_TRUE(output) << output.error().detail;
  EXPECT_EQ(output->text, "0\n1\n2\n");
}

TEST(Process, a_tool_that_takes_too_long_is_killed_with_all_it_started) {
  const auto begin = Clock::now();
  const auto output = run(shell("sleep 98765 & sleep 98765"), "", begin + 200ms, {});
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().detail, "/bin/sh did not end in time and was stopped.");
  EXPECT_LT(Clock::now() - begin, 5s);
  const auto left = run_shell("grep -lz '^98765' /proc/[0-9]*/cmdline 2>/dev/null");
  ASSERT_TRUE(left);
  EXPECT_EQ(left->text, "");
}

TEST(Process, an_interruption_ends_a_tool) {
  const auto output = run(shell("sleep 60"), "", Clock::now() + 60s, [] { return true; });
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().detail, "Interrupted.");
}

TEST(Process, a_program_that_does_not_exist_is_named) {
  const Command command{.argv = {"/no/such/program"}, .identity = *Identity::unprivileged()};
  const auto output = run(command, "", Clock::now() + 5s, {});
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().detail, "/no/such/program cannot be started as user " + Identity::unprivileged()->name +
                                       ": exec: No such file or directory.");
}

TEST(Process, a_child_has_its_own_process_group_and_default_signals) {
  const auto log = fs::temp_directory_path() / ("cognive-process-test." + std::to_string(::getpid()));
  const auto before = ::signal(SIGINT, SIG_IGN);
  auto child = Child::start(shell("while true; do sleep 0.01; done"), log, SIGKILL);
  ::signal(SIGINT, before);
  ASSERT_TRUE(child) << child.error().detail;
  EXPECT_EQ(::getpgid((*child)->pid()), (*child)->pid());
  EXPECT_FALSE((*child)->poll_exit());
  const std::array steps{Child::Step{.signal = SIGINT, .patience = 10s}};
  EXPECT_EQ((*child)->stop(steps).text(), "signal 2");
  EXPECT_EQ((*child)->stop(steps).text(), "signal 2");  // and does not signal whoever has the number now
  fs::remove(log);
}

TEST(Process, a_stubborn_child_is_killed) {
  const auto log = fs::temp_directory_path() / ("cognive-process-test." + std::to_string(::getpid()));
  auto child = Child::start(shell("trap '' INT; echo ready; while true; do sleep 0.01; done"), log, SIGKILL);
  ASSERT_TRUE(child) << child.error().detail;
  const auto deadline = Clock::now() + 10s;
  while (fs::file_size(log) == 0 && Clock::now() < deadline) std::this_thread::sleep_for(5ms);
  const std::array steps{Child::Step{.signal = SIGINT, .patience = 100ms}};
  EXPECT_EQ((*child)->stop(steps).text(), "signal 9");
  fs::remove(log);
}

TEST(Process, a_worker_thread_may_not_start_children) {
  bool refused = false;
  std::thread([&] {
    try {
      const auto output = run_shell("true");
      ADD_FAILURE() << "started: " << output.has_value();
    } catch (const std::logic_error&) {
      refused = true;
    }
  }).join();
  EXPECT_TRUE(refused);
}

}  // namespace
}  // namespace cognive::embedded
