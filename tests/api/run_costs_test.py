"""Runs are found by what they cost, while they go on, after they have ended, and when their charge changes later."""

from decimal import Decimal
from types import SimpleNamespace

import pytest

from installation import llm_call, wait_until
from pricing import a_model, exact, reprice, set_price
from problems import pointers
from reports import post_batch


def found(api, agent, **parameters):
    """The runs of an agent in a range of cost, newest first, with their costs."""
    items = exact(api.get("/api/v1/runs", params={"agent_id": agent, "limit": 500} | parameters))["items"]
    return [(run["run_id"], run["cost_usd"]) for run in items]


@pytest.fixture(scope="module")
def spent(installation):
    """Runs of one agent that cost 1, 2, … 6 dollars: some go on, the others have ended and are summed."""
    api = installation.api()
    model, agent = a_model(), api.agent()["id"]
    set_price(api, model, 1_000_000, 0)
    runs = []
    for dollars in range(1, 7):
        run = api.run(agent)["run_id"]
        assert post_batch(api, [llm_call(run, provider="acme", model=model, usage={"input_tokens": 1}) for _ in range(dollars)])["accepted"] == dollars
        if dollars % 2 == 0:
            assert api.post(f"/api/v1/runs/{run}/end", json={"status": "succeeded"}).status_code == 200
        runs.append(run)
    api.post(f"/api/v1/runs/{runs[4]}/terminate", json={"reason": "enough"})
    settle(installation, runs)
    return SimpleNamespace(model=model, agent=agent, runs=runs, all=[(run, Decimal(dollars)) for dollars, run in enumerate(runs, 1)][::-1])


def sums(installation, runs):
    """What is noted as the cost of runs, in dollars."""
    rows = dict(installation.sql("SELECT id::text, cost_nano_usd FROM agent_runs WHERE id = ANY (%s::uuid[])", runs))
    return [rows[run] if rows[run] is None else Decimal(rows[run]) / 10**9 for run in runs]


def settle(installation, runs):
    """Lets the time pass after which the cost of ended runs is summed."""
    ended = [run for run, status in installation.sql("SELECT id::text, status FROM agent_runs WHERE id = ANY (%s::uuid[])", runs)
             if status not in ("queued", "running")]
    installation.sql("UPDATE agent_runs SET cost_due_at = now() WHERE cost_due_at IS NOT NULL AND id = ANY (%s::uuid[])", ended)
    wait_until(lambda: None not in sums(installation, ended), "the sums of the ended runs", 40)


def test_only_ended_runs_are_summed(installation, spent):
    assert sums(installation, spent.runs) == [None, 2, None, 4, 5, 6]


@pytest.mark.parametrize("least, most", [(None, None), ("3", None), (None, "3"), ("2", "4"), ("2.000000001", "5.999999999"), ("0", "0.5"), ("7", None), ("1e0", "2.50")])
def test_runs_are_found_by_cost_whether_they_go_on_or_not(api, spent, least, most):
    parameters = {name: value for name, value in (("min_cost_usd", least), ("max_cost_usd", most)) if value is not None}
    expected = [(run, cost) for run, cost in spent.all if Decimal(least or 0) <= cost <= Decimal(most or 99)]
    assert found(api, spent.agent, **parameters) == expected


def test_pages_go_on_within_the_range(api, spent):
    page = exact(api.get("/api/v1/runs", params={"agent_id": spent.agent, "min_cost_usd": 2, "limit": 3}))
    rest = exact(api.get("/api/v1/runs", params={"agent_id": spent.agent, "min_cost_usd": 2, "limit": 3, "cursor": page["next_cursor"]}))
    assert [run["cost_usd"] for run in page["items"] + rest["items"]] == [6, 5, 4, 3, 2] and rest["next_cursor"] is None


def test_a_late_call_and_a_new_price_change_what_an_ended_run_is_found_by(installation, api):
    model, agent = a_model(), api.agent()["id"]
    set_price(api, model, 1_000_000, 0, effective_from="2026-10-01T00:00:00Z")
    run = api.run(agent)["run_id"]
    call = {"provider": "acme", "model": model, "timestamp": "2026-10-03T12:00:00Z", "usage": {"input_tokens": 1}}
    post_batch(api, [llm_call(run, **call)])
    api.post(f"/api/v1/runs/{run}/end", json={"status": "succeeded"})
    settle(installation, [run])
    assert found(api, agent, max_cost_usd=1) == [(run, 1)]
    post_batch(api, [llm_call(run, **call)])
    assert found(api, agent, max_cost_usd=1) == [] and found(api, agent, min_cost_usd=2) == [(run, 2)]
    assert sums(installation, [run]) == [2]
    set_price(api, model, 5_000_000, 0, effective_from="2026-10-01T00:00:00Z")
    assert reprice(api, model=model)["changed"] == 2
    assert sums(installation, [run]) == [10] and found(api, agent, min_cost_usd=10) == [(run, 10)]


@pytest.mark.parametrize("name", ["min_cost_usd", "max_cost_usd"])
@pytest.mark.parametrize("value", ["1.0000000001", "9300000000", "x", "1e400", ""])
def test_a_cost_that_cannot_be_is_refused_with_a_pointer(api, name, value):
    assert pointers(api.get("/api/v1/runs", params={name: value})) == [f"?{name}"]
