"""Budgets: what covers what, in which window; reservations that are granted, settled, released and given back; and what stays exact when budgets change."""

import concurrent.futures
import datetime
import itertools
import re
import zoneinfo
from decimal import Decimal

import pytest
import requests

from budget_calls import alerts, ask, granted, make, make_of, refused, spent, state, window
from budget_ledger import recompute
from exposition import samples
from installation import ROOT, Installation, clean_environment, llm_call, run_cognive, uuid7, wait_until
from problems import check_problem, pointers
from reports import post_batch, step, tool

CALL_USD = Decimal("0.0035")  # of installation.llm_call: gpt-4o with 1,000 input and 100 output tokens
UNPRICED = {"provider": "nobody", "model": "nothing"}


# Reservations.

def test_a_reservation_is_granted_as_long_as_it_fits_and_the_refusal_says_why_not(api, subject):
    budget = make_of(api, subject, limit_usd=1)
    answer = ask(api, subject, max_cost_usd=0.6)
    assert answer.status_code == 200 and answer.json()["remaining_usd"] == 0.4
    problem = refused(api, subject, max_cost_usd=0.400000001)
    ends = datetime.datetime.now(datetime.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0) + datetime.timedelta(days=1)
    assert problem == {"id": budget["id"], "metric": "cost", "limit": 1, "spent": 0, "reserved": 0.6, "wanted": 0.400000001,
                       "resets_at": ends.strftime("%Y-%m-%dT%H:%M:%S.000000Z")}
    granted(api, subject, max_cost_usd=0.4)
    assert refused(api, subject, max_cost_usd=0)["reserved"] == 1  # nothing is left, and who knows what a call uses


def test_a_call_settles_its_reservation_and_what_it_did_not_use_is_free_again(api, subject):
    budget = make_of(api, subject, limit_usd=1)
    reservation = granted(api, subject, max_cost_usd=1)
    assert window(api, budget)["remaining"] == 0
    event = llm_call(subject["run_id"], reservation_id=reservation)
    assert post_batch(api, [event])["accepted"] == 1
    assert window(api, budget) == {"limit": 1, "spent": CALL_USD, "reserved": 0, "remaining": 1 - CALL_USD, "unreserved": 0, "exceeded": 0}
    found = api.get(f"/api/v1/budgets/reservations/{reservation}").json()
    assert (found["state"], found["call_id"]) == ("settled", event["id"]) and found["ended_at"]
    # A repeat changes nothing, and a second call that names it was reserved by nobody.
    assert post_batch(api, [event])["duplicates"] == 1
    assert spent(api, budget) == CALL_USD
    post_batch(api, [llm_call(subject["run_id"], reservation_id=reservation), llm_call(subject["run_id"], reservation_id=reservation)])
    assert window(api, budget) | {"limit": 0, "remaining": 0} == {"limit": 0, "spent": 3 * CALL_USD, "reserved": 0, "remaining": 0, "unreserved": 2 * CALL_USD,
                                                               "exceeded": 0}


def test_a_call_that_costs_more_than_it_reserved_goes_over_and_is_seen_to(api, subject):
    budget = make_of(api, subject, limit_usd=0.002)
    post_batch(api, [llm_call(subject["run_id"], reservation_id=granted(api, subject, max_cost_usd=0.002))])
    assert window(api, budget) == {"limit": Decimal("0.002"), "spent": CALL_USD, "reserved": 0, "remaining": Decimal("-0.0015"), "unreserved": 0,
                                   "exceeded": Decimal("0.0015")}
    assert refused(api, subject, max_cost_usd=0.000000001)["spent"] == 0.0035


def test_expected_usage_is_priced(api, subject):
    budget = make_of(api, subject, limit_usd=1)
    granted(api, subject, usage={"input_tokens": 1000, "output_tokens": 100})
    assert window(api, budget)["reserved"] == CALL_USD


def test_a_release_gives_back_and_may_be_repeated(api, subject):
    budget = make_of(api, subject, limit_usd=1)
    reservation = granted(api, subject, max_cost_usd=1)
    path = f"/api/v1/budgets/reservations/{reservation}"
    for _ in range(2):
        answer = api.post(path + "/release")
        assert answer.status_code == 200 and answer.json()["state"] == "released"
    assert window(api, budget)["reserved"] == 0
    # Its call is charged as one of nobody.
    post_batch(api, [llm_call(subject["run_id"], reservation_id=reservation)])
    assert window(api, budget)["unreserved"] == CALL_USD
    check_problem(api.post(path + "/renew", json={}), 409)
    settled = granted(api, subject, max_cost_usd=0.1)
    post_batch(api, [llm_call(subject["run_id"], reservation_id=settled)])
    check_problem(api.post(f"/api/v1/budgets/reservations/{settled}/release"), 409)


