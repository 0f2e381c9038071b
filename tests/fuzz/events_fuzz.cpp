// Feeds rubbish to what reads event batches: JSON reader, binder, usage rules. Whatever comes, it answers with values.
#include <cstdint>
#include <string>

#include "base/compression.hpp"
#include "events/events.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cognive;
  const Timestamp now{1'795'478'400'000'000};
  std::string text(reinterpret_cast<const char*>(data), size);
  static_cast<void>(json::walk(text, [&](json::Cursor& root) {
    if (root.kind() != json::Kind::array) {
      json::Writer copy;
      root.copy_to(copy);
      return;
    }
    root.each_item([&](std::size_t, json::Cursor& item) {
      json::Faults faults;
      events::Event event;
      // Either an event or a reason.
      if (events::read_event(item, event, faults, now) != faults.empty()) __builtin_trap();
    });
  }));
  for (const auto how : {Compression::gzip, Compression::zlib})
    static_cast<void>(decompress({reinterpret_cast<const char*>(data), size}, how, 1 << 20));
  return 0;
}
