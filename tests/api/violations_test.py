"""Violations: what an agent may not use is stored and flagged once, and ends the run where its policy says so."""

import concurrent.futures
import contextlib

import psycopg2
import pytest

from exposition import samples
from installation import llm_call, uuid7, wait_until
from reports import post_batch, post_one, run_of, step, tool

POLICY = {"allowed_providers": ["openai"], "allowed_models": ["gpt-4o*"], "allowed_tools": ["search_*"], "allowed_data_sources": ["!payroll"]}


def violations_total(api):
    """The counters of violations by subject."""
    found = samples(api.get("/metrics").text)[1]
    return {subject: found.get(("cognive_policy_violations_total", (("subject", subject),)), 0)
            for subject in ("provider", "model", "tool", "data_source")}


def started(api, **policy):
    """A new run of a new agent with a policy."""
    return api.run(api.agent(**POLICY | policy)["id"])["run_id"]


# make, what it violates
FORBIDDEN = [
    (lambda run_id: llm_call(run_id, provider="azure"), "provider"),
    (lambda run_id: llm_call(run_id, model="o3"), "model"),
    (lambda run_id: llm_call(run_id, provider=None, model="no-such-" + uuid7()), "provider"),
    (lambda run_id: llm_call(run_id, provider=None, model="claude-sonnet-4-5"), "provider"),
    (lambda run_id: tool(run_id, tool="shell"), "tool"),
    (lambda run_id: tool(run_id, data_source="Payroll"), "data_source"),
    (lambda run_id: tool(run_id, tool="shell", data_source="payroll"), "tool"),
]
ALLOWED = [
    lambda run_id: llm_call(run_id),
    lambda run_id: llm_call(run_id, provider=None, model="gpt-4o-mini"),
    lambda run_id: tool(run_id, data_source="weather"),
    lambda run_id: tool(run_id, tool="SEARCH_hotels"),
    lambda run_id: step(run_id, name="shell"),
]


@pytest.mark.parametrize("make, subject", FORBIDDEN)
def test_a_single_event_of_something_forbidden_is_stored_and_flagged(api, make, subject):
    run_id = started(api)
    event = make(run_id)
    first = post_one(api, event)
    assert (first.status_code, first.json()) == (201, {"id": event["id"], "run_id": run_id, "duplicate": False, "violation": subject})
    assert run_of(api, run_id)["totals"]["violations"] == 1
    again = post_one(api, event)
    assert (again.status_code, again.json()) == (200, {"id": event["id"], "run_id": run_id, "duplicate": True, "violation": subject})
    assert run_of(api, run_id)["totals"]["violations"] == 1
    run = run_of(api, run_id)
    assert run["status"] == "running" and run["error"] is None and run["terminated_by"] is None


@pytest.mark.parametrize("make", ALLOWED)
def test_an_event_of_something_allowed_is_not_flagged(api, make):
    run_id = started(api)
    event = make(run_id)
    assert post_one(api, event).json() == {"id": event["id"], "run_id": run_id, "duplicate": False}
    assert "violations" not in post_batch(api, [make(run_id), event])
    assert run_of(api, run_id)["totals"]["violations"] == 0


def test_a_batch_flags_each_event_at_its_index_and_counts_it_once(api):
    run_id = started(api)
    forbidden = [(make(run_id), subject) for make, subject in FORBIDDEN]
    batch, expected = [], []
    for number, (event, subject) in enumerate(forbidden):
        batch.append(ALLOWED[number % len(ALLOWED)](run_id))
        batch.append({"type": "dream"})
        expected.append((len(batch), subject))
        batch.append(event)
    before = violations_total(api)
    answer = post_batch(api, batch)
    assert answer["accepted"] == 14 and [each["index"] for each in answer["rejected"]] == list(range(1, 21, 3))
    assert [(each["index"], each["subject"]) for each in answer["violations"]] == expected
    assert all(set(each) == {"index", "subject", "detail"} and each["detail"] for each in answer["violations"])
    assert "terminate" not in answer
    assert run_of(api, run_id)["totals"]["violations"] == len(FORBIDDEN)
    counted = {subject: sum(each[1] == subject for each in FORBIDDEN) for subject in before}
    assert violations_total(api) == {subject: before[subject] + counted[subject] for subject in before}

    again = post_batch(api, [event for event, _ in forbidden] * 2)
    assert again["duplicates"] == 14
    assert [(each["index"], each["subject"]) for each in again["violations"]] == list(enumerate([subject for _, subject in forbidden] * 2))
    assert run_of(api, run_id)["totals"]["violations"] == len(FORBIDDEN)
    assert violations_total(api) == {subject: before[subject] + counted[subject] for subject in before}


