"""Exports: files that say what the ledger says, of one moment, in a directory and in S3; what breaks meanwhile only delays them."""

import base64
import csv
import datetime
import decimal
import gzip
import hashlib
import io
import json
import random
import time
import uuid

import pytest
import requests

from contract import check_answer
from deployment import Deployment
from installation import llm_call, uuid7, wait_until
from problems import check_problem
from tcp_proxy import TcpProxy

DAY = datetime.datetime(2026, 11, 23, tzinfo=datetime.timezone.utc)
RANGE = {"from": "2026-11-23T00:00:00Z", "to": "2026-11-24T00:00:00Z"}


@pytest.fixture(scope="module")
def proxy(ceph):
    """Between the server and Ceph."""
    with TcpProxy(ceph.port) as between:
        yield between


@pytest.fixture(scope="module")
def on_s3(ceph, proxy, shared_directory):
    """A server that keeps exports in Ceph, with a database of its own: any worker of one writes them."""
    with Deployment(shared_directory / "exports", replicas=0) as deployment:
        service = deployment.serve(**ceph.settings(proxy.port))
        wait_until(lambda: service.api().get("/api/v1/health/storage").json().get("healthy"), "buckets are there", 30)
        yield service


@pytest.fixture(params=["directory", "s3"])
def api(request, installation):
    """The API over each adapter: the shared installation keeps its objects in a directory."""
    if request.param == "directory":
        return installation.api()
    return request.getfixturevalue("on_s3").api()


def export(api, kind, status=202, **wanted):
    """Ask for an export; as the API tells of it."""
    answer = api.post("/api/v1/exports", json={"kind": kind} | ({} if kind == "replay" else RANGE) | wanted)
    assert answer.status_code == status, answer.text
    if status in (200, 202):
        check_answer("export_create", answer, status)
    return answer.json()


def state_of(api, made):
    """How far it is."""
    answer = api.get(f"/api/v1/exports/{made['id']}")
    check_answer("export_get", answer, 200)
    return answer.json()


def finished(api, made, seconds=60):
    """The export once it is done."""
    wait_until(lambda: state_of(api, made)["state"] in ("done", "failed"), "the export is done", seconds)
    done = state_of(api, made)
    assert done["state"] == "done" and done["progress"] == 1 and done["error"] is None, done
    return done


def file_of(api, made):
    """Its text, after its checksum and length were compared."""
    done = finished(api, made)
    answer = api.get(f"/api/v1/exports/{made['id']}/content", timeout=60)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/gzip"
    assert len(answer.content) == done["bytes"] and hashlib.sha256(answer.content).hexdigest() == done["sha256"]
    return gzip.decompress(answer.content).decode()


def lines_of(api, kind, **wanted):
    """The rows of an export as JSON lines."""
    made = export(api, kind, **wanted)
    rows = [json.loads(line, parse_float=decimal.Decimal) for line in file_of(api, made).splitlines()]
    assert len(rows) == state_of(api, made)["rows"]
    return rows


def table_of(api, kind, **wanted):
    """The rows of an export as CSV."""
    return list(csv.DictReader(io.StringIO(file_of(api, export(api, kind, format="csv", **wanted)), newline="")))


def traffic(api, calls=30, **agent):
    """An agent with two runs, whose calls are spread over the day; some unpriced, some failed."""
    made = api.agent(**agent)
    runs = [api.run(made["id"], started_at="2026-11-23T00:00:00Z")["run_id"] for _ in range(2)]
    events = []
    for number in range(calls):
        at = DAY + datetime.timedelta(minutes=number * 47, microseconds=number)
        kind = {"model": "=HYPERLINK(\"x\"),y"} if number % 7 == 3 else {"status": "error", "error": "two\nlines, \"quoted\""} if number % 7 == 5 else {}
        # Partitions go by the ids of events, not by their runs or times.
        one = str(uuid.uuid4()) if number % 5 == 4 else uuid7(milliseconds=int(DAY.timestamp() * 1000)) if number % 5 == 3 else uuid7()
        events.append(llm_call(runs[number % 2], id=one, timestamp=at.isoformat(), usage={"input_tokens": number + 1, "output_tokens": 10}) | kind)
    answer = api.post("/api/v1/events", json=events)
    assert answer.json()["accepted"] == calls, answer.text
    return made, runs, events


