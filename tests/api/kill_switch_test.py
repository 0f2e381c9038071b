"""The kill switch and heartbeats: an order reaches every run below, on every node, at once, and nobody else."""

import concurrent.futures
import contextlib
import datetime
import itertools
import subprocess

import psycopg2
import pytest

from deployment import Service
from installation import BINARY, llm_call, uuid7, wait_until
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


def lock_waits(installation):
    """How many statements wait for a lock."""
    return installation.sql("SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0]


@contextlib.contextmanager
def held_back_kill(installation, run_id):
    """A kill just before its commit: a function that counts the waiting, whose `release` lets it go on."""
    blocker = psycopg2.connect(installation.variables["DATABASE_URL"])
    with contextlib.closing(blocker), concurrent.futures.ThreadPoolExecutor(1) as pool:
        # The entry in the audit log is the last that a kill writes.
        blocker.cursor().execute("LOCK TABLE audit_logs IN SHARE MODE")
        killing = pool.submit(kill, installation.api(), run_id)

        def waiting():
            return lock_waits(installation)

        waiting.release = blocker.rollback
        wait_until(waiting, "the kill waits for the audit log", seconds=10)
        yield waiting
        blocker.rollback()
        assert killing.result().status_code == 200


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
    first, second, third = (uuid7() for _ in range(3))
    for run, parent in ((first, third), (second, first), (third, second)):
        api.run(agent, run_id=run, parent_run_id=parent)
    assert kill(api, second).status_code == 200
    assert [run_of(api, run)["status"] for run in (first, second, third)] == ["terminated"] * 3


def test_a_run_cannot_be_its_own_parent(api):
    itself = uuid7()
    answer = api.post("/api/v1/runs/start", json={"agent_id": api.agent()["id"], "run_id": itself, "parent_run_id": itself})
    assert answer.status_code == 422 and pointers(answer) == ["/parent_run_id"]
    check_problem(api.get(f"/api/v1/runs/{itself}"), 404)


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


@pytest.mark.parametrize("end_status", ["succeeded", "failed", "cancelled"])
def test_nothing_starts_below_a_run_that_ended_below_a_killed_one(installation, api, other_node, end_status):
    agent = api.agent()["id"]
    root = api.run(agent)["run_id"]
    between = [root]
    for _ in range(3):
        between.append(api.run(agent, parent_run_id=between[-1])["run_id"])
    for run in between[1:]:
        end(api, run, end_status)
    before = api.run(agent, parent_run_id=between[-1])["run_id"]
    kill(api, root)
    assert run_of(api, before)["status"] == "terminated"
    for parent in between:
        for node in (api, other_node.api()):
            answer = node.post("/api/v1/runs/start", json={"agent_id": agent, "parent_run_id": parent})
            assert parent == root or root in check_problem(answer, 409)["detail"]
            assert answer.status_code == 409
    assert [run_of(api, run)["status"] for run in between[1:]] == [end_status] * 3
    assert set(audited(installation, *between, before)) == {root, before}


def test_runs_start_below_ended_ones_of_which_none_above_was_killed(api):
    agent = api.agent()["id"]
    first, second = uuid7(), uuid7()
    # The two name each other as parents: the way up has no end.
    for run, parent in ((first, second), (second, first)):
        api.run(agent, run_id=run, parent_run_id=parent)
        end(api, run)
    below = api.run(agent, parent_run_id=first)["run_id"]
    assert api.run(agent, parent_run_id=below)["status"] == "running"


def test_a_run_that_starts_below_an_ended_one_while_the_run_above_is_killed_does_not_escape(installation, api):
    agent = api.agent()["id"]
    root = api.run(agent)["run_id"]
    ended = api.run(agent, parent_run_id=root)["run_id"]
    end(api, ended)
    start = {"agent_id": agent, "parent_run_id": ended, "run_id": uuid7()}
    with held_back_kill(installation, root) as waiting, concurrent.futures.ThreadPoolExecutor(1) as pool:
        starting = pool.submit(installation.api().post, "/api/v1/runs/start", json=start)
        wait_until(lambda: starting.done() or waiting() > 1, "the start is answered, or waits for the kill", seconds=10)
        waiting.release()
        assert starting.result().status_code == 409
    check_problem(api.get(f"/api/v1/runs/{start['run_id']}"), 404)


def test_a_run_whose_start_commits_while_the_run_above_waits_to_be_killed_ends_too(installation, api):
    agent = api.agent()["id"]
    root = api.run(agent)["run_id"]
    ended = api.run(agent, parent_run_id=root)["run_id"]
    end(api, ended)
    start = {"agent_id": agent, "parent_run_id": ended, "run_id": uuid7()}
    blocker = psycopg2.connect(installation.variables["DATABASE_URL"])
    with contextlib.closing(blocker), concurrent.futures.ThreadPoolExecutor(2) as pool:
        # Holds the start back after it has looked at the runs above it.
        blocker.cursor().execute("LOCK TABLE agent_runs IN SHARE MODE")
        starting = pool.submit(installation.api().post, "/api/v1/runs/start", json=start)
        wait_until(lambda: lock_waits(installation), "the start waits", seconds=10)
        killing = pool.submit(kill, installation.api(), root)
        wait_until(lambda: killing.done() or lock_waits(installation) > 1, "the kill waits", seconds=10)
        blocker.rollback()
        assert killing.result().status_code == 200
        assert starting.result().status_code in (201, 409)
    assert starting.result().status_code == 409 or run_of(api, start["run_id"])["status"] == "terminated"


def test_a_run_that_starts_below_one_that_is_just_ending_while_the_run_above_is_killed_does_not_escape(installation, api):
    agent = api.agent()["id"]
    root = api.run(agent)["run_id"]
    ending = api.run(agent, parent_run_id=root)["run_id"]
    start = {"agent_id": agent, "parent_run_id": ending, "run_id": uuid7()}
    blocker = psycopg2.connect(installation.variables["DATABASE_URL"])
    with contextlib.closing(blocker), concurrent.futures.ThreadPoolExecutor(2) as pool:
        # Still running for those who look, and ended when they get it.
        blocker.cursor().execute("UPDATE agent_runs SET status = 'succeeded', ended_at = now() WHERE id = %s", (ending,))
        starting = pool.submit(installation.api().post, "/api/v1/runs/start", json=start)
        wait_until(lambda: lock_waits(installation), "the start waits", seconds=10)
        killing = pool.submit(kill, installation.api(), root)
        wait_until(lambda: lock_waits(installation) > 1, "the kill waits", seconds=10)
        blocker.commit()
        assert killing.result().status_code == 200
        assert starting.result().status_code in (201, 409)
    assert run_of(api, ending)["status"] == "succeeded"
    assert starting.result().status_code == 409 or run_of(api, start["run_id"])["status"] == "terminated"


@pytest.mark.parametrize("status, named", [("running", True), ("running", False), ("queued", True)])
def test_the_repeat_of_a_start_with_another_parent_leaves_the_run_as_it_is(installation, api, status, named):
    agent = api.agent()["id"]
    killed, alive = (api.run(agent)["run_id"] for _ in range(2))
    first = {"agent_id": agent, "run_id": uuid7(), "status": status} | ({"parent_run_id": alive} if named else {})
    shown = api.post("/api/v1/runs/start", json=first).json()
    kill(api, killed)
    again = api.post("/api/v1/runs/start", json=first | {"parent_run_id": killed})
    assert (again.status_code, again.json()) == (200, shown)
    assert {name: value for name, value in run_of(api, first["run_id"]).items() if name != "totals"} == shown
    assert audited(installation, first["run_id"]) == {}


def test_a_parent_once_named_stays(api):
    agent = api.agent()["id"]
    parent, other = (api.run(agent)["run_id"] for _ in range(2))
    run_id = api.run(agent, status="queued", parent_run_id=parent)["run_id"]
    begun = api.post("/api/v1/runs/start", json={"agent_id": agent, "run_id": run_id, "parent_run_id": other}).json()
    assert (begun["status"], begun["parent_run_id"]) == ("running", parent)


@pytest.mark.parametrize("make", ["placeholder", "queued"])
def test_a_run_that_turns_out_to_belong_below_a_killed_one_ends_with_what_is_below_it_and_is_audited(installation, api, make):
    agent = api.agent()["id"]
    root = api.run(agent)["run_id"]
    ended = api.run(agent, parent_run_id=root)["run_id"]
    end(api, ended)
    for parent in (root, ended):
        run_id = uuid7()
        if make == "placeholder":
            assert post_one(api, step(run_id, agent_id=agent)).status_code == 201
        else:
            api.run(agent, run_id=run_id, status="queued")
        below = api.run(agent, parent_run_id=run_id)["run_id"]
        killed = kill(api, root)
        assert killed.status_code == 200
        answer = api.post("/api/v1/runs/start", json={"agent_id": agent, "run_id": run_id, "parent_run_id": parent})
        assert answer.status_code in (200, 201) and answer.json()["status"] == "terminated"
        for run in (run_id, below):
            shown = run_of(api, run)
            assert (shown["status"], shown["terminated_by"]) == ("terminated", "operator") and shown["error"]
        team = killed.json()["team_id"]
        assert audited(installation, run_id, below) == {run: (shown["error"], root, team) for run in (run_id, below)}


def test_what_was_started_below_a_run_that_ended_before_it_said_where_it_belongs_ends_with_the_kill(api):
    agent = api.agent()["id"]
    root = api.run(agent)["run_id"]
    placeholder = uuid7()
    post_one(api, step(placeholder, agent_id=agent))
    end(api, placeholder)
    below = api.run(agent, parent_run_id=placeholder)["run_id"]
    kill(api, root)
    started = api.post("/api/v1/runs/start", json={"agent_id": agent, "run_id": placeholder, "parent_run_id": root}).json()
    assert (started["status"], run_of(api, below)["status"]) == ("succeeded", "terminated")


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
    with held_back_kill(installation, root) as waiting, concurrent.futures.ThreadPoolExecutor(1) as pool:
        starting = pool.submit(installation.api().post, "/api/v1/runs/start", json=start)
        wait_until(lambda: starting.done() or waiting() > 1, "the start is answered, or waits for the kill", seconds=10)
        waiting.release()
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


def test_kills_of_a_run_and_of_one_above_it_do_not_wait_for_each_other(installation, api):
    agent = api.agent()["id"]
    below, middle, root = (uuid7(milliseconds) for milliseconds in (1_700_000_000_000, 1_700_000_000_001, 1_700_000_000_002))
    for run, attributes in ((root, {}), (middle, {"parent_run_id": root}), (below, {"parent_run_id": middle})):
        api.run(agent, run_id=run, **attributes)
    log = installation.directory / "log/cognive.log"
    start = log.stat().st_size
    blocker = psycopg2.connect(installation.variables["DATABASE_URL"])
    with contextlib.closing(blocker), concurrent.futures.ThreadPoolExecutor(2) as pool:
        blocker.cursor().execute("SELECT 1 FROM agent_runs WHERE id = %s FOR UPDATE", (middle,))
        kills = []
        for run in (middle, root):
            kills.append(pool.submit(kill, installation.api(), run))
            wait_until(lambda: lock_waits(installation) >= len(kills), "the kill waits", seconds=10)
        blocker.rollback()
        assert [killing.result().status_code for killing in kills] == [200, 200]
    assert [run_of(api, run)["status"] for run in (root, middle, below)] == ["terminated"] * 3
    assert "transaction is run again" not in log.read_bytes()[start:].decode()


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


FAST_OR_SLOW_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*next)(clockid_t, struct timespec *);
  if (!next) next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int status = next(clock, now);
  if (status == 0 && clock == CLOCK_REALTIME) now->tv_sec += atoi(getenv("CLOCK_OFFSET_SECONDS"));
  return status;
}
"""


@pytest.mark.skipif(any(part in BINARY.parts for part in ("asan", "tsan")), reason="a sanitizer takes the clock's place itself")
@pytest.mark.parametrize("offset_seconds", [-60, 60])
def test_a_heartbeat_is_noted_in_time_whatever_the_clock_of_the_node_says(installation, api, tmp_path, offset_seconds):
    (tmp_path / "clock.c").write_text(FAST_OR_SLOW_CLOCK)
    subprocess.run(["clang-19", "-shared", "-fPIC", "-o", tmp_path / "clock.so", tmp_path / "clock.c", "-ldl"], check=True)
    variables = {name: value for name, value in installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
    node = Service(tmp_path / "node.log", variables | {"HTTP_PORT": 0, "LD_PRELOAD": tmp_path / "clock.so", "CLOCK_OFFSET_SECONDS": offset_seconds},
                   installation.key).start()
    try:
        run_id = api.run(api.agent()["id"])["run_id"]
        beat(node.api(), run_id)
        first = run_of(api, run_id)["last_seen_at"]
        beat(node.api(), run_id)
        if wait_until(lambda: run_of(api, run_id)["last_seen_at"], "a sign of life") != first:
            ((apart,),) = installation.sql("SELECT last_seen_at - %s::timestamptz FROM agent_runs WHERE id = %s", first, run_id)
            assert apart >= datetime.timedelta(seconds=5), "noted again although the machine was not that slow"
        installation.sql("UPDATE agent_runs SET last_seen_at = now() - interval '6 seconds' WHERE id = %s", run_id)
        old = run_of(api, run_id)["last_seen_at"]
        beat(node.api(), run_id)
        assert run_of(api, run_id)["last_seen_at"] > old
    finally:
        assert node.stop() == 0


@pytest.mark.parametrize("status", ["suspended", "archived"])
def test_an_announced_run_of_an_agent_that_is_not_active_does_not_begin(api, status):
    agent = api.agent()["id"]
    queued, running = api.run(agent, status="queued")["run_id"], api.run(agent)["run_id"]
    if status == "archived":
        assert api.post(f"/api/v1/agents/{agent}/archive").status_code == 200
    else:
        assert api.patch(f"/api/v1/agents/{agent}", json={"status": status}).status_code == 200
    for _ in range(2):
        assert beat(api, queued) == {"order": "terminate", "status": "queued", "reason": f"The agent is {status}."}
    # What has happened is kept.
    assert post_one(api, step(queued)).status_code == 201
    assert post_batch(api, [llm_call(queued), step(running)])["accepted"] == 2
    shown = run_of(api, queued)
    assert (shown["status"], shown["totals"]["steps"], shown["totals"]["llm_calls"]) == ("queued", 1, 1)
    assert beat(api, running) == {"order": "continue", "status": "running", "reason": None}
    if status == "suspended":
        assert api.patch(f"/api/v1/agents/{agent}", json={"status": "active"}).status_code == 200
        assert beat(api, queued) == {"order": "continue", "status": "running", "reason": None}


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