def test_repeats_inside_a_batch_are_flagged_and_counted_once(api):
    run_id = started(api)
    event = tool(run_id, tool="shell")
    answer = post_batch(api, [event, tool(run_id), event, event | {"tool": "rm"}])
    assert (answer["accepted"], answer["duplicates"]) == (2, 1)
    assert [each["index"] for each in answer["rejected"]] == [3]
    assert [each["index"] for each in answer["violations"]] == [0, 2]
    assert run_of(api, run_id)["totals"]["violations"] == 1


def test_a_conflict_is_neither_flagged_nor_a_reason_to_end_the_run(api):
    run_id = started(api, on_violation="terminate")
    event = tool(run_id)
    assert post_one(api, event).status_code == 201
    assert post_one(api, event | {"tool": "shell"}).status_code == 409
    answer = post_batch(api, [event | {"tool": "shell"}])
    assert len(answer["rejected"]) == 1 and "violations" not in answer and "terminate" not in answer
    run = run_of(api, run_id)
    assert (run["status"], run["totals"]["violations"], run["totals"]["tool_invocations"]) == ("running", 0, 1)


@pytest.mark.parametrize("make, subject", FORBIDDEN)
def test_a_violation_ends_the_run_where_the_policy_says_so(api, make, subject):
    run_id = started(api, on_violation="terminate")
    assert "order" not in post_one(api, llm_call(run_id)).json()
    event = make(run_id)
    answer = post_one(api, event)
    assert answer.status_code == 201
    body = answer.json()
    assert (body["violation"], body["order"], body["duplicate"]) == (subject, "terminate", False) and body["reason"]
    run = run_of(api, run_id)
    assert (run["status"], run["terminated_by"], run["error"]) == ("terminated", "policy", body["reason"])
    assert run["ended_at"] >= run["started_at"] and run["totals"]["violations"] == 1
    beat = api.post(f"/api/v1/runs/{run_id}/heartbeat").json()
    assert beat == {"order": "terminate", "status": "terminated", "reason": body["reason"]}


def test_events_after_the_end_are_stored_and_each_answer_says_terminate(api):
    run_id = started(api, on_violation="terminate")
    reason = post_one(api, tool(run_id, tool="shell")).json()["reason"]
    ended = run_of(api, run_id)
    for event in (llm_call(run_id), step(run_id), tool(run_id), tool(run_id, tool="rm")):
        answer = post_one(api, event)
        assert answer.status_code == 201
        assert (answer.json()["order"], answer.json()["reason"]) == ("terminate", reason)
        again = post_one(api, event)
        assert (again.status_code, again.json()["order"], again.json()["reason"]) == (200, "terminate", reason)
    answer = post_batch(api, [llm_call(run_id), step(run_id), llm_call(run_id, model="o3")])
    assert answer["accepted"] == 3 and answer["terminate"] == [{"run_id": run_id, "reason": reason}]
    run = run_of(api, run_id)
    totals = run.pop("totals")
    assert run == {name: value for name, value in ended.items() if name != "totals"}
    assert (totals["llm_calls"], totals["steps"], totals["tool_invocations"], totals["violations"]) == (3, 2, 3, 3)


def test_a_batch_ends_only_the_runs_that_violate_and_tells_of_each_of_them_once(api):
    agent = api.agent(**POLICY, on_violation="terminate")["id"]
    bad, good, worse = (api.run(agent)["run_id"] for _ in range(3))
    lenient = started(api)
    answer = post_batch(api, [llm_call(bad), step(good), tool(bad, tool="shell"), llm_call(bad, model="o3"), llm_call(worse, model="o3"), tool(lenient, tool="shell")])
    assert answer["accepted"] == 6 and [each["index"] for each in answer["violations"]] == [2, 3, 4, 5]
    assert {each["run_id"] for each in answer["terminate"]} == {bad, worse} and len(answer["terminate"]) == 2
    assert [run_of(api, run)["status"] for run in (bad, good, worse, lenient)] == ["terminated", "running", "terminated", "running"]


def test_only_a_new_event_ends_a_run(api):
    agent = api.agent(**POLICY)["id"]
    run_id = api.run(agent)["run_id"]
    event = tool(run_id, tool="shell")
    assert "order" not in post_one(api, event).json()
    api.patch(f"/api/v1/agents/{agent}", json={"on_violation": "terminate"})
    assert "order" not in post_one(api, event).json()
    assert "terminate" not in post_batch(api, [event, tool(run_id)])
    assert run_of(api, run_id)["status"] == "running"
    assert post_one(api, tool(run_id, tool="shell")).json()["order"] == "terminate"
    assert run_of(api, run_id)["status"] == "terminated"