def test_what_expires_is_given_back_once_and_renewing_holds_it(api, subject):
    budget = make_of(api, subject, limit_usd=1)
    kept = granted(api, subject, max_cost_usd=0.5, expires_in_s=1)
    assert api.post(f"/api/v1/budgets/reservations/{kept}/renew", json={"expires_in_s": 600}).status_code == 200
    lost = granted(api, subject, max_cost_usd=0.5, expires_in_s=1)
    refused(api, subject, max_cost_usd=0.1)
    # Asking is enough, no worker is needed for it.
    wait_until(lambda: ask(api, subject, max_cost_usd=0.5).status_code == 200, "it expired", 5)
    assert (state(api, kept), state(api, lost)) == ("held", "expired")
    assert window(api, budget)["reserved"] == 1
    # Too late: it counts, in addition to what has been granted since.
    post_batch(api, [llm_call(subject["run_id"], reservation_id=lost)])
    assert window(api, budget)["unreserved"] == CALL_USD and window(api, budget)["reserved"] == 1


def test_what_nobody_asks_for_expires_too(api, subject):
    budget = make_of(api, subject, limit_usd=1)
    granted(api, subject, max_cost_usd=0.5, expires_in_s=1)
    wait_until(lambda: window(api, budget)["reserved"] == 0, "it was given back", 20)


def test_a_repeat_returns_the_same_grant_and_another_request_is_a_conflict(api, subject):
    budget = make_of(api, subject, limit_usd=1)
    reservation = uuid7()
    first = ask(api, subject, reservation_id=reservation, max_cost_usd=0.6).json()
    again = ask(api, subject, reservation_id=reservation, max_cost_usd=0.6, expires_in_s=5).json()
    assert (again["reservation_id"], again["expires_at"]) == (reservation, first["expires_at"])
    assert window(api, budget)["reserved"] == Decimal("0.6")
    for other in ({"max_cost_usd": 0.5}, {"model": "gpt-4o-mini"}, {"usage": {"input_tokens": 5}, "max_cost_usd": 0.6}):
        check_problem(ask(api, subject, reservation_id=reservation, **other), 409)
    api.post(f"/api/v1/budgets/reservations/{reservation}/release")
    check_problem(ask(api, subject, reservation_id=reservation, max_cost_usd=0.6), 409)


def test_one_id_at_once_is_granted_once(installation, subject):
    budget = make_of(installation.api(), subject, limit_usd=1)
    for _ in range(5):
        reservation = uuid7()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: ask(installation.api(), subject, reservation_id=reservation, max_cost_usd=0.1), range(8)))
        assert {answer.status_code for answer in answers} == {200} and len({answer.json()["expires_at"] for answer in answers}) == 1
    assert window(installation.api(), budget)["reserved"] == Decimal("0.5")


def test_all_covering_budgets_reserve_or_none(installation, api, subject):
    wide = make_of(api, subject, limit_usd=10)
    narrow = make_of(api, subject, limit_usd=0.01, model="gpt-4o*")
    requests = make_of(api, subject, limit_requests=2)
    run = make(api, scope="run", run_id=subject["run_id"], window="run", limit_tokens=1000)
    assert refused(api, subject, max_cost_usd=0.02)["id"] == narrow["id"]
    assert all(window(api, budget)["reserved"] == 0 for budget in (wide, narrow, requests, run))
    granted(api, subject, usage={"input_tokens": 600})
    assert [window(api, budget)["reserved"] for budget in (wide, narrow, requests, run)] == [Decimal("0.0015"), Decimal("0.0015"), 1, 600]
    assert refused(api, subject, usage={"input_tokens": 401})["id"] == run["id"]
    other = {"agent_id": subject["agent_id"]}
    granted(api, other, usage={"input_tokens": 600})  # not of the run
    assert refused(api, other, usage={"input_tokens": 1})["id"] == requests["id"]
    assert refused(api, other, usage={"input_tokens": 1}) == refused(api, other, usage={"input_tokens": 1})


def test_one_hot_budget_is_granted_to_the_last_call_that_fits(installation, subject):
    budget = make_of(installation.api(), subject, limit_requests=100)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        apis = [installation.api() for _ in range(16)]
        answers = list(pool.map(lambda number: ask(apis[number % 16], subject).status_code, range(300)))
    assert answers.count(200) == 100 and answers.count(429) == 200
    assert window(installation.api(), budget)["reserved"] == 100


# What covers what.

