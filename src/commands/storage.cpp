// `cognive storage`: whether the object storage does what this installation needs of it, and its buckets.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/crypto.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"
#include "json/writer.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::milliseconds timeout{30'000};
constexpr std::size_t probe_bytes = 64 << 10;

struct Flags {
  std::string data;
  bool json = false;
};

struct BucketFound {
  std::string name;
  std::string created;  // empty: it is missing
  std::int64_t days = 0;
  std::int64_t wanted_days = 0;
  std::string fault;  // empty: it can be written, read and listed, and what is in it removed
};

struct Found {
  std::string place;
  std::vector<BucketFound> buckets;

  [[nodiscard]] bool is_well() const {
    return std::ranges::all_of(buckets, [](const BucketFound& one) { return one.fault.empty(); });
  }
};

Result<void> try_out(objects::Store& store, const std::string& bucket) {
  const auto deadline = Deadline::in(timeout);
  const auto key = "cognive-storage-check/" + random_token(20) + " +ü";
  const auto text = random_token(probe_bytes);
  if (auto put = store.put(bucket, key, text, "text/plain", deadline); !put) return put;
  const auto read = store.get(bucket, key, 0, probe_bytes, {}, deadline);
  const auto listed = store.list(bucket, "cognive-storage-check/", {}, 1'000, deadline);
  auto removed = store.remove(bucket, key, deadline);
  if (!read) return std::unexpected(read.error());
  if (read->bytes != text) return fail(Code::internal, "What was read is not what was written.");
  if (!listed) return std::unexpected(listed.error());
  if (std::ranges::find(listed->objects, key, &objects::Object::key) == listed->objects.end())
    return fail(Code::internal, "What was written was not listed.");
  return removed;
}

Result<Found> look(const Settings& settings, objects::Store& store) {
  const auto all = store.buckets(Deadline::in(timeout));
  if (!all) return std::unexpected(all.error());
  Found out{.place = store.place(), .buckets = {}};
  for (const auto& one : objects::expected) {
    BucketFound bucket{.name = settings.storage_bucket_prefix + std::string(one.name), .wanted_days = one.days};
    const auto found = std::ranges::find(*all, bucket.name, &objects::Bucket::name);
    if (found == all->end()) {
      bucket.fault = "It is missing: `cognive storage init` makes it.";
    } else {
      bucket.created = found->created_at ? found->created_at->text() : "unknown";
      if (const auto days = store.lifetime(bucket.name, Deadline::in(timeout))) {
        bucket.days = *days;
      } else {
        bucket.fault = days.error().detail;
      }
      if (auto tried = try_out(store, bucket.name); !tried) bucket.fault = std::move(tried.error().detail);
    }
    out.buckets.push_back(std::move(bucket));
  }
  return out;
}

std::string json_of(const Found& found) {
  json::Writer out;
  out.begin_object();
  out.field("endpoint", found.place);
  out.key("healthy");
  out.boolean(found.is_well());
  out.key("buckets");
  out.begin_array();
  for (const auto& bucket : found.buckets) {
    out.begin_object();
    out.field("name", bucket.name);
    out.key("created");
    if (bucket.created.empty()) {
      out.null();
    } else {
      out.string(bucket.created);
    }
    out.key("lifetime_days");
    out.integer(bucket.days);
    out.field("fault", bucket.fault);
    out.end_object();
  }
  out.end_array();
  out.end_object();
  return std::move(out).text();
}

std::string lifetime_text(const BucketFound& bucket) {
  if (bucket.created.empty()) return "-";
  if (bucket.days == 0) return "for ever";
  return fmt::format("{} days", bucket.days);
}

int report(const Flags& flags, const Found& found) {
  if (flags.json) {
    std::printf("%s\n", json_of(found).c_str());
    return found.is_well() ? 0 : 1;
  }
  Table table({{"bucket"}, {"made"}, {"objects are kept"}, {"works"}});
  for (const auto& bucket : found.buckets)
    table.add({bucket.name, bucket.created.empty() ? "-" : bucket.created.substr(0, 10), lifetime_text(bucket),
               bucket.fault.empty() ? "yes" : "no"});
  std::printf("%s\n%s", found.place.c_str(), table.text().c_str());
  for (const auto& bucket : found.buckets) {
    if (!bucket.fault.empty())
      std::fprintf(stderr, "cognive: %s: %s\n", bucket.name.c_str(), bucket.fault.c_str());
    else if (bucket.days != bucket.wanted_days)
      std::fprintf(stderr,
                   "cognive: %s keeps objects for another time than the usual %lld days, which is as it was set\n",
                   bucket.name.c_str(), static_cast<long long>(bucket.wanted_days));
  }
  return found.is_well() ? 0 : 1;
}

int check(const Flags& flags) {
  return with_store(flags.data, DatabaseUrl::unused, [&](const Settings& settings, objects::Store& store) {
    const auto found = look(settings, store);
    return found ? report(flags, *found) : explain(found.error());
  });
}

int init(const Flags& flags) {
  return with_store(flags.data, DatabaseUrl::unused, [&](const Settings& settings, objects::Store& store) {
    for (const auto& one : objects::expected) {
      const auto name = settings.storage_bucket_prefix + std::string(one.name);
      if (const auto made = store.make_bucket(name, one.days, Deadline::in(timeout)); !made)
        return explain(made.error());
    }
    const auto found = look(settings, store);
    return found ? report(flags, *found) : explain(found.error());
  });
}

}  // namespace

void add_storage(CLI::App& root, Action& chosen) {
  auto* command =
      root.add_subcommand("storage", "The object storage for artifacts, and its buckets (STORAGE_ENDPOINT, …)");
  command->require_subcommand(1);
  const auto add = [&](const char* name, const char* what, int (*run)(const Flags&)) {
    auto* verb = command->add_subcommand(name, what);
    const auto flags = std::make_shared<Flags>();
    verb->add_option("--data", flags->data, "Data directory of a `cognive up` on this machine");
    verb->add_flag("--json", flags->json, "Print JSON");
    verb->callback([flags, run, &chosen] { chosen = [flags, run] { return run(*flags); }; });
  };
  add("check", "Write, read, list and remove an object in each bucket; exit with 1 when something of it fails", &check);
  add("init", "Make the buckets that are missing, with their lifetimes, and check them", &init);
}

}  // namespace cognive::commands