def test_a_change_of_policy_takes_effect_with_the_next_event(api):
    agent = api.agent()["id"]
    run_id = api.run(agent)["run_id"]
    assert "violation" not in post_one(api, tool(run_id, tool="shell")).json()
    for number in range(10):
        api.patch(f"/api/v1/agents/{agent}", json={"allowed_tools": ["!shell"]})
        assert post_one(api, tool(run_id, tool="shell")).json()["violation"] == "tool", number
        api.patch(f"/api/v1/agents/{agent}", json={"allowed_tools": []})
        assert "violation" not in post_one(api, tool(run_id, tool="shell")).json(), number
    assert run_of(api, run_id)["totals"]["violations"] == 10


def test_a_violation_in_the_first_event_of_an_unknown_run_ends_its_placeholder(api):
    agent = api.agent(**POLICY, on_violation="terminate")["id"]
    run_id = uuid7()
    answer = post_batch(api, [tool(run_id, agent_id=agent, tool="shell")])
    assert [each["run_id"] for each in answer["terminate"]] == [run_id]
    assert (run_of(api, run_id)["status"], run_of(api, run_id)["terminated_by"]) == ("terminated", "policy")
    api.post("/api/v1/runs/start", json={"agent_id": agent, "run_id": run_id, "labels": {"a": "b"}})
    assert run_of(api, run_id)["status"] == "terminated"


def test_a_violation_ends_a_queued_run_too(api):
    run_id = api.run(api.agent(**POLICY, on_violation="terminate")["id"], status="queued")["run_id"]
    assert post_one(api, tool(run_id, tool="shell")).json()["order"] == "terminate"
    assert run_of(api, run_id)["status"] == "terminated"


def test_a_violation_does_not_end_an_ended_run_again(api):
    run_id = started(api, on_violation="terminate")
    assert api.post(f"/api/v1/runs/{run_id}/end", json={"status": "succeeded"}).status_code == 200
    answer = post_one(api, tool(run_id, tool="shell"))
    assert answer.status_code == 201 and answer.json()["violation"] == "tool" and "order" not in answer.json()
    run = run_of(api, run_id)
    assert (run["status"], run["terminated_by"], run["totals"]["violations"]) == ("succeeded", None, 1)


def audited(installation, *run_ids):
    """The audit entries of terminations by run: who, with which request, why and with which run."""
    rows = installation.sql("SELECT resource_id, actor_kind, request_id, details, team_id::text FROM audit_logs WHERE action = 'run_terminate' "
                            "AND resource_id = ANY (%s)", list(run_ids))
    assert len({row[0] for row in rows}) == len(rows), "an entry twice"
    return {row[0]: row[1:] for row in rows}


def test_a_violation_ends_the_runs_below_too_and_audits_each(installation, api):
    violating = api.agent(**POLICY, on_violation="terminate")["id"]
    other = api.agent()["id"]
    above = api.run(other)["run_id"]
    root = api.run(violating, parent_run_id=above)["run_id"]
    first, ended, queued = (api.run(other, parent_run_id=root, **attributes)["run_id"] for attributes in ({}, {}, {"status": "queued"}))
    below_ended = api.run(other, parent_run_id=ended)["run_id"]
    api.post(f"/api/v1/runs/{ended}/end", json={"status": "succeeded"})
    team = installation.api(installation.team_key("violations-" + uuid7()))
    stranger = team.run(team.agent()["id"], parent_run_id=root)["run_id"]
    answer = api.post("/api/v1/events", json=[tool(root, tool="shell"), step(first), step(above)])
    told = {each["run_id"]: each["reason"] for each in answer.json()["terminate"]}
    assert set(told) == {root, first}
    now_ended = [root, first, queued, below_ended]
    for run in now_ended:
        shown = run_of(api, run)
        assert (shown["status"], shown["terminated_by"]) == ("terminated", "policy")
        assert shown["ended_at"] >= shown["started_at"]
        assert run == root or (root in shown["error"] and told[root] in shown["error"])
    assert told[first] == run_of(api, first)["error"]
    assert [run_of(api, run)["status"] for run in (above, ended)] == ["running", "succeeded"]
    assert run_of(team, stranger)["status"] == "running"
    entries = audited(installation, *now_ended, above, ended, stranger)
    assert set(entries) == set(now_ended)
    request_id = answer.headers["X-Request-Id"]
    for run, (kind, request, details, team_id) in entries.items():
        shown = run_of(api, run)
        assert (kind, request, team_id) == ("api_key", request_id, shown["team_id"])
        assert details == {"reason": shown["error"], "by": "policy"} | ({} if run == root else {"with_run": root})
    # Nothing starts below it either, nor below what has ended between.
    for parent in (root, ended):
        assert api.post("/api/v1/runs/start", json={"agent_id": other, "parent_run_id": parent}).status_code == 409