def ledger(api, agent):
    """What the analytics say of the agent's day: calls, unpriced calls, cost."""
    answer = api.get("/api/v1/analytics/costs", params={"agent_id": agent} | RANGE)
    total = json.loads(answer.text, parse_float=decimal.Decimal)["total"]
    return total["calls"], total["unpriced_calls"], total["cost_usd"]


def test_calls_are_all_there_once_in_order_and_add_up(api):
    agent, _, events = traffic(api)
    rows = lines_of(api, "calls", agent_id=agent["id"])
    assert [row["id"] for row in rows] == [event["id"] for event in events]
    assert [row["timestamp"] for row in rows] == sorted(row["timestamp"] for row in rows) and all(row["timestamp"].endswith("Z") for row in rows)
    priced = [row["cost_usd"] for row in rows if row["cost_usd"] is not None]
    assert (len(rows), len(rows) - len(priced), sum(priced)) == ledger(api, agent["id"])
    table = table_of(api, "calls", agent_id=agent["id"])
    assert list(table[0]) == list(rows[0])
    for row, line in zip(table, rows, strict=True):
        for name, value in line.items():
            shown = "" if value is None else str(value) if not isinstance(value, dict) else row[name]
            assert row[name] == ("'" + shown if shown.startswith("=") else shown), name
    assert any(row["model"].startswith("'=") for row in table) and any(row["error"] == "two\nlines, \"quoted\"" for row in table)


def test_a_new_price_is_in_the_next_export(api):
    model = uuid7()
    agent = api.agent()["id"]
    run = api.run(agent)["run_id"]
    assert api.post("/api/v1/events", json=[llm_call(run, provider="acme", model=model, timestamp="2026-11-23T10:00:00Z")]).json()["accepted"] == 1
    assert lines_of(api, "calls", agent_id=agent)[0]["price_status"] == "unknown_provider"
    made = api.post("/api/v1/prices/overrides", json={"provider": "acme", "model": model, "effective_from": "2026-01-01T00:00:00Z", "rates": {"input_mtok": 3, "output_mtok": 7}})
    assert made.status_code == 201, made.text
    repriced = api.post("/api/v1/prices/reprice", json={"provider": "acme", "model": model} | RANGE, timeout=60)
    assert repriced.status_code in (200, 201), repriced.text
    row, = lines_of(api, "calls", agent_id=agent)
    assert row["price_status"] == "priced" and row["cost_usd"] == decimal.Decimal("0.003700000")


def test_runs_have_their_totals(api):
    agent, runs, _ = traffic(api)
    rows = {row["run_id"]: row for row in lines_of(api, "runs", agent_id=agent["id"])}
    assert set(rows) == set(runs)
    for one in runs:
        totals = json.loads(api.get(f"/api/v1/runs/{one}").text, parse_float=decimal.Decimal)["totals"]
        assert {name: rows[one][name] for name in ("llm_calls", "unpriced_calls", "input_tokens", "output_tokens", "cost_usd")} == \
               {name: totals[name] for name in ("llm_calls", "unpriced_calls", "input_tokens", "output_tokens", "cost_usd")}
    assert {row["run_id"] for row in table_of(api, "runs", agent_id=agent["id"])} == set(runs)


