"""Price overrides: rates that operators set win over the catalogue's, exactly for whom and from when they say."""

import json
import random
import threading
import uuid
from decimal import Decimal

import psycopg2
import pytest

from installation import llm_call, uuid7, wait_until
from pricing import LONG_AGO, a_model, exact, set_price
from problems import check_problem, pointers

@pytest.fixture(scope="module")
def team(installation):
    """A client with the key of a team of its own, and the team's name."""
    name = f"team-{uuid.uuid4()}"
    client = installation.api(installation.team_key(name))
    client.team = name
    return client


def quote(api, model, **parameters):
    """A quote of 1,000 input and 100 output tokens."""
    return exact(api.get("/api/v1/prices/quote", params={"provider": "acme", "model": model, "input_tokens": 1000, "output_tokens": 100} | parameters))


def stored(installation, api, run_id, **call):
    """Status, cost and version of a call after it was stored."""
    event = llm_call(run_id, **call)
    assert api.post(f"/api/v1/runs/{run_id}/llm-calls", json={name: value for name, value in event.items() if value is not None}).status_code == 201
    [row] = installation.sql("SELECT price_status, cost_nano_usd, price_version_id::text, provider FROM llm_calls WHERE run_id = %s AND id = %s",
                             run_id, event["id"])
    return row


# --- whose rates hold -------------------------------------------------------------------------------------------------


def test_a_private_model_is_priced_from_its_override_and_unknown_without(installation, api):
    model = a_model()
    run = api.run(api.agent()["id"])["run_id"]
    assert stored(installation, api, run, provider="acme", model=model)[:2] == ("unknown_provider", None)
    made = set_price(api, model, 2, 10)
    assert (made["covers"], made["team"], made["provider"], made["model"]) == (None, None, "acme", model)
    assert stored(installation, api, run, provider="acme", model=model) == ("priced", 3_000_000, made["id"], "acme")
    # Names as callers write them; and without a provider there is one only that has such a model.
    assert stored(installation, api, run, provider=" ACME", model=model.upper() + " ")[:3] == ("priced", 3_000_000, made["id"])
    assert stored(installation, api, run, provider=None, model=model) == ("priced", 3_000_000, made["id"], "acme")
    set_price(api, model, 5, 5, provider="globex", effective_from="2026-11-20T00:00:00Z")
    assert stored(installation, api, run, provider=None, model=model)[:2] == ("unknown_model", None)
    assert stored(installation, api, run, provider="globex", model=model)[:2] == ("priced", 5_500_000)
    # Before the second one had a price, and after the first has none any more, there is one again.
    assert stored(installation, api, run, provider=None, model=model, timestamp="2026-11-19T00:00:00Z") == ("priced", 3_000_000, made["id"], "acme")
    set_price(api, model, None, None, effective_from="2026-11-21T00:00:00Z")
    assert stored(installation, api, run, provider=None, model=model)[:2] == ("priced", 5_500_000)


def test_an_override_covers_what_the_catalogues_name_stands_for_until_it_ends(api):
    name = "claude-3-haiku-20240307"
    before = quote(api, name, provider="anthropic", at="2024-06-01T00:00:00Z")
    assert before["price_source"] == "catalogue"
    made = set_price(api, before["model"], 2, 10, provider="Anthropic", effective_from="2024-05-01T00:00:00Z")
    set_price(api, before["model"], None, None, provider="anthropic", effective_from="2024-07-01T00:00:00Z")
    assert made["covers"] == f"anthropic/{before['model']}"
    held = quote(api, name, provider="anthropic", at="2024-06-01T00:00:00Z")
    assert (held["cost_usd"], held["price_source"], held["price_version_id"], held["price_version"]) == (
        Decimal("0.003"), "organisation", made["id"], None)
    for outside in ("2024-04-30T23:59:59.999999Z", "2024-07-01T00:00:00Z"):
        assert quote(api, name, provider="anthropic", at=outside)["cost_usd"] == before["cost_usd"]


def test_the_team_wins_over_the_organisation_and_nobody_else_pays_its_price(installation, api, team):
    model = a_model()
    set_price(api, model, 2, 10)
    own = set_price(team, model, 1, 1)
    assert own["team"] == team.team
    assert quote(team, model)["price_source"] == "team"
    assert quote(api, model, team=team.team)["price_version_id"] == own["id"]
    assert quote(api, model)["price_source"] == "organisation"
    run, others = team.run(team.agent()["id"])["run_id"], api.run(api.agent()["id"])["run_id"]
    assert stored(installation, team, run, provider="acme", model=model)[1] == 1_100_000
    assert stored(installation, api, others, provider="acme", model=model)[1] == 3_000_000
    set_price(team, model, None, None, effective_from="2021-01-01T00:00:00Z")
    assert quote(team, model)["price_source"] == "organisation"