def test_runs_that_violate_below_one_that_does_end_for_their_own_reason(installation, api):
    agent = api.agent(**POLICY, on_violation="terminate")["id"]
    chain = [api.run(agent)["run_id"]]
    for _ in range(3):
        chain.append(api.run(agent, parent_run_id=chain[-1])["run_id"])
    post_batch(api, [tool(chain[2], tool="rm"), tool(chain[0], tool="shell")])
    errors = [run_of(api, run)["error"] for run in chain]
    assert [run_of(api, run)["status"] for run in chain] == ["terminated"] * 4
    assert "shell" in errors[0] and "rm" in errors[2] and chain[0] in errors[1] and chain[2] in errors[3]
    assert {run: entry[2].get("with_run") for run, entry in audited(installation, *chain).items()} == dict(zip(chain, [None, chain[0], None, chain[2]]))


def test_a_run_that_has_ended_by_itself_before_its_violation_counts_takes_nothing_with_it(installation, api):
    agent = api.agent(**POLICY, on_violation="terminate")["id"]
    root = api.run(agent)["run_id"]
    ending = api.run(agent, parent_run_id=root)["run_id"]
    below = api.run(agent, parent_run_id=ending)["run_id"]

    def report_while_ending(events):
        blocker = psycopg2.connect(installation.variables["DATABASE_URL"])
        with contextlib.closing(blocker), concurrent.futures.ThreadPoolExecutor(1) as pool:
            # Still running for those who look, and ended when they get it.
            blocker.cursor().execute("UPDATE agent_runs SET status = 'succeeded', ended_at = now() WHERE id = %s", (ending,))
            reporting = pool.submit(post_batch, installation.api(), events)
            wait_until(lambda: installation.sql("SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0], "the commit waits", seconds=10)
            blocker.commit()
            return reporting.result()

    assert report_while_ending([tool(ending, tool="rm")])["accepted"] == 1
    assert [run_of(api, run)["status"] for run in (root, ending, below)] == ["running", "succeeded", "running"]
    installation.sql("UPDATE agent_runs SET status = 'running', ended_at = NULL WHERE id = %s", ending)
    # Nor does it shield what is below it from the end of the run above.
    assert report_while_ending([tool(ending, tool="rm"), tool(root, tool="rm")])["accepted"] == 2
    assert [run_of(api, run)["status"] for run in (root, ending, below)] == ["terminated", "succeeded", "terminated"]
    assert root in run_of(api, below)["error"]


def test_families_that_are_ended_by_policy_and_by_the_kill_switch_at_once_end_once(installation, api):
    agent = api.agent(**POLICY, on_violation="terminate")["id"]
    for _ in range(5):
        family = [api.run(agent)["run_id"]]
        for _ in range(5):
            family.append(api.run(agent, parent_run_id=family[-1])["run_id"])

        def end(turn, family=family):
            run = family[turn % len(family)]
            if turn % 2:
                return installation.api().post(f"/api/v1/runs/{run}/terminate", json={"reason": f"by {run}"}).status_code
            return post_one(installation.api(), tool(run, tool="shell")).status_code

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            assert set(pool.map(end, range(12))) <= {200, 201}
        shown = [run_of(api, run) for run in family]
        assert {run["status"] for run in shown} == {"terminated"}
        assert {run: entry[2]["reason"] for run, entry in audited(installation, *family).items()} == {run["run_id"]: run["error"] for run in shown}


def test_many_violations_at_once_end_a_run_once(api, installation):
    run_id = started(api, on_violation="terminate")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post_one(installation.api(), tool(run_id, tool="shell")), range(40)))
    assert {answer.status_code for answer in answers} == {201}
    run = run_of(api, run_id)
    assert (run["status"], run["terminated_by"], run["totals"]["violations"]) == ("terminated", "policy", 40)
    # An event that was on its way when the run ended may not know of it yet; the next one does.
    answer = post_one(api, step(run_id)).json()
    assert (answer["order"], answer["reason"]) == ("terminate", run["error"])