def test_costs_are_those_of_the_ledger_by_day_and_model(api):
    agent, _, events = traffic(api, name="cost-" + uuid7())
    rows = lines_of(api, "costs", agent_id=agent["id"])
    assert {row["day"] for row in rows} == {"2026-11-23"} and {row["agent"] for row in rows} == {agent["name"]} and {row["team"] for row in rows} == {"default"}
    calls, _, cost = ledger(api, agent["id"])
    assert sum(row["calls"] for row in rows) == calls == len(events) and sum(row["cost_usd"] or 0 for row in rows) == cost
    assert {row["cost_usd"] is None for row in rows if row["price_status"] == "unknown_model"} == {True} and any(row["price_status"] == "unknown_model" for row in rows)
    assert sum(row["errors"] for row in rows) == sum(event.get("status") == "error" for event in events)
    morning = lines_of(api, "costs", agent_id=agent["id"], to="2026-11-23T12:00:00Z")
    assert sum(row["calls"] for row in morning) == sum(event["timestamp"] < "2026-11-23T12" for event in events)
    assert [decimal.Decimal(row["cost_usd"]) if row["cost_usd"] else None for row in table_of(api, "costs", agent_id=agent["id"])] == [row["cost_usd"] for row in rows]


def test_the_audit_trail_is_exported_as_it_is_listed(api):
    agent = api.agent()["id"]
    begin, end = ((datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)).isoformat() for minutes in (-2, 2))
    rows = lines_of(api, "audit", to=end, **{"from": begin})
    mine, = [row for row in rows if row["resource_id"] == agent]
    listed, = api.get("/api/v1/audit-entries", params={"resource_id": agent}).json()["items"]
    assert {name: mine[name] for name in listed if name != "details"} == {name: value for name, value in listed.items() if name != "details"} and mine["details"] == listed["details"]
    sequences = [row["sequence"] for row in rows]
    assert sequences == sorted(sequences)


def test_a_replay_has_all_that_is_kept_of_a_run(api):
    agent = api.agent(store="full")["id"]
    run = api.run(agent, labels={"a": "b"})["run_id"]
    # Of another day, and of none: partitions go by the ids of events.
    step, call, tool = uuid7(), uuid7(milliseconds=int(DAY.timestamp() * 1000) - 86_400_000), str(uuid.uuid4())
    events = [{"type": "step", "id": step, "run_id": run, "index": 0, "kind": "plan", "name": "think", "timestamp": "2026-11-23T06:00:00Z", "metadata": {"kept": None}},
              llm_call(run, id=call, parent_step_id=step, timestamp="2026-11-23T06:00:01Z", input="question", output="answer"),
              {"type": "tool_invocation", "id": tool, "run_id": run, "tool": "search", "timestamp": "2026-11-23T06:00:02Z"}]
    answer = api.post("/api/v1/events", json=events)
    assert answer.json()["accepted"] == 3, answer.text
    made = export(api, "replay", run_id=run)
    first, *rest = [json.loads(line) for line in file_of(api, made).splitlines()]
    assert first["type"] == "run" and first["run_id"] == run and first["labels"] == {"a": "b"}
    assert [(one["type"], one["id"]) for one in rest] == [("step", step), ("llm_call", call), ("tool_invocation", tool)]
    assert rest[0]["metadata"] == {"kept": None} and "question" in json.dumps(rest[1]["content"]) and rest[1]["cost_usd"] > 0
    listed, = [one for one in api.get("/api/v1/exports", params={"kind": "replay"}).json()["items"] if one["id"] == made["id"]]
    left = datetime.datetime.fromisoformat(listed["expires_at"]) - datetime.datetime.now(datetime.timezone.utc)
    assert listed["run_id"] == run and 29 <= left.days <= 30, "as its bucket keeps it"


def test_nothing_makes_a_file_too(api):
    agent = api.agent()["id"]
    assert lines_of(api, "calls", agent_id=agent) == []
    text = file_of(api, export(api, "calls", agent_id=agent, format="csv"))
    assert text.startswith("id,timestamp,run_id,") and text.endswith("\r\n") and text.count("\n") == 1


def test_a_repeat_changes_nothing_and_another_wish_is_a_conflict(api):
    agent, one = api.agent()["id"], uuid7()
    made = export(api, "calls", id=one, agent_id=agent)
    assert export(api, "calls", id=one, agent_id=agent, status=200)["created_at"] == made["created_at"]
    assert "another export" in export(api, "calls", id=one, agent_id=agent, format="csv", status=409)["detail"]
    finished(api, made)
    assert api.get(f"/api/v1/exports/{one}/content", headers={"Range": "bytes=0-1"}).content == b"\x1f\x8b"


