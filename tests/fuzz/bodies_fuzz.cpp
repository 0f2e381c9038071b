// Feeds rubbish to what binds bodies to described structs: every kind of field, nested, optional, bounded. Whatever
// comes, there is a value or a list of faults, and a value that is written can be read again.
#include "json/bind.hpp"
#include "json/page.hpp"

namespace {

using namespace cognive;

enum class Colour { red, green };

constexpr auto enum_names(Colour) {
  return std::array{json::name(Colour::red, "red"), json::name(Colour::green, "green")};
}

struct Leaf {
  std::string name;
  std::optional<Timestamp> at;

  static constexpr auto fields() {
    return json::fields(json::field("name", &Leaf::name, "", {.min_length = 1, .max_length = 8}),
                        json::field("at", &Leaf::at, ""));
  }
};

struct Tree {
  Uuid id;
  std::string secret = "none";
  Colour colour = Colour::red;
  bool flag = false;
  std::int64_t number = 0;
  Decimal amount;
  std::vector<std::string> words;
  std::vector<Leaf> leaves;
  std::map<std::string, std::int64_t> counts;
  json::Object metadata;
  std::optional<Leaf> leaf;

  static constexpr auto fields() {
    return json::fields(
        json::field("id", &Tree::id, "", {.optional = true}),
        json::field("secret", &Tree::secret, "", {.min_length = 4, .max_length = 16, .optional = true, .secret = true}),
        json::field("colour", &Tree::colour, "", {.optional = true}),
        json::field("flag", &Tree::flag, "", {.optional = true}),
        json::field("number", &Tree::number, "", {.min = -5, .max = 1'000'000, .optional = true}),
        json::field("amount", &Tree::amount, "", {.optional = true}),
        json::field("words", &Tree::words, "", {.max_length = 4, .optional = true}),
        json::field("leaves", &Tree::leaves, "", {.max_length = 4, .optional = true}),
        json::field("counts", &Tree::counts, "", {.min = 0, .max_length = 4, .optional = true}),
        json::field("metadata", &Tree::metadata, "", {.max_length = 64, .optional = true}),
        json::field("leaf", &Tree::leaf, ""));
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto tree = json::decode<Tree>(text);
  if (tree) {
    const auto written = json::encode(*tree);
    const auto again = json::decode<Tree>(written);
    if (!again || json::encode(*again) != written) __builtin_trap();
  } else if (tree.error().code == Code::unprocessable) {
    if (tree.error().fields.empty()) __builtin_trap();
    for (const auto& field : tree.error().fields) {
      if (!json::valid_utf8(field.message) || (field.pointer == "/secret" && !field.rejected.empty())) __builtin_trap();
    }
  }
  return 0;
}
