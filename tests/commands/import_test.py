"""`cognive import azure-trace`: real traffic arrives once and costs what the oracle says, whatever happens on the way."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
from decimal import Decimal

import pytest

from installation import BINARY, ROOT, clean_environment, run_cognive, uuid7, wait_until

SAMPLE = ROOT / "data/azure-llm-trace-sample.csv"
FULL = (ROOT / "../shared/data/AzureLLMInferenceTrace_conv.csv").resolve()
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def oracle(path, model, provider=None):
    """The totals of the independent reference for a trace."""
    script = ROOT / "tests/support/price_oracle.py"
    flags = ["--provider", provider] if provider else []
    done = subprocess.run([sys.executable, script, "--trace", path, "--model", model, *flags], capture_output=True, text=True, timeout=120, check=True)
    return {name: int(value) for name, value in (line.split() for line in done.stdout.splitlines())}


def totals(installation, run_id):
    """What the database has of a run: calls, tokens, cost and how many have no price."""
    return installation.sql("SELECT count(*), sum(input_tokens)::bigint, sum(output_tokens)::bigint, coalesce(sum(cost_nano_usd), 0)::bigint, "
                            "count(*) FILTER (WHERE cost_nano_usd IS NULL) FROM llm_calls WHERE run_id = %s", run_id)[0]


def import_trace(installation, path, agent, model="gpt-4o", **kwargs):
    """Import and return the summary."""
    done = installation.cli("import", "azure-trace", path, "--agent", agent, "--model", model, "--json", *kwargs.pop("flags", ()), **kwargs)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_against_oracle(installation, path, summary, model, provider=None):
    """Summary, database and API say what the oracle says."""
    expected = oracle(path, model, provider)
    rows, inputs, outputs, cost = (expected[name] for name in ("rows", "context_tokens", "generated_tokens", "cost_nano"))
    assert (summary["rows"], summary["input_tokens"], summary["output_tokens"]) == (rows, inputs, outputs)
    assert totals(installation, summary["run_id"]) == (rows, inputs, outputs, cost, rows - expected.get("priced", 0))
    answer = installation.api().get("/api/v1/analytics/costs", params={"agent_id": summary["agent_id"]})
    total = json.loads(answer.text, parse_float=Decimal)["total"]
    assert (total["calls"], total["input_tokens"], total["output_tokens"], total["cost_usd"] * 1_000_000_000) == (rows, inputs, outputs, cost)


@pytest.mark.parametrize("model, provider", [("gpt-4o", None), ("claude-sonnet-4-5", "anthropic"), ("no-such-model", None)])
def test_the_shipped_sample_costs_what_the_oracle_says(installation, model, provider):
    agent = "trace-" + uuid7()
    flags = ("--provider", provider) if provider else ()
    summary = import_trace(installation, SAMPLE, agent, model, flags=flags)
    assert (summary["rows"], summary["accepted"], summary["duplicates"]) == (1000, 1000, 0)
    check_against_oracle(installation, SAMPLE, summary, model, provider)
    run = installation.api().get(f"/api/v1/runs/{summary['run_id']}").json()
    assert (run["status"], run["started_at"]) == ("succeeded", "2023-11-16T18:15:46.680590Z")
    times = [line.split(",")[0] for line in SAMPLE.read_text().splitlines()[1:]]
    assert run["ended_at"] == max(times).replace(" ", "T")[:26] + "Z"
    again = import_trace(installation, SAMPLE, agent, model, flags=flags)
    assert again == summary | {"accepted": 0, "duplicates": 1000}
    check_against_oracle(installation, SAMPLE, again, model, provider)


def test_a_second_agent_has_the_same_file_as_calls_of_its_own(installation):
    one = import_trace(installation, SAMPLE, "first-" + uuid7())
    other = import_trace(installation, SAMPLE, "second-" + uuid7())
    assert one["run_id"] != other["run_id"] and other["accepted"] == 1000


def test_an_import_leaves_a_known_agent_as_it_is(installation, api):
    agent = api.agent("kept-" + uuid7(), description="mine", framework="langgraph", environment="production")
    import_trace(installation, SAMPLE, agent["name"])
    assert api.get(f"/api/v1/agents/{agent['id']}").json() == agent


def test_the_report_for_people_says_what_came_in(installation):
    agent = "people-" + uuid7()
    done = installation.cli("import", "azure-trace", SAMPLE, "--agent", agent, "--model", "gpt-4o", "--environment", "demo")
    assert done.returncode == 0, done.stderr
    assert f"1,000 rows as LLM calls of agent {agent} (gpt-4o): 1,000 new, 0 known already" in done.stdout
    assert "input tokens" in done.stdout and re.search(r"run [0-9a-f-]{36}", done.stdout)
    assert installation.sql("SELECT environment FROM agents WHERE name = %s", agent) == [("demo",)]


@pytest.mark.skipif(not FULL.exists(), reason="the full trace is not here")
def test_the_full_trace_costs_what_the_oracle_says(installation):
    summary = import_trace(installation, FULL, "full-" + uuid7())
    assert (summary["rows"], summary["accepted"], summary["duplicates"]) == (19_366, 19_366, 0)
    check_against_oracle(installation, FULL, summary, "gpt-4o")


def test_rows_in_any_order_with_equal_lines_and_either_line_end_are_all_counted(installation, tmp_path):
    lines = ["2024-05-10 00:00:01.5,10,1", "2024-05-10 00:00:00,20,2", "2024-05-10 00:00:01.5,10,1", "2024-05-10 00:00:01.5000000,10,1",
             "2024-05-10 00:00:02.000000+00:00,10000000000,0"]
    path = tmp_path / "odd.csv"
    path.write_bytes(("\ufeff" + HEADER + "\n".join(lines)).replace("\n", "\r\n").encode() + b"\r\n\r\n")
    summary = import_trace(installation, path, "odd-" + uuid7())
    assert (summary["rows"], summary["accepted"]) == (5, 5)
    assert totals(installation, summary["run_id"])[:3] == (5, 10_000_000_050, 5)
    assert installation.sql("SELECT started_at, ended_at - started_at = interval '2 s' FROM agent_runs WHERE id = %s", summary["run_id"])[0][1]


# --- on the way -------------------------------------------------------------------------------------------------------


def big_trace(path, rows):
    """A trace of many rows, some of them equal; its sums."""
    chance = random.Random(3)
    inputs = outputs = 0
    with open(path, "w") as file:
        file.write(HEADER)
        line, count = "", 0
        for i in range(rows):
            if i % 100 != 1:
                a, b = chance.randint(0, 9000), chance.randint(0, 900)
                line = f"2026-01-{1 + i // 3600 % 28:02} {i // 60 % 24:02}:{i % 60:02}:{i * 7 % 60:02}.{i % 10**7:07},{a},{b}\n"
            file.write(line)
            count += 1
            inputs, outputs = inputs + a, outputs + b
    return inputs, outputs


def test_a_server_killed_in_the_middle_of_an_import_ends_up_with_exact_totals(fresh, tmp_path):
    rows = 60_000
    path = tmp_path / "big.csv"
    inputs, outputs = big_trace(path, rows)
    installation = fresh().start()
    command = [BINARY, "import", "azure-trace", path, "--agent", "big", "--model", "gpt-4o"]
    importer = subprocess.Popen(command, env=clean_environment(COGNIVE_DATA=installation.directory), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: installation.sql("SELECT count(*) FROM llm_calls")[0][0] > 8_000, "the import under way")
        installation.kill()
        assert importer.poll() is None, "the import was over before the kill"
    finally:
        importer.kill()
        importer.wait()
    installation.start()
    ((kept,),) = installation.sql("SELECT count(*) FROM llm_calls")
    assert 8_000 < kept < rows
    summary = import_trace(installation, path, "big")
    assert (summary["rows"], summary["accepted"], summary["duplicates"]) == (rows, rows - kept, kept)
    # 2.50 and 10 dollars per million tokens.
    assert totals(installation, summary["run_id"]) == (rows, inputs, outputs, inputs * 2500 + outputs * 10_000, 0)
    assert import_trace(installation, path, "big")["duplicates"] == rows
    assert totals(installation, summary["run_id"]) == (rows, inputs, outputs, inputs * 2500 + outputs * 10_000, 0)
    assert installation.sql("SELECT count(*) FROM agent_runs") == [(1,)]


def test_an_import_waits_for_a_server_that_is_not_there_yet_and_says_so(installation, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    importer = subprocess.Popen([BINARY, "import", "azure-trace", SAMPLE, "--agent", "early-" + uuid7(), "--model", "gpt-4o", "--json",
                                 "--url", url, "--api-key", installation.key], env=clean_environment(COGNIVE_DATA=tmp_path),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first = importer.stderr.readline()
    assert first.startswith(f"cognive: No answer from {url}") and "Trying again" in first
    server = subprocess.Popen([BINARY, "serve", "--port", str(port)], env=clean_environment(**installation.variables), stderr=subprocess.DEVNULL)
    try:
        output, errors = importer.communicate(timeout=60)
        assert importer.returncode == 0, errors
        assert json.loads(output)["accepted"] == 1000
    finally:
        importer.kill()
        importer.wait()
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0


@pytest.mark.parametrize("key", ["nonsense", "cgv_" + "0" * 32 + "_" + "a" * 43])
def test_a_wrong_key_is_explained_at_once(installation, key):
    done = installation.cli("import", "azure-trace", SAMPLE, "--agent", "x-" + key, "--model", "gpt-4o", "--api-key", key, timeout=10)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"cognive: [^\n]+\n", done.stderr) and "--api-key" in done.stderr
    assert "aaaa" not in done.stderr
    assert installation.sql("SELECT count(*) FROM agents WHERE name = %s", "x-" + key) == [(0,)]


def test_a_key_without_the_permission_is_explained_with_its_name(installation):
    key = installation.team_key("readers-" + uuid7(), "agents:read")
    done = installation.cli("import", "azure-trace", SAMPLE, "--agent", "x", "--model", "gpt-4o", "--api-key", key, timeout=10)
    assert done.returncode == 1 and "agents:write" in done.stderr


def test_no_key_at_all_is_explained(tmp_path):
    done = run_cognive("import", "azure-trace", SAMPLE, "--agent", "x", "--model", "gpt-4o", env=clean_environment(COGNIVE_DATA=tmp_path))
    assert done.returncode == 1
    assert re.fullmatch(r"cognive: [^\n]+\n", done.stderr) and "--api-key" in done.stderr and "COGNIVE_API_KEY" in done.stderr


@pytest.mark.parametrize("content, said", [
    (HEADER + "2024-05-10 00:00:00,1,2\n2024-05-10 00:00:01,x,2\n2024-05-10 00:00:02,1,2\n", ["line 3", "ContextTokens"]),
    (HEADER + "2024-05-10 00:00:00,1,2\nyesterday,1,2\n", ["line 3", "TIMESTAMP"]),
    (HEADER + "2024-05-10 00:00:00,1\n", ["line 2", "3 columns"]),
    (HEADER + "2024-05-10 00:00:00,1,2,3\n", ["line 2", "3 columns"]),
    (HEADER + "2024-05-10 00:00:00,1,-2\n", ["line 2", "GeneratedTokens"]),
    (HEADER + "2024-05-10 00:00:00,1,1.5\n", ["line 2", "GeneratedTokens"]),
    (HEADER + "2024-05-10 00:00:00,10000000001,1\n", ["line 2", "ContextTokens"]),
    (HEADER + "\n2024-05-10 00:00:00,1,1\n", ["line 2", "empty"]),
    (HEADER + "2024-05-10 00:00:00,1,1\n" + "x\n" * 7, ["7 broken lines", "line 3", "line 7"]),
    ("a,b,c\n2024-05-10 00:00:00,1,1\n", ["line 1", "header"]),
    (HEADER, ["no rows"]),
    ("", ["empty"]),
    ("\x00\x01\x02", ["line 1"]),
])
def test_a_broken_line_is_named_and_nothing_is_stored(installation, tmp_path, content, said):
    path = tmp_path / "broken.csv"
    path.write_text(content)
    agent = "broken-" + uuid7()
    done = installation.cli("import", "azure-trace", path, "--agent", agent, "--model", "gpt-4o", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"cognive: {path}")
    assert all(word in done.stderr for word in said), done.stderr
    assert installation.sql("SELECT count(*) FROM agents WHERE name = %s", agent) == [(0,)]


def test_rows_that_the_server_rejects_are_named_by_line_and_the_others_are_stored(installation, tmp_path):
    path = tmp_path / "future.csv"
    path.write_text(HEADER + "2024-05-10 00:00:00,1,1\n2999-01-01 00:00:00,1,1\n2024-05-10 00:00:01,1,1\n")
    agent = "future-" + uuid7()
    done = installation.cli("import", "azure-trace", path, "--agent", agent, "--model", "gpt-4o")
    assert done.returncode == 1
    assert "line 3" in done.stderr and "timestamp" in done.stderr and "2 new" in done.stderr
    assert installation.sql("SELECT count(*) FROM llm_calls c JOIN agents a ON a.id = c.agent_id WHERE a.name = %s", agent) == [(2,)]


def test_a_file_that_cannot_be_read_is_named(installation, tmp_path):
    for path in (tmp_path / "nowhere.csv", tmp_path):
        done = installation.cli("import", "azure-trace", path, "--agent", "x", "--model", "gpt-4o")
        assert done.returncode == 1 and done.stderr.startswith(f"cognive: {path} cannot be read")


# --- asked before -----------------------------------------------------------------------------------------------------


def fits(costs, limit):
    """What an independent calculation accepts of calls that come one after the other: each that still fits. Sums of accepted and refused, and how many are accepted."""
    accepted = refused = count = 0
    for cost in costs:
        if accepted + cost <= limit:
            accepted, count = accepted + cost, count + 1
        else:
            refused += cost
    return accepted, refused, count


def costs_of(path, rates):
    """What each row costs, in nano-dollars, by rates in dollars for a million tokens."""
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    return [int(a) * rates[0] * 1000 + int(b) * rates[1] * 1000 for _, a, b in rows]


IS_LONG = os.environ.get("COGNIVE_LONG") == "1" and FULL.exists()


@pytest.mark.parametrize("path", [SAMPLE, *([FULL] if IS_LONG else [])], ids=lambda path: path.stem)
def test_a_budget_of_half_the_cost_stops_at_the_last_call_that_fits(installation, api, path):
    # Rates of our own, whole nano-dollars for each token, so that the calculation beside needs no rounding.
    model = "traced-" + uuid7()
    assert api.post("/api/v1/prices/overrides", json={"provider": "acme", "model": model, "effective_from": "2020-01-01T00:00:00Z",
                                                      "rates": {"input_mtok": 3, "output_mtok": 11}}).status_code == 201
    costs = costs_of(path, (3, 11))
    limit = sum(costs) // 2
    agent = api.agent("traced-" + uuid7())
    body = {"scope": "agent", "agent_id": agent["id"], "window": "total", "limit_usd": "@", "hard_stop": True}
    answer = api.post("/api/v1/budgets", data=json.dumps(body).replace('"@"', f"{limit // 10**9}.{limit % 10**9:09}"),
                      headers={"Content-Type": "application/json"})
    assert answer.status_code == 201, answer.text
    budget = answer.json()["id"]
    accepted, refused, count = fits(costs, limit)
    flags = ("--provider", "acme", "--authorize")
    done = installation.cli("import", "azure-trace", path, "--agent", agent["name"], "--model", model, "--json", *flags, timeout=300)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout, parse_float=Decimal)
    assert (summary["accepted"], summary["refused"]) == (count, len(costs) - count) and 0 < count < len(costs)
    assert (summary["accepted_cost_usd"] * 10**9, summary["refused_cost_usd"] * 10**9) == (accepted, refused)
    # Nothing that was refused would have fitted: what is left is less than the cheapest of what came after.
    window = json.loads(api.get(f"/api/v1/budgets/{budget}/status").text, parse_float=Decimal)["window"]
    assert window["spent"] * 10**9 == accepted <= limit and window["reserved"] == window["unreserved"] == window["exceeded"] == 0
    assert totals(installation, summary["run_id"])[3] == accepted
    # A repeat asks again, and finds what it has sent; with more room it completes the import.
    assert api.patch(f"/api/v1/budgets/{budget}", json={"limit_usd": sum(costs) // 10**9 + 1}).status_code == 200
    again = installation.cli("import", "azure-trace", path, "--agent", agent["name"], "--model", model, *flags, timeout=300)
    assert again.returncode == 0, again.stderr
    assert totals(installation, summary["run_id"])[:1] + totals(installation, summary["run_id"])[3:] == (len(costs), sum(costs), 0)
    assert re.search(rf"accepted +{len(costs):,}", again.stdout) and re.search(r"refused +0 ", again.stdout), again.stdout
    assert api.get(f"/api/v1/runs/{summary['run_id']}").json()["status"] == "succeeded"
    assert installation.cli("budgets", "verify").returncode == 0