def test_wishes_that_make_no_sense_are_refused(api):
    agent = api.agent()["id"]
    for wanted, pointer in (({"kind": "calls"}, "/from"), ({"kind": "calls", "from": RANGE["from"], "to": RANGE["from"]}, "/to"), ({"kind": "costs", "from": "2026-11-23T00:30:00Z", "to": RANGE["to"]}, "/from"),
                            ({"kind": "calls", "from": "2020-01-01T00:00:00Z", "to": RANGE["to"]}, "/to"), ({"kind": "replay"}, "/run_id"), ({"kind": "replay", "run_id": uuid7()}, "/run_id"),
                            ({"kind": "replay", "run_id": uuid7(), "format": "csv"}, "/format"), ({"kind": "audit", "agent_id": agent} | RANGE, "/agent_id"),
                            ({"kind": "calls", "agent_id": uuid7()} | RANGE, "/agent_id"), ({"kind": "calls", "team": "no such team"} | RANGE, "/team"), ({"kind": "prices"} | RANGE, "/kind")):
        body = check_problem(api.post("/api/v1/exports", json=wanted), 422)
        assert pointer in [fault["pointer"] for fault in body["errors"]], (wanted, body)
    check_problem(api.get(f"/api/v1/exports/{uuid7()}"), 404)
    check_problem(api.get(f"/api/v1/exports/{uuid7()}/content"), 404)


def test_whoever_may_not_read_it_does_not_get_it_in_a_file(installation):
    lead, viewer, outsider = (installation.person(role) for role in ("team_lead@exporters", "viewer@exporters", "team_lead@other exporters"))
    team = installation.api(installation.team_key("exporters"))
    agent, _, events = traffic(team)
    elsewhere, _, _ = traffic(installation.api())
    assert {row["agent_id"] for row in lines_of(viewer, "calls")} == {agent["id"]}
    soon = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=1)).isoformat()
    everybody = lines_of(installation.api(), "audit", to=soon, **{"from": "2026-11-01T00:00:00Z"})
    mine = lines_of(lead, "audit", to=soon, **{"from": "2026-11-01T00:00:00Z"})
    assert {row["team_id"] for row in mine} == {agent["team_id"]} and agent["id"] in {row["resource_id"] for row in mine}
    assert {agent["id"], elsewhere["id"]} <= {row["resource_id"] for row in everybody} and elsewhere["id"] not in {row["resource_id"] for row in mine}
    made = export(lead, "audit", to="2100-01-01T00:00:00Z", **{"from": "2099-06-01T00:00:00Z"})
    finished(lead, made)
    assert "audit:read" in export(viewer, "audit", status=403)["detail"]
    for stranger in (viewer, outsider):
        check_problem(stranger.get(f"/api/v1/exports/{made['id']}"), 404)
        check_problem(stranger.get(f"/api/v1/exports/{made['id']}/content"), 404)
        check_problem(stranger.delete(f"/api/v1/exports/{made['id']}"), 404)
        assert made["id"] not in [one["id"] for one in stranger.get("/api/v1/exports").json()["items"]]
    assert check_problem(lead.post("/api/v1/exports", json={"kind": "calls", "agent_id": elsewhere["id"]} | RANGE), 422)["errors"][0]["pointer"] == "/agent_id"
    bound = installation.api(team.post("/api/v1/api-keys", json={"name": uuid7(), "agent_id": agent["id"], "permissions": ["analytics:read", "audit:read"]}).json()["key"])
    assert len(lines_of(bound, "calls")) == len(events)
    assert export(bound, "audit", status=403) and export(bound, "runs", status=403)


