// The object storage that the settings name.
#pragma once

#include <memory>

#include "base/error.hpp"
#include "config/settings.hpp"
#include "objects/store.hpp"

namespace cognive::objects {

// Null when none is configured. Asks nobody. The error's detail begins with the name of the setting that is wrong.
Result<std::unique_ptr<Store>> open_store(const Settings& settings);

}  // namespace cognive::objects
