"""Run states: whatever is asked of runs, in whatever order and on whichever node, they only move forward, as a small model says."""

import collections
import datetime
import os
import random

import pytest

from installation import llm_call, uuid7
from reports import post_batch, post_one, run_of, step, tool

ENDS = ("succeeded", "failed", "cancelled")


class ModelRun:
    """What a run must be. Each method answers with the status code and the state that the API must answer with."""

    def __init__(self):
        self.state = None
        self.reason = None
        self.placeholder = False
        self.events = 0

    def start(self, wanted):
        """Only the first start makes it, only one as running begins it, and an ended run stays ended."""
        if self.state is None:
            self.state = wanted
            return 201, wanted
        if self.placeholder:
            # An event has made the run before its start came, which is news all the same.
            self.placeholder = False
            return 201, self.state
        if self.state == "queued" and wanted == "running":
            self.state = "running"
            return (200, 201), "running"
        return 200, self.state

    def heartbeat(self):
        """Begins a queued run; says terminate of an ended one."""
        if self.state is None:
            return 404, None
        if self.state == "queued":
            self.state = "running"
        return 200, self.state

    def event(self, has_agent):
        """Makes or begins the run; is stored in every state."""
        if self.state is None and not has_agent:
            return 404, None
        if self.state is None:
            self.placeholder = True
        if self.state in (None, "queued"):
            self.state = "running"
        self.events += 1
        return 201, self.state

    def end(self, wanted):
        """The first end counts."""
        if self.state is None:
            return 404, None
        if self.state in ("queued", "running"):
            self.state = wanted
        return (200, self.state) if self.state == wanted else (409, self.state)

    def terminate(self, reason):
        """The first end counts, and so does the first reason."""
        if self.state is None:
            return 404, None
        if self.state in ("queued", "running"):
            self.state, self.reason = "terminated", reason
        return (200, self.state) if self.state == "terminated" else (409, self.state)


