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
#include "commands/table.hpp"
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

// "input_mtok 2.5, output_mtok 10" of {"input_mtok":2.5,"output_mtok":10}
std::string spelled(const json::Object& rates) {
  std::string out;
  std::string text = rates.text;
  static_cast<void>(json::walk(text, [&](json::Cursor& in) {
    in.each_field([&](std::string_view unit, json::Cursor& value) {
      if (!out.empty()) out += ", ";
      out += fmt::format("{} {}", unit, value.excerpt());
    });
  }));
  return out.empty() ? "no rates" : out;
}

void print(const prices::ImportReport& report, bool as_json, bool is_diff) {
  if (as_json) {
    std::printf("%s\n", json::encode(report).c_str());
    return;
  }
  std::printf(
      "%s models of %s providers: %s new, %s under other rules, %s no longer in the data set and kept; %s providers "
      "under other rules\n",
      grouped(report.models).c_str(), grouped(report.providers).c_str(), grouped(report.models_added).c_str(),
      grouped(report.models_changed).c_str(), grouped(report.models_kept).c_str(),
      grouped(report.providers_changed).c_str());
  std::printf("%s price versions %s\n", grouped(report.versions_added).c_str(), is_diff ? "to be added" : "added");
  // A first import adds everything; nobody wants to read that.
  constexpr std::size_t shown_max = 50;
  if (report.added.size() <= shown_max) {
    for (const auto& model : report.added) std::printf("new: %s\n", model.c_str());
  }
  if (!report.changes.empty()) {
    Table table({{"model"}, {"from"}, {"before"}, {"after"}});
    for (const auto& change : report.changes) {
      table.add({change.provider + "/" + change.model, change.effective_from.text().substr(0, 19) + "Z",
                 change.before ? spelled(*change.before) : "", spelled(change.after)});
    }
    std::printf("%s", table.text().c_str());
  }
  for (const auto& reason : report.refused) std::printf("refused: %s\n", reason.c_str());
  if (is_diff && report.versions_added + report.models_added + report.models_changed + report.providers_changed > 0)
    std::printf("nothing was changed; cognive prices import does\n");
}

int import(const Flags& flags, bool is_diff) {
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
  const auto settings = load_settings(*variables, is_diff ? MasterKey::optional : MasterKey::required);
  if (!settings) return explain(settings.error());
  const auto task = [&](pg::Cluster& database, const Call& call, const keyring::RootKey& root) -> Async<int> {
    prices::CurrentCatalogue catalogue;
    prices::Prices prices(database, audit::Trail(root), catalogue);
    const auto report =
        is_diff ? co_await prices.diff(call, std::move(*data)) : co_await prices.import(call, std::move(*data));
    print(report, flags.json, is_diff);
    co_return 0;
  };
  return with_installation(*settings, timeout, is_diff ? Access::looks : Access::changes, task);
}

}  // namespace

void add_prices(CLI::App& root, Action& chosen) {
  auto* prices = root.add_subcommand("prices", "The price catalogue, and the prices that win over it");
  prices->require_subcommand(1);
  const auto add = [&](const std::string& name, const std::string& help, bool is_diff) {
    const auto flags = std::make_shared<Flags>();
    auto* command = prices->add_subcommand(name, help);
    command->add_option("file", flags->file,
                        "A file as tools/prices_catalogue.py writes it; the shipped one when absent");
    command->add_option("--data", flags->data, "Data directory of a `cognive up` on this machine");
    command->add_flag("--json", flags->json, "Print the report as JSON");
    command->callback([flags, is_diff, &chosen] { chosen = [flags, is_diff] { return import(*flags, is_diff); }; });
  };
  add("import",
      "Add what is new in a price catalogue. Prices that hold are never changed: a changed rate holds from now on",
      false);
  add("diff", "Show what an import would add and change, and change nothing", true);
  add_price_overrides(*prices, chosen);
}

}  // namespace cognive::commands
