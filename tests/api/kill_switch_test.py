"""The kill switch and heartbeats: an order reaches every run below, on every node, at once, and nobody else."""

import concurrent.futures
import contextlib
import datetime
import itertools

import psycopg2
import pytest

from installation import llm_call, uuid7, wait_until
from problems import check_problem, pointers
from reports import post_batch, post_one, run_of, step, tool

REASON = "it burns money"


def kill(api, run_id, reason=REASON):
    """The answer to the kill switch."""
    return api.post(f"/api/v1/runs/{run_id}/terminate", json={"reason": reason})


def beat(api, run_id):
    """The body of the answer to a heartbeat."""
    answer = api.post(f"/api/v1/runs/{run_id}/heartbeat")
    assert answer.status_code == 200, answer.text
    return answer.json()


def end(api, run_id, status="succeeded"):
    """End a run."""
    assert api.post(f"/api/v1/runs/{run_id}/end", json={"status": status}).status_code == 200


def audited(installation, *run_ids):
    """The audit entries of kills by run: reason, the run that was asked for when it was another, team."""
    rows = installation.sql("SELECT resource_id, details->>'reason', details->>'with_run', team_id::text, actor_kind, resource_kind FROM audit_logs "
                            "WHERE action = 'run_terminate' AND resource_id = ANY (%s)", list(run_ids))
    assert len({row[0] for row in rows}) == len(rows), "an entry twice"
    assert {row[4:] for row in rows} <= {("api_key", "run")}
    return {row[0]: row[1:4] for row in rows}


def test_a_kill_on_one_node_is_told_by_the_other_at_once(api, other_node):
    there = other_node.api()
    agent = api.agent()["id"]
    for _ in range(10):
        by_beat, by_single, by_batch, alive = (api.run(agent)["run_id"] for _ in range(4))
        assert [beat(there, run)["order"] for run in (by_beat, by_single, by_batch, alive)] == ["continue"] * 4
        killed = kill(api, by_beat)
        assert killed.status_code == 200
        assert beat(there, by_beat) == {"order": "terminate", "status": "terminated", "reason": REASON}
        kill(api, by_single)
        event = post_one(there, step(by_single))
        assert (event.status_code, event.json()["order"], event.json()["reason"]) == (201, "terminate", REASON)
        kill(api, by_batch)
        answer = post_batch(there, [step(by_batch), step(alive), llm_call(by_batch), tool(by_single)])
        assert answer["accepted"] == 4
        assert sorted(each["run_id"] for each in answer["terminate"]) == sorted([by_single, by_batch])
        assert beat(there, alive) == {"order": "continue", "status": "running", "reason": None}


def test_a_killed_run_says_who_ended_it_and_why(api):
    run = api.run(api.agent()["id"])
    killed = kill(api, run["run_id"]).json()
    assert (killed["status"], killed["terminated_by"], killed["error"]) == ("terminated", "operator", REASON)
    assert killed["ended_at"] >= killed["started_at"]
    assert {name: value for name, value in run_of(api, run["run_id"]).items() if name != "totals"} == killed
    changed = {name for name in run if run[name] != killed[name]}
    assert changed == {"status", "terminated_by", "error", "ended_at"}


def test_a_run_that_starts_in_the_future_ends_no_earlier(api):
    later = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    killed = kill(api, api.run(api.agent()["id"], started_at=later)["run_id"]).json()
    assert killed["ended_at"] >= killed["started_at"]


