// What events use up, added up by the windows that they are charged to, and charged in the transaction that stores
// them.
//
// A call that names a reservation settles it: what it cost goes to the windows in which the reservation was granted,
// which hold so much less. Whatever else covers it, and all that nobody had reserved, is charged to the windows of now,
// even beyond their limits: it has happened.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/uuid.hpp"
#include "pg/cluster.hpp"

namespace cognive::budgets {

// The name of the messages about runs whose budget is used up.
inline constexpr std::string_view exhausted_topic = "budgets.exhausted";

// The name of the messages about alerts that were raised; who gets one looks for them himself.
inline constexpr std::string_view alerted_topic = "budgets.alerted";

// The runs of such a message, and why each has to stop. Throws std::runtime_error when it is none.
std::map<Uuid, std::string> exhausted_of(std::string_view message);

// What was used up, of every metric.
struct Used {
  std::int64_t cost_nanos = 0;
  std::int64_t tokens = 0;
  std::int64_t requests = 0;
  std::int64_t unpriced = 0;  // of the requests: they cost what a budget assumes
  std::int64_t steps = 0;
  std::int64_t tool_calls = 0;

  // False, and nothing changed, when a sum would overflow.
  bool add(const Used& other);
};

// A call that names a reservation.
struct Settlement {
  Uuid reservation_id;
  Uuid agent_id;
  Uuid run_id;
  Uuid call_id;
  std::int64_t charge_set_id = 0;  // 0: nothing covers it now
  bool is_measured = true;         // else its tokens are those that it had reserved
  Used used;
};

class Charging {
 public:
  // `charge_set_id` ≠ 0.
  void add(std::int64_t charge_set_id, const Used& used);
  // One call settles; of several with one reservation the first does, and the others are charged as unreserved.
  void settle(const Settlement& settlement);
  void merge(const Charging& other);
  [[nodiscard]] bool empty() const { return rows_.empty() && settlements_.empty(); }

 private:
  friend pg::Statement charge_statement(const Charging& charging, std::int64_t edition);

  struct Row {
    std::int64_t charge_set_id = 0;
    Used used;
  };
  std::vector<Row> rows_;                                    // a set may have several, none of which overflows
  std::map<std::int64_t, std::size_t> last_of_;              // of each set
  std::map<std::pair<Uuid, Uuid>, Settlement> settlements_;  // by reservation and agent
};

// Charges, and raises alerts; the last statement of its transaction, since many wait for the windows that it locks.
// Fails with `outdated` when budgets are of another edition than the one by which it was decided what covers what, or a
// set is not known.
pg::Statement charge_statement(const Charging& charging, std::int64_t edition);
inline constexpr std::string_view outdated = "22012";  // SQLSTATE: division by zero, which nothing else here can do

}  // namespace cognive::budgets
