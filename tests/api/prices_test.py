"""Prices: quotes and stored calls agree with an independent oracle to the nano-dollar; imports add and never change history."""

import datetime
import json
import random
import re
from decimal import Decimal
from fractions import Fraction

import psycopg2
import pytest

from installation import ROOT, llm_call, uuid7, wait_until
from price_oracle import CATALOGUE_PATH, Catalogue, parse_time

NANO = 1_000_000_000
CASES_PATH = ROOT / "tests/data/price_cases.jsonl"


@pytest.fixture(scope="module")
def oracle():
    """The reference."""
    return Catalogue()


@pytest.fixture(scope="module")
def cases():
    """All cases of the shared file."""
    return [json.loads(line) for line in CASES_PATH.read_text(encoding="utf-8").splitlines()]


def sampled(cases, count, seed):
    """A sample with every status and every family of cases in it."""
    chance = random.Random(seed)
    groups = {}
    for case in cases:
        groups.setdefault((case["status"], case["name"].split("/")[0]), []).append(case)
    chosen = [case for group in groups.values() for case in chance.sample(group, min(3, len(group)))]
    rest = [case for case in cases if case not in chosen]
    return chosen + chance.sample(rest, max(0, count - len(chosen)))


def door_faults(oracle, usage):
    """The counts that the API must refuse: out of range, or a part that exceeds a reported whole."""
    faults = {name for name, count in usage.items() if count > 10_000_000_000}
    faults |= {inner for inner in usage for outer in usage
               if inner != outer and oracle.units[outer].contains(oracle.units[inner]) and usage[inner] > usage[outer]}
    return faults


def exact(answer):
    """A body whose numbers with a point are exact."""
    return json.loads(answer.text, parse_float=Decimal)


def nanos(dollars):
    """Nano-dollars of an exact amount; None stays None."""
    if dollars is None:
        return None
    amount = Decimal(dollars) * NANO
    assert amount == int(amount)
    return int(amount)


def quote(api, model, provider=None, **parameters):
    """A quote's exact body."""
    answer = api.get("/api/v1/prices/quote", params=parameters | {"model": model} | ({"provider": provider} if provider else {}))
    assert answer.status_code == 200, answer.text
    return exact(answer)


# --- agreement with the oracle ----------------------------------------------------------------------------------------


def test_quotes_agree_with_the_oracle_to_the_nano_dollar(api, oracle, cases):
    wrong = []
    for case in sampled(cases, 400, seed=20261124):
        parameters = {"model": case["model"], "at": case["at"]} | case["usage"]
        if case["provider"] is not None:
            parameters["provider"] = case["provider"]
        answer = api.get("/api/v1/prices/quote", params=parameters)
        refused = door_faults(oracle, case["usage"])
        if refused:
            got = {re.split("[?/]", error["pointer"])[-1] for error in answer.json().get("errors", [])}
            if answer.status_code != 422 or not refused <= got:
                wrong.append((case["name"], answer.status_code, answer.text))
            continue
        body = exact(answer)
        got = (body.get("status"), nanos(body.get("cost_usd")), body.get("provider"), body.get("model"))
        if got != (case["status"], case["cost_nano"], case["provider_id"], case["model_id"]):
            wrong.append((case["name"], got, case))
    assert wrong == []


def test_the_lines_of_a_quote_add_up_to_its_cost(api, oracle, cases):
    priced = [case for case in sampled(cases, 400, seed=3) if case["status"] in ("priced", "partial") and not door_faults(oracle, case["usage"])]
    assert len(priced) > 150
    for case in priced[:150]:
        body = quote(api, case["model"], case["provider"], at=case["at"], **case["usage"])
        total = sum((Fraction(line["quantity"]) * Fraction(str(line["rate"])) / line["per"] for line in body["lines"]), Fraction())
        assert round(total * NANO) == nanos(body["cost_usd"]) == case["cost_nano"], case["name"]
        assert all(line["quantity"] > 0 for line in body["lines"])
        assert body["price_version_id"] and body["price_version"] >= 1