def test_scopes_cover_their_own(installation, api):
    team = "budget-" + uuid7()
    key = installation.api(installation.team_key(team))
    agents = [key.agent()["id"] for _ in range(2)]
    runs = [key.run(agent)["run_id"] for agent in agents for _ in range(2)]
    key_id = installation.sql("SELECT k.id::text FROM api_keys k JOIN teams t ON t.id = k.team_id WHERE t.name = %s", team)[0][0]
    soft = {"hard_stop": False, "limit_requests": 1000}
    budgets = [make(key, scope="team", **soft), make(api, scope="team", team=team, **soft), make(key, scope="agent", agent_id=agents[0], **soft),
               make(key, scope="run", run_id=runs[1], window="run", **soft), make(key, scope="api_key", api_key_id=key_id, **soft),
               make(key, scope="team", model="gpt-4*", **soft), make(key, scope="team", provider="OPEN*", **soft),
               make(key, scope="team", model="openai/*", **soft), make(key, scope="team", model="claude-*", **soft),
               make(key, scope="team", enabled=False, **soft), make(key, scope="team", window="run", **soft)]
    for run in runs:
        post_batch(key, [llm_call(run), llm_call(run, **UNPRICED)])
    post_batch(api, [llm_call(runs[0])])  # by another key
    counted = [spent(key, budget) for budget in budgets[:-1]]
    assert counted == [9, 9, 5, 2, 8, 5, 5, 5, 0, 0]
    assert [spent(key, budgets[-1], run_id=run) for run in runs] == [3, 2, 2, 2]
    assert len(key.get(f"/api/v1/budgets/{budgets[-1]['id']}/windows").json()["items"]) == 4
    check_problem(key.get(f"/api/v1/budgets/{budgets[-1]['id']}/status"), 422)
    check_problem(key.get(f"/api/v1/budgets/{budgets[0]['id']}/status", params={"run_id": runs[0]}), 422)


def test_every_metric_counts_its_own_and_stops_what_comes_next(api, subject):
    limits = {"limit_usd": 1, "limit_tokens": 10_000, "limit_requests": 100, "limit_steps": 3, "limit_tool_calls": 2}
    budgets = {name: make_of(api, subject, **{name: limit}) for name, limit in limits.items()}
    run = subject["run_id"]
    post_batch(api, [llm_call(run), llm_call(run, usage={"input_tokens": 5, "cache_read_tokens": 5}), step(run), step(run), tool(run)])
    assert {name: spent(api, budget) for name, budget in budgets.items()} == {
        "limit_usd": CALL_USD + Decimal("0.00000625"), "limit_tokens": 1105, "limit_requests": 2, "limit_steps": 2, "limit_tool_calls": 1}
    granted(api, subject)
    post_batch(api, [tool(run)])
    assert refused(api, subject)["id"] == budgets["limit_tool_calls"]["id"]
    assert api.patch(f"/api/v1/budgets/{budgets['limit_tool_calls']['id']}", json={"limit_tool_calls": 3}).status_code == 200
    granted(api, subject)
    post_batch(api, [step(run)])
    assert refused(api, subject) == {"id": budgets["limit_steps"]["id"], "metric": "steps", "limit": 3, "spent": 3, "reserved": 0, "wanted": 0,
                                     "resets_at": refused(api, subject)["resets_at"]}


def test_a_new_budget_counts_from_its_creation_also_what_was_reserved_before(api, subject):
    post_batch(api, [llm_call(subject["run_id"])])
    old = make_of(api, subject, limit_usd=1)
    reservation = granted(api, subject, max_cost_usd=0.5)
    young = make_of(api, subject, limit_usd=1)
    assert (spent(api, old), spent(api, young)) == (0, 0)
    post_batch(api, [llm_call(subject["run_id"], reservation_id=reservation)])
    assert (window(api, old)["spent"], window(api, old)["unreserved"]) == (CALL_USD, 0)
    assert (window(api, young)["spent"], window(api, young)["unreserved"]) == (CALL_USD, CALL_USD)


def test_an_unreserved_call_pushes_over_and_blocks_what_comes_next(api, subject):
    budget = make_of(api, subject, limit_usd=0.003)
    post_batch(api, [llm_call(subject["run_id"])])
    assert window(api, budget)["remaining"] == Decimal("-0.0005") and window(api, budget)["unreserved"] == CALL_USD
    refused(api, subject, max_cost_usd=0)
    soft = make_of(api, subject, limit_usd=0.001, hard_stop=False)
    post_batch(api, [llm_call(subject["run_id"])])
    api.request("DELETE", f"/api/v1/budgets/{budget['id']}")
    granted(api, subject, max_cost_usd=5)
    assert window(api, soft)["remaining"] < -5


def test_a_model_without_a_price_needs_an_assumption(api, subject):
    strict = make_of(api, subject, limit_usd=1)
    answer = ask(api, subject, **UNPRICED)
    assert pointers(answer) == ["/model"] and strict["id"] in answer.json()["detail"]
    api.request("DELETE", f"/api/v1/budgets/{strict['id']}")
    granted(api, subject, **UNPRICED)  # nobody cares
    soft = make_of(api, subject, limit_usd=1, hard_stop=False)
    assumed = make_of(api, subject, limit_usd=1, assumed_usd_per_call=0.4)
    reservation = granted(api, subject, **UNPRICED)
    assert (window(api, assumed)["reserved"], window(api, soft)["reserved"]) == (Decimal("0.4"), Decimal("0.01"))
    granted(api, subject, **UNPRICED)
    assert refused(api, subject, **UNPRICED)["wanted"] == 0.4
    post_batch(api, [llm_call(subject["run_id"], reservation_id=reservation, **UNPRICED)])
    assert window(api, assumed) | {"limit": 0, "remaining": 0} == {"limit": 0, "spent": Decimal("0.4"), "reserved": Decimal("0.4"), "remaining": 0,
                                                                "unreserved": 0, "exceeded": 0}
    assert spent(api, soft) == Decimal("0.01")