def test_everything_below_a_killed_run_ends_with_it_whatever_has_become_of_the_runs_between(installation, api, other_node):
    agents = [api.agent()["id"] for _ in range(3)]
    turn = itertools.cycle(agents)

    def child(parent=None, **attributes):
        return api.run(next(turn), **({"parent_run_id": parent} if parent else {}), **attributes)["run_id"]

    above = child()
    root = child(above)
    beside = child(above)
    first, queued, ended = child(root), child(root, status="queued"), child(root)
    below_first, below_queued, below_ended = child(first), child(queued), child(ended)
    failed = child(below_ended)
    deepest = child(failed)
    end(api, ended)
    end(api, failed, "failed")
    killed = kill(api, root)
    assert killed.status_code == 200 and killed.json()["run_id"] == root
    now_ended = [root, first, queued, below_first, below_queued, below_ended, deepest]
    for run in now_ended:
        shown = run_of(other_node.api(), run)
        assert (shown["status"], shown["terminated_by"], shown["error"]) == ("terminated", "operator", REASON)
        assert beat(other_node.api(), run)["order"] == "terminate"
    assert [run_of(api, run)["status"] for run in (above, beside, ended, failed)] == ["running", "running", "succeeded", "failed"]
    team = killed.json()["team_id"]
    everybody = [*now_ended, above, beside, ended, failed]
    assert audited(installation, *everybody) == {run: (REASON, None if run == root else root, team) for run in now_ended}


def test_runs_of_other_teams_that_name_a_killed_run_as_parent_are_left_alone(installation, api):
    teams = ["kill-a-" + uuid7(), "kill-b-" + uuid7()]
    ours, theirs = (installation.api(installation.team_key(team)) for team in teams)
    root = ours.run(ours.agent()["id"])["run_id"]
    their_agent = theirs.agent()["id"]
    their_run = theirs.run(their_agent, parent_run_id=root)["run_id"]
    # Below a run of another team nothing is ours to end, even if it is of our own team.
    below_them = ours.run(ours.agent()["id"], parent_run_id=their_run)["run_id"]
    check_problem(kill(theirs, root), 404)
    assert run_of(ours, root)["status"] == "running"
    assert kill(ours, root).status_code == 200
    assert (run_of(theirs, their_run)["status"], run_of(ours, below_them)["status"]) == ("running", "running")
    assert set(audited(installation, root, their_run, below_them)) == {root}
    # A stranger's run being terminated says nothing to the other team either.
    assert theirs.post("/api/v1/runs/start", json={"agent_id": their_agent, "parent_run_id": root}).status_code == 201
    # The organisation's key ends the same runs as the team's own would.
    other_root = ours.run(ours.agent()["id"])["run_id"]
    other_child = theirs.run(their_agent, parent_run_id=other_root)["run_id"]
    assert kill(api, other_root).status_code == 200
    assert run_of(theirs, other_child)["status"] == "running"


def test_runs_that_name_each_other_as_parents_end_together(api):
    agent = api.agent()["id"]
    itself, first, second, third = (uuid7() for _ in range(4))
    api.run(agent, run_id=itself, parent_run_id=itself)
    for run, parent in ((first, third), (second, first), (third, second)):
        api.run(agent, run_id=run, parent_run_id=parent)
    assert kill(api, itself).status_code == 200
    assert kill(api, second).status_code == 200
    assert [run_of(api, run)["status"] for run in (itself, first, second, third)] == ["terminated"] * 4


def test_a_deep_and_wide_family_ends_at_once(api):
    agent = api.agent()["id"]
    chain = [api.run(agent)["run_id"]]
    for _ in range(60):
        chain.append(api.run(agent, parent_run_id=chain[-1])["run_id"])
    leaves = [api.run(agent, parent_run_id=chain[-1])["run_id"] for _ in range(40)]
    answer = kill(api, chain[0])
    assert answer.status_code == 200 and answer.elapsed.total_seconds() < 5
    found = api.get("/api/v1/runs", params={"agent_id": agent, "status": "terminated", "limit": 200}).json()["items"]
    assert {run["run_id"] for run in found} == {*chain, *leaves}


def test_a_killed_run_starts_no_more_children(api):
    agent = api.agent()["id"]
    root = api.run(agent)["run_id"]
    kill(api, root)
    for status in ("queued", "running"):
        answer = api.post("/api/v1/runs/start", json={"agent_id": agent, "parent_run_id": root, "status": status})
        check_problem(answer, 409)
    ended = api.run(agent)["run_id"]
    end(api, ended)
    assert api.post("/api/v1/runs/start", json={"agent_id": agent, "parent_run_id": ended}).status_code == 201