def test_exactly_the_reported_name_wins_over_the_catalogues(api):
    reported = "gpt-4o-mini-2024-07-18"
    canonical = quote(api, reported, provider="openai", at="2024-08-01T00:00:00Z")["model"]
    assert canonical != reported
    only = {"effective_from": "2024-08-01T00:00:00Z", "provider": "openai"}
    set_price(api, canonical, 3, 0, **only)
    set_price(api, reported, 4, 0, **only)
    for model in (canonical, reported):
        set_price(api, model, None, None, provider="openai", effective_from="2024-08-02T00:00:00Z")
    at = "2024-08-01T12:00:00Z"
    assert quote(api, reported, provider="openai", at=at)["cost_usd"] == Decimal("0.004")
    assert quote(api, canonical, provider="openai", at=at)["cost_usd"] == Decimal("0.003")


def test_rates_of_a_provider_hold_for_who_resells_them_unless_it_has_its_own(api):
    at = "2024-08-05T12:00:00Z"
    span = {"effective_from": "2024-08-05T00:00:00Z"}
    assert quote(api, "gpt-4o", provider="azure", at=at)["provider"] == "openai"
    set_price(api, "gpt-4o", 3, 0, provider="openai", **span)
    set_price(api, "gpt-4o", 4, 0, provider="azure", effective_from="2024-08-05T13:00:00Z")
    for provider in ("openai", "azure"):
        set_price(api, "gpt-4o", None, None, provider=provider, effective_from="2024-08-06T00:00:00Z")
    assert quote(api, "gpt-4o", provider="azure", at=at)["cost_usd"] == Decimal("0.003")
    assert quote(api, "gpt-4o", provider="azure", at="2024-08-05T14:00:00Z")["cost_usd"] == Decimal("0.004")
    assert quote(api, "gpt-4o", provider="openai", at="2024-08-05T14:00:00Z")["cost_usd"] == Decimal("0.003")


def test_tiers_and_windows_of_an_override_count(api):
    model = a_model()
    rates = {"input_mtok": {"base": 1, "tiers": [{"above": 200_000, "rate": 3}]}}
    windows = [{"from": "22:00:00", "to": "06:00:00", "rates": {"input_mtok": 0.5}}]
    answer = api.post("/api/v1/prices/overrides", json={"provider": "acme", "model": model, "rates": rates, "windows": windows,
                                                        "effective_from": LONG_AGO})
    assert (answer.status_code, answer.json()["rates"], answer.json()["windows"]) == (201, rates, windows)
    for tokens, at, cost in ((200_000, "12:00:00", "0.2"), (200_001, "12:00:00", "0.600003"), (200_001, "23:00:00", "0.1000005")):
        found = api.get("/api/v1/prices/quote", params={"provider": "acme", "model": model, "input_tokens": tokens, "at": f"2026-11-01T{at}Z"})
        assert json.loads(found.text, parse_float=Decimal)["cost_usd"] == Decimal(cost)


def test_random_overrides_hold_as_a_model_of_them_says(api, team):
    rng = random.Random(20261124)
    models = [a_model() for _ in range(3)]
    days = [f"2026-0{month}-{day:02}T00:00:00Z" for month in range(1, 8) for day in (1, 15)]
    rows = []
    for _ in range(40):
        client = rng.choice((api, team))
        rate = rng.choice((None, rng.randrange(1, 50)))
        row = (client, rng.choice(models), rng.choice(days), rate)
        rows.append(row)
        set_price(client, row[1], rate, 0, effective_from=row[2])

    def expected(client, model, at):
        for owner in ((team, api) if client is team else (api,)):
            held = [row for row in rows if row[0] is owner and row[1] == model and row[2] <= at]
            # Of equal starts the one that was set last.
            latest = max((row[2] for row in held), default=None)
            rate = [row[3] for row in held if row[2] == latest][-1] if held else None
            if rate is not None:
                return Decimal(rate) / 1000
        return None

    for client in (api, team):
        for model in models:
            for at in [*days, "2025-12-31T00:00:00Z", "2026-03-07T00:00:00Z"]:
                assert quote(client, model, at=at, output_tokens=0)["cost_usd"] == expected(client, model, at), (model, at)


