#include "turns.hpp"

#include <cstdio>
#include <filesystem>

#include "ingest/interruption.hpp"

namespace cognive::bench {

int run_in_turns(CLI::App& app, TurnFlags& flags, int argc, char** argv, const std::function<int()>& measure) {
  auto milliseconds = static_cast<int>(flags.duration.count());
  app.add_option("--binary", flags.server.binary, "The server; the `cognive` beside this program when absent");
  app.add_option("--rounds", flags.rounds, "How often everything is measured; the median counts")
      ->check(CLI::Range(1, 100));
  app.add_option("--milliseconds", milliseconds, "How long each time")->check(CLI::Range(500, 600'000));
  app.add_option("--set", flags.server.environment, "NAME=value of the server's environment; it inherits nothing");
  CLI11_PARSE(app, argc, argv);
  flags.duration = std::chrono::milliseconds{milliseconds};
  flags.server.directory = std::filesystem::temp_directory_path();
  const auto self = std::filesystem::read_symlink("/proc/self/exe");
  if (flags.server.binary.empty()) flags.server.binary = self.parent_path() / "cognive";
  catch_signals();
  try {
    return measure();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", self.filename().c_str(), error.what());
    return 1;
  }
}

}  // namespace cognive::bench
