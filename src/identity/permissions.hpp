// Every permission of the product, `resource:verb`. Routes declare one; keys and roles hold some.
#pragma once

#include <array>
#include <string_view>

namespace cognive::identity::permission {

inline constexpr std::string_view teams_read = "teams:read";
inline constexpr std::string_view teams_write = "teams:write";
inline constexpr std::string_view agents_read = "agents:read";
inline constexpr std::string_view agents_write = "agents:write";
inline constexpr std::string_view runs_read = "runs:read";
inline constexpr std::string_view runs_write = "runs:write";
inline constexpr std::string_view events_write = "events:write";
inline constexpr std::string_view prices_read = "prices:read";
inline constexpr std::string_view prices_write = "prices:write";
inline constexpr std::string_view analytics_read = "analytics:read";
inline constexpr std::string_view budgets_read = "budgets:read";
inline constexpr std::string_view budgets_write = "budgets:write";
inline constexpr std::string_view budgets_reserve = "budgets:reserve";

inline constexpr std::array all{teams_read,   teams_write,   agents_read,    agents_write, runs_read,
                                runs_write,   events_write,  prices_read,    prices_write, analytics_read,
                                budgets_read, budgets_write, budgets_reserve};

}  // namespace cognive::identity::permission