def test_a_team_has_ten_at_a_time(installation):
    api = installation.api(installation.team_key("exporters of much"))
    # Whoever writes them waits for this.
    installation.sql("INSERT INTO exports (id, kind, format, begins_at, ends_at, team_id) SELECT gen_random_uuid(), 'calls', 'csv', now(), now() + interval '1 day', t.id "
                     "FROM teams t, generate_series(1, 10) WHERE t.name = 'exporters of much'")
    answer = api.post("/api/v1/exports", json={"kind": "calls"} | RANGE)
    check_problem(answer, 429)
    assert answer.headers["Retry-After"].isdigit()
    installation.sql("UPDATE exports SET created_at = now() - interval '10 minutes' WHERE object_key IS NULL")
    wait_until(lambda: {one["state"] for one in api.get("/api/v1/exports").json()["items"]} == {"failed"}, "nobody writes these: they are given up", 40)
    assert "given up" in api.get("/api/v1/exports").json()["items"][0]["error"]
    export(api, "calls")


def test_a_deleted_export_goes_with_its_file(installation):
    api = installation.api()
    agent, _, _ = traffic(api)
    made = export(api, "calls", agent_id=agent["id"])
    finished(api, made)
    files = lambda: [path for path in (installation.directory / "objects" / "report-exports" / "objects").rglob("*") if path.is_file() and made["id"] in str(path)]
    assert len(files()) == 1
    answer = api.delete(f"/api/v1/exports/{made['id']}")
    check_answer("export_remove", answer, 200)
    check_problem(api.get(f"/api/v1/exports/{made['id']}"), 404)
    check_problem(api.delete(f"/api/v1/exports/{made['id']}"), 404)
    check_problem(api.post("/api/v1/exports", json={"id": made["id"], "kind": "calls", "agent_id": agent["id"]} | RANGE), 409)
    installation.sql("UPDATE exports SET removed_at = now() - interval '2 minutes' WHERE id = %s", made["id"])
    wait_until(lambda: files() == [] and installation.sql("SELECT count(*) FROM exports WHERE id = %s", made["id"]) == [(0,)], "file and row are gone", 40)
    told = installation.sql("SELECT action FROM audit_logs WHERE resource_id = %s ORDER BY sequence", made["id"])
    assert told == [("export_create",), ("export_remove",)]


def test_a_file_that_was_changed_in_the_store_is_not_given_out(installation):
    api = installation.api()
    agent, _, _ = traffic(api)
    made = export(api, "calls", agent_id=agent["id"])
    finished(api, made)
    path, = [path for path in (installation.directory / "objects" / "report-exports" / "objects").rglob("*") if path.is_file() and made["id"] in str(path)]
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert "not what was stored" in check_problem(api.get(f"/api/v1/exports/{made['id']}/content"), 409)["detail"]


def test_what_has_expired_is_gone(installation):
    api = installation.api()
    made = export(api, "calls", agent_id=api.agent()["id"])
    assert 364 <= (datetime.datetime.fromisoformat(finished(api, made)["expires_at"]) - datetime.datetime.now(datetime.timezone.utc)).days <= 365
    installation.sql("UPDATE exports SET expires_at = now() WHERE id = %s", made["id"])
    check_problem(api.get(f"/api/v1/exports/{made['id']}"), 404)
    wait_until(lambda: installation.sql("SELECT removed_at IS NOT NULL FROM exports WHERE id = %s", made["id"]) == [(True,)], "it is swept", 40)


def test_a_url_needs_no_credentials(on_s3):
    api = on_s3.api()
    agent, _, events = traffic(api)
    made = export(api, "calls", agent_id=agent["id"], format="csv")
    finished(api, made)
    answer = api.post(f"/api/v1/exports/{made['id']}/url", params={"lifetime_s": 60})
    check_answer("export_url", answer, 200)
    got = requests.get(answer.json()["url"], timeout=30)
    assert got.status_code == 200 and got.headers["Content-Disposition"] == 'attachment; filename="calls-2026-11-23-2026-11-24.csv.gz"'
    assert len(list(csv.DictReader(io.StringIO(gzip.decompress(got.content).decode(), newline="")))) == len(events)


