"""The live stream: who listens hears what happens to their runs and budgets, once it is committed, in order, and goes on where it broke off."""

import contextlib
import json
import queue
import threading
import time

import pytest
import requests

from deployment import Deployment
from installation import llm_call, uuid7, wait_until
from problems import check_problem

SECONDS = 20


class Listener(contextlib.AbstractContextManager):
    """Reads a stream on a thread of its own, as a browser does."""

    def __init__(self, api, last=None, **parameters):
        headers = dict(api.session.headers) | ({"Last-Event-ID": last} if last else {})
        self.answer = requests.get(api.url + "/api/v1/stream", params=parameters, headers=headers, stream=True, timeout=60)
        assert self.answer.status_code == 200, self.answer.text
        self.events, self.last, self.ended = queue.Queue(), last, threading.Event()
        self.signs = 0
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        fields = {}
        with contextlib.suppress(requests.RequestException, AttributeError, ValueError):
            for line in self.answer.iter_lines(chunk_size=1, decode_unicode=True):
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                    continue
                self.last = fields.get("id", self.last)
                self.signs += 1
                if "data" in fields:
                    self.events.put((fields["event"], json.loads(fields["data"]), fields["id"]))
                fields = {}
        self.ended.set()

    def next(self, seconds=SECONDS):
        """The next event: its type and data."""
        return self.events.get(timeout=seconds)[:2]

    def nothing(self, seconds=1.5):
        """Nothing comes."""
        with pytest.raises(queue.Empty):
            self.events.get(timeout=seconds)

    def __exit__(self, *_):
        self.answer.close()


def end(api, run, status="succeeded"):
    """End a run."""
    assert api.post(f"/api/v1/runs/{run}/end", json={"status": status}).status_code == 200


def test_runs_are_told_as_they_go(api):
    agent = api.agent()
    with Listener(api, agent_id=agent["id"]) as listener:
        assert listener.answer.headers["Content-Type"] == "text/event-stream" and listener.answer.headers["Cache-Control"] == "no-store"
        begun = time.monotonic()
        run = api.run(agent["id"], session_id="s")["run_id"]
        kind, data = listener.next()
        assert time.monotonic() - begun < 5
        assert kind == "run.running" and data["run_id"] == run and data["agent_id"] == agent["id"] and data["team_id"] == agent["team_id"] and data["session_id"] == "s"
        assert data["status"] == "running" and data["started_at"].endswith("Z") and data["ended_at"] is None
        end(api, run, "failed")
        kind, data = listener.next()
        assert kind == "run.failed" and data["run_id"] == run and data["ended_at"]
        listener.nothing()


def test_alerts_are_told_to_whoever_may_read_budgets(installation, api):
    agent = api.agent()["id"]
    run = api.run(agent)["run_id"]
    budget = api.post("/api/v1/budgets", json={"scope": "agent", "agent_id": agent, "window": "day", "limit_usd": 0.001, "hard_stop": False, "thresholds": [50]}).json()
    deaf = installation.api(installation.team_key("", "runs:read"))
    with Listener(api, topics="alert", agent_id=agent) as listener, Listener(deaf, agent_id=agent) as other:
        assert api.post("/api/v1/events", json=[llm_call(run)]).json()["accepted"] == 1
        kind, data = listener.next()
        assert kind == "budget.alerted" and data["budget_id"] == budget["id"] and data["threshold"] == 50 and data["limit"] == 0.001 and data["spent"] > 0.0005
        end(api, run)
        assert other.next()[0] == "run.succeeded", "and no alert before"
        listener.nothing()


def test_one_hears_of_ones_own_team_and_agent_only(installation):
    mine, theirs = installation.api(installation.team_key("listeners")), installation.api(installation.team_key("others who listen"))
    agent, other = mine.agent()["id"], mine.agent()["id"]
    bound = installation.api(mine.post("/api/v1/api-keys", json={"name": uuid7(), "agent_id": agent, "permissions": ["runs:read"]}).json()["key"])
    with Listener(mine) as listener, Listener(bound) as narrow, Listener(theirs) as stranger:
        runs = [mine.run(one)["run_id"] for one in (other, agent)]
        assert [listener.next()[1]["run_id"] for _ in runs] == runs
        assert narrow.next()[1]["run_id"] == runs[1]
        narrow.nothing()
        stranger.nothing(0.1)


def test_who_comes_back_hears_what_they_missed_once_and_in_order(api):
    agent = api.agent()["id"]
    with Listener(api, agent_id=agent) as listener:
        first = api.run(agent)["run_id"]
        assert listener.next()[1]["run_id"] == first
        last = listener.last
    runs = [api.run(agent)["run_id"] for _ in range(30)]
    with Listener(api, last=last, agent_id=agent) as listener:
        assert [listener.next()[1]["run_id"] for _ in runs] == runs
        listener.nothing()
        again = listener.last
    with Listener(api, last=again, agent_id=agent) as listener:
        listener.nothing()


