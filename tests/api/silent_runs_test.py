"""Silent runs: what gives no sign of life for longer than its agent's limit is ended, and nothing else is.

Runs are aged in the database, since nobody waits for a day; the search itself comes every 15 seconds.
"""

import datetime
import os
from types import SimpleNamespace

import pytest

from installation import Installation, llm_call, uuid7, wait_until
from problems import pointers
from reports import post_batch, post_one, run_of, step, tool

SEARCH_SECONDS = 40


@pytest.fixture(scope="module")
def installation(shared_directory):
    """One that spares nobody because it has just started: runs with a limit of an hour are not spared for an hour."""
    running = Installation(shared_directory / "silent-runs", RUN_SILENCE_GRACE_MAX_S=0)
    running.start("--replicas", os.environ.get("COGNIVE_TEST_REPLICAS", "0"))
    yield running
    assert running.stop() == 0


def age(installation, run_id, **back):
    """Let a run, and what it has shown so far, be older than it is."""
    back = datetime.timedelta(**back)
    # The run last: a search that comes in between would remember the event that it meets.
    for table in ("execution_steps", "llm_calls", "tool_invocations"):
        installation.sql(f"UPDATE {table} SET arrived_at = arrived_at - %s WHERE run_id = %s", back, run_id)
    installation.sql("UPDATE agent_runs SET created_at = created_at - %s, last_seen_at = last_seen_at - %s, started_at = started_at - %s "
                     "WHERE id = %s", back, back, back, run_id)


def wait_for_search(api):
    """Wait until a search has ended a run that began after everything else was arranged."""
    control = api.run(api.agent(silence_timeout_s=1)["id"])["run_id"]
    wait_until(lambda: run_of(api, control)["status"] == "terminated", "a silent run ended", seconds=SEARCH_SECONDS)
    return control


@pytest.fixture(scope="module")
def searched(installation):
    """Runs of all kinds, after a search has passed over them; with an hour's limit unless their name says otherwise."""
    api = installation.api()
    hour = api.agent(silence_timeout_s=3600)["id"]

    def aged(agent=hour, signs=(), **attributes):
        run_id = api.run(agent, **attributes)["run_id"]
        for sign in signs:
            assert post_one(api, sign(run_id)).status_code == 201
        age(installation, run_id, hours=2)
        return run_id

    # The next one comes in 15 s: none shall meet a run that has been aged and has not shown its sign of life yet.
    wait_for_search(api)
    runs = SimpleNamespace()
    runs.silent = aged()
    runs.silent_after_events = aged(signs=[step, llm_call, tool])
    runs.silent_placeholder = uuid7()
    post_one(api, step(runs.silent_placeholder, agent_id=hour))
    age(installation, runs.silent_placeholder, hours=2)
    runs.young = api.run(hour)["run_id"]
    runs.aged_less = api.run(hour)["run_id"]
    age(installation, runs.aged_less, minutes=50)
    runs.queued = aged(status="queued")
    runs.never = aged(api.agent(silence_timeout_s=0)["id"])
    age(installation, runs.never, days=400)
    default = api.agent()["id"]
    runs.default_silent, runs.default_young = aged(default), aged(default)
    age(installation, runs.default_silent, hours=23)
    runs.beating = aged()
    assert api.post(f"/api/v1/runs/{runs.beating}/heartbeat").json()["order"] == "continue"
    for name, sign in (("stepping", step), ("calling", llm_call), ("using_tools", tool)):
        run_id = aged()
        setattr(runs, name, run_id)
        # What happened long ago may be reported now: it is the report that is a sign of life.
        post_one(api, sign(run_id, timestamp="2026-01-01T00:00:00Z"))
    runs.violating = aged(api.agent(silence_timeout_s=3600, allowed_tools=["x"])["id"], signs=[tool])
    runs.begun_by_heartbeat, runs.begun_by_event, runs.begun_by_start = (aged(status="queued") for _ in range(3))
    api.post(f"/api/v1/runs/{runs.begun_by_heartbeat}/heartbeat")
    post_batch(api, [step(runs.begun_by_event)])
    begun = api.post("/api/v1/runs/start", json={"agent_id": hour, "run_id": runs.begun_by_start})
    assert begun.json()["status"] == "running"
    runs.ended = aged()
    api.post(f"/api/v1/runs/{runs.ended}/end", json={"status": "succeeded"})
    runs.killed = aged()
    api.post(f"/api/v1/runs/{runs.killed}/terminate", json={"reason": "before"})
    runs.changed = aged(api.agent(silence_timeout_s=100_000)["id"])
    api.patch(f"/api/v1/agents/{run_of(api, runs.changed)['agent_id']}", json={"silence_timeout_s": 60})
    runs.control = wait_for_search(api)
    return runs