def test_a_reserved_call_whose_cost_nobody_knows_costs_what_it_had_reserved(api, subject):
    budget = make_of(api, subject, limit_usd=1)
    for unknown in ({"usage": {}}, UNPRICED):
        post_batch(api, [llm_call(subject["run_id"], reservation_id=granted(api, subject, max_cost_usd=0.3), **unknown)])
    assert window(api, budget) == {"limit": 1, "spent": Decimal("0.6"), "reserved": 0, "remaining": Decimal("0.4"), "unreserved": 0, "exceeded": 0}


def test_a_reserved_call_whose_tokens_nobody_reports_has_used_what_it_had_reserved(api, subject):
    budget = make_of(api, subject, limit_tokens=1000)
    for spent_then, attributes in ((600, {"usage": {}}), (600, {"usage": {}, "status": "error", "error": "refused"}), (610, {"usage": {"input_tokens": 10}})):
        reservation = granted(api, subject, usage={"input_tokens": 600} if spent_then == 600 and spent(api, budget) == 0 else {"input_tokens": 300})
        post_batch(api, [llm_call(subject["run_id"], reservation_id=reservation, **attributes)])
        assert (spent(api, budget), window(api, budget)["reserved"]) == (spent_then, 0)


def test_what_is_asked_for_a_model_without_a_price_is_set_aside_if_it_is_more_than_assumed(api, subject):
    budget = make_of(api, subject, limit_usd=1, assumed_usd_per_call=0.1)
    assert refused(api, subject, max_cost_usd=5, **UNPRICED)["wanted"] == 5
    for _ in range(2):
        reservation = granted(api, subject, max_cost_usd=0.4, **UNPRICED)
        assert window(api, budget)["reserved"] == Decimal("0.4")
        api.post(f"/api/v1/budgets/reservations/{reservation}/release")
        assert window(api, budget)["reserved"] == 0
    post_batch(api, [llm_call(subject["run_id"], reservation_id=granted(api, subject, max_cost_usd=0.4, **UNPRICED), **UNPRICED)])
    assert window(api, budget) | {"remaining": 0} == {"limit": 1, "spent": Decimal("0.4"), "reserved": 0, "remaining": 0, "unreserved": 0, "exceeded": 0}


def test_a_reservation_is_settled_in_its_run_and_by_its_agent_only(api, subject):
    budget = make_of(api, subject, limit_usd=1)
    reservation = granted(api, subject, max_cost_usd=0.3)
    stranger = api.agent()["id"]
    for run in (api.run(subject["agent_id"])["run_id"], api.run(stranger)["run_id"]):
        post_batch(api, [llm_call(run, reservation_id=reservation)])
    assert window(api, budget)["unreserved"] == CALL_USD and state(api, reservation) == "held"
    # Also when the stranger's comes first in the same commit.
    post_batch(api, [llm_call(api.run(stranger)["run_id"], reservation_id=reservation), llm_call(subject["run_id"], reservation_id=reservation)])
    assert state(api, reservation) == "settled" and window(api, budget)["reserved"] == 0


def test_a_run_without_a_budget_left_from_the_start_ends_with_its_first_call(api, subject):
    make(api, scope="run", run_id=subject["run_id"], window="run", limit_requests=0)
    refused(api, subject)
    post_batch(api, [llm_call(subject["run_id"])])
    wait_until(lambda: api.get(f"/api/v1/runs/{subject['run_id']}").json()["status"] == "terminated", "the run is terminated", 10)


def test_there_are_at_most_fifty_budgets_of_one_subject(api, subject):
    budgets = [make_of(api, subject, limit_requests=100) for _ in range(50)]
    check_problem(api.post("/api/v1/budgets", json={"scope": "agent", "agent_id": subject["agent_id"], "window": "day", "limit_usd": 1}), 409)
    granted(api, subject)
    post_batch(api, [llm_call(subject["run_id"])])
    assert (spent(api, budgets[0]), spent(api, budgets[-1])) == (1, 1)
    api.request("DELETE", f"/api/v1/budgets/{budgets[0]['id']}")
    make_of(api, subject, limit_requests=100)


def test_where_midnight_comes_twice_the_day_begins_with_the_first(installation):
    """As the product's statement has it, asked with other times than now."""
    text = (ROOT / "src/budgets/calendar.hpp").read_text()
    first = re.sub(r'"|\\\n', "", text[text.index("COGNIVE_FIRST(local)") + len("COGNIVE_FIRST(local)"):text.index("// From")]).strip()
    for zone, local, expected in (("Atlantic/Azores", "2026-10-25 00:00", "2026-10-25 00:00+00"), ("America/Havana", "2026-11-01 00:00", "2026-11-01 04:00+00"),
                                  ("Europe/Berlin", "2026-10-25 00:00", "2026-10-24 22:00+00"), ("Asia/Beirut", "2026-03-29 00:00", "2026-03-28 22:00+00")):
        expression = re.sub(r"\blocal\b", f"timestamp '{local}'", first).replace("time_zone", f"'{zone}'")
        assert installation.sql(f"SELECT ({expression}) = timestamptz '{expected}'") == [(True,)], (zone, expression)


