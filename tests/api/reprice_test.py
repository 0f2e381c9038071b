"""Repricing: what calls are charged follows the prices that hold now, by appended adjustments, exactly once, everywhere it is shown."""

import random
import threading
import uuid
from decimal import Decimal
from types import SimpleNamespace

import psycopg2
import pytest

from installation import llm_call, uuid7, wait_until
from pricing import a_model, exact, reprice, set_price
from problems import check_problem, pointers
from reports import post_batch

DAY = "2026-10-{:02}T12:00:00Z"


@pytest.fixture
def charged(api):
    """A run with one call on each day of a month, of a model that nobody else has and that has no price yet."""

    model = a_model()
    agent = api.agent(labels={"cost_center": "lab"})["id"]
    run = api.run(agent, labels={"customer": "bob"})["run_id"]
    calls = [llm_call(run, provider="acme", model=model, timestamp=DAY.format(day), usage={"input_tokens": 1000 * day, "output_tokens": day})
             for day in range(1, 31)]
    one = SimpleNamespace(model=model, agent=agent, run=run, calls=calls)
    one.cost = lambda: exact(api.get("/api/v1/analytics/costs", params={"agent_id": agent}))["total"]
    assert post_batch(api, calls)["accepted"] == 30
    return one


def test_calls_that_had_no_price_get_one_and_a_repeat_changes_nothing(installation, api, charged):
    assert charged.cost()["unpriced_calls"] == 30
    made = set_price(api, charged.model, 2, 10, effective_from="2026-10-11T00:00:00Z")
    expected = sum(Decimal(1000 * day * 2 + day * 10) / 1_000_000 for day in range(11, 31))
    dry = reprice(api, model=charged.model, dry_run=True)
    assert dry == {"calls": 30, "changed": 20, "newly_priced": 20, "no_longer_priced": 0, "difference_usd": expected}
    assert charged.cost()["unpriced_calls"] == 30
    assert reprice(api, model=charged.model) == dry
    assert (charged.cost()["unpriced_calls"], charged.cost()["cost_usd"]) == (10, expected)
    assert reprice(api, model=charged.model) == {"calls": 30, "changed": 0, "newly_priced": 0, "no_longer_priced": 0, "difference_usd": 0}
    rows = installation.sql("SELECT sequence, old_price_status, new_price_status, new_price_version_id::text FROM charge_adjustments "
                            "WHERE run_id = %s", charged.run)
    assert rows == [(1, "unknown_provider", "priced", made["id"])] * 20
    # The calls are as they came.
    assert installation.sql("SELECT DISTINCT price_status, cost_nano_usd FROM llm_calls WHERE run_id = %s", charged.run) == [("unknown_provider", None)]


def test_every_view_shows_what_is_charged_now(api, charged):
    set_price(api, charged.model, 2, 0)
    reprice(api, model=charged.model)
    set_price(api, charged.model, 3, 0, effective_from="2026-10-21T00:00:00Z")
    assert reprice(api, model=charged.model)["changed"] == 10
    expected = sum(Decimal(day * (3 if day >= 21 else 2)) / 1000 for day in range(1, 31))
    assert charged.cost()["cost_usd"] == expected
    for parameters in ({"group_by": "label:customer"}, {"group_by": "model,label:cost_center", "interval": "month"}):
        [item] = exact(api.get("/api/v1/analytics/costs", params={"agent_id": charged.agent} | parameters))["items"]
        assert (item["cost_usd"], item["label"]) == (expected, "bob" if "customer" in parameters["group_by"] else "lab")
    week = exact(api.get("/api/v1/analytics/costs", params={"agent_id": charged.agent, "from": "2026-10-20T00:00:00Z", "to": "2026-10-22T00:00:00Z"}))
    assert week["total"]["cost_usd"] == Decimal("0.040") + Decimal("0.063")
    assert exact(api.get(f"/api/v1/runs/{charged.run}"))["totals"]["cost_usd"] == expected
    assert [run["cost_usd"] for run in exact(api.get("/api/v1/runs", params={"agent_id": charged.agent}))["items"]] == [expected]
    timeline = exact(api.get(f"/api/v1/runs/{charged.run}/timeline"))["items"]
    assert sum(item["cost_usd"] for item in timeline) == expected and {item["price_status"] for item in timeline} == {"priced"}
    bundle = exact(api.get(f"/api/v1/runs/{charged.run}/replay", params={"as_of": "2026-10-01T00:00:00Z"}))
    assert (bundle["recorded"]["cost_usd"], bundle["repriced"]["cost_usd"]) == (expected, sum(Decimal(day * 2) / 1000 for day in range(1, 31)))
    assert bundle["difference_usd"] == bundle["repriced"]["cost_usd"] - expected
    # What has no price on the other side is not saved.
    assert exact(api.get(f"/api/v1/runs/{charged.run}/replay", params={"as_model": a_model()}))["difference_usd"] is None
    coverage = exact(api.get("/api/v1/analytics/coverage", params={"from": "2026-10-01T00:00:00Z", "to": "2026-11-01T00:00:00Z"}))
    assert charged.model not in [item["model"] for item in coverage["unpriced"]]