def test_the_repeat_of_a_start_tells_a_child_that_it_was_killed_with_its_parent(api):
    agent = api.agent()["id"]
    root = api.run(agent)["run_id"]
    body = {"agent_id": agent, "parent_run_id": root, "run_id": uuid7()}
    assert api.post("/api/v1/runs/start", json=body).status_code == 201
    kill(api, root)
    again = api.post("/api/v1/runs/start", json=body)
    assert (again.status_code, again.json()["status"]) == (200, "terminated")


def test_a_child_that_starts_before_the_kill_of_its_parent_commits_does_not_escape(installation, api):
    agent = api.agent()["id"]
    root = api.run(agent)["run_id"]
    start = {"agent_id": agent, "parent_run_id": root, "run_id": uuid7()}
    blocker = psycopg2.connect(installation.variables["DATABASE_URL"])

    def waiting():
        return installation.sql("SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0]

    with contextlib.closing(blocker), concurrent.futures.ThreadPoolExecutor(2) as pool:
        # The entry in the audit log is the last that a kill writes, so that this holds it back just before its commit.
        blocker.cursor().execute("LOCK TABLE audit_logs IN SHARE MODE")
        killing = pool.submit(kill, installation.api(), root)
        wait_until(waiting, "the kill waits for the audit log", seconds=10)
        starting = pool.submit(installation.api().post, "/api/v1/runs/start", json=start)
        wait_until(lambda: starting.done() or waiting() > 1, "the start is answered, or waits for the kill", seconds=10)
        blocker.rollback()
        assert killing.result().status_code == 200
        assert starting.result().status_code in (201, 409)
    assert starting.result().status_code == 409 or run_of(api, start["run_id"])["status"] == "terminated"


def test_children_that_start_while_their_parent_is_killed_do_not_escape(installation, api):
    agent = api.agent()["id"]
    clients = [installation.api() for _ in range(8)]
    escaped = 0
    with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
        for _ in range(15):
            root = api.run(agent)["run_id"]

            def start_some(client, root=root):
                return [client.post("/api/v1/runs/start", json={"agent_id": agent, "parent_run_id": root}) for _ in range(6)]

            starting = [pool.submit(start_some, client) for client in clients]
            wait_until(lambda root=root: api.get("/api/v1/runs", params={"parent_run_id": root}).json()["items"], "a child")
            assert kill(api, root).status_code == 200
            answers = [answer for each in starting for answer in each.result()]
            assert {answer.status_code for answer in answers} <= {201, 409}
            children = [answer.json()["run_id"] for answer in answers if answer.status_code == 201]
            escaped += sum(run_of(api, child)["status"] != "terminated" for child in children)
    assert escaped == 0


def test_an_ended_run_cannot_be_killed_and_a_killed_one_keeps_its_reason(installation, api):
    agent = api.agent()["id"]
    for status in ("succeeded", "failed", "cancelled"):
        run_id = api.run(agent)["run_id"]
        child = api.run(agent, parent_run_id=run_id)["run_id"]
        end(api, run_id, status)
        before = run_of(api, run_id)
        assert status in check_problem(kill(api, run_id), 409)["detail"]
        assert run_of(api, run_id) == before and run_of(api, child)["status"] == "running"
        assert audited(installation, run_id, child) == {}
    run_id = api.run(agent)["run_id"]
    first = kill(api, run_id)
    again = kill(api, run_id, "another reason")
    assert (again.status_code, again.json()) == (200, first.json())
    assert api.post(f"/api/v1/runs/{run_id}/end", json={"status": "failed"}).status_code == 409
    assert audited(installation, run_id) == {run_id: (REASON, None, first.json()["team_id"])}


def test_many_kills_at_once_end_a_family_once(installation, api):
    agent = api.agent()["id"]
    root = api.run(agent)["run_id"]
    family = [root, *(api.run(agent, parent_run_id=root)["run_id"] for _ in range(5))]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda run: kill(installation.api(), run, f"by {run}"), family * 4))
    assert {answer.status_code for answer in answers} == {200}
    entries = audited(installation, *family)
    assert set(entries) == set(family)
    assert {run: entries[run][0] for run in family} == {run: run_of(api, run)["error"] for run in family}


