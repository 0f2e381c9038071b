"""What the counters of budgets must be, added up here from calls, steps, tool invocations and reservations as the database keeps them."""

from collections import defaultdict

COUNTERS = ("spent", "reserved", "unreserved", "exceeded")


def held_amount(window, cost, tokens, is_unpriced):
    """What a reservation sets aside on a window."""
    return {"cost": max(cost, window["assumed"] or 0) if is_unpriced else cost, "tokens": tokens, "requests": 1}.get(window["metric"], 0)


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
                due[window]["reserved"] += held_amount(windows[window], cost, tokens, is_unpriced)

    def charge(window, used, held=None):
        due[window]["spent"] += used
        if held is None:
            due[window]["unreserved"] += used
        else:
            due[window]["exceeded"] += max(used - held, 0)

    for run, call, charge_set, reservation, cost, tokens, is_measured, has_failed in sql(
            "SELECT run_id::text, id::text, charge_set_id, reservation_id::text, cost_nano_usd, coalesce(input_tokens, 0) + coalesce(output_tokens, 0), "
            "input_tokens IS NOT NULL, status = 'error' "
            "FROM llm_calls WHERE charge_set_id IS NOT NULL OR reservation_id IS NOT NULL"):
        is_unknown = cost is None and (is_measured or not has_failed)  # what failed and reports nothing has used nothing
        used = (cost or 0, tokens, 1, int(is_unknown))
        own = sets.get(charge_set, [])
        state, reserved_set, held_cost, held_tokens, held_unpriced, *settled_by = reservations.get(reservation, ("unknown", *[None] * 6))
        if state == "settled" and settled_by == [run, call]:
            for window in sets[reserved_set]:
                held = held_amount(windows[window], held_cost, held_tokens, held_unpriced)
                used_here = amount(windows[window], *used)
                if is_unknown and windows[window]["metric"] == "cost":
                    used_here = held
                if not is_measured and not has_failed and windows[window]["metric"] == "tokens":
                    used_here = held
                charge(window, used_here, held)
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