class Walk:
    """Random operations on a few runs over two nodes, each answer compared with the model."""

    def __init__(self, nodes, seed, run_count=5):
        self.nodes = nodes
        self.chance = random.Random(seed)
        self.agent = nodes[0].agent()["id"]
        self.runs = {uuid7(): ModelRun() for _ in range(run_count)}
        self.last = {}
        self.history = collections.defaultdict(list)
        self.answered = set()

    def step(self, number):
        """One operation on one run over one node."""
        run_id = self.chance.choice(list(self.runs))
        run = self.runs[run_id]
        before = self.seen(run_id)
        node = self.chance.choice(self.nodes)
        name = self.chance.choices(["start", "heartbeat", "event", "end", "terminate"], [6, 6, 6, 2, 1])[0]
        code, state, body = getattr(self, name)(node, run_id, run, number)
        answer_code, answer_state = body.pop("@code"), body.get("status")
        self.history[run_id].append((name, answer_code, answer_state))
        context = (number, run_id, self.history[run_id])
        assert answer_code in (code if isinstance(code, tuple) else (code,)), context
        if answer_code < 300 and "status" in body:
            assert answer_state == state, context
        after = self.seen(run_id)
        if answer_code >= 400:
            assert after == before, context
        self.check(run, after, context)
        self.answered.add((name, answer_code))

    def seen(self, run_id):
        """The run as either node shows it."""
        answers = [node.get(f"/api/v1/runs/{run_id}") for node in self.nodes]
        bodies = [answer.json() for answer in answers]
        if bodies[0].get("run_id"):
            assert bodies[0] == bodies[1]
            return bodies[0]
        assert {answer.status_code for answer in answers} == {404}
        return None

    @staticmethod
    def check(run, shown, context):
        """What is stored is what the model says."""
        if run.state is None:
            assert shown is None, context
            return
        assert shown["status"] == run.state, context
        assert (shown["ended_at"] is not None) == (run.state in (*ENDS, "terminated")), context
        assert shown["terminated_by"] == ("operator" if run.state == "terminated" else None), context
        assert run.state != "terminated" or shown["error"] == run.reason, context
        totals = shown["totals"]
        assert totals["steps"] + totals["llm_calls"] + totals["tool_invocations"] == run.events, context

    @staticmethod
    def with_code(answer):
        """The body of an answer with its status code; a problem's own status is no state."""
        body = answer.json() if answer.status_code < 300 else {}
        return body | {"@code": answer.status_code}

    def start(self, node, run_id, run, number):
        """Start, as queued or running or saying nothing."""
        wanted = self.chance.choice(["queued", "running", None])
        expected = run.start(wanted or "running")
        body = {"agent_id": self.agent, "run_id": run_id} | ({"status": wanted} if wanted else {})
        return *expected, self.with_code(node.post("/api/v1/runs/start", json=body))

    def heartbeat(self, node, run_id, run, number):
        """A heartbeat, whose order follows from the state."""
        expected = run.heartbeat()
        body = self.with_code(node.post(f"/api/v1/runs/{run_id}/heartbeat"))
        if body["@code"] == 200:
            assert body["order"] == ("continue" if run.state in ("queued", "running") else "terminate")
            assert body["reason"] == run.reason
        return *expected, body

    def event(self, node, run_id, run, number):
        """A new event, alone or in a batch, that may name its agent; sometimes a repeat of the last one, which changes nothing."""
        if run_id in self.last and self.chance.random() < 0.3:
            event = self.last[run_id]
            expected = 200, run.state
        else:
            event = self.chance.choice([llm_call, step, tool])(run_id)
            if self.chance.random() < 0.4:
                event["agent_id"] = self.agent
            expected = run.event("agent_id" in event)
            if expected[0] == 201:
                self.last[run_id] = event
        if self.chance.random() < 0.5:
            answer = post_one(node, event)
            body = answer.json() if answer.status_code < 300 else {}
            order, code = body.get("order"), answer.status_code
        else:
            body = post_batch(node, [event])
            order = "terminate" if body.get("terminate") == [{"run_id": run_id, "reason": run.reason}] else None
            code = 404 if body["rejected"] else 201 if body["accepted"] else 200
        assert order == ("terminate" if run.state == "terminated" else None), self.history[run_id]
        return *expected, {"@code": code}

    def end(self, node, run_id, run, number):
        """An end of some kind."""
        wanted = self.chance.choice(ENDS)
        expected = run.end(wanted)
        return *expected, self.with_code(node.post(f"/api/v1/runs/{run_id}/end", json={"status": wanted, "error": f"end {number}"}))

    def terminate(self, node, run_id, run, number):
        """The kill switch, with a reason of its own each time."""
        expected = run.terminate(f"reason {number}")
        return *expected, self.with_code(node.post(f"/api/v1/runs/{run_id}/terminate", json={"reason": f"reason {number}"}))


SEEDS = range(60) if os.environ.get("COGNIVE_LONG") else range(6)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_operations_over_two_nodes_answer_and_store_what_the_model_says(api, other_node, seed):
    walk = Walk([api, other_node.api()], seed)
    for number in range(80):
        walk.step(number)
    assert {("start", 200), ("heartbeat", 200), ("event", 201), ("event", 200)} <= walk.answered


def test_an_announced_run_begins_by_a_start_a_heartbeat_or_an_event(api):
    agent = api.agent()["id"]

    def announced():
        run = api.run(agent, status="queued")
        assert run["status"] == "queued" and run["ended_at"] is None
        return run["run_id"]

    by_start, by_heartbeat, by_single, by_batch, by_none = (announced() for _ in range(5))
    begun = api.post("/api/v1/runs/start", json={"agent_id": agent, "run_id": by_start})
    assert begun.status_code in (200, 201) and begun.json()["status"] == "running"
    assert api.post(f"/api/v1/runs/{by_heartbeat}/heartbeat").json()["status"] == "running"
    assert post_one(api, step(by_single)).status_code == 201
    assert post_batch(api, [step(by_batch), llm_call(by_batch)])["accepted"] == 2
    assert [run_of(api, run)["status"] for run in (by_start, by_heartbeat, by_single, by_batch, by_none)] == ["running"] * 4 + ["queued"]