def test_a_kill_needs_a_reason_and_the_right_to_write_runs(installation, api):
    run_id = api.run(api.agent()["id"])["run_id"]
    path = f"/api/v1/runs/{run_id}/terminate"
    for body in ({}, {"reason": None}, {"reason": ""}, {"reason": "x" * 1025}, {"reason": 7}):
        assert pointers(api.post(path, json=body)) == ["/reason"]
    assert api.post(path, data=b"").status_code in (400, 422)
    reader = installation.api(installation.team_key("kill-readers-" + uuid7(), "runs:read"))
    assert "runs:write" in check_problem(kill(reader, run_id), 403)["detail"]
    check_problem(kill(api, uuid7()), 404)
    check_problem(kill(api, "rubbish"), 422)
    assert run_of(api, run_id)["status"] == "running"
    assert kill(api, run_id, "x" * 1024).status_code == 200


# --- heartbeats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_the_order_is_terminate_once_a_run_has_ended(api, status):
    run_id = api.run(api.agent()["id"])["run_id"]
    assert beat(api, run_id) == {"order": "continue", "status": "running", "reason": None}
    end(api, run_id, status)
    shown = run_of(api, run_id)
    assert beat(api, run_id) == {"order": "terminate", "status": status, "reason": None}
    assert run_of(api, run_id) == shown


def test_a_heartbeat_begins_an_announced_run(api):
    run_id = api.run(api.agent()["id"], status="queued")["run_id"]
    assert beat(api, run_id)["status"] == "running"
    shown = run_of(api, run_id)
    assert shown["status"] == "running" and shown["last_seen_at"] is not None


def test_a_heartbeat_is_noted_at_most_every_five_seconds(installation, api, other_node):
    run_id = api.run(api.agent()["id"])["run_id"]
    assert run_of(api, run_id)["last_seen_at"] is None
    beat(api, run_id)
    first = run_of(api, run_id)["last_seen_at"]
    assert first is not None
    for node in (api, other_node.api()) * 3:
        beat(node, run_id)
    if wait_until(lambda: run_of(api, run_id)["last_seen_at"], "a sign of life") != first:
        ((apart,),) = installation.sql("SELECT last_seen_at - %s::timestamptz FROM agent_runs WHERE id = %s", first, run_id)
        assert apart >= datetime.timedelta(seconds=5), "noted again although the machine was not that slow"
    installation.sql("UPDATE agent_runs SET last_seen_at = last_seen_at - interval '5 seconds' WHERE id = %s", run_id)
    old = run_of(api, run_id)["last_seen_at"]
    beat(other_node.api(), run_id)
    assert run_of(api, run_id)["last_seen_at"] > old


def test_a_heartbeat_of_an_unknown_run_is_404_and_makes_none(installation, api):
    unknown = uuid7()
    check_problem(api.post(f"/api/v1/runs/{unknown}/heartbeat"), 404)
    check_problem(api.get(f"/api/v1/runs/{unknown}"), 404)
    ours = installation.api(installation.team_key("beats-" + uuid7()))
    run_id = api.run(api.agent()["id"], status="queued")["run_id"]
    check_problem(ours.post(f"/api/v1/runs/{run_id}/heartbeat"), 404)
    assert run_of(api, run_id)["status"] == "queued"
    reader = installation.api(installation.team_key("beat-readers-" + uuid7(), "runs:read"))
    assert "runs:write" in check_problem(reader.post(f"/api/v1/runs/{run_id}/heartbeat"), 403)["detail"]