@pytest.mark.parametrize("name, seconds", [("silent", 3600), ("silent_after_events", 3600), ("silent_placeholder", 3600), ("default_silent", 86_400),
                                           ("violating", 3600), ("changed", 60), ("control", 1)])
def test_a_run_without_a_sign_of_life_is_ended_and_says_why(api, searched, name, seconds):
    run = run_of(api, getattr(searched, name))
    assert (run["status"], run["terminated_by"]) == ("terminated", "silence")
    assert f" {seconds} s" in run["error"] and run["ended_at"] >= run["started_at"]
    reason = run["error"]
    assert api.post(f"/api/v1/runs/{run['run_id']}/heartbeat").json() == {"order": "terminate", "status": "terminated", "reason": reason}
    late = post_one(api, step(run["run_id"]))
    assert (late.status_code, late.json()["order"], late.json()["reason"]) == (201, "terminate", reason)
    assert run_of(api, run["run_id"])["status"] == "terminated"


@pytest.mark.parametrize("name", ["young", "aged_less", "never", "default_young", "beating", "stepping", "calling", "using_tools", "begun_by_heartbeat",
                                  "begun_by_event"])
def test_a_run_that_is_alive_or_has_no_limit_goes_on(api, searched, name):
    run = run_of(api, getattr(searched, name))
    assert (run["status"], run["terminated_by"], run["error"], run["ended_at"]) == ("running", None, None, None)


def test_a_run_that_was_announced_long_ago_and_has_just_been_started_goes_on(api, searched):
    assert run_of(api, searched.begun_by_start)["status"] == "running"


def test_an_announced_run_waits_as_long_as_it_likes(api, searched):
    run = run_of(api, searched.queued)
    assert (run["status"], run["ended_at"], run["last_seen_at"]) == ("queued", None, None)


def test_ended_runs_are_left_as_they_are(api, searched):
    assert (run_of(api, searched.ended)["status"], run_of(api, searched.ended)["terminated_by"]) == ("succeeded", None)
    assert (run_of(api, searched.killed)["terminated_by"], run_of(api, searched.killed)["error"]) == ("operator", "before")


def test_signs_of_life_keep_a_run_going_past_its_limit(api):
    agent = api.agent(silence_timeout_s=10)["id"]
    by_beat, by_event = (api.run(agent)["run_id"] for _ in range(2))
    control = api.run(agent)["run_id"]

    def sign():
        assert api.post(f"/api/v1/runs/{by_beat}/heartbeat").json()["order"] == "continue"
        assert "order" not in post_one(api, step(by_event)).json()
        return run_of(api, control)["status"] == "terminated"

    wait_until(sign, "the silent one of the three ended", seconds=SEARCH_SECONDS + 10)
    assert [run_of(api, run)["status"] for run in (by_beat, by_event)] == ["running"] * 2


def test_heartbeats_keep_a_run_going_whose_limit_is_shorter_than_what_is_noted(api):
    agent = api.agent(silence_timeout_s=1)["id"]
    runs = [api.run(agent)["run_id"] for _ in range(8)]
    control = api.run(agent)["run_id"]

    def sign():
        for run in runs:
            assert api.post(f"/api/v1/runs/{run}/heartbeat").json()["order"] == "continue"
        return run_of(api, control)["status"] == "terminated"

    wait_until(sign, "the silent one ended", seconds=SEARCH_SECONDS)
    assert {run_of(api, run)["status"] for run in runs} == {"running"}


def test_the_installation_says_the_limit_of_agents_that_say_none(fresh):
    api = fresh(RUN_SILENCE_TIMEOUT_S=1).start().api()
    silent = api.run(api.agent()["id"])["run_id"]
    patient = api.run(api.agent(silence_timeout_s=3600)["id"])["run_id"]
    never = api.run(api.agent(silence_timeout_s=0)["id"])["run_id"]
    wait_until(lambda: run_of(api, silent)["status"] == "terminated", "a silent run ended", seconds=SEARCH_SECONDS)
    assert (run_of(api, silent)["terminated_by"], run_of(api, patient)["status"], run_of(api, never)["status"]) == ("silence", "running", "running")