def test_the_data_source_of_a_tool_is_part_of_what_it_says(installation, api):
    run_id = started(api)
    event = tool(run_id, data_source="weather")
    assert post_one(api, event).status_code == 201
    assert post_one(api, event).status_code == 200
    assert post_one(api, event | {"data_source": "maps"}).status_code == 409
    assert post_one(api, {name: value for name, value in event.items() if name != "data_source"}).status_code == 409
    assert installation.sql("SELECT data_source, violation FROM tool_invocations WHERE run_id = %s", run_id) == [("weather", None)]
    for source, pointer in (("", "/data_source"), ("x" * 257, "/data_source"), (7, "/data_source")):
        answer = post_one(api, tool(run_id, data_source=source))
        assert answer.status_code == 422 and [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_a_repeat_is_answered_with_what_was_found_when_it_was_stored(api):
    agent = api.agent(allowed_tools=["!shell"])["id"]
    run_id = api.run(agent)["run_id"]
    forbidden, allowed, thought = tool(run_id, tool="shell"), tool(run_id), step(run_id)
    assert [each["index"] for each in post_batch(api, [forbidden, allowed, thought])["violations"]] == [0]
    api.patch(f"/api/v1/agents/{agent}", json={"allowed_tools": ["!search_*"], "on_violation": "terminate"})
    again = post_batch(api, [forbidden, allowed, thought, forbidden])
    assert again["duplicates"] == 4 and "terminate" not in again
    assert [(each["index"], each["subject"]) for each in again["violations"]] == [(0, "tool"), (3, "tool")]
    assert all(each["detail"] for each in again["violations"])
    assert post_one(api, forbidden).json()["violation"] == "tool" and "violation" not in post_one(api, allowed).json()
    assert run_of(api, run_id)["status"] == "running"


@pytest.mark.parametrize("store", ["none", "redacted", "full"])
def test_secrets_in_a_forbidden_name_are_neither_logged_nor_told_unless_all_is_stored(installation, api, store):
    source = "postgres://bob:hunter22secret@db/x"
    run_id = started(api, allowed_data_sources=["weather"], on_violation="terminate", store=store)
    answer = post_batch(api, [tool(run_id, data_source=source)])
    (violation,) = answer["violations"]
    (order,) = answer["terminate"]
    error = run_of(api, run_id)["error"]
    assert violation["detail"] == order["reason"] == error
    assert ("hunter22secret" in error) == (store == "full") and "db/x" in error
    assert post_one(api, step(run_id)).json()["reason"] == error
    for log in [*(installation.directory / "log").iterdir(), installation.directory.parent / f"{installation.directory.name}.output"]:
        assert "hunter22secret" not in log.read_text(errors="replace"), log
    assert run_id in (installation.directory / "log/cognive.log").read_text()


def counted(api, name, **labels):
    """The value of a counter, 0 before its first event."""
    return samples(api.get("/metrics").text)[1].get((f"cognive_{name}", tuple(sorted(labels.items()))), 0)


def test_runs_that_a_policy_ended_are_counted(api):
    before = counted(api, "runs_terminated_total", by="policy")
    run_id = started(api, on_violation="terminate")
    post_batch(api, [tool(run_id, tool="shell"), tool(run_id, tool="shell")])
    post_one(api, tool(run_id, tool="shell"))
    assert counted(api, "runs_terminated_total", by="policy") == before + 1


def test_runs_that_an_operator_ended_are_counted_as_terminated(api):
    before = counted(api, "runs_terminated_total", by="operator")
    assert api.post(f"/api/v1/runs/{started(api)}/terminate", json={"reason": "enough"}).status_code == 200
    assert counted(api, "runs_terminated_total", by="operator") == before + 1


def test_runs_that_a_policy_ended_are_counted_as_ended(api):
    agent = api.agent(**POLICY, on_violation="terminate")["id"]

    def ended():
        # The agent's own series, or the one of all that came after the first hundred.
        found = samples(api.get("/metrics").text)[1]
        return sum(value for (name, labels), value in found.items() if name == "cognive_agent_runs_total" and ("status", "terminated") in labels)

    def durations():
        found = samples(api.get("/metrics").text)[1]
        return sum(value for (name, _), value in found.items() if name == "cognive_agent_run_duration_seconds_count")

    before, durations_before = ended(), durations()
    assert post_one(api, tool(api.run(agent)["run_id"], tool="shell")).json()["order"] == "terminate"
    assert (ended(), durations()) == (before + 1, durations_before + 1)
