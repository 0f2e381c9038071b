// What an LLM call is known by, for whoever asks whether it is allowed: a policy that says `!openai` means all that is
// priced as a call of OpenAI, however its provider was written.
#pragma once

#include <string_view>

#include "agents/policy.hpp"
#include "prices/catalogue.hpp"

namespace cognive::events {

// `provider` and `model` as they were said, either of them empty when it was not; `found` is what the catalogue
// understands by them, null when nothing. A provider counts as the one that was called, even where its prices are those
// of another; one that was not said is that of `found`.
agents::CallNames names_of(const prices::Catalogue& catalogue, std::string_view provider, std::string_view model,
                           const prices::Model* found);

}  // namespace cognive::events
