// What becomes of a task `k` that waits or runs already when one of its name and key is enqueued: nothing, unless it
// lies further ahead than anybody backs off or leases. It was written while PostgreSQL's clock was wrong then, and
// would keep all others away until that time comes.
#pragma once

#define COGNIVE_BRING_FORWARD                                                                           \
  "DO UPDATE SET due_at = excluded.due_at, claimed_by = NULL, claimed_at = NULL, claimed_until = NULL " \
  "WHERE k.due_at > excluded.due_at + interval '1 day' OR k.claimed_until > now() + interval '1 day'"