def test_a_directory_has_no_urls(installation):
    api = installation.api()
    made = export(api, "calls", agent_id=api.agent()["id"])
    finished(api, made)
    assert "directory" in check_problem(api.post(f"/api/v1/exports/{made['id']}/url"), 409)["detail"]


def test_a_long_export_tells_how_far_it_is_and_ends_when_it_is_deleted(on_s3, proxy, ceph):
    api, chance = on_s3.api(), random.Random(7)
    agent = api.agent()["id"]
    run, count = api.run(agent, started_at="2026-11-23T00:00:00Z")["run_id"], 8_000
    for first in range(0, count, 500):
        events = [llm_call(run, timestamp=(DAY + datetime.timedelta(seconds=10 * number)).isoformat(), metadata={"noise": base64.b64encode(chance.randbytes(1_500)).decode()})
                  for number in range(first, first + 500)]
        answer = api.post("/api/v1/events", json=events, timeout=60)
        assert answer.json()["accepted"] == 500, answer.text
    kept = lambda one: [each["name"] for each in json.loads(ceph.admin("bucket", "list", "--bucket=report-exports")) if one["id"] in each["name"]]
    proxy.dribble(1_500_000)
    try:
        unwanted = export(api, "calls", agent_id=agent)
        wait_until(lambda: any("_multipart_" in name for name in kept(unwanted)), "a part of it has been stored", 60)
        assert state_of(api, unwanted)["state"] == "running"
        assert api.delete(f"/api/v1/exports/{unwanted['id']}").status_code == 200
        slow, seen = export(api, "calls", agent_id=agent), []
        wait_until(lambda: seen.append(state_of(api, slow)) or seen[-1]["state"] == "done", "it is done", 120)
        assert any(0 < one["progress"] < 1 and 0 < one["rows"] < count and one["bytes"] is None for one in seen), seen[-3:]
        assert [one["progress"] for one in seen] == sorted(one["progress"] for one in seen)
    finally:
        proxy.pass_through()
    wait_until(lambda: kept(unwanted) == [], "nothing of it is left", 60)
    text = file_of(api, slow)
    assert state_of(api, slow)["bytes"] > 8 << 20, "in several parts"
    ids = [json.loads(line)["id"] for line in text.splitlines()]
    assert len(ids) == len(set(ids)) == count


def test_while_the_store_is_away_exports_wait_and_say_so(on_s3, proxy):
    api = on_s3.api()
    agent, _, events = traffic(api)
    proxy.refuse()
    try:
        made = export(api, "calls", agent_id=agent["id"])
        wait_until(lambda: state_of(api, made)["error"] is not None, "it says what is wrong", 60)
        told = state_of(api, made)
        assert told["state"] == "running" and told["error"] == "The object storage did not answer, or refused." and told["finished_at"] is None
        assert "done" in check_problem(api.get(f"/api/v1/exports/{made['id']}/content"), 409)["detail"]
        begun = time.monotonic()
        api.run(agent["id"])
        assert time.monotonic() - begun < 1
    finally:
        proxy.pass_through()
    assert finished(api, made, 120)["rows"] == len(events)


def test_an_export_of_a_killed_worker_is_written_by_another(ceph, shared_directory):
    with Deployment(shared_directory / "killed", replicas=0) as deployment, TcpProxy(ceph.port) as between:
        first = deployment.serve(**ceph.settings(between.port), WORKER_LEASE_S=2)
        first.wait_ok()
        api = first.api()
        agent, _, events = traffic(api)
        assert len(lines_of(api, "calls", agent_id=agent["id"])) == len(events)
        between.stall()
        made = export(api, "calls", agent_id=agent["id"])
        wait_until(lambda: state_of(api, made)["state"] == "running", "it is under way", 30)
        first.process.kill()
        first.process.wait()
        second = deployment.serve(**ceph.settings(), WORKER_LEASE_S=2)
        second.wait_ok()
        assert len(file_of(second.api(), made).splitlines()) == len(events)