def test_a_position_that_is_too_old_is_told(installation, api):
    agent = api.agent()["id"]
    with Listener(api, agent_id=agent) as listener:
        api.run(agent)
        listener.next()
        last = listener.last
    installation.sql("UPDATE stream_switch SET oldest = pg_current_xact_id()")
    with Listener(api, last=last, agent_id=agent) as listener:
        assert listener.next()[0] == "reset"
        run = api.run(agent)["run_id"]
        assert listener.next()[1]["run_id"] == run
    with Listener(api, last="9000000000-1", agent_id=agent) as listener:
        assert listener.next()[0] == "reset", "of another server, or of before a restore"
    for wrong in ("x", "1", "-1-1", "1-", "1-2-3", "99999999999999999999-1"):
        check_problem(requests.get(api.url + "/api/v1/stream", headers=dict(api.session.headers) | {"Last-Event-ID": wrong}, timeout=10), 400)


def test_what_is_old_is_forgotten(installation, api):
    agent = api.agent()["id"]
    with Listener(api, agent_id=agent) as listener:
        api.run(agent)
        listener.next()
    installation.sql("UPDATE stream_events SET created_at = now() - interval '2 hours' WHERE agent_id = %s", agent)
    installation.sql("INSERT INTO tasks (name) VALUES ('stream.forget')")
    wait_until(lambda: installation.sql("SELECT count(*) FROM stream_events WHERE agent_id = %s", agent) == [(0,)], "it is forgotten", 30)


def test_a_key_that_ends_ends_its_stream(installation, api):
    made = api.post("/api/v1/api-keys", json={"name": uuid7(), "permissions": ["runs:read"]}).json()
    agent = api.agent()["id"]
    with Listener(installation.api(made["key"]), agent_id=agent) as listener:
        api.run(agent)
        assert listener.next()
        assert api.delete(f"/api/v1/api-keys/{made['id']}").status_code == 200
        assert listener.ended.wait(5), "within a second or two, though nothing happens"
        api.run(agent)
        assert listener.events.empty(), "nothing is told after that"


def test_signs_of_life_come_and_move_the_position(api):
    with Listener(api, agent_id=uuid7()) as listener:
        wait_until(lambda: listener.signs >= 3, "they come without any event, longer than a request may take", 40)
        assert listener.last and listener.events.empty() and not listener.ended.is_set()


def test_requests_that_make_no_sense_are_refused(installation, api):
    assert check_problem(api.get("/api/v1/stream", params={"topics": "run,nothing"}), 422)["errors"]
    assert check_problem(api.get("/api/v1/stream", params={"agent_id": "x"}), 422)["errors"][0]["pointer"] == "?agent_id"
    check_problem(api.get("/api/v1/stream", headers={"Accept": "application/json"}), 406)
    check_problem(installation.api(installation.team_key("", "teams:read")).get("/api/v1/stream"), 403)
    assert api.request("HEAD", "/api/v1/stream").status_code == 200


def test_nobody_listens_nothing_is_written(shared_directory):
    with Deployment(shared_directory / "unheard", replicas=0) as deployment:
        service = deployment.serve()
        service.wait_ok()
        api = service.api()
        agent = api.agent()["id"]
        api.run(agent)
        assert deployment.primary.sql("SELECT count(*) FROM stream_events") == [(0,)]


def test_all_of_many_runs_are_told_on_both_servers_while_one_is_stopped(shared_directory):
    """Eight threads start and end runs; a listener goes from one server to another, which is told to stop: it ends the stream at once."""
    with Deployment(shared_directory / "streams", replicas=0) as deployment:
        first, second = deployment.serve(), deployment.serve()
        for service in (first, second):
            service.wait_ok()
        api, other = first.api(), second.api()
        agent = api.agent()["id"]
        listener = Listener(api, agent_id=agent)
        told, runs, lock = [], [], threading.Lock()

        def work():
            mine = second.api()
            for _ in range(25):
                run = mine.run(agent)["run_id"]
                end(mine, run)
                with lock:
                    runs.append(run)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        while len(told) < 60:
            told.append(listener.events.get(timeout=SECONDS))
        begun = time.monotonic()
        assert first.stop() == 0 and time.monotonic() - begun < 5, "a listener holds nothing up"
        assert listener.ended.wait(5)
        while not listener.events.empty():
            told.append(listener.events.get())
        with Listener(other, last=told[-1][2], agent_id=agent) as again:
            while len(told) < 400:
                told.append(again.events.get(timeout=SECONDS))
            for thread in threads:
                thread.join()
            again.nothing()
        assert len({identifier for _, _, identifier in told}) == 400
        for run in runs:
            assert [kind for kind, data, _ in told if data["run_id"] == run] == ["run.running", "run.succeeded"]