def test_a_run_begins_when_it_is_first_heard_of_and_not_when_it_was_announced(installation, api):
    agent = api.agent()["id"]
    by_heartbeat, by_event, by_early_event = (api.run(agent, status="queued")["run_id"] for _ in range(3))
    installation.sql("UPDATE agent_runs SET started_at = started_at - interval '1 hour', created_at = created_at - interval '1 hour' "
                     "WHERE agent_id = %s", agent)
    moment = lambda ago: (datetime.datetime.now(datetime.UTC) - ago).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    before = moment(datetime.timedelta(seconds=1))
    early = moment(datetime.timedelta(minutes=5))
    later = moment(datetime.timedelta(hours=-1))
    api.post(f"/api/v1/runs/{by_heartbeat}/heartbeat")
    post_batch(api, [step(by_event, timestamp=later), step(by_early_event, timestamp=later), tool(by_early_event, timestamp=early),
                     llm_call(by_early_event, timestamp=before)])
    after = moment(datetime.timedelta(seconds=-1))
    for run in (by_heartbeat, by_event):
        shown = run_of(api, run)
        assert shown["status"] == "running" and before <= shown["started_at"] <= after
    assert run_of(api, by_early_event)["started_at"] == early
    # What has begun has begun.
    api.post(f"/api/v1/runs/{by_early_event}/heartbeat")
    post_one(api, step(by_early_event, timestamp=before))
    assert run_of(api, by_early_event)["started_at"] == early


@pytest.mark.parametrize("end", [*ENDS, "terminated"])
def test_an_announced_run_may_end_before_it_begins(api, end):
    run_id = api.run(api.agent()["id"], status="queued")["run_id"]
    if end == "terminated":
        answer = api.post(f"/api/v1/runs/{run_id}/terminate", json={"reason": "never mind"})
    else:
        answer = api.post(f"/api/v1/runs/{run_id}/end", json={"status": end})
    assert (answer.status_code, answer.json()["status"]) == (200, end)
    assert post_one(api, step(run_id)).status_code == 201
    assert run_of(api, run_id)["status"] == end


def test_an_event_that_is_refused_begins_no_run(api):
    run_id = api.run(api.agent()["id"], status="queued")["run_id"]
    assert post_one(api, step(run_id, index=-1)).status_code == 422
    assert post_batch(api, [{"type": "step", "run_id": run_id}])["accepted"] == 0
    assert run_of(api, run_id)["status"] == "queued"


@pytest.mark.parametrize("status", ["succeeded", "terminated", "paused", "", "QUEUED", 1])
def test_a_run_starts_as_queued_or_running_only(api, status):
    answer = api.post("/api/v1/runs/start", json={"agent_id": api.agent()["id"], "status": status})
    assert answer.status_code == 422 and [error["pointer"] for error in answer.json()["errors"]] == ["/status"]


def test_a_run_that_begins_with_the_same_start_keeps_what_it_was_announced_with(api):
    agent = api.agent()["id"]
    about = {"agent_id": agent, "run_id": uuid7(), "session_id": "s", "labels": {"a": "b"}, "metadata": {"n": 1}, "parent_run_id": api.run(agent)["run_id"]}
    announced = api.post("/api/v1/runs/start", json=about | {"status": "queued"}).json()
    begun = api.post("/api/v1/runs/start", json=about | {"status": "running"}).json()
    kept = ("run_id", "session_id", "labels", "metadata", "parent_run_id", "created_at", "environment")
    assert {name: begun[name] for name in kept} == {name: announced[name] for name in kept}
    assert begun["status"] == "running" and begun["started_at"] >= announced["started_at"]


def test_a_start_that_only_begins_an_announced_run_keeps_what_it_was_announced_with(api):
    agent = api.agent()["id"]
    about = {"session_id": "s", "labels": {"a": "b"}, "metadata": {"n": 1}, "parent_run_id": api.run(agent)["run_id"]}
    run_id = api.run(agent, status="queued", **about)["run_id"]
    begun = api.post("/api/v1/runs/start", json={"agent_id": agent, "run_id": run_id, "status": "running"}).json()
    assert begun["status"] == "running"
    assert {name: begun[name] for name in about} == about


def test_another_agent_begins_no_run_of_ours(api):
    run_id = api.run(api.agent()["id"], status="queued")["run_id"]
    assert api.post("/api/v1/runs/start", json={"agent_id": api.agent()["id"], "run_id": run_id}).status_code == 409
    assert run_of(api, run_id)["status"] == "queued"
