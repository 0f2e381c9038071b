"""Lists of runs: every filter, alone and with others, page by page, finds exactly the runs that it describes."""

import os
import random
import re

import pytest

from installation import uuid7
from problems import check_problem, pointers

ERRORS = [None, "connection refused by upstream", "upstream refused the connection", "timeout after 30 s", "Timeout: the model said nothing",
          "budget exceeded", "the tool 'shell' is forbidden", "überlastet: zu viele Anfragen", "rate_limit_exceeded (429)"]
LABELS = [{}, {"tier": "gold"}, {"tier": "silver", "region": "eu"}, {"tier": "gold", "region": "eu"}, {"formula": "a=b=c"}, {"empty": ""},
          {"tier": "Gold"}, {"quote": "\"'\\"}, {"größe": "groß"}]


def listed(api, limit=200, **query):
    """All runs of a list, page by page."""
    found, cursor = [], None
    while True:
        answer = api.get("/api/v1/runs", params=query | {"limit": limit} | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found += body["items"]
        assert len(body["items"]) <= limit
        cursor = body["next_cursor"]
        if not cursor:
            return found
        assert len(body["items"]) == limit


def ids(runs):
    """The ids of runs, in order."""
    return [run["run_id"] for run in runs]


@pytest.fixture(scope="module")
def population(installation):
    """The names of two teams and their runs, newest first, with every attribute mixed."""
    api = installation.api()
    chance = random.Random(20261124)
    runs, parents = [], []
    sessions = [None, "s-" + uuid7(), "s-" + uuid7()]
    teams = ["search-a-" + uuid7(), "search-b-" + uuid7()]
    for team in teams:
        assert api.post("/api/v1/teams", json={"name": team}).status_code == 201
    agents = [(team, environment, api.agent(team=team, environment=environment)["id"])
              for team in teams for environment in ("production", "staging") for _ in range(2)]
    for _ in range(150):
        team, environment, agent = chance.choice(agents)
        attributes = {"session_id": chance.choice(sessions), "labels": chance.choice(LABELS), "status": chance.choice(["queued", "running"])}
        if parents and chance.random() < 0.5:
            attributes["parent_run_id"] = chance.choice(parents[:3])
        run = api.run(agent, **{name: value for name, value in attributes.items() if value is not None})
        parents.append(run["run_id"])
        end = chance.choice([None, None, "succeeded", "failed", "cancelled", "terminated"])
        if end == "terminated" and run["run_id"] in parents[:3]:
            end = None  # it would start no more children
        error = chance.choice(ERRORS)
        if end == "terminated":
            error = error or "enough"
            answer = api.post(f"/api/v1/runs/{run['run_id']}/terminate", json={"reason": error})
        elif end:
            answer = api.post(f"/api/v1/runs/{run['run_id']}/end", json={"status": end} | ({"error": error} if error else {}))
        if end:
            assert answer.status_code == 200, answer.text
        runs.append(api.get(f"/api/v1/runs/{run['run_id']}").json() | {"team": team})
    for run in runs:
        del run["totals"]
    return teams, runs[::-1]


def has_words(error, words):
    """Whether an error has all words, whatever the case."""
    return error is not None and set(words) <= set(re.findall(r"\w+", error.lower()))


# name of the parameter: how a run's value is written as one, which runs it finds
FILTERS = {
    "team": (lambda run: run["team"], lambda run, value: run["team"] == value),
    "agent_id": (lambda run: run["agent_id"], lambda run, value: run["agent_id"] == value),
    "status": (lambda run: run["status"], lambda run, value: run["status"] == value),
    "environment": (lambda run: run["environment"], lambda run, value: run["environment"] == value),
    "session_id": (lambda run: run["session_id"], lambda run, value: run["session_id"] == value),
    "parent_run_id": (lambda run: run["parent_run_id"], lambda run, value: run["parent_run_id"] == value),
    "label": (lambda run: next((f"{name}={value}" for name, value in run["labels"].items()), None),
              lambda run, value: run["labels"].get(value.split("=", 1)[0]) == value.split("=", 1)[1]),
    "error": (lambda run: run["error"] and re.findall(r"\w+", run["error"])[0], lambda run, value: has_words(run["error"], [value.lower()])),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_finds_exactly_the_runs_that_it_describes(api, population, name):
    teams, runs = population
    write, holds = FILTERS[name]
    values = {write(run) for run in runs} - {None}
    assert len(values) >= 2
    for value in values:
        expected = [run for run in runs if holds(run, value)]
        for team in teams:
            found = listed(api, **{"team": team} | {name: value} if name != "team" else {"team": value})
            assert ids(found) == ids(run for run in expected if run["team"] == (value if name == "team" else team)), value


@pytest.mark.parametrize("without", [pytest.param(None, id="all"), pytest.param("label", id="all but labels")])
def test_filters_together_find_what_each_of_them_finds(api, population, without):
    _, runs = population
    chance = random.Random(7)
    sizes = set()
    for _ in range(400 if os.environ.get("COGNIVE_LONG") else 80):
        model = chance.choice(runs)
        names = chance.sample([name for name in FILTERS if name not in ("team", without) and FILTERS[name][0](model) is not None], chance.randint(1, 3))
        query = {name: FILTERS[name][0](chance.choice([model, model, model, chance.choice(runs)])) for name in names}
        query = {"team": model["team"]} | {name: value for name, value in query.items() if value is not None}
        expected = [run for run in runs if all(FILTERS[name][1](run, value) for name, value in query.items())]
        found = listed(api, limit=chance.choice([1, 2, 7, 200]), **query)
        assert ids(found) == ids(expected), query
        sizes.add(len(found))
    assert 0 in sizes and max(sizes) > 5


def test_a_listed_run_is_the_run(api, population):
    teams, runs = population
    for team in teams:
        # With what it cost so far.
        assert [run | {"team": team} for run in listed(api, limit=50, team=team)] == [run | {"cost_usd": 0} for run in runs if run["team"] == team]


def test_pages_of_a_filtered_list_stay_as_they_are_while_runs_come(api):
    agent = api.agent()["id"]
    session = "s-" + uuid7()
    made = [api.run(agent, session_id=session if number % 2 else "other", labels={"n": str(number)})["run_id"] for number in range(11)]
    page = api.get("/api/v1/runs", params={"session_id": session, "limit": 2}).json()
    found = ids(page["items"])
    while page["next_cursor"]:
        api.run(agent, session_id=session)
        page = api.get("/api/v1/runs", params={"session_id": session, "limit": 2, "cursor": page["next_cursor"]}).json()
        found += ids(page["items"])
    assert found == made[9::-2]


@pytest.mark.parametrize("query, found", [
    ("refused", [1, 2]),
    ("REFUSED Connection", [1, 2]),
    ('"connection refused"', [1]),
    ('"refused the connection"', [2]),
    ("refused -by", [2]),
    ("upstream -\"the connection\"", [1]),
    ("timeout or budget", [3, 4, 5]),
    ("timeout", [3, 4]),
    ("timeout -model", [3]),
    ("30", [3]),
    ("refuse", []),
    ("überlastet", [7]),
    ("ÜBERLASTET anfragen", [7]),
    ("shell forbidden", [6]),
    ("nothing-at-all", []),
    ("'; DROP TABLE agent_runs; --", []),
    ("budget &|!():*<>", [5]),
])
def test_errors_are_found_by_words_phrases_and_exclusions(api, error_runs, query, found):
    agent, runs = error_runs
    assert sorted(runs.index(run) for run in ids(listed(api, agent_id=agent, error=query))) == found


@pytest.fixture(scope="module")
def error_runs(installation):
    """An agent with a failed run for each error, in their order."""
    api = installation.api()
    agent = api.agent()["id"]
    runs = []
    for error in ERRORS:
        runs.append(api.run(agent)["run_id"])
        body = {"status": "failed"} | ({"error": error} if error else {})
        assert api.post(f"/api/v1/runs/{runs[-1]}/end", json=body).status_code == 200
    return agent, runs


def test_the_reason_of_a_kill_is_found_like_an_error(api):
    agent = api.agent()["id"]
    run_id = api.run(agent)["run_id"]
    api.post(f"/api/v1/runs/{run_id}/terminate", json={"reason": "It burns money"})
    assert ids(listed(api, agent_id=agent, error="burns")) == [run_id]
    assert listed(api, agent_id=agent, error="burns", status="failed") == []


@pytest.mark.parametrize("query, pointer", [
    ({"label": "tier"}, "?label"), ({"label": ""}, "?label"), ({"error": ""}, "?error"), ({"error": "x" * 257}, "?error"), ({"parent_run_id": "x"}, "?parent_run_id"),
    ({"status": "asleep"}, "?status"), ({"limit": 0}, "?limit"), ({"cursor": "rubbish"}, "?cursor"), ({"agent_id": "x"}, "?agent_id"), ({"colour": "red"}, "?colour"),
])
def test_a_filter_that_cannot_be_is_refused_with_a_pointer(api, query, pointer):
    assert pointers(api.get("/api/v1/runs", params=query)) == [pointer]


ODD_TEXTS = ["\0", "a\0=b\0", "a=\0", "=", "==", "\U0001f600=x", "%", "a=" + "x" * 2000, "\\=\\", "a=\"", "'=';"]


@pytest.mark.parametrize("name", ["label", "session_id", "environment", "error", "team"])
def test_a_filter_of_any_text_is_answered_or_refused(api, name):
    # Of one agent only: a word of one letter is soon found in the errors of others.
    agent = api.run(api.agent()["id"])["agent_id"]
    for text in ODD_TEXTS:
        answer = api.get("/api/v1/runs", params={name: text, "agent_id": agent})
        if answer.status_code != 200:
            check_problem(answer, 422)
        else:
            assert answer.json()["items"] == [], text


def test_a_label_shows_nothing_of_other_teams(installation, api):
    theirs = installation.api(installation.team_key("search-theirs-" + uuid7()))
    value = uuid7()
    ours = api.run(api.agent()["id"], labels={"secret": value})["run_id"]
    assert ids(listed(api, label=f"secret={value}")) == [ours]
    assert listed(theirs, label=f"secret={value}") == []


def test_filters_show_nothing_of_other_teams(installation, api):
    theirs = installation.api(installation.team_key("search-theirs-" + uuid7()))
    session = "s-" + uuid7()
    ours = api.run(api.agent()["id"], session_id=session)["run_id"]
    for query in ({"session_id": session}, {"parent_run_id": ours}, {"team": "default"}, {}):
        assert listed(theirs, **query) == []