# Who may ask for what.

def test_policy_agent_and_run_are_answered_in_the_same_call(api):
    agent = api.agent(allowed_models=["gpt-*"])["id"]
    subject = {"agent_id": agent, "run_id": api.run(agent)["run_id"]}
    granted(api, subject)
    assert "o3" in check_problem(ask(api, subject, model="o3"), 403)["detail"]
    check_problem(ask(api, {"agent_id": uuid7()}), 404)
    check_problem(ask(api, {"agent_id": agent, "run_id": uuid7()}), 404)
    assert pointers(ask(api, {"agent_id": api.agent()["id"], "run_id": subject["run_id"]})) == ["/run_id"]
    api.post(f"/api/v1/runs/{subject['run_id']}/terminate", json={"reason": "it burns money"})
    assert "it burns money" in check_problem(ask(api, subject), 409)["detail"]
    api.patch(f"/api/v1/agents/{agent}", json={"status": "suspended"})
    wait_until(lambda: ask(api, {"agent_id": agent}).status_code == 403, "the suspension holds", 3)


def test_nobody_sees_or_touches_what_is_of_others(installation, api, subject):
    other = installation.api(installation.team_key("other-" + uuid7()))
    budget = make_of(api, subject, limit_usd=1)
    reservation = granted(api, subject)
    path = f"/api/v1/budgets/{budget['id']}"
    for answer in (other.get(path), other.get(path + "/status"), other.get(path + "/windows"), other.patch(path, json={"limit_usd": 5}),
                   other.request("DELETE", path), ask(other, subject), other.get(f"/api/v1/budgets/reservations/{reservation}"),
                   other.post(f"/api/v1/budgets/reservations/{reservation}/release"), other.post(f"/api/v1/budgets/reservations/{reservation}/renew", json={})):
        check_problem(answer, 404)
    check_problem(other.post("/api/v1/budgets", json={"scope": "organisation", "window": "day", "limit_usd": 1}), 403)
    assert pointers(other.post("/api/v1/budgets", json={"scope": "agent", "agent_id": subject["agent_id"], "window": "day", "limit_usd": 1})) == ["/agent_id"]
    assert pointers(other.post("/api/v1/budgets", json={"scope": "run", "run_id": subject["run_id"], "limit_usd": 1})) == ["/run_id"]
    assert other.get("/api/v1/budgets").json()["items"] == [] == other.get("/api/v1/alerts").json()["items"]
    reader = installation.api(installation.team_key("", "budgets:read"))
    for answer in (reader.request("DELETE", path), reader.patch(path, json={}), ask(reader, subject)):
        check_problem(answer, 403)
    assert reader.get(path).status_code == 200
    assert state(api, reservation) == "held"


# Windows.

ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia", "Africa/Casablanca", "Australia/Lord_Howe")


def begins(kind, zone, now):
    """When the window of a moment begins and ends, as the calendar of a zone has it."""
    local = now.astimezone(zoneinfo.ZoneInfo(zone)).date()
    first = {"day": local, "week": local - datetime.timedelta(days=local.weekday()), "month": local.replace(day=1)}[kind]
    after = {"day": first + datetime.timedelta(days=1), "week": first + datetime.timedelta(days=7),
             "month": (first + datetime.timedelta(days=31)).replace(day=1)}[kind]
    return [datetime.datetime(day.year, day.month, day.day, tzinfo=zoneinfo.ZoneInfo(zone)).astimezone(datetime.timezone.utc)
            .strftime("%Y-%m-%dT%H:%M:%S.000000Z") for day in (first, after)]


def test_windows_follow_the_calendar_of_their_zone(api, subject):
    for zone, kind in itertools.product(ZONES, ("day", "week", "month")):
        budget = make_of(api, subject, limit_usd=1, window=kind, time_zone=zone)
        shown = api.get(f"/api/v1/budgets/{budget['id']}/status").json()["window"]
        assert [shown["begins_at"], shown["ends_at"]] == begins(kind, zone, datetime.datetime.now(datetime.timezone.utc)), (zone, kind)
    total = make_of(api, subject, limit_usd=1, window="total")
    shown = api.get(f"/api/v1/budgets/{total['id']}/status").json()["window"]
    assert (shown["begins_at"], shown["ends_at"]) == (None, None)