def test_a_charge_is_explained_by_lines_that_add_up_and_by_what_changed_it(api, charged):
    first = set_price(api, charged.model, 2, 10)
    reprice(api, model=charged.model)
    second = set_price(api, charged.model, 3, 10)
    reprice(api, model=charged.model)
    body = exact(api.get(f"/api/v1/runs/{charged.run}/llm-calls/{charged.calls[6]['id']}"))
    assert [(line["unit"], line["quantity"], line["rate"]) for line in body["lines"]] == [("input_tokens", 7000, 3), ("output_tokens", 7, 10)]
    assert sum(line["quantity"] * line["rate"] / Decimal(line["per"]) for line in body["lines"]) == body["cost_usd"] == Decimal("0.02107")
    assert (body["price_status"], body["price_source"], body["price_version_id"]) == ("priced", "organisation", second["id"])
    assert [(one["sequence"], one["old_cost_usd"], one["new_cost_usd"], one["difference_usd"], one["new_price_version_id"]) for one in body["adjustments"]] == [
        (1, None, Decimal("0.01407"), Decimal("0.01407"), first["id"]), (2, Decimal("0.01407"), Decimal("0.02107"), Decimal("0.007"), second["id"])]
    check_problem(api.get(f"/api/v1/runs/{charged.run}/llm-calls/{uuid.uuid4()}"), 404)


def test_a_price_that_is_taken_back_leaves_the_call_unpriced_again(api, charged):
    set_price(api, charged.model, 2, 0)
    reprice(api, model=charged.model)
    set_price(api, charged.model, None, None)
    assert reprice(api, model=charged.model)["no_longer_priced"] == 30
    total = charged.cost()
    assert (total["unpriced_calls"], total["cost_usd"]) == (30, 0)


def test_only_the_calls_that_were_asked_for_are_repriced(installation, api, charged):
    set_price(api, charged.model, 2, 0)
    other = api.agent()["id"]
    team = f"team-{uuid.uuid4()}"
    stranger = installation.api(installation.team_key(team))
    for parameters in ({"agent_id": other}, {"provider": "globex"}, {"team": team}, {"model": a_model()}, {"from": "2026-10-31T00:00:00Z"}):
        assert reprice(api, **{"model": charged.model} | parameters)["changed"] == 0
    assert reprice(stranger, model=charged.model)["calls"] == 0
    assert stranger.get(f"/api/v1/runs/{charged.run}/llm-calls/{charged.calls[0]['id']}").status_code == 404
    # From is in, to is out.
    assert reprice(api, model=charged.model, **{"from": DAY.format(5), "to": DAY.format(7)})["changed"] == 2
    assert reprice(api, model=charged.model, agent_id=charged.agent, provider="acme", team="default")["changed"] == 28


def test_unknown_usage_stays_unknown(api):
    model = a_model()
    set_price(api, model, 2, 0)
    run = api.run(api.agent()["id"])["run_id"]
    call = llm_call(run, provider="acme", model=model, timestamp=DAY.format(3))
    del call["usage"]
    post_batch(api, [call])
    set_price(api, model, 3, 0)
    assert reprice(api, model=model)["changed"] == 0
    body = exact(api.get(f"/api/v1/runs/{run}/llm-calls/{call['id']}"))
    assert (body["price_status"], body["cost_usd"], body["usage"], body["lines"]) == ("unknown_usage", None, {}, [])
    totals = exact(api.get(f"/api/v1/runs/{run}"))["totals"]
    assert (totals["llm_calls"], totals["unpriced_calls"], totals["input_tokens"], totals["cost_usd"]) == (1, 1, None, 0)