def test_what_was_set_at_the_same_time_is_all_in_force_at_once(installation):
    """Threads of the server read the catalogue again side by side; none may put an older one in the place of a newer one."""
    clients = [installation.api() for _ in range(8)]
    for _ in range(6):
        models = [a_model() for _ in clients]
        threads = [threading.Thread(target=set_price, args=(client, model, 2, 10)) for client, model in zip(clients, models)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [quote(clients[0], model)["cost_usd"] for model in models] == [Decimal("0.003")] * len(models)


def test_another_node_follows_within_seconds(api, other_node):
    model = a_model()
    elsewhere = other_node.api()
    assert quote(elsewhere, model)["cost_usd"] is None
    set_price(api, model, 2, 10)
    wait_until(lambda: quote(elsewhere, model)["cost_usd"] == Decimal("0.003"), "the override on the other node", 5)


# --- the list and the versions ----------------------------------------------------------------------------------------


def test_versions_tell_all_there_is_and_which_one_holds(api, team):
    model = a_model()
    old, new = set_price(api, model, 2, 10), set_price(api, model, 3, 10, effective_from="2026-01-01T00:00:00Z")
    own = set_price(team, model, 1, 1, effective_from="2026-06-01T00:00:00Z")

    def versions(client, **parameters):
        body = client.get("/api/v1/prices/versions", params={"provider": "acme", "model": model} | parameters).json()
        return [(item["price_version_id"], item["source"], item["holds"]) for item in body["items"]]

    assert versions(api) == [(new["id"], "organisation", True), (old["id"], "organisation", False)]
    assert versions(team, at="2026-05-01T00:00:00Z") == [(own["id"], "team", False), (new["id"], "organisation", True), (old["id"], "organisation", False)]
    assert versions(api, team=team.team)[0] == (own["id"], "team", True)
    nothing = api.get("/api/v1/prices/versions", params={"model": a_model()}).json()
    assert (nothing["model"], nothing["items"]) == (None, [])
    known = api.get("/api/v1/prices/versions", params={"model": "gpt-4o"}).json()
    assert (known["provider"], known["model"]) == ("openai", "gpt-4o") and sum(item["holds"] for item in known["items"]) == 1


def test_the_list_shows_the_newest_first_and_no_other_teams(installation, api, team):
    stranger = installation.api(installation.team_key(f"stranger-{uuid.uuid4()}"))
    model = a_model()
    first, second = set_price(api, model, 1, 1, note="first"), set_price(team, model, 2, 2)

    def listed(client, **parameters):
        ids, cursor = [], None
        while True:
            page = client.get("/api/v1/prices/overrides", params={"limit": 1, "cursor": cursor} | parameters).json()
            ids += [item["id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return ids

    assert listed(api, model=model.upper(), provider="ACME") == [second["id"], first["id"]]
    assert listed(team, model=model) == [second["id"], first["id"]]
    assert listed(stranger, model=model) == [first["id"]]
    assert listed(api, model=model, team=team.team) == [second["id"]]
    assert stranger.get("/api/v1/prices/quote", params={"model": model, "team": team.team}).status_code == 422


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change, where", [
    ({"rates": {}}, "/rates"), ({"rates": {"tokens": 1}}, "/rates"), ({"rates": {"input_mtok": -1}}, "/rates"), ({"rates": [1]}, "/rates"),
    ({"rates": {"input_mtok": "1"}}, "/rates"), ({"rates": {"input_mtok": {"tiers": []}}}, "/rates"),
    ({"rates": {"input_mtok": {"base": 1, "tiers": [{"above": 1000}]}}}, "/rates"), ({"rates": {"input_mtok": {"base": 1, "tiers": [{"rate": 1}]}}}, "/rates"),
    ({"rates": {"input_mtok": {"base": 1, "tiers": [{"above": 1, "rate": 1}, {"above": 1, "rate": 2}]}}}, "/rates"), ({"rates": {"input_mtok": 1e-30}}, "/rates"),
    ({"model": ""}, "/model"), ({"model": " \t"}, "/model"), ({"model": "x" * 257}, "/model"), ({"provider": ""}, "/provider"),
    ({"provider": None, "model": "nobody-knows-this"}, "/provider"), ({"effective_from": "1969-12-31T00:00:00Z"}, "/effective_from"),
    ({"effective_from": "2100-01-01T00:00:00Z"}, "/effective_from"), ({"team": "there is none"}, "/team"), ({"id": "x"}, "/id"),
    ({"windows": [{"from": "1", "to": "06:00:00", "rates": {"input_mtok": 1}}]}, "/windows"), ({"note": "x" * 1025}, "/note"),
    ({"windows": [{"from": "22:00:00", "to": "06:00:00"}]}, "/windows/0/rates"),
    ({"windows": [{"from": "22:00:00", "to": "22:00:00", "rates": {"input_mtok": 1}}]}, "/windows"),
    ({"windows": [{"from": "22:00:00", "to": "06:00:00", "rates": {}}]}, "/windows"),
    ({"windows": [{"from": "22:00:00.5", "to": "06:00:00", "rates": {"input_mtok": 1}}]}, "/windows"), ({"discount": 10}, "/discount"),
    ({"rates": None, "windows": [{"from": "22:00:00", "to": "06:00:00", "rates": {"input_mtok": 1}}]}, "/windows"),
])
def test_what_is_no_override_is_refused_with_a_pointer_and_changes_nothing(installation, api, change, where):
    before = installation.sql("SELECT count(*) FROM llm_price_overrides")
    body = {"provider": "acme", "model": "refused", "rates": {"input_mtok": 1}} | change
    answer = api.post("/api/v1/prices/overrides", json={name: value for name, value in body.items() if value is not None or name == "rates"})
    assert pointers(answer) == [where]
    assert installation.sql("SELECT count(*) FROM llm_price_overrides") == before


def test_an_override_tells_which_rates_it_lost(api):
    span = {"provider": "openai", "effective_from": "2024-08-10T00:00:00Z"}
    assert set_price(api, "gpt-4o", 2, 8, **span)["without"] == ["cache_read_mtok"]
    assert set_price(api, "gpt-4o", None, None, **span)["without"] == []
    assert set_price(api, a_model(), 2, 8)["without"] == []


def test_two_rates_for_one_unit_are_refused(api):
    body = '{"provider":"acme","model":"twice","rates":{"input_mtok":1,"input_mtok":2}}'
    assert pointers(api.post("/api/v1/prices/overrides", data=body, headers={"Content-Type": "application/json"})) == ["/rates"]


def test_a_repeat_is_the_same_override_and_other_content_a_conflict(installation, api, team):
    body = {"id": uuid7(), "provider": "acme", "model": a_model(), "rates": {"output_mtok": 2.50, "input_mtok": 1}, "note": "deal"}
    first = api.post("/api/v1/prices/overrides", json=body)
    again = api.post("/api/v1/prices/overrides", json=body | {"rates": {"input_mtok": 1.0, "output_mtok": 2.5}})
    assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
    for client, change in ((api, {"rates": {"input_mtok": 2}}), (api, {"note": None}), (api, {"effective_from": LONG_AGO}), (team, {})):
        check_problem(client.post("/api/v1/prices/overrides", json=body | change), 409)
    entries = installation.sql("SELECT count(*) FROM audit_logs WHERE action = 'price_override_create' AND resource_id = %s", body["id"])
    assert entries == [(1,)]


def test_only_who_may_write_prices_sets_them_and_a_team_only_its_own(installation, api, team):
    reader = installation.api(installation.team_key("default", "prices:read"))
    body = {"provider": "acme", "model": a_model(), "rates": {"input_mtok": 1}}
    check_problem(reader.post("/api/v1/prices/overrides", json=body), 403)
    check_problem(reader.post("/api/v1/prices/reprice", json={"from": LONG_AGO, "to": "2020-01-02T00:00:00Z"}), 403)
    assert reader.get("/api/v1/prices/overrides").status_code == 200
    assert pointers(team.post("/api/v1/prices/overrides", json=body | {"team": "default"})) == ["/team"]
    assert team.post("/api/v1/prices/overrides", json=body | {"team": team.team}).json()["team"] == team.team


def test_the_database_refuses_to_change_an_override(installation, api):
    made = set_price(api, a_model(), 1, 1)
    for statement in ("UPDATE llm_price_overrides SET rates = '{}' WHERE id = %s", "DELETE FROM llm_price_overrides WHERE id = %s"):
        with pytest.raises(psycopg2.Error, match="price versions are never changed"):
            installation.sql(statement, made["id"])
    with pytest.raises(psycopg2.Error, match="price versions are never changed"):
        installation.sql("TRUNCATE llm_price_overrides")