def test_stored_calls_cost_what_the_oracle_says(installation, api, oracle, cases):
    now = datetime.datetime.now(datetime.UTC)
    fit = [case for case in cases if parse_time(case["at"]) <= now and not door_faults(oracle, case["usage"])]
    chosen = sampled(fit, 200, seed=11)
    run_id = api.run(api.agent()["id"])["run_id"]
    events = [llm_call(run_id, provider=case["provider"], model=case["model"], timestamp=case["at"], usage=case["usage"]) for case in chosen]
    answer = api.post("/api/v1/events", json=events)
    assert answer.json() == {"accepted": len(events), "duplicates": 0, "rejected": []}
    rows = {row[0]: row[1:] for row in installation.sql(
        "SELECT c.id::text, c.cost_nano_usd, c.price_status, p.provider, p.model FROM llm_calls c "
        "LEFT JOIN llm_pricing p ON p.id = c.price_version_id WHERE c.run_id = %s", run_id)}
    wrong = []
    for case, event in zip(chosen, events, strict=True):
        cost, status, provider, model = rows[event["id"]]
        if (cost, status) != (case["cost_nano"], case["status"]):
            wrong.append((case["name"], cost, status, case))
        elif cost is not None and (provider, model) != (case["provider_id"], case["model_id"]):
            wrong.append((case["name"], provider, model, case))
    assert wrong == []
    totals = exact(api.get(f"/api/v1/runs/{run_id}"))["totals"]
    assert nanos(totals["cost_usd"]) == sum(case["cost_nano"] or 0 for case in chosen)
    assert totals["unpriced_calls"] == sum(case["cost_nano"] is None for case in chosen)


def test_an_unknown_model_is_stored_without_cost_and_counted_as_uncovered(installation):
    ours = installation.api(installation.team_key("coverage-" + uuid7()))
    run_id = ours.run(ours.agent()["id"])["run_id"]
    events = [llm_call(run_id), llm_call(run_id, model="no-such-model"), llm_call(run_id, model="no-such-model"),
              llm_call(run_id, provider="no-such-provider"), llm_call(run_id, usage={"input_tokens": 10, "output_tokens": 5, "web_searches": 1}),
              llm_call(run_id, provider=None, model="nothing-like-it", usage={})]
    assert ours.post("/api/v1/events", json=events).json()["accepted"] == 6
    rows = installation.sql("SELECT model, price_status, cost_nano_usd FROM llm_calls WHERE run_id = %s ORDER BY 1, 2", run_id)
    assert [row for row in rows if row[0] != "gpt-4o"] == [
        ("no-such-model", "unknown_model", None), ("no-such-model", "unknown_model", None), ("nothing-like-it", "unknown_model", None)]
    assert ("gpt-4o", "unknown_provider", None) in rows and ("gpt-4o", "partial", 75_000) in rows
    coverage = ours.get("/api/v1/analytics/coverage").json()
    assert {name: coverage[name] for name in ("calls", "priced_calls", "tokens", "priced_tokens")} == {
        "calls": 6, "priced_calls": 1, "tokens": 4 * 1100 + 15, "priced_tokens": 1100}
    assert {(row["price_status"], row["provider"], row["model"], row["calls"], row["tokens"]) for row in coverage["unpriced"]} == {
        ("unknown_model", "openai", "no-such-model", 2, 2200), ("unknown_provider", "no-such-provider", "gpt-4o", 1, 1100),
        ("partial", "openai", "gpt-4o", 1, 15), ("unknown_model", None, "nothing-like-it", 1, 0)}
    assert coverage["unpriced"][0]["model"] == "no-such-model"
    assert ours.get("/api/v1/analytics/coverage", params={"to": "2026-11-23T06:02:00.123456Z"}).json()["calls"] == 0
    assert ours.get("/api/v1/analytics/coverage", params={"from": "2026-11-23T06:02:00.123456Z"}).json()["calls"] == 6


def test_a_quote_names_every_parameter_at_fault(api):
    answer = api.get("/api/v1/prices/quote", params={"model": "gpt-4o", "bananas": 1, "input_tokens": 1, "cache_read_tokens": 2})
    assert answer.status_code == 422
    assert {error["pointer"] for error in answer.json()["errors"]} == {"?bananas", "?cache_read_tokens"}
    answer = api.get("/api/v1/prices/quote", params={"input_tokens": "x", "at": "now"})
    assert answer.status_code == 422
    assert {error["pointer"] for error in answer.json()["errors"]} == {"?model", "?input_tokens", "?at"}


# --- price versions and imports ---------------------------------------------------------------------------------------


def state(installation):
    """Everything that an import could touch; refusals are recorded later."""
    tables = ("llm_pricing", "llm_models", "llm_providers", "llm_catalogue_imports", "(SELECT * FROM audit_logs WHERE action <> 'access_refuse')")
    return installation.sql(" UNION ALL ".join(f"SELECT $${t}$$, count(*), md5(string_agg(t::text, '' ORDER BY t::text)) FROM {t} t" for t in tables))