def test_the_next_window_begins_empty_and_a_reservation_stays_in_its_own(installation, api, subject):
    budget = make_of(api, subject, limit_requests=2, window="day")
    reservation = granted(api, subject)
    granted(api, subject)
    refused(api, subject)
    # Time passes: today's window becomes yesterday's.
    installation.sql("UPDATE budget_windows SET begins_at = begins_at - interval '1 day', ends_at = ends_at - interval '1 day' WHERE budget_id = %s", budget["id"])
    granted(api, subject)
    assert window(api, budget)["reserved"] == 1
    post_batch(api, [llm_call(subject["run_id"], reservation_id=reservation), llm_call(subject["run_id"])])
    now, before = api.get(f"/api/v1/budgets/{budget['id']}/windows").json()["items"]
    assert (now["spent"], now["reserved"], now["unreserved"]) == (1, 1, 1)
    assert (before["spent"], before["reserved"], before["unreserved"]) == (1, 1, 0)
    page = api.get(f"/api/v1/budgets/{budget['id']}/windows", params={"limit": 1}).json()
    rest = api.get(f"/api/v1/budgets/{budget['id']}/windows", params={"limit": 1, "before": page["next_before"]}).json()
    assert (page["items"], rest["items"], rest["next_before"]) == ([now], [before], None)


# Changes.

def test_raising_lowering_disabling_and_deleting_hold_at_once(api, subject):
    budget = make_of(api, subject, limit_requests=2)
    path = f"/api/v1/budgets/{budget['id']}"
    held = [granted(api, subject), granted(api, subject)]
    refused(api, subject)
    assert api.patch(path, json={"limit_requests": 3}).status_code == 200
    held.append(granted(api, subject))
    # Lowering takes nothing back, and grants nothing before it is less again.
    assert api.patch(path, json={"limit_requests": 1}).status_code == 200
    assert refused(api, subject)["limit"] == 1 and window(api, budget)["remaining"] == -2
    for reservation in held:
        refused(api, subject)
        api.post(f"/api/v1/budgets/reservations/{reservation}/release")
    granted(api, subject)
    refused(api, subject)
    assert api.patch(path, json={"hard_stop": False}).status_code == 200
    granted(api, subject)
    assert api.patch(path, json={"enabled": False, "hard_stop": True}).status_code == 200
    granted(api, subject)
    post_batch(api, [llm_call(subject["run_id"])])
    assert (spent(api, budget), window(api, budget)["reserved"]) == (0, 2)
    assert api.patch(path, json={"enabled": True}).status_code == 200
    refused(api, subject)
    assert api.request("DELETE", path).status_code == 200
    granted(api, subject)
    check_problem(api.get(path), 404)


def test_a_change_holds_on_every_node(installation, other_node, subject):
    here, there = installation.api(), other_node.api()
    granted(there, subject)
    budget = make_of(here, subject, limit_requests=1)
    granted(there, subject)
    refused(here, subject)
    assert here.patch(f"/api/v1/budgets/{budget['id']}", json={"limit_requests": 2}).status_code == 200
    granted(there, subject)
    assert there.patch(f"/api/v1/budgets/{budget['id']}", json={"enabled": False}).status_code == 200
    post_batch(here, [llm_call(subject["run_id"])])
    assert spent(here, budget) == 0
    assert there.patch(f"/api/v1/budgets/{budget['id']}", json={"enabled": True}).status_code == 200
    post_batch(here, [llm_call(subject["run_id"])])
    assert spent(here, budget) == 1


def test_what_is_counted_never_changes(api, subject):
    budget = make_of(api, subject, limit_usd=1)
    path = f"/api/v1/budgets/{budget['id']}"
    for field, value in (("scope", "team"), ("window", "week"), ("time_zone", "Europe/Berlin"), ("model", "x"), ("assumed_usd_per_call", 1)):
        assert pointers(api.patch(path, json={field: value})) == [f"/{field}"]
    check_problem(api.patch(path, json={"limit_tokens": 5}), 422)
    assert api.get(path).json() == budget


def test_a_budget_is_made_once(api, subject):
    body = {"id": uuid7(), "scope": "agent", "agent_id": subject["agent_id"], "window": "day", "limit_usd": 1.0, "hard_stop": True}
    first = api.post("/api/v1/budgets", json=body)
    again = api.post("/api/v1/budgets", json=body)
    assert (first.status_code, again.status_code) == (201, 200) and first.json() == again.json()
    check_problem(api.post("/api/v1/budgets", json=body | {"window": "month"}), 409)
    listed = api.get("/api/v1/budgets", params={"agent_id": subject["agent_id"]}).json()["items"]
    assert listed == [first.json()] and first.json()["thresholds"] == [80, 90, 100]


