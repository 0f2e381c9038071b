// Feeds rubbish to what reads files of traces: CSV of Azure's, trajectories of tau-bench.
#include "imports/azure_trace.hpp"
#include "imports/tau_bench.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cognive;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto trace = imports::parse_azure_trace(text, "fuzz.csv")) {
    std::int64_t input_tokens = 0;
    for (const auto& row : trace->rows) {
      input_tokens += row.input_tokens;
      if (row.time < trace->first || row.time > trace->last) __builtin_trap();
      if (trace->line_of(row).empty()) __builtin_trap();
    }
    if (input_tokens != trace->input_tokens) __builtin_trap();
  }
  static_cast<void>(imports::parse_tau_bench(text, "fuzz.json"));
  return 0;
}
