// `cognive prices`: the price catalogue.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/resources.hpp"
#include "base/text.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "json/bind.hpp"
#include "prices/prices.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::seconds timeout{60};

struct Flags {
  std::string data;
  std::string file;
  bool json = false;
};

void print(const prices::ImportReport& report, bool as_json) {
  if (as_json) {
    std::printf("%s\n", json::encode(report).c_str());
    return;
  }
  std::printf(
      "%s models of %s providers: %s new, %s changed, %s no longer in the data set and kept; %s providers changed\n",
      grouped(report.models).c_str(), grouped(report.providers).c_str(), grouped(report.models_added).c_str(),
      grouped(report.models_changed).c_str(), grouped(report.models_kept).c_str(),
      grouped(report.providers_changed).c_str());
  std::printf("%s price versions added\n", grouped(report.versions_added).c_str());
  for (const auto& reason : report.refused) std::printf("refused: %s\n", reason.c_str());
}

int import(const Flags& flags) {
  std::string text(resource("data/prices.json"));
  if (!flags.file.empty()) {
    std::ifstream in(flags.file);
    if (!in || !std::filesystem::is_regular_file(flags.file))
      return explain({Code::not_found, "cannot read " + flags.file, {}});
    std::stringstream content;
    content << in.rdbuf();
    text = content.str();
  }
  auto data = prices::read_data_set(std::move(text));
  if (!data) return explain(data.error());
  const auto variables = tool_variables(flags.data);
  if (!variables) return explain(variables.error());
  const auto settings = load_settings(*variables);
  if (!settings) return explain(settings.error());
  return with_database(*settings, timeout, [&](pg::Cluster& database, const Call& call) -> Async<int> {
    prices::CurrentCatalogue catalogue;
    prices::Prices prices(database, catalogue);
    const auto report = co_await prices.import(call, std::move(*data));
    print(report, flags.json);
    co_return 0;
  });
}

}  // namespace

void add_prices(CLI::App& root, Action& chosen) {
  auto* prices = root.add_subcommand("prices", "The price catalogue");
  prices->require_subcommand(1);
  const auto flags = std::make_shared<Flags>();
  auto* command = prices->add_subcommand(
      "import",
      "Add what is new in a price catalogue. Prices that hold are never changed: a changed rate holds from now on");
  command->add_option("file", flags->file,
                      "A file as tools/prices_catalogue.py writes it; the shipped one when absent");
  command->add_option("--data", flags->data, "Data directory of a `cognive up` on this machine");
  command->add_flag("--json", flags->json, "Print the report as JSON");
  command->callback([flags, &chosen] { chosen = [flags] { return import(*flags); }; });
}

}  // namespace cognive::commands
