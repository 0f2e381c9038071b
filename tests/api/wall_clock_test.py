"""Budgets of wall clock: the time that runs take is counted while it passes, and ends what takes too long."""

import datetime
from decimal import Decimal

from budget_calls import alerts, ask, granted, make, make_of, refused, spent, window
from installation import llm_call, uuid7, wait_until
from problems import pointers
from reports import post_batch


def test_a_run_that_takes_longer_than_its_budget_allows_is_terminated(installation, api, subject):
    budget = make_of(api, subject, window="run", limit_wall_clock_s=4, thresholds=[50, 100])
    assert budget["limit_wall_clock_s"] == 4
    run = subject["run_id"]
    assert granted(api, subject)
    wait_until(lambda: api.get(f"/api/v1/runs/{run}").json()["status"] == "terminated", "the run is terminated", 25)
    ended = api.get(f"/api/v1/runs/{run}").json()
    assert ended["terminated_by"] == "budget" and budget["id"] in ended["error"]
    assert alerts(api, budget) == [50, 100]
    took = (parse(ended["ended_at"]) - max(parse(ended["started_at"]), parse(budget["created_at"]))).total_seconds()
    wait_until(lambda: abs(float(spent(api, budget, run_id=run)) - took) < 0.002, "its last seconds are counted", 15)
    # Another run has a window of its own.
    other = api.run(subject["agent_id"])["run_id"]
    assert granted(api, subject | {"run_id": other})
    api.post(f"/api/v1/runs/{other}/end", json={"status": "succeeded"})
    assert installation.cli("budgets", "verify").returncode == 0


def parse(text):
    """A time of the API."""
    return datetime.datetime.fromisoformat(text)


def test_time_of_all_runs_of_an_agent_adds_up_in_its_window(installation, api, subject):
    budget = make_of(api, subject, limit_wall_clock_s=3600, thresholds=[])
    agent = subject["agent_id"]
    runs = [api.run(agent)["run_id"] for _ in range(3)]
    # One that is over before anybody looks, and one that was over before the budget was there.
    short = api.run(agent)["run_id"]
    api.post(f"/api/v1/runs/{short}/end", json={"status": "succeeded"})
    long_ago = api.run(agent, started_at="2026-01-01T00:00:00Z")["run_id"]
    api.post(f"/api/v1/runs/{long_ago}/end", json={"status": "succeeded", "ended_at": "2026-01-01T01:00:00Z"})
    wait_until(lambda: spent(api, budget) > 3, "time passes", 25)
    for run in [*runs, subject["run_id"]]:
        api.post(f"/api/v1/runs/{run}/end", json={"status": "succeeded"})

    def expected():
        found = [api.get(f"/api/v1/runs/{run}").json() for run in [*runs, short, subject["run_id"]]]
        return sum((parse(run["ended_at"]) - max(parse(run["started_at"]), parse(budget["created_at"]))).total_seconds() for run in found)

    # Each to the millisecond.
    wait_until(lambda: abs(float(spent(api, budget)) - expected()) < 0.005, "all of it is counted", 15)
    before = spent(api, budget)
    installation.sql("SELECT pg_sleep(6)")
    assert spent(api, budget) == before
    assert installation.cli("budgets", "verify").returncode == 0


def test_what_an_agent_may_run_for_is_refused_once_it_has_run_for_it(api, subject):
    budget = make_of(api, subject, limit_wall_clock_s=1)
    wait_until(lambda: ask(api, subject).status_code == 429, "its time is up", 20)
    refusal = refused(api, subject)
    assert refusal["id"] == budget["id"] and refusal["metric"] == "wall_clock" and refusal["limit"] == 1 and refusal["spent"] >= 1
    # A window of a day ends no run: it may finish what needs no permission.
    assert api.get(f"/api/v1/runs/{subject['run_id']}").json()["status"] == "running"
    api.patch(f"/api/v1/budgets/{budget['id']}", json={"limit_wall_clock_s": 3600})
    assert granted(api, subject)


def test_calls_are_settled_and_charged_beside_a_budget_of_wall_clock(installation, api, subject):
    by_time = make_of(api, subject, limit_wall_clock_s=3600)
    by_money = make_of(api, subject, limit_usd=1)
    reservation = granted(api, subject, max_cost_usd=0.5)
    assert post_batch(api, [llm_call(subject["run_id"], reservation_id=reservation), llm_call(subject["run_id"])])["accepted"] == 2
    counted = window(api, by_money)
    assert counted["spent"] == Decimal("0.007") and counted["reserved"] == 0
    assert window(api, by_time)["reserved"] == 0
    assert installation.cli("budgets", "verify").returncode == 0


def test_while_a_budget_is_disabled_time_passes_by(installation, api, subject):
    budget = make_of(api, subject, limit_wall_clock_s=3600)
    wait_until(lambda: spent(api, budget) > 1, "time passes", 20)
    path = f"/api/v1/budgets/{budget['id']}"
    api.patch(path, json={"enabled": False})
    before = spent(api, budget)
    installation.sql("SELECT pg_sleep(6)")
    assert spent(api, budget) == before
    enabled_at = parse(api.patch(path, json={"enabled": True}).json()["updated_at"])
    # A change of something else begins nothing anew.
    api.patch(path, json={"limit_wall_clock_s": 7200})
    api.post(f"/api/v1/runs/{subject['run_id']}/end", json={"status": "succeeded"})
    ended_at = parse(api.get(f"/api/v1/runs/{subject['run_id']}").json()["ended_at"])
    expected = float(before) + (ended_at - enabled_at).total_seconds()
    wait_until(lambda: abs(float(spent(api, budget)) - expected) < 0.003, "what is after is counted", 20)
    assert installation.cli("budgets", "verify").returncode == 0


