#include "commands/model.hpp"

#include "agents/tables.hpp"
#include "alerts/tables.hpp"
#include "artifacts/tables.hpp"
#include "audit/tables.hpp"
#include "budgets/tables.hpp"
#include "celery/tables.hpp"
#include "events/tables.hpp"
#include "exports/tables.hpp"
#include "feed/tables.hpp"
#include "idempotency/tables.hpp"
#include "identity/tables.hpp"
#include "keyring/tables.hpp"
#include "prices/tables.hpp"
#include "rollups/tables.hpp"
#include "runs/tables.hpp"
#include "stream/tables.hpp"
#include "tasks/tables.hpp"
#include "teams/tables.hpp"

namespace cognive::commands {

schema::Model product_model() {
  schema::Model model;
  for (auto&& tables :
       {keyring::tables(), teams::tables(), identity::tables(), agents::tables(), audit::tables(), prices::tables(),
        rollups::tables(), runs::tables(), budgets::tables(), alerts::tables(), artifacts::tables(), exports::tables(),
        events::tables(), feed::tables(), celery::tables(), tasks::tables(), idempotency::tables(), stream::tables()}) {
    model.tables.insert(model.tables.end(), tables.begin(), tables.end());
  }
  return model;
}

}  // namespace cognive::commands
