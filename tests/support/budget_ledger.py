"""What the counters of budgets must be, added up here from calls, steps, tool invocations and reservations as the database keeps them."""

from collections import defaultdict

COUNTERS = ("spent", "reserved", "unreserved", "exceeded")


def amount(window, cost, tokens, requests, unpriced, steps=0, tool_calls=0):
    """What counts in the unit of a window."""
    return {"cost": cost + unpriced * (window["assumed"] or 0), "tokens": tokens, "requests": requests, "steps": steps,
            "tool_calls": tool_calls}[window["metric"]]


def recompute(sql):
    """Counters by window as they are stored, and as they must be. `sql` returns the rows of a statement."""
    windows = {row[0]: dict(zip(("id", "budget", "metric", "assumed", *COUNTERS), row, strict=True)) for row in sql(
        "SELECT id, budget_id::text, metric, assumed_cost_nano_usd, spent, reserved, unreserved, exceeded FROM budget_windows")}
    sets = dict(sql("SELECT id, windows FROM budget_charge_sets"))
    reservations = {row[0]: row[1:] for row in sql(
        "SELECT id::text, state, charge_set_id, cost_nano_usd, tokens, is_unpriced, call_run_id::text, call_id::text FROM budget_reservations")}
    due = defaultdict(lambda: dict.fromkeys(COUNTERS, 0))
    for state, charge_set, cost, tokens, is_unpriced, _, _ in reservations.values():
        if state == "held":
            for window in sets[charge_set]:
                due[window]["reserved"] += amount(windows[window], 0 if is_unpriced else cost, tokens, 1, int(is_unpriced))

    def charge(window, used, held=None):
        due[window]["spent"] += used
        if held is None:
            due[window]["unreserved"] += used
        else:
            due[window]["exceeded"] += max(used - held, 0)

    for run, call, charge_set, reservation, cost, tokens in sql(
            "SELECT run_id::text, id::text, charge_set_id, reservation_id::text, cost_nano_usd, coalesce(input_tokens, 0) + coalesce(output_tokens, 0) "
            "FROM llm_calls WHERE charge_set_id IS NOT NULL OR reservation_id IS NOT NULL"):
        used = (cost or 0, tokens, 1, int(cost is None))
        own = sets.get(charge_set, [])
        state, reserved_set, held_cost, held_tokens, held_unpriced, *settled_by = reservations.get(reservation, ("unknown", *[None] * 6))
        if state == "settled" and settled_by == [run, call]:
            held = (0 if held_unpriced else held_cost, held_tokens, 1, int(held_unpriced))
            for window in sets[reserved_set]:
                reserved = amount(windows[window], *held)
                is_unknown = cost is None and windows[window]["metric"] == "cost"
                charge(window, max(reserved, windows[window]["assumed"] or 0) if is_unknown else amount(windows[window], *used), reserved)
            budgets = {windows[window]["budget"] for window in sets[reserved_set]}
            own = [window for window in own if windows[window]["budget"] not in budgets]
        for window in own:
            charge(window, amount(windows[window], *used))
    for table, counts in (("execution_steps", (1, 0)), ("tool_invocations", (0, 1))):
        for charge_set, count in sql(f"SELECT charge_set_id, count(*) FROM {table} WHERE charge_set_id IS NOT NULL GROUP BY 1"):
            for window in sets[charge_set]:
                charge(window, count * amount(windows[window], 0, 0, 0, 0, *counts))
    stored = {window: {name: int(row[name]) for name in COUNTERS} for window, row in windows.items()}
    return stored, {window: {name: int(value) for name, value in due[window].items()} for window in windows}