@pytest.mark.parametrize("change, expected", [
    ({"limit_usd": -1}, ["/limit_usd"]), ({"limit_usd": 0.0000000001}, ["/limit_usd"]), ({"limit_usd": None}, ["/limit_usd"]),
    ({"limit_tokens": 5}, [""]), ({"window": "fortnight"}, ["/window"]), ({"window": None}, ["/window"]), ({"scope": "planet"}, ["/scope"]),
    ({"agent_id": None}, ["/agent_id"]), ({"run_id": uuid7()}, ["/run_id"]), ({"time_zone": "Mars/Olympus"}, ["/time_zone"]),
    ({"thresholds": [80, 80]}, ["/thresholds/1"]), ({"thresholds": [0]}, ["/thresholds/0"]), ({"thresholds": list(range(1, 12))}, ["/thresholds"]),
    ({"model": "!gpt"}, ["/model"]), ({"provider": " "}, ["/provider"]), ({"assumed_usd_per_call": -1}, ["/assumed_usd_per_call"]),
    ({"limit_usd": None, "limit_steps": 5, "model": "x"}, ["/model"]), ({"limit_usd": None, "limit_tokens": 5, "assumed_usd_per_call": 1}, ["/assumed_usd_per_call"]),
    ({"agent_id": uuid7()}, ["/agent_id"]), ({"limit": 5}, ["/limit"]),
], ids=lambda value: "-".join(value) if isinstance(value, dict) else None)
def test_what_makes_no_budget_is_told(api, subject, change, expected):
    body = {"scope": "agent", "agent_id": subject["agent_id"], "window": "day", "limit_usd": 1.0} | change
    assert pointers(api.post("/api/v1/budgets", json={name: value for name, value in body.items() if value is not None})) == expected


def test_changes_are_audited_with_them(installation, api, subject):
    budget = make_of(api, subject, limit_usd=1)
    api.patch(f"/api/v1/budgets/{budget['id']}", json={"limit_usd": 2})
    api.request("DELETE", f"/api/v1/budgets/{budget['id']}")
    entries = installation.sql("SELECT action, details->>'limit_usd' FROM audit_logs WHERE resource_id = %s ORDER BY occurred_at", budget["id"])
    assert entries == [("budget_create", "1"), ("budget_update", "2"), ("budget_delete", "2")]


# Alerts, and runs that have used up what they had.

def test_a_threshold_alerts_once_in_a_window(installation, api, subject):
    budget = make_of(api, subject, limit_requests=10, hard_stop=False, thresholds=[20, 50, 100, 150])
    run = subject["run_id"]
    for expected in ([], [20], [20], [20], [20, 50]):
        post_batch(api, [llm_call(run)])
        assert alerts(api, budget) == expected
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        apis = [installation.api() for _ in range(8)]
        list(pool.map(lambda one: post_batch(one, [llm_call(run)]), apis))
    assert alerts(api, budget) == [20, 50, 100]
    one = api.get("/api/v1/alerts", params={"budget_id": budget["id"], "acknowledged": "false", "limit": 1}).json()["items"][0]
    first = api.post(f"/api/v1/alerts/{one['id']}/acknowledge").json()
    assert first["acknowledged_at"] and api.post(f"/api/v1/alerts/{one['id']}/acknowledge").json() == first
    assert len(api.get("/api/v1/alerts", params={"budget_id": budget["id"], "acknowledged": "false"}).json()["items"]) == 2
    installation.sql("UPDATE budget_windows SET begins_at = begins_at - interval '1 day', ends_at = ends_at - interval '1 day' WHERE budget_id = %s", budget["id"])
    # Windows are remembered until they end; a reservation is made in none that has ended.
    granted(api, subject)
    post_batch(api, [llm_call(run), llm_call(run)])
    assert alerts(api, budget) == [20, 20, 50, 100]


def test_a_run_that_has_used_up_its_budget_is_terminated_with_those_below(api):
    agent = api.agent()["id"]
    run = api.run(agent)["run_id"]
    below = api.run(agent, parent_run_id=run)["run_id"]
    beside = api.run(agent)["run_id"]
    budget = make(api, scope="run", run_id=run, window="run", limit_requests=2)
    post_batch(api, [llm_call(run)])
    assert api.post(f"/api/v1/runs/{run}/heartbeat").json().get("order") != "terminate"
    post_batch(api, [llm_call(run)])
    wait_until(lambda: api.post(f"/api/v1/runs/{run}/heartbeat").json().get("order") == "terminate", "the run is told to stop", 10)
    found = api.get(f"/api/v1/runs/{run}").json()
    assert (found["status"], found["terminated_by"]) == ("terminated", "budget") and budget["id"] in found["error"]
    assert api.get(f"/api/v1/runs/{below}").json()["status"] == "terminated"
    told = wait_until(lambda: post_batch(api, [llm_call(run)]).get("terminate"), "an event is answered so", 2)
    assert told[0]["run_id"] == run and budget["id"] in told[0]["reason"]
    assert api.get(f"/api/v1/runs/{beside}").json()["status"] == "running"
    check_problem(ask(api, {"agent_id": agent, "run_id": run}), 409)


def test_every_counter_is_what_the_ledger_adds_up_to(installation, api, subject):
    make_of(api, subject, limit_usd=1)
    post_batch(api, [llm_call(subject["run_id"], reservation_id=granted(api, subject)), llm_call(subject["run_id"])])
    # And of all that the tests before have left, some of which have moved windows in time.
    counted, due = recompute(installation.sql)
    assert counted == due and counted
    assert installation.cli("budgets", "verify").returncode == 0


