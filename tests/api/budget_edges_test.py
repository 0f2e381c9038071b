"""Budgets at their edges: costs that nobody knows, amounts that no counter holds, and answers that help whoever is refused."""

from decimal import Decimal

from budget_calls import alerts, ask, granted, make_of, refused, window
from installation import llm_call
from reports import post_batch


def test_a_reserved_call_of_unknown_cost_costs_what_was_set_aside_whatever_budgets_assume(installation, api, subject):
    budget = make_of(api, subject, limit_usd=0.2, assumed_usd_per_call=0.25)
    for _ in range(2):
        reservation = granted(api, subject, max_cost_usd=0.1)
        assert post_batch(api, [llm_call(subject["run_id"], usage={}, reservation_id=reservation)])["accepted"] == 1
    counted = window(api, budget)
    assert counted["spent"] == Decimal("0.2") and counted["exceeded"] == 0 and counted["reserved"] == 0
    assert installation.cli("budgets", "verify").returncode == 0


def test_what_no_counter_can_hold_is_refused_for_itself(api, subject):
    """Also of a budget that only alerts; the calls beside it are granted."""
    budget = make_of(api, subject, hard_stop=False, limit_usd=1, assumed_usd_per_call=900_000_000)
    unknown = {"provider": "nobody", "model": "nothing"}
    answers = [ask(api, subject, usage={"input_tokens": 1}, **unknown).status_code for _ in range(12)]
    assert answers == [200] * 10 + [429] * 2
    assert granted(api, subject, max_cost_usd=0.1)
    assert window(api, budget)["reserved"] > 0


def test_an_estimate_in_floating_point_is_rounded_up(api, subject):
    make_of(api, subject, limit_usd=0.3)
    assert refused(api, subject, max_cost_usd=0.1 + 0.2)["wanted"] == 0.300000001


def test_the_id_of_a_grant_repeats_it(api, subject):
    make_of(api, subject, limit_usd=1)
    first = ask(api, subject, max_cost_usd=0.1).json()
    again = ask(api, subject, max_cost_usd=0.1, reservation_id=first["reservation_id"])
    assert again.status_code == 200 and again.json()["expires_at"] == first["expires_at"]
    assert ask(api, subject, max_cost_usd=0.2, reservation_id=first["reservation_id"]).status_code == 409


def test_who_is_refused_for_good_is_not_told_to_come_back_at_once(api, subject):
    make_of(api, subject, window="total", limit_requests=1)
    post_batch(api, [llm_call(subject["run_id"], reservation_id=granted(api, subject, max_cost_usd=0.1))])
    assert int(ask(api, subject, max_cost_usd=0.1).headers["Retry-After"]) == 3600


def test_a_deleted_budget_raises_no_alerts(api, subject):
    budget = make_of(api, subject, limit_usd=0.0035, thresholds=[50])
    reservation = granted(api, subject, max_cost_usd=0.0035)
    assert api.request("DELETE", f"/api/v1/budgets/{budget['id']}").status_code == 200
    post_batch(api, [llm_call(subject["run_id"], reservation_id=reservation)])
    assert alerts(api, budget) == []
