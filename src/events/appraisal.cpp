#include "events/appraisal.hpp"

#include "events/content.hpp"
#include "events/names.hpp"
#include "privacy/redactor.hpp"

namespace cognive::events {
namespace {

// What policies say of the events of one appraisal. Most events use what others have used, so each verdict is
// remembered.
class Verdicts {
 public:
  // Nothing when the policy of the item's agent allows it.
  std::optional<agents::Violation> of(const prices::Catalogue& catalogue, const Item& item) {
    const auto& policy = *item.row.run->policy;
    if (const auto* call = std::get_if<LlmCall>(&item.event->body)) {
      if (policy.providers.empty() && policy.models.empty()) return std::nullopt;
      const std::string_view provider = call->provider ? std::string_view(*call->provider) : std::string_view();
      return remembered({&policy, Kind::call, provider, call->model}, [&] {
        return agents::check_call(policy, names_of(catalogue, provider, call->model, item.row.price.model));
      });
    }
    const auto* tool = std::get_if<ToolInvocation>(&item.event->body);
    if (tool == nullptr) return std::nullopt;
    if (!policy.tools.empty()) {
      auto violation =
          remembered({&policy, Kind::tool, tool->tool, {}}, [&] { return agents::check_tool(policy, tool->tool); });
      if (violation) return violation;
    }
    if (!tool->data_source || policy.data_sources.empty()) return std::nullopt;
    return remembered({&policy, Kind::data_source, *tool->data_source, {}},
                      [&] { return agents::check_data_source(policy, *tool->data_source); });
  }

 private:
  enum class Kind { call, tool, data_source };
  using Key = std::tuple<const agents::Policy*, Kind, std::string_view, std::string_view>;

  template <typename Check>
  std::optional<agents::Violation> remembered(const Key& key, const Check& check) {
    const auto [place, is_new] = known_.try_emplace(key);
    if (is_new) place->second = check();
    return place->second;
  }

  std::map<Key, std::optional<agents::Violation>> known_;  // the texts are those of the events
};

}  // namespace

struct Appraisal::State {
  keyring::DerivedKey content_key;
  std::shared_ptr<prices::Pricer> pricer;
  Verdicts verdicts{};

  void look_at(Item& item) {
    if (const auto* call = std::get_if<LlmCall>(&item.event->body)) {
      item.row.price = pricer->price(item.row.run->team_id, call->provider.value_or(""), call->model,
                                     item.event->timestamp, call->usage);
    }
    item.violation = verdicts.of(*pricer->catalogue(), item);
    item.row.violation.reset();
    const auto kept_as = item.row.run->policy->store;
    if (item.violation) {
      item.row.violation = item.violation->subject;
      // It may become the error of the run, and is kept as errors are.
      if (kept_as != agents::Store::full) item.violation->detail = privacy::redact(item.violation->detail);
    }
    auto kept = kept_of(*item.event, kept_as, content_key.get());
    item.row.error = std::move(kept.error);
    item.row.content = std::move(kept.content);
  }
};

Appraisal::Appraisal(std::unique_ptr<State> state) : state_(std::move(state)) {}
Appraisal::Appraisal(Appraisal&&) noexcept = default;
Appraisal::~Appraisal() = default;

Async<> Appraisal::look_at(std::span<Item* const> items) {
  constexpr std::chrono::milliseconds turn{2};
  auto until = Deadline::in(turn);
  for (auto* item : items) {
    if (until.passed()) {
      co_await sleep_for(std::chrono::milliseconds{0});
      until = Deadline::in(turn);
    }
    state_->look_at(*item);
  }
}

const std::shared_ptr<const prices::Catalogue>& Appraisal::catalogue() const {
  return state_->pricer->catalogue();
}

Appraiser::Appraiser(const prices::CurrentCatalogue& catalogue, const keyring::DerivedKey& content_key)
    : current_(catalogue), content_key_(content_key), pricer_(std::make_shared<prices::Pricer>(catalogue.get())) {}

Appraiser::~Appraiser() = default;

Appraisal Appraiser::begin() {
  auto now = current_.get();
  if (pricer_->catalogue() != now) pricer_ = std::make_shared<prices::Pricer>(std::move(now));
  return Appraisal(std::make_unique<Appraisal::State>(content_key_, pricer_));
}

void add_to(rollups::Deltas& deltas, const store::Row& row) {
  const auto& call = std::get<LlmCall>(row.event->body);
  const rollups::Key key{.timestamp = row.event->timestamp,
                         .team_id = row.run->team_id,
                         .agent_id = row.run->agent_id,
                         .environment = row.run->environment,
                         .provider = store::provider_of(row).value_or(""),
                         .model = call.model,
                         .price_status = json::enum_text(row.price.status)};
  const bool is_usage_known = call.usage.reported_units() != 0;
  deltas.add(key, {.failed = call.status == Outcome::error,
                   .is_usage_known = is_usage_known,
                   .tokens = is_usage_known ? store::tokens_of(call.usage) : std::array<std::int64_t, 4>{},
                   .cost_nanos = row.price.has_cost() ? row.price.cost.nanos : 0,
                   .duration_ms = call.duration_ms});
}

}  // namespace cognive::events