def test_a_wrong_counter_is_named(installation, api, subject):
    budget = make_of(api, subject, limit_usd=1)
    post_batch(api, [llm_call(subject["run_id"])])
    installation.sql("UPDATE budget_windows SET spent = spent + 1 WHERE budget_id = %s", budget["id"])
    done = installation.cli("budgets", "verify", "--json")
    assert done.returncode == 1 and budget["id"] in done.stdout and '"counter":"spent","stored":3500001,"ledger":3500000' in done.stdout
    shown = installation.cli("budgets", "verify")
    assert shown.returncode == 1 and budget["id"] in shown.stdout and "not what was charged" in shown.stderr
    installation.sql("UPDATE budget_windows SET spent = spent - 1 WHERE budget_id = %s", budget["id"])
    assert installation.cli("budgets", "verify").returncode == 0


# What is left, for pictures; and what need not be remembered.

def test_what_a_team_has_left_is_a_metric(installation, api):
    name = "team-" + uuid7()
    team = api.post("/api/v1/teams", json={"name": name}).json()["id"]
    for limit in (7, 5, 9):
        make(api, scope="team", team=name, limit_usd=limit, window="month")
    api.post("/api/v1/budgets/authorize", json={"agent_id": api.agent(team=name)["id"], "model": "gpt-4o", "max_cost_usd": 1.5})
    labels = (("budget_type", "month"), ("tenant_id", team))

    def left():
        return samples(requests.get(installation.url + "/metrics", timeout=10).text)[1].get(("cognive_budget_remaining_usd", labels))

    wait_until(lambda: left() == 3.5, "the gauge is looked at again", 40)


def test_reservations_and_windows_of_runs_are_forgotten_after_their_calls(shared_directory):
    place = Installation(shared_directory / "budgets-pruned", RETENTION_DAYS=10).start()
    try:
        api = place.api()
        agent = api.agent()["id"]
        budget = make(api, scope="agent", agent_id=agent, window="run", limit_usd=0.5, thresholds=[1])
        daily = make(api, scope="agent", agent_id=agent, limit_usd=1, thresholds=[1])
        subjects = [{"agent_id": agent, "run_id": api.run(agent)["run_id"]} for _ in range(2)]
        for one in subjects:
            post_batch(api, [llm_call(one["run_id"], reservation_id=granted(api, one, max_cost_usd=0.1)), llm_call(one["run_id"])])
        held = granted(api, subjects[0])
        by_time = make(api, scope="agent", agent_id=agent, limit_wall_clock_s=3600, thresholds=[])
        wait_until(lambda: place.sql("SELECT count(*) FROM budget_run_times") == [(2,)], "time is counted", 20)
        api.patch(f"/api/v1/budgets/{by_time['id']}", json={"enabled": False})
        gone, kept = (one["run_id"] for one in subjects)
        # As if all but the second run had been there for two weeks, and the first run had been dropped with its calls.
        place.sql("UPDATE budget_reservations SET granted_at = now() - interval '13 days' WHERE run_id = %s", gone)
        place.sql("UPDATE budget_windows SET created_at = now() - interval '13 days' WHERE run_id <> %s", kept)
        place.sql("UPDATE budget_run_times SET until = now() - interval '13 days'")
        place.sql("DELETE FROM llm_calls WHERE run_id = %s", gone)
        place.sql("DELETE FROM agent_runs WHERE id = %s", gone)
        place.sql("INSERT INTO tasks (id, queue, name, payload, attempts_max, time_limit_ms) VALUES (gen_random_uuid(), 'default', 'budgets.prune', '{}', 5, 60000)")
        wait_until(lambda: place.sql("SELECT count(*) FROM budget_windows WHERE run_id = %s", gone) == [(0,)], "its window is pruned", 30)
        assert place.sql("SELECT run_id::text, state FROM budget_reservations ORDER BY state") == [(gone, "held"), (kept, "settled")]
        # How far a run that is there has been counted is not forgotten: it would be counted again.
        wait_until(lambda: place.sql("SELECT run_id::text FROM budget_run_times") == [(kept,)], "its time is pruned", 10)
        assert state(api, held) == "held"
        assert [one["run_id"] for one in api.get(f"/api/v1/budgets/{budget['id']}/windows").json()["items"]] == [kept]
        # What was counted by day stays, and so does its alert.
        assert spent(api, daily) > 0 and alerts(api, daily) == [1] and alerts(api, budget) == [1]
        # Of what retention has dropped only the counters are left.
        verified = run_cognive("budgets", "verify", env=clean_environment(COGNIVE_DATA=place.directory, RETENTION_DAYS=10))
        assert verified.returncode == 0 and verified.stdout.startswith("1 window"), verified.stdout
    finally:
        assert place.stop() == 0