def test_many_calls_of_one_instant_are_all_repriced_once_whoever_asks_at_the_same_time(installation, api, other_node):
    model = a_model()
    run = api.run(api.agent()["id"])["run_id"]
    rng = random.Random(3)
    calls = [llm_call(run, provider="acme", model=model, timestamp=rng.choice((DAY.format(9), DAY.format(9), DAY.format(20))),
                      usage={"input_tokens": rng.randrange(1, 9999)}) for _ in range(12_000)]
    for start in range(0, len(calls), 4000):
        assert post_batch(api, calls[start:start + 4000])["accepted"] == 4000
    set_price(api, model, 1, 1)
    wait_until(lambda: exact(other_node.api().get("/api/v1/prices/quote", params={"provider": "acme", "model": model, "input_tokens": 1}))["cost_usd"],
               "the price on the other node", 5)
    sums = []
    threads = [threading.Thread(target=lambda client=client: sums.append(reprice(client, model=model))) for client in (api, other_node.api()) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = sum(call["usage"]["input_tokens"] for call in calls)
    assert [one["calls"] for one in sums] == [12_000] * 4
    assert sum(one["changed"] for one in sums) == 12_000
    assert sum(one["difference_usd"] for one in sums) == Decimal(expected) / 1_000_000
    assert installation.sql("SELECT count(*), max(sequence), sum(difference_nano_usd) FROM charge_adjustments WHERE run_id = %s", run) == [(12_000, 1, expected * 1000)]


def test_a_node_reprices_by_what_was_set_on_another_a_moment_ago(api, charged, other_node):
    elsewhere = other_node.api()
    for rate in range(1, 9):
        # Whoever asks last, and wherever: the newest price holds, and no older one takes it back.
        first, second = (api, elsewhere) if rate % 2 else (elsewhere, api)
        set_price(first, charged.model, rate, 0)
        assert reprice(second, model=charged.model)["changed"] == 30
        assert reprice(first, model=charged.model)["changed"] == 0
    assert charged.cost()["cost_usd"] == sum(Decimal(day * 8) / 1000 for day in range(1, 31))


def test_calls_far_apart_are_found_whatever_the_range(api):
    model = a_model()
    run = api.run(api.agent()["id"])["run_id"]
    times = ("2020-02-29T23:59:59.999999Z", "2021-06-01T00:00:00Z", "2026-10-05T12:00:00Z")
    assert post_batch(api, [llm_call(run, provider="acme", model=model, timestamp=time) for time in times])["accepted"] == 3
    set_price(api, model, 1, 0, effective_from="2019-01-01T00:00:00Z")
    assert reprice(api, model=model, **{"from": "2021-06-01T00:00:00Z", "to": "2021-06-01T00:00:00.000001Z"})["changed"] == 1
    assert reprice(api, model=model, **{"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"})["changed"] == 2


def test_the_database_refuses_to_change_an_adjustment(installation, api, charged):
    set_price(api, charged.model, 2, 0)
    reprice(api, model=charged.model)
    for statement in ("UPDATE charge_adjustments SET new_cost_nano_usd = 0", "TRUNCATE charge_adjustments"):
        with pytest.raises(psycopg2.Error, match="charge adjustments are never changed"):
            installation.sql(statement)


def test_a_cursor_goes_on_where_the_answer_before_ended(api, charged):
    set_price(api, charged.model, 2, 0)
    fifth = charged.calls[4]
    # As an answer that was not done would give it: behind the fifth call.
    cursor = f"{1790856000000000 + 4 * 86_400_000_000}.{charged.run}.{fifth['id']}"
    answer = exact(api.post("/api/v1/prices/reprice", json={"from": "2026-10-01T00:00:00Z", "to": "2026-11-01T00:00:00Z", "model": charged.model,
                                                            "id": uuid7(), "cursor": cursor}))
    assert (answer["done"], answer["calls"]) == (True, len([call for call in charged.calls if call["timestamp"] > fifth["timestamp"]]))


@pytest.mark.parametrize("change, where", [
    ({"to": "2026-10-01T00:00:00Z"}, "/to"), ({"from": None}, "/from"), ({"cursor": "x"}, "/cursor"), ({"team": "there is none"}, "/team"),
    ({"cursor": "99999999999999999999." + str(uuid.uuid4()) + "." + str(uuid.uuid4())}, "/cursor"), ({"id": "x"}, "/id"), ({"agent_id": 1}, "/agent_id"),
])
def test_what_is_no_range_is_refused_with_a_pointer(api, change, where):
    body = {"from": "2026-10-01T00:00:00Z", "to": "2026-11-01T00:00:00Z"} | change
    assert pointers(api.post("/api/v1/prices/reprice", json={name: value for name, value in body.items() if value is not None})) == [where]


def test_repricing_is_in_the_audit_trail(installation, api, charged):
    set_price(api, charged.model, 2, 0)
    identity = uuid7()
    reprice(api, model=charged.model, id=identity)
    entries = installation.sql("SELECT details FROM audit_logs WHERE action = 'charges_reprice' AND resource_id = %s", identity)
    assert sum(details["changed"] for (details,) in entries) == 30
