"""`cognive prices`: what the commands print is what happens, for people and for programs."""

import json
import re
import uuid

import pytest

from installation import ROOT, llm_call

CATALOGUE = ROOT / "data/prices.json"


def prices(installation, *arguments, status=0):
    """Runs the command; what it printed."""
    done = installation.cli("prices", *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stderr


@pytest.fixture
def newer(tmp_path):
    """A catalogue in which gpt-4o costs something else and one model is new; and what that cost before."""
    data = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    openai = next(provider for provider in data["providers"] if provider["id"] == "openai")
    model = next(model for model in openai["models"] if model["id"] == "gpt-4o")
    before = model["prices"][0]["rates"]
    model["prices"][0]["rates"] = before | {"input_mtok": 123.5}
    openai["models"].append({"id": "brand-new", "match": {"equals": "brand-new"}, "prices": [{"rates": {"input_mtok": 1}}]})
    path = tmp_path / "newer.json"
    path.write_text(json.dumps(data))
    return path, before


def test_diff_tells_what_an_import_would_change_and_changes_nothing(installation, newer):
    path, before = newer
    report = json.loads(prices(installation, "diff", str(path), "--json"))
    [change] = report["changes"]
    assert (change["provider"], change["model"], change["before"], change["after"]) == ("openai", "gpt-4o", before, before | {"input_mtok": 123.5})
    assert (report["added"], report["versions_added"], report["refused"]) == (["openai/brand-new"], 2, [])
    text = prices(installation, "diff", str(path))
    assert "new: openai/brand-new" in text and "input_mtok 123.5" in text and "nothing was changed" in text
    assert json.loads(prices(installation, "diff", str(path), "--json"))["versions_added"] == 2
    assert "0 price versions to be added" in prices(installation, "diff")


def test_set_show_reprice_and_end(installation):
    model = f"private-{uuid.uuid4()}"
    api = installation.api()
    run = api.run(api.agent()["id"])["run_id"]
    for day in (3, 4):
        call = llm_call(run, provider="acme", model=model, timestamp=f"2026-10-0{day}T12:00:00Z", usage={"input_tokens": 1_000_000})
        assert api.post(f"/api/v1/runs/{run}/llm-calls", json=call).status_code == 201
    assert "such calls are unpriced" in prices(installation, "show", model)
    told = prices(installation, "set", model, "--provider", "acme", "--rate", "input_mtok=0.25", "--rate", "output_mtok=1", "--from", "2026-10-04",
                  "--note", "a deal")
    assert "a private model" in told and "of the organisation from 2026-10-04T00:00:00Z: input_mtok 0.25, output_mtok 1" in told
    assert "cognive prices reprice --from 2026-10-04T00:00:00Z --dry-run" in told
    assert re.search(rf"\(organisation\) +acme/{model} +2026-10-04T00:00:00Z +input_mtok 0.25, output_mtok 1 +\(private model\) +a deal", prices(installation, "show"))
    assert re.search(rf"→ +organisation +acme/{model} ", prices(installation, "show", model))
    flags = ("reprice", "--from", "2026-10-01", "--to", "2026-11-01", "--model", model)
    dry = prices(installation, *flags, "--dry-run")
    assert "1 of 2 calls would have another charge: $0.250000000 more in all" in dry and "nothing was changed" in dry
    assert json.loads(prices(installation, *flags, "--json"))["changed"] == 1
    assert "0 of 2 calls have another charge" in prices(installation, *flags)
    assert api.get(f"/api/v1/runs/{run}").json()["totals"]["cost_usd"] == 0.25
    assert "the override ends" in prices(installation, "set", model, "--provider", "acme", "--end", "--from", "2026-10-04")
    again = prices(installation, *flags)
    assert "$0.250000000 less in all" in again and "1 have no price any more" in again


def test_a_window_is_shown_and_a_lost_rate_is_told(installation):
    model = f"private-{uuid.uuid4()}"
    body = {"provider": "acme", "model": model, "rates": {"input_mtok": 2}, "effective_from": "2026-10-01T00:00:00Z",
            "windows": [{"from": "22:00:00", "to": "06:00:00", "rates": {"input_mtok": 1}}]}
    assert installation.api().post("/api/v1/prices/overrides", json=body).status_code == 201
    for shown in (prices(installation, "show", model), prices(installation, "show")):
        assert "input_mtok 2; 22:00:00–06:00:00 UTC: input_mtok 1" in shown
    assert "nothing holds at 2026-09-30" in prices(installation, "show", model, "--provider", "acme", "--at", "2026-09-30")
    told = prices(installation, "set", "gpt-4o", "--rate", "input_mtok=2", "--from", "2024-08-12", "--team", "default")
    prices(installation, "set", "gpt-4o", "--end", "--from", "2024-08-12", "--team", "default")
    assert "no rates of its own for output_mtok, cache_read_mtok" in told


def test_a_tiered_rate_is_given_as_json(installation):
    model = f"private-{uuid.uuid4()}"
    rates = {"input_mtok": {"base": 1, "tiers": [{"above": 1000, "rate": 2}]}}
    made = json.loads(prices(installation, "set", model, "--provider", "acme", "--rates", json.dumps(rates), "--team", "default", "--json"))
    assert (made["rates"], made["team"]) == (rates, "default")


@pytest.mark.parametrize("arguments, said", [
    (("set", "x"), "--rate input_mtok=2.5"), (("set", "x", "--provider", "p", "--rate", "input_mtok"), "UNIT=DOLLARS"),
    (("set", "x", "--provider", "p", "--rate", "bananas=1"), "unknown unit: bananas"), (("set", "nobody-knows", "--rate", "input_mtok=1"), "say whose it is"),
    (("set", "x", "--provider", "p", "--rates", "{"), "--rates is not JSON"), (("set", "x", "--provider", "p", "--end", "--team", "no such"), "no such team"),
    (("reprice", "--from", "yesterday"), "no time"), (("reprice", "--from", "2026-11-02", "--to", "2026-11-01"), "before --to"), (("reprice", "--from", "2999-01-01"), "before now"),
    (("show", "x", "--at", "noon"), "no time"), (("diff", "/there/is/none"), "cannot read"),
])
def test_what_cannot_be_done_is_explained(installation, arguments, said):
    assert said in prices(installation, *arguments, status=1)


def test_flags_that_contradict_each_other_are_wrong_usage(installation):
    done = installation.cli("prices", "set", "x", "--rate", "input_mtok=1", "--end")
    assert done.returncode not in (0, 1) and "excludes" in done.stdout + done.stderr