def test_each_day_has_its_own_part_of_a_long_run(installation, api):
    """Also of days on which nobody looked; each to the end, none twice."""
    agent = api.agent()["id"]
    run = api.run(agent, started_at=(datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=9)).isoformat())["run_id"]
    budget = make(api, scope="agent", agent_id=agent, limit_wall_clock_s=10_000_000, enabled=False, time_zone="America/New_York", thresholds=[])
    began = installation.sql("UPDATE budget_limits SET created_at = now() - interval '3 days 1 hour', enabled = true, "
                             "counts_from = now() - interval '3 days 1 hour' WHERE id = %s RETURNING counts_from", budget["id"])[0][0]
    wait_until(lambda: len(windows_of(api, budget)) >= 4, "time passes", 20)
    api.post(f"/api/v1/runs/{run}/end", json={"status": "succeeded"})
    took = (parse(api.get(f"/api/v1/runs/{run}").json()["ended_at"]) - began).total_seconds()
    wait_until(lambda: abs(sum(one["spent"] for one in windows_of(api, budget)) - took) < 0.002, "all of it is counted", 20)
    whole = windows_of(api, budget)[1:-1]
    assert len(whole) >= 2 and all(one["spent"] == (parse(one["ends_at"]) - parse(one["begins_at"])).total_seconds() for one in whole)
    assert installation.cli("budgets", "verify").returncode == 0


def test_a_run_that_is_said_to_have_begun_long_ago_is_counted_from_a_week_ago(installation, api):
    agent = api.agent()["id"]
    began = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=60)
    run = api.run(agent, started_at=began.isoformat())["run_id"]
    budget = make(api, scope="agent", agent_id=agent, limit_wall_clock_s=10_000_000, enabled=False, thresholds=[])
    installation.sql("UPDATE budget_limits SET created_at = now() - interval '50 days', enabled = true, "
                     "counts_from = now() - interval '50 days' WHERE id = %s", budget["id"])
    week = datetime.timedelta(days=7).total_seconds()
    wait_until(lambda: sum(one["spent"] for one in windows_of(api, budget)) >= week, "time passes", 20)
    api.post(f"/api/v1/runs/{run}/end", json={"status": "succeeded"})
    assert len(windows_of(api, budget)) in (8, 9) and sum(one["spent"] for one in windows_of(api, budget)) < week + 60
    assert installation.cli("budgets", "verify").returncode == 0


def windows_of(api, budget):
    """All windows of a budget, newest first."""
    return api.get(f"/api/v1/budgets/{budget['id']}/windows").json()["items"]


def test_an_end_that_is_reported_late_takes_back_what_was_counted_after_it(installation, api, subject):
    budget = make_of(api, subject, limit_wall_clock_s=3600)
    wait_until(lambda: spent(api, budget) > 4, "time passes", 20)
    ended_at = parse(budget["created_at"]) + datetime.timedelta(seconds=2)
    assert api.post(f"/api/v1/runs/{subject['run_id']}/end", json={"status": "succeeded", "ended_at": ended_at.isoformat()}).status_code == 200
    wait_until(lambda: abs(spent(api, budget) - 2) < 0.002, "what was too much is taken back", 30)
    assert installation.cli("budgets", "verify").returncode == 0


def test_what_passed_while_a_budget_was_disabled_is_not_taken_back(installation, api, subject):
    """The end lies in between: only what was counted after it goes."""
    budget = make_of(api, subject, limit_wall_clock_s=3600)
    wait_until(lambda: spent(api, budget) > 1, "time passes", 20)
    path = f"/api/v1/budgets/{budget['id']}"
    disabled_at = parse(api.patch(path, json={"enabled": False}).json()["updated_at"])
    before = spent(api, budget)
    installation.sql("SELECT pg_sleep(6)")
    api.patch(path, json={"enabled": True})
    wait_until(lambda: spent(api, budget) > before + 1, "time counts again", 20)
    ended_at = disabled_at + datetime.timedelta(seconds=1)
    assert api.post(f"/api/v1/runs/{subject['run_id']}/end", json={"status": "succeeded", "ended_at": ended_at.isoformat()}).status_code == 200
    wait_until(lambda: spent(api, budget) == before, "what was too much is taken back", 30)
    assert installation.cli("budgets", "verify").returncode == 0


def test_lowering_the_time_that_a_run_may_take_ends_it(api, subject):
    budget = make_of(api, subject, scope="run", agent_id=None, run_id=subject["run_id"], window="run", limit_wall_clock_s=3600)
    wait_until(lambda: spent(api, budget) > 1, "time passes", 20)
    api.patch(f"/api/v1/budgets/{budget['id']}", json={"limit_wall_clock_s": 1})
    wait_until(lambda: api.get(f"/api/v1/runs/{subject['run_id']}").json()["status"] == "terminated", "the run is terminated", 20)


def test_wall_clock_goes_with_what_runs_belong_to(api, subject):
    body = {"scope": "api_key", "api_key_id": uuid7(), "window": "day", "limit_wall_clock_s": 1}
    assert pointers(api.post("/api/v1/budgets", json=body)) == ["/limit_wall_clock_s"]
    body = {"scope": "agent", "agent_id": subject["agent_id"], "window": "day", "limit_wall_clock_s": 1, "model": "gpt-*"}
    assert pointers(api.post("/api/v1/budgets", json=body)) == ["/model"]