def test_a_service_that_was_away_waits_for_its_agents_before_it_calls_them_silent(fresh):
    service = fresh().start()
    agent = service.api().agent(silence_timeout_s=20)["id"]
    silent, back = (service.api().run(agent)["run_id"] for _ in range(2))
    assert service.stop() == 0
    api = service.start().api()
    for run in (silent, back):
        age(service, run, hours=1)
    wait_for_search(api)
    assert [run_of(api, run)["status"] for run in (silent, back)] == ["running"] * 2

    def beat():
        assert api.post(f"/api/v1/runs/{back}/heartbeat").json()["order"] == "continue"
        return run_of(api, silent)["status"] == "terminated"

    # Two searches may lie between now and the one that finds it, which is longer than the limit of both.
    wait_until(beat, "the one that stays silent ended", seconds=SEARCH_SECONDS)
    assert run_of(api, back)["status"] == "running"


def test_many_runs_that_fall_silent_together_end_together(installation, api):
    run_id = api.run(api.agent(silence_timeout_s=3600)["id"])["run_id"]
    installation.sql("INSERT INTO agent_runs (bucket, id, team_id, agent_id, environment, status, started_at) SELECT bucket, gen_random_uuid(), team_id, "
                     "agent_id, environment, status, started_at FROM agent_runs, generate_series(1, 650) WHERE id = %s", run_id)
    family = "FROM agent_runs WHERE agent_id = (SELECT agent_id FROM agent_runs WHERE id = %s)"
    installation.sql("UPDATE agent_runs SET created_at = created_at - interval '2 hours', started_at = started_at - interval '2 hours' "
                     "WHERE agent_id = (SELECT agent_id FROM agent_runs WHERE id = %s)", run_id)

    def ended():
        return installation.sql(f"SELECT bool_and(status = 'terminated') {family}", run_id)[0][0]

    wait_until(ended, "all of them ended", seconds=4 * SEARCH_SECONDS)
    ((count, apart),) = installation.sql(f"SELECT count(*), max(ended_at) - min(ended_at) {family}", run_id)
    assert count == 651 and apart < datetime.timedelta(seconds=10)


def test_silence_ends_the_silent_run_only(api):
    patient = api.agent(silence_timeout_s=3600)["id"]
    silent = api.run(api.agent(silence_timeout_s=1)["id"])["run_id"]
    below = api.run(patient, parent_run_id=silent)["run_id"]
    wait_until(lambda: run_of(api, silent)["status"] == "terminated", "a silent run ended", seconds=SEARCH_SECONDS)
    assert run_of(api, below)["status"] == "running"
    # It starts no more itself; what it has started goes on, and may.
    assert api.post("/api/v1/runs/start", json={"agent_id": patient, "parent_run_id": silent}).status_code == 409
    deeper = api.run(patient, parent_run_id=below)["run_id"]
    assert api.post(f"/api/v1/runs/{below}/end", json={"status": "succeeded"}).status_code == 200
    assert api.run(patient, parent_run_id=below)["status"] == run_of(api, deeper)["status"] == "running"


def test_a_limit_is_a_number_of_seconds_up_to_thirty_days(api):
    assert api.agent()["silence_timeout_s"] is None
    assert api.agent(silence_timeout_s=None)["silence_timeout_s"] is None
    assert api.agent(silence_timeout_s=0)["silence_timeout_s"] == 0
    assert api.agent(silence_timeout_s=2_592_000)["silence_timeout_s"] == 2_592_000
    for wrong in (-1, 2_592_001, 1.5, "60", True):
        assert pointers(api.post("/api/v1/agents", json={"name": uuid7(), "silence_timeout_s": wrong})) == ["/silence_timeout_s"]


def test_null_goes_back_to_what_the_installation_says_and_silence_about_it_keeps_the_limit(installation, api):
    agent = api.agent(silence_timeout_s=60)
    path = f"/api/v1/agents/{agent['id']}"
    assert api.patch(path, json={"version": "2"}).json()["silence_timeout_s"] == 60
    assert api.put("/api/v1/agents", json={"name": agent["name"], "version": "3"}).json()["silence_timeout_s"] == 60
    assert api.patch(path, json={"silence_timeout_s": None}).json()["silence_timeout_s"] is None
    assert api.get(path).json()["silence_timeout_s"] is None
    changed = installation.sql("SELECT details->'changed' FROM audit_logs WHERE resource_id = %s ORDER BY id DESC LIMIT 1", agent["id"])
    assert changed == [(["silence_timeout_s"],)]
    assert api.patch(path, json={"silence_timeout_s": 0}).json()["silence_timeout_s"] == 0
    assert api.put("/api/v1/agents", json={"name": agent["name"], "silence_timeout_s": None}).json()["silence_timeout_s"] is None