@pytest.mark.parametrize("statement", ["UPDATE llm_pricing SET rates = '{}' WHERE model = 'gpt-4o'", "DELETE FROM llm_pricing",
                                       "UPDATE llm_pricing SET created_at = now()"])
def test_price_versions_cannot_be_changed_in_the_database(installation, statement):
    with pytest.raises(psycopg2.errors.RestrictViolation):
        installation.sql(statement)


def test_importing_the_shipped_catalogue_again_adds_nothing(installation):
    before = state(installation)
    for arguments in ((), (CATALOGUE_PATH,)):
        done = installation.cli("prices", "import", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert (report["models_added"], report["models_changed"], report["models_kept"], report["versions_added"], report["refused"]) == (0, 0, 0, 0, [])
        assert report["models"] > 1000 and report["providers"] > 30
    assert installation.cli("prices", "import").returncode == 0
    assert state(installation) == before


def openai_model(data, model_id):
    """A model of OpenAI in a catalogue."""
    provider = next(provider for provider in data["providers"] if provider["id"] == "openai")
    return next(model for model in provider["models"] if model["id"] == model_id)


def now_text():
    """This moment, as the API writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def imported(installation, data, tmp_path):
    """Import a catalogue; its report."""
    path = tmp_path / "catalogue.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    done = installation.cli("prices", "import", path, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_import_adds_versions_and_leaves_history_alone(fresh, tmp_path):
    installation = fresh().start()
    api = installation.api()
    run_id = api.run(api.agent()["id"])["run_id"]
    usage = {"input_tokens": 1000, "output_tokens": 100}
    old_cost, new_cost = 3_500_000, 4_000_000

    def cost_of(event):
        answer = api.post("/api/v1/events", json=[event]).json()
        assert answer["accepted"] == 1, answer
        return installation.sql("SELECT cost_nano_usd FROM llm_calls WHERE id = %s", event["id"])[0][0]

    early = llm_call(run_id, timestamp=now_text(), usage=usage)
    assert cost_of(early) == old_cost

    data = json.loads(CATALOGUE_PATH.read_text(encoding="utf-8"))
    openai_model(data, "gpt-4o")["prices"][0]["rates"]["input_mtok"] = 3
    mini = openai_model(data, "gpt-4o-mini")
    mini["match"] = {"or": [mini["match"], {"equals": "our-mini"}]}
    openai = next(provider for provider in data["providers"] if provider["id"] == "openai")
    removed = openai_model(data, "gpt-4")
    openai["models"].remove(removed)
    openai["models"].append({"id": "private-1", "match": {"equals": "private-1"}, "prices": [{"rates": {"input_mtok": 0.08333333333333334}}]})
    before = now_text()
    gone_quote = quote(api, "gpt-4", "openai", at=before, input_tokens=1000)
    assert gone_quote["status"] == "priced"
    report = imported(installation, data, tmp_path)
    after = now_text()
    assert (report["models_added"], report["models_changed"], report["models_kept"], report["versions_added"], report["refused"]) == (1, 1, 1, 2, [])
    assert installation.sql("SELECT count(*) FROM audit_logs WHERE action = 'prices_import'") == [(2,)]

    versions = installation.sql("SELECT version, effective_from FROM llm_pricing WHERE provider = 'openai' AND model = 'gpt-4o' ORDER BY 1")
    assert [version for version, _ in versions] == [1, 2]
    assert before <= versions[1][1].astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") <= after

    # The running server follows within seconds.
    wait_until(lambda: nanos(quote(api, "gpt-4o", "openai", **usage)["cost_usd"]) == new_cost, "the new rate in force", seconds=5)
    assert cost_of(llm_call(run_id, timestamp=now_text(), usage=usage)) == new_cost
    assert cost_of(llm_call(run_id, timestamp=before, usage=usage)) == old_cost
    assert cost_of(llm_call(run_id, timestamp="2020-01-01T00:00:00Z", usage=usage)) == old_cost
    assert installation.sql("SELECT cost_nano_usd FROM llm_calls WHERE id = %s", early["id"]) == [(old_cost,)]
    assert api.post("/api/v1/events", json=[early]).json()["duplicates"] == 1
    exact_start = versions[1][1].astimezone(datetime.UTC)
    assert cost_of(llm_call(run_id, timestamp=exact_start.isoformat(), usage=usage)) == new_cost
    assert cost_of(llm_call(run_id, timestamp=(exact_start - datetime.timedelta(microseconds=1)).isoformat(), usage=usage)) == old_cost
    assert quote(api, "gpt-4", "openai", at=before, input_tokens=1000) == gone_quote
    assert quote(api, "our-mini", "openai", **usage)["model"] == "gpt-4o-mini"
    # What is new has no past in which another rate could have held: its rate is undated.
    private = quote(api, "private-1", "openai", at="2020-01-01T00:00:00Z", input_tokens=12_000_000)
    assert (nanos(private["cost_usd"]), private["effective_from"]) == (1_000_000_000, None)

    again = imported(installation, data, tmp_path)
    assert (again["models_added"], again["models_changed"], again["versions_added"]) == (0, 0, 0)
    # Back to the old rate is another version, not the old one again.
    report = imported(installation, json.loads(CATALOGUE_PATH.read_text(encoding="utf-8")), tmp_path)
    assert (report["models_added"], report["models_changed"], report["models_kept"], report["versions_added"]) == (0, 1, 1, 1)
    wait_until(lambda: nanos(quote(api, "gpt-4o", "openai", **usage)["cost_usd"]) == old_cost, "the old rate again", seconds=5)
    assert nanos(quote(api, "gpt-4o", "openai", at=after, **usage)["cost_usd"]) == new_cost
    assert nanos(quote(api, "gpt-4o", "openai", at=before, **usage)["cost_usd"]) == old_cost

    # A start in the past comes too late, one in the future is kept for then.
    data = json.loads(CATALOGUE_PATH.read_text(encoding="utf-8"))
    base = openai_model(data, "gpt-4o")["prices"][0]["rates"]
    openai_model(data, "gpt-4o")["prices"] += [{"starts": "2099-01-01", "rates": base | {"input_mtok": 7}}]
    base = openai_model(data, "gpt-4o-mini")["prices"][0]["rates"]
    openai_model(data, "gpt-4o-mini")["prices"] += [{"starts": "2026-01-01", "rates": base | {"input_mtok": 9}}]
    report = imported(installation, data, tmp_path)
    assert report["versions_added"] == 2 and len(report["refused"]) == 1
    assert "gpt-4o-mini" in report["refused"][0] and "2026-01-01" in report["refused"][0]
    wait_until(lambda: nanos(quote(api, "gpt-4o-mini", "openai", input_tokens=1_000_000)["cost_usd"]) == 9 * NANO, "the late rate from now on", seconds=5)
    assert nanos(quote(api, "gpt-4o-mini", "openai", at="2026-06-01T00:00:00Z", input_tokens=1_000_000)["cost_usd"]) == 150_000_000
    assert nanos(quote(api, "gpt-4o", "openai", at="2098-12-31T23:59:59.999999Z", input_tokens=1_000_000)["cost_usd"]) == 2_500_000_000
    assert nanos(quote(api, "gpt-4o", "openai", at="2099-01-01T00:00:00Z", input_tokens=1_000_000)["cost_usd"]) == 7 * NANO


def test_a_restart_leaves_what_was_imported_in_force(fresh, tmp_path):
    installation = fresh().start()
    data = json.loads(CATALOGUE_PATH.read_text(encoding="utf-8"))
    model = openai_model(data, "gpt-4o")
    model["prices"][0]["rates"] = model["prices"][0]["rates"] | {"input_mtok": 77}
    assert imported(installation, data, tmp_path)["versions_added"] == 1
    installation.stop()
    installation.start()
    assert nanos(quote(installation.api(), "gpt-4o", "openai", input_tokens=1_000_000)["cost_usd"]) == 77 * NANO


def test_every_change_of_a_catalogue_takes_effect_or_is_reported(fresh, tmp_path):
    installation = fresh().start()
    api = installation.api()
    data = json.loads(CATALOGUE_PATH.read_text(encoding="utf-8"))
    openai = next(provider for provider in data["providers"] if provider["id"] == "openai")
    assert quote(api, "gpt-4o", "our-gateway", input_tokens=1)["status"] == "unknown_provider"
    # Only a rule of a provider changes.
    openai["provider_match"] = {"or": [openai["provider_match"], {"equals": "our-gateway"}]}
    imported(installation, data, tmp_path)
    wait_until(lambda: quote(api, "gpt-4o", "our-gateway", input_tokens=1)["status"] == "priced", "the provider's new rule in force", seconds=5)
    # Only the order changes, and with it which rule wins.
    shadow = {"id": "shadow", "match": {"starts_with": "gpt-4o"}, "prices": [{"rates": {"input_mtok": 1}}]}
    openai["models"].append(shadow)
    imported(installation, data, tmp_path)
    openai["models"].remove(shadow)
    openai["models"].insert(0, shadow)
    imported(installation, data, tmp_path)
    wait_until(lambda: quote(api, "gpt-4o", "openai", input_tokens=1)["model"] == "shadow", "the new order in force", seconds=5)


MODEL = '{"id":"m","match":{"equals":"m"},"prices":[%s]}'
BROKEN = {
    "empty": "",
    "no JSON": "prices: none",
    "cut off": '{"providers":[{"id":"p","name":"P","models":[',
    "no providers": '{"source":"x"}',
    "empty list": '{"providers":[]}',
    "an array": "[]",
    "a number": "7",
    "providers an object": '{"providers":{"id":"p"}}',
    "provider without an id": '{"providers":[{"name":"P","models":[]}]}',
    "unknown member": '{"providers":[{"id":"p","colour":"red","models":[]}]}',
    "unknown operator": '{"providers":[{"id":"p","models":[{"id":"m","match":{"like":"m"},"prices":[]}]}]}',
    "two operators": '{"providers":[{"id":"p","models":[{"id":"m","match":{"equals":"m","contains":"m"},"prices":[]}]}]}',
    "no match": '{"providers":[{"id":"p","models":[{"id":"m","prices":[]}]}]}',
    "bad regex": '{"providers":[{"id":"p","models":[{"id":"m","match":{"regex":"("},"prices":[]}]}]}',
    "bad provider regex": '{"providers":[{"id":"p","provider_match":{"regex":"["},"models":[]}]}',
    "unknown unit": '{"providers":[{"id":"p","models":[' + MODEL % '{"rates":{"bananas_mtok":1}}' + "]}]}",
    "negative rate": '{"providers":[{"id":"p","models":[' + MODEL % '{"rates":{"input_mtok":-1}}' + "]}]}",
    "rate a text": '{"providers":[{"id":"p","models":[' + MODEL % '{"rates":{"input_mtok":"1"}}' + "]}]}",
    "bad date": '{"providers":[{"id":"p","models":[' + MODEL % '{"starts":"2026-02-30","rates":{"input_mtok":1}}' + "]}]}",
    "half a window": '{"providers":[{"id":"p","models":[' + MODEL % '{"from_time":"10:00:00Z","rates":{"input_mtok":1}}' + "]}]}",
    "bad window": '{"providers":[{"id":"p","models":[' + MODEL % '{"from_time":"25:00:00Z","to_time":"10:00:00Z","rates":{"input_mtok":1}}' + "]}]}",
    "the same model twice": '{"providers":[{"id":"p","models":[' + ",".join([MODEL % '{"rates":{"input_mtok":1}}'] * 2) + "]}]}",
    "the same provider twice": '{"providers":[{"id":"p","models":[]},{"id":"p","models":[' + MODEL % '{"rates":{"input_mtok":1}}' + "]}]}",
    "NUL in an id": '{"providers":[{"id":"p","models":[' + (MODEL % '{"rates":{"input_mtok":1}}').replace('"m"', '"m\\u0000"', 1) + "]}]}",
    "NUL in a rule": '{"providers":[{"id":"p","models":[{"id":"m","match":{"equals":"\\u0000"},"prices":[]}]}]}',
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_catalogue_is_refused_with_a_sentence_and_changes_nothing(installation, tmp_path, fault):
    before = state(installation)
    path = tmp_path / "broken.json"
    path.write_text(BROKEN[fault], encoding="utf-8")
    done = installation.cli("prices", "import", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"cognive: [^\n]+\n", done.stderr), done.stderr
    # In the catalogue's words, not in the database's.
    assert not re.search(r"ON CONFLICT|duplicate key|constraint|byte sequence|invalid input|violat|escape", done.stderr), done.stderr
    assert state(installation) == before


def test_a_catalogue_that_cannot_be_read_is_named(installation, tmp_path):
    for path in (tmp_path / "nowhere.json", tmp_path):
        done = installation.cli("prices", "import", path)
        assert done.returncode == 1
        assert str(path) in done.stderr and done.stderr.count("\n") == 1, done.stderr
